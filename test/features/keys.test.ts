import assert from 'node:assert/strict'
import { execFile } from 'node:child_process'
import { join, resolve } from 'node:path'
import { describe, test } from 'node:test'
import { promisify } from 'node:util'
import { run } from '../../src/cli/run.ts'
import { startBackend } from '../backend.ts'
import { eventually, type GatewayUnderTest, startGateway } from '../sallyport.ts'

const main = resolve(import.meta.dirname, '../../src/main.ts')
const execute = promisify(execFile)

const definition = (target: string) => ({
  store: { type: 'sqlite', path: 'keys.db' },
  securitySchemes: { key: { type: 'apiKey', in: 'header', name: 'X-API-Key' } },
  services: [
    {
      name: 'orders',
      path: '/orders',
      targets: [target],
      openapi: false,
      security: [{ key: [] }],
      routes: [{ match: 'DELETE /{id}', security: [{ key: ['admin'] }] }],
    },
  ],
})

/** The command line in a process of its own; rejects when it fails. */
async function command({ folder }: GatewayUnderTest, ...words: string[]): Promise<string> {
  const { stdout } = await execute(process.execPath, [main, ...words, '--config', join(folder, 'services.json')])
  return stdout.trim()
}

/** The command line in this process, with its exit code. */
async function typed({ folder }: Pick<GatewayUnderTest, 'folder'>, ...words: string[]) {
  const lines: { out: string[]; err: string[] } = { out: [], err: [] }
  const terminal = {
    environment: {},
    out: (text: string) => void lines.out.push(text),
    err: (text: string) => void lines.err.push(text),
  }
  const code = await run([...words, '--config', join(folder, 'services.json')], terminal)
  return { code, out: lines.out.join('\n'), err: lines.err.join('\n') }
}

const ask = async ({ url }: GatewayUnderTest, key: string, method = 'GET') =>
  (await fetch(`${url}/orders/1`, { method, headers: { 'X-API-Key': key } })).status

describe('API keys', () => {
  test('made, rotated and revoked by another process, hold in the running gateway within a second', async () => {
    await using backend = await startBackend()
    await using gateway = await startGateway(definition(backend.url))

    const first = await command(gateway, 'keys', 'create', '--owner', 'ci', '--roles', 'viewer,admin')
    assert.match(first, /^sp_\w{8}_\w{38}$/)
    assert.equal(await ask(gateway, first), 200)
    assert.equal(backend.received.at(-1)?.headers['user-id'], 'ci')
    assert.equal(backend.received.at(-1)?.headers['user-roles'], 'viewer,admin')
    assert.equal(await ask(gateway, first, 'DELETE'), 200)

    const id = first.slice(3, 11)
    const second = await command(gateway, 'keys', 'rotate', id, '--overlap', '1h')
    assert.notEqual(second, first)
    assert.equal(await ask(gateway, first), 200, 'the old key goes on for the overlap')
    assert.equal(await ask(gateway, second, 'DELETE'), 200, 'the new key may do what the old one may')

    await command(gateway, 'keys', 'revoke', id)
    await eventually('the old key is refused', async () => (await ask(gateway, first)) === 401, 1_000)
    assert.equal(await ask(gateway, second), 200)
  })

  test('have a plan that services.json names, and keep it', async () => {
    await using backend = await startBackend()
    await using gateway = await startGateway({
      ...definition(backend.url),
      plans: { gold: { rate: [{ requests: 2, per: '1h' }] } },
    })
    const refused = await typed(gateway, 'keys', 'create', '--owner', 'ci', '--plan', 'silver')
    assert.equal(refused.code, 2)
    assert.match(refused.err, /--plan: services.json has no such plan; there are "gold"/)
    const { code, out: key } = await typed(gateway, 'keys', 'create', '--owner', 'ci', '--plan', 'gold')
    assert.equal(code, 0)
    const seen = []
    for (let call = 0; call < 3; call += 1) seen.push(await ask(gateway, key))
    assert.deepEqual(seen, [200, 200, 429])
    assert.match((await typed(gateway, 'keys', 'list')).out, /PLAN[\s\S]*gold/)
  })

  test('made on the admin port are good at once, and revoked at once', async () => {
    await using backend = await startBackend()
    await using gateway = await startGateway({ ...definition(backend.url), store: { type: 'memory' } })
    const call = (method: string, path: string, body?: object) =>
      fetch(`${gateway.adminUrl}${path}`, {
        method,
        ...(body && { headers: { 'Content-Type': 'application/json' }, body: JSON.stringify(body) }),
      })

    const created = await call('POST', '/keys', { owner: 'ada', name: 'laptop', roles: ['viewer'], expires: '1h' })
    assert.equal(created.status, 201)
    const { text, key } = (await created.json()) as { text: string; key: { id: string; expires: number } }
    assert.ok(Math.abs(key.expires - Date.now() / 1_000 - 3_600) < 5)
    assert.equal(await ask(gateway, text), 200)
    assert.equal(await ask(gateway, text, 'DELETE'), 403)

    const rotated = await call('POST', `/keys/${key.id}/rotate`, { overlap: '0s' })
    assert.equal(rotated.status, 201)
    const next = ((await rotated.json()) as { text: string }).text
    assert.equal(await ask(gateway, text), 401, 'without an overlap the old key ends')
    assert.equal(await ask(gateway, next), 200)

    const list = await (await call('GET', '/keys?owner=ada')).text()
    assert.equal(JSON.parse(list).keys.length, 2)
    assert.ok(!list.includes(next) && !/hash/.test(list), 'neither a key nor its digest is listed')

    assert.equal((await call('DELETE', `/keys/${next.slice(3, 11)}`)).status, 204)
    assert.equal(await ask(gateway, next), 401)
    assert.equal((await call('DELETE', '/keys/nonsense')).status, 404)
    assert.equal((await call('POST', `/keys/${next.slice(3, 11)}/rotate`, {})).status, 409)
  })

  test('that were asked for wrongly are not made, and the message says what would be right', async () => {
    await using gateway = await startGateway(definition('http://127.0.0.1:9'))
    const faults = [
      [['create'], /--owner/],
      [['create', '--owner', 'ci', '--expires', 'soon'], /"90d".*"2027-01-31"/],
      [['create', '--owner', 'ci', '--expires', '2020-01-01'], /expired already/],
      [['create', '--owner', 'ci', '--cidrs', '10.0.0.1'], /10\.0\.0\.0\/8/],
      [['create', '--owner', 'ci', '--role', 'admin'], /--role/],
      [['rotate'], /id of one key/],
      [['shred', 'x'], /create, list, rotate, revoke/],
    ] as const
    for (const [words, expected] of faults) {
      const { code, err } = await typed(gateway, 'keys', ...words)
      assert.equal(code, 2, words.join(' '))
      assert.match(err, expected)
    }
    assert.equal((await typed(gateway, 'keys', 'revoke', 'unknown1')).code, 1)
    assert.match((await typed(gateway, 'keys', 'list')).out, /no keys/)
  })

  test('cannot be put into the memory of a gateway by another process, which is said', async () => {
    await using gateway = await startGateway({ ...definition('http://127.0.0.1:9'), store: { type: 'memory' } })
    const { code, err } = await typed(gateway, 'keys', 'create', '--owner', 'ci')
    assert.equal(code, 1)
    assert.match(err, /POST \/keys/)
  })
})
