import assert from 'node:assert/strict'
import { execFile } from 'node:child_process'
import { existsSync } from 'node:fs'
import { mkdtemp, rm, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join, resolve } from 'node:path'
import { after, before, describe, test } from 'node:test'
import { run } from '../../src/cli/run.ts'
import { parsePasswordHash, verifyPassword } from '../../src/issuer/password.ts'
import { type Backend, startBackend } from '../backend.ts'

let folder: string
let backend: Backend

before(async () => {
  folder = await mkdtemp(join(tmpdir(), 'sallyport-explain-'))
  backend = await startBackend()
  const definition = {
    issuers: {
      partner: { type: 'secret', issuer: 'https://partner.example', audience: 'api', secret: '${SECRET}' },
    },
    securitySchemes: {
      bearer: { type: 'http', scheme: 'bearer' },
      key: { type: 'apiKey', in: 'header', name: 'X-API-Key' },
    },
    services: [
      {
        name: 'orders',
        path: '/orders',
        targets: [backend.url],
        openapi: '/openapi.json',
        health: { path: '/health', interval: '1s' },
        security: [{ bearer: [] }, { key: [] }],
        limits: { rate: [{ requests: 9, per: '1m' }], concurrent: 30, body: '1kb' },
        forward: { headers: { 'X-Partner-Key': 'partner-secret' } },
        routes: [
          {
            match: 'GET /{owner}',
            allow: { when: "caller.subject == request.params.owner || 'admin' in caller.roles" },
          },
        ],
      },
    ],
  }
  await writeFile(join(folder, 'services.json'), JSON.stringify(definition))
  await writeFile(join(folder, 'claims.json'), JSON.stringify({ sub: 'ada' }))
})
after(async () => {
  await backend[Symbol.asyncDispose]()
  await rm(folder, { recursive: true })
})

async function sallyport(...words: string[]) {
  const lines = { out: [] as string[], err: [] as string[] }
  const code = await run([...words, '--config', join(folder, 'services.json')], {
    environment: { SECRET: 'pLCzRLbMtTR0rr3nT0vY5mLr9vJmBq1dYv2cQW7uK8E=' },
    out: (text) => void lines.out.push(text),
    err: (text) => void lines.err.push(text),
  })
  return { code, out: lines.out.join('\n'), err: lines.err.join('\n') }
}

describe('sallyport explain', () => {
  test('says what is no path and what are no claims', async () => {
    const noPath = await sallyport('explain', 'GET', 'orders')
    assert.equal(noPath.code, 2)
    assert.match(noPath.err, /"orders" is no path: it starts with a slash, as in GET \/orders\/1/)
    const noClaims = await sallyport('explain', 'GET', '/orders/ada', '--claims', '[]')
    assert.equal(noClaims.code, 2)
    assert.match(noClaims.err, /claims: an object \{ … \} belongs here, not a list/)
  })

  test('shows what the service would get, asks the service nothing and leaves nothing behind', async () => {
    const { code, out } = await sallyport('explain', '/orders/ada?x=1', '--claims', join(folder, 'claims.json'))
    assert.equal(code, 0)
    assert.match(out, /^GET \/orders\/ada\?x=1 is forwarded\n/)
    assert.ok(out.includes(`GET ${backend.url}/ada?x=1, credentials: passthrough`))
    assert.match(out, /caller +User-ID: ada/)
    const limits = ['caller: 9 in 60 s, by caller', 'at once: 30, and 30 more wait', 'body: at most 1024 bytes']
    assert.ok(out.includes(`LIMITS\n  ${limits.join('\n  ')}\n`), out)
    assert.match(out, /services\.json +X-Partner-Key: \*\*\*/)
    assert.match(out, /caller\.subject == request\.params\.owner {2}⇒ {2}true/)
    assert.equal(backend.received.length, 0)
    assert.ok(!existsSync(join(folder, 'data')), 'looking makes no store')
  })

  test('is 1 when the request would be refused, and names the row and its terms', async () => {
    const claims = '{ "subject": "bob", "roles": ["editor"] }'
    const { code, out } = await sallyport('explain', 'GET', '/orders/ada', '--claims', claims)
    assert.equal(code, 1)
    assert.match(out, /is refused: 403 policy-denied\n.*\(\/when\)/)
    assert.match(out, /caller\.subject {2}⇒ {2}"bob"/)

    const asJson = await sallyport('explain', 'GET', '/orders/ada', '--claims', claims, '--json')
    assert.equal(asJson.code, 1)
    assert.equal(JSON.parse(asJson.out).problem.row, '/when')
  })

  test('takes a token and header fields, and says which check a token failed', async () => {
    const token = 'eyJhbGciOiJIUzI1NiJ9.eyJpc3MiOiJodHRwczovL3BhcnRuZXIuZXhhbXBsZSJ9.AAAA'
    const withToken = await sallyport('explain', 'delete', '/orders/1', '--token', token)
    assert.equal(withToken.code, 1)
    assert.match(withToken.out, /✗ signature +The signature of the token does not hold\./)
    const withKey = await sallyport('explain', '/orders/1', '--header', 'X-API-Key: sp_nonsense')
    assert.match(withKey.out, /scheme key rejected: malformed/)
  })

  test('says how it is called when it is called wrongly', async () => {
    const faults = [
      [[], /GET \/orders\/1/],
      [['GET', '/a', '/b'], /GET \/orders\/1/],
      [['/orders', '--claims', 'nowhere.json'], /--claims/],
      [['/orders', '--claims', '{}', '--token', 'x'], /either/],
      [['/orders', '--header', 'nothing'], /Name: value/],
      [['/orders', '--tokens', 'x'], /--tokens/],
    ] as const
    for (const [words, expected] of faults) {
      const { code, err } = await sallyport('explain', ...words)
      assert.equal(code, 2, words.join(' '))
      assert.match(err, expected)
    }
  })
})

describe('sallyport users hash', () => {
  test('hashes the line that is piped in', async () => {
    const main = resolve(import.meta.dirname, '../../src/main.ts')
    const stdout = await new Promise<string>((resolve, reject) => {
      const child = execFile(process.execPath, [main, 'users', 'hash'], (error, stdout) =>
        error ? reject(error) : resolve(stdout),
      )
      child.stdin!.end('correct horse\nsomething else\n')
    })
    const hash = parsePasswordHash(stdout.trim())
    assert.ok(hash)
    assert.equal(await verifyPassword(hash, 'correct horse'), true)
    assert.equal(await verifyPassword(hash, 'something else'), false)
  })

  test('does not take an empty password', async () => {
    const { code, err } = await sallyport('users', 'hash')
    assert.equal(code, 1)
    assert.match(err, /empty/)
  })
})
