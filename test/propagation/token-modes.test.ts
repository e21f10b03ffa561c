import assert from 'node:assert/strict'
import { createHash } from 'node:crypto'
import { createServer, type IncomingMessage } from 'node:http'
import type { AddressInfo } from 'node:net'
import { describe, test } from 'node:test'
import { closeServer, startBackend } from '../backend.ts'
import { startGateway } from '../sallyport.ts'

const key = 'a-key-for-tests'
const sha256 = createHash('sha256').update(key).digest('hex')

interface Asked {
  readonly form: URLSearchParams
  readonly authorization: string | undefined
}

/** A token endpoint that counts, and answers as it is told. */
async function tokenEndpoint(
  answer: (asked: Asked, count: number) => { readonly status?: number; readonly body: object },
) {
  const asked: Asked[] = []
  const read = async (req: IncomingMessage) => {
    let text = ''
    for await (const chunk of req) text += chunk
    return text
  }
  const server = createServer(async (req, res) => {
    const request = { form: new URLSearchParams(await read(req)), authorization: req.headers.authorization }
    asked.push(request)
    const { status = 200, body } = answer(request, asked.length)
    res.writeHead(status, { 'Content-Type': 'application/json' }).end(JSON.stringify(body))
  })
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve))
  const url = `http://127.0.0.1:${(server.address() as AddressInfo).port}/token`
  return { url, asked, [Symbol.asyncDispose]: () => closeServer(server) }
}

const users = JSON.stringify([
  {
    username: 'ada',
    password: 'ada-demo',
    subject: 'ada',
    name: 'Ada',
    email: 'ada@example.com',
    organization: 'acme',
    roles: ['admin'],
    permissions: [],
    active: true,
  },
])

const definition = (credentials: object, targets: Record<string, string>) => ({
  issuers: { local: { type: 'embedded', users: './users.json', grants: ['password'] } },
  securitySchemes: {
    bearer: { type: 'http', scheme: 'bearer' },
    apiKey: { type: 'apiKey', in: 'header', name: 'X-API-Key', keys: [{ sha256, subject: 'robot' }] },
  },
  services: Object.entries(targets).map(([name, url]) => ({
    name,
    path: `/${name}`,
    targets: [url],
    openapi: false,
    security: [{ bearer: [] }, { apiKey: [] }],
    forward: { credentials },
  })),
})

const client = (url: string) => ({ tokenEndpoint: url, clientId: 'gw', clientSecret: 'gw:secret' })
const bearerOf = async (url: string): Promise<string> => {
  const body = new URLSearchParams({ grant_type: 'password', username: 'ada', password: 'ada-demo' })
  const { access_token } = (await (await fetch(`${url}/token`, { method: 'POST', body })).json()) as {
    access_token: string
  }
  return access_token
}

describe('exchange', () => {
  test('each service gets a token made for it, asked for once however many requests wait', async () => {
    await using issuer = await tokenEndpoint(({ form }) => ({
      body: { access_token: `for-${form.get('audience')}`, token_type: 'Bearer', expires_in: 300 },
    }))
    await using one = await startBackend()
    await using two = await startBackend()
    const credentials = { type: 'exchange', ...client(issuer.url) }
    await using gateway = await startGateway(definition(credentials, { one: one.url, two: two.url }), {
      files: { 'users.json': users },
    })
    const token = await bearerOf(gateway.url)
    const call = (path: string) => fetch(gateway.url + path, { headers: { Authorization: `Bearer ${token}` } })
    await Promise.all([call('/one'), call('/one'), call('/one'), call('/two')])
    await call('/one')
    assert.deepEqual(new Set(one.received.map(({ headers }) => headers['authorization'])), new Set(['Bearer for-one']))
    assert.equal(two.received[0]?.headers['authorization'], 'Bearer for-two')
    assert.equal(issuer.asked.length, 2)
    const { form, authorization } = issuer.asked.find(({ form }) => form.get('audience') === 'one')!
    assert.equal(form.get('grant_type'), 'urn:ietf:params:oauth:grant-type:token-exchange')
    assert.equal(form.get('subject_token'), token)
    assert.equal(authorization, `Basic ${Buffer.from('gw:gw%3Asecret').toString('base64')}`)
  })

  test('a caller with an API key is passed on without a token', async () => {
    await using issuer = await tokenEndpoint(() => ({ status: 500, body: {} }))
    await using backend = await startBackend()
    const credentials = { type: 'exchange', ...client(issuer.url) }
    await using gateway = await startGateway(definition(credentials, { one: backend.url }), {
      files: { 'users.json': users },
    })
    assert.equal((await fetch(`${gateway.url}/one`, { headers: { 'X-API-Key': key } })).status, 200)
    assert.equal(backend.received[0]?.headers['authorization'], undefined)
    assert.equal(backend.received[0]?.headers['user-id'], 'robot')
  })

  test('a refusal is 403 and an outage 503 with Retry-After; the service hears of neither', async () => {
    let status = 400
    await using issuer = await tokenEndpoint(() => ({ status, body: { error: 'invalid_target' } }))
    await using backend = await startBackend()
    const credentials = { type: 'exchange', ...client(issuer.url) }
    await using gateway = await startGateway(definition(credentials, { one: backend.url }), {
      files: { 'users.json': users },
    })
    const headers = { Authorization: `Bearer ${await bearerOf(gateway.url)}` }
    const refused = await fetch(`${gateway.url}/one`, { headers })
    assert.deepEqual([refused.status, ((await refused.json()) as { code: string }).code], [403, 'token-refused'])
    status = 500
    const out = await fetch(`${gateway.url}/one`, { headers })
    assert.deepEqual([out.status, out.headers.get('retry-after')], [503, '1'])
    assert.equal(backend.received.length, 0)
    const logged = JSON.stringify(gateway.log)
    assert(!logged.includes('gw:secret') && !logged.includes(headers.Authorization.slice(7)))
  })
})

describe('client-credentials', () => {
  test("the gateway's own token, kept until shortly before it ends", async () => {
    let clock = Date.now()
    await using issuer = await tokenEndpoint((_asked, count) => ({
      body: { access_token: `own-${count}`, token_type: 'bearer', expires_in: 60 },
    }))
    await using backend = await startBackend()
    const credentials = {
      type: 'client-credentials',
      ...client(issuer.url),
      scope: 'read',
      clientAuthentication: 'client_secret_post',
    }
    await using gateway = await startGateway(definition(credentials, { one: backend.url }), {
      files: { 'users.json': users },
      now: () => clock,
    })
    const call = () => fetch(`${gateway.url}/one`, { headers: { 'X-API-Key': key } })
    await Promise.all([call(), call(), call()])
    clock += 29_000
    await call()
    clock += 2_000
    await call()
    const seen = backend.received.map(({ headers }) => headers['authorization'])
    assert.deepEqual(seen, ['Bearer own-1', 'Bearer own-1', 'Bearer own-1', 'Bearer own-1', 'Bearer own-2'])
    const { form } = issuer.asked[0]!
    assert.deepEqual(Object.fromEntries(form), {
      grant_type: 'client_credentials',
      audience: 'one',
      scope: 'read',
      client_id: 'gw',
      client_secret: 'gw:secret',
    })
  })
})

test('a mode that needs settings says so when it is named alone', async () => {
  await assert.rejects(
    startGateway({
      services: [
        { name: 'a', path: '/a', targets: ['http://127.0.0.1:1'], security: [], forward: { credentials: 'exchange' } },
      ],
    }),
    /"exchange" needs settings: write \{ "type": "exchange"/,
  )
})
