import assert from 'node:assert/strict'
import { describe, test } from 'node:test'
import { startBackend } from '../backend.ts'
import { startGateway } from '../sallyport.ts'

const app = 'https://app.example'
const other = 'http://localhost:3000'

const definition = (target: string, cors: object = { origins: [app, other] }) => ({
  gateway: { cors },
  securitySchemes: {
    key: { type: 'apiKey', in: 'header', name: 'X-API-Key', keys: [{ sha256: demoDigest, subject: 'app' }] },
  },
  issuers: {},
  services: [
    {
      name: 'echo',
      path: '/echo',
      targets: [target],
      openapi: false,
      security: [{ key: [] }],
      routes: [{ match: 'GET /open', security: [] }],
    },
  ],
})
/** Of "demo". */
const demoDigest = '2a97516c354b68848cdbd8f54a226a0a55b21ed138e207ad6c5cbb9c00aa5aea'

/** fetch() would set Origin and these fields only in a browser; undici takes them as they are. */
const preflight = (origin: string, headers = 'authorization,x-api-key') => ({
  method: 'OPTIONS',
  headers: { Origin: origin, 'Access-Control-Request-Method': 'DELETE', 'Access-Control-Request-Headers': headers },
})

const corsFields = (answer: Response) =>
  Object.fromEntries([...answer.headers].filter(([name]) => name.startsWith('access-control-') || name === 'vary'))

describe('an origin that is listed', () => {
  test('has its preflights answered by the gateway, without a credential and without the service', async () => {
    await using backend = await startBackend()
    await using gateway = await startGateway(definition(backend.url))
    for (const origin of [app, other]) {
      const answer = await fetch(`${gateway.url}/echo/1`, preflight(origin))
      assert.equal(answer.status, 204)
      assert.equal(await answer.text(), '')
      const { 'access-control-expose-headers': _, ...fields } = corsFields(answer)
      assert.deepEqual(fields, {
        'access-control-allow-origin': origin,
        'access-control-allow-credentials': 'true',
        'access-control-allow-methods': 'GET, HEAD, POST, PUT, PATCH, DELETE, OPTIONS',
        'access-control-allow-headers': 'authorization,x-api-key',
        'access-control-max-age': '600',
        vary: 'Origin',
      })
      assert.match(answer.headers.get('x-request-id') ?? '', /./)
    }
    assert.equal(backend.received.length, 0)
  })

  test('may read answers, with credentials, and the fields of the gateway and those that are listed', async () => {
    await using backend = await startBackend()
    await using gateway = await startGateway(definition(backend.url, { origins: [app], expose: ['ETag', 'X-Total'] }))
    const answer = await fetch(`${gateway.url}/echo/1`, { headers: { Origin: app, 'X-API-Key': 'demo' } })
    assert.equal(answer.status, 200)
    assert.deepEqual(corsFields(answer), {
      'access-control-allow-origin': app,
      'access-control-allow-credentials': 'true',
      'access-control-expose-headers':
        'X-Request-ID, RateLimit, RateLimit-Policy, Retry-After, WWW-Authenticate, ETag, X-Total',
      vary: 'Origin',
    })
    assert.equal(backend.received[0]?.headers['origin'], app, 'the service still learns where a request came from')
  })

  test('may read why it was refused: no credential, nothing there, no service, an unreadable body', async () => {
    await using gateway = await startGateway(definition('http://127.0.0.1:9'))
    const cases: [string, object, number][] = [
      ['/echo/1', {}, 401],
      ['/nowhere', {}, 404],
      ['/docs/nothing', {}, 404],
      ['/echo/1', { 'X-API-Key': 'demo' }, 502],
    ]
    for (const [path, headers, status] of cases) {
      const answer = await fetch(gateway.url + path, { headers: { Origin: app, ...headers } })
      assert.equal(answer.status, status, path)
      assert.equal(answer.headers.get('access-control-allow-origin'), app, path)
      assert.equal(answer.headers.get('vary'), 'Origin', path)
    }
  })

  test('may read the documents, and talk to the issuer without a second word about it', async () => {
    await using backend = await startBackend()
    const { issuers: _, ...withIssuer } = definition(backend.url)
    const files = { 'users.json': '[]' }
    await using gateway = await startGateway(
      { ...withIssuer, issuers: { local: { type: 'embedded', users: './users.json' } } },
      { files },
    )
    for (const path of ['/openapi.json', '/oauth2/.well-known/openid-configuration', '/oauth2/jwks', '/livez']) {
      const answer = await fetch(gateway.url + path, { headers: { Origin: app } })
      assert.equal(answer.status, 200, path)
      assert.equal(answer.headers.get('access-control-allow-origin'), app, path)
      assert.match(answer.headers.get('vary') ?? '', /\bOrigin\b/, path)
    }
    assert.equal((await fetch(`${gateway.url}/oauth2/token`, preflight(app, 'content-type'))).status, 204)
  })

  test('is not granted fields whose names cannot be names', async () => {
    await using gateway = await startGateway(definition('http://127.0.0.1:9'))
    for (const names of ['a b', 'x,,y', 'x;y', `x${',y'.repeat(3_000)}`]) {
      const answer = await fetch(`${gateway.url}/echo`, preflight(app, names))
      assert.equal(answer.status, 204)
      assert.equal(answer.headers.get('access-control-allow-headers'), null, names)
    }
  })
})

describe('an origin that is not listed', () => {
  const strangers = [
    'https://evil.example',
    'null',
    'https://app.example.evil.example',
    'https://evilapp.example',
    'http://app.example',
    'https://app.example:8443',
    'https://APP.example',
    'https://app.example, https://app.example',
    '*',
  ]

  test('gets no word of permission, and caches learn that the origin matters', async () => {
    await using backend = await startBackend((_req, res) => {
      // What the service thinks of it does not count any more.
      res.setHeader('Access-Control-Allow-Origin', '*')
      res.setHeader('Access-Control-Allow-Credentials', 'true')
      res.setHeader('Access-Control-Expose-Headers', 'X-Secret')
      res.end('ok')
    })
    await using gateway = await startGateway(definition(backend.url))
    for (const origin of [...strangers, undefined]) {
      const answer = await fetch(`${gateway.url}/echo/open`, {
        headers: origin === undefined ? {} : { Origin: origin },
      })
      assert.equal(answer.status, 200)
      assert.deepEqual(corsFields(answer), { vary: 'Origin' }, origin)
    }
    const allowed = await fetch(`${gateway.url}/echo/open`, { headers: { Origin: app } })
    assert.equal(allowed.headers.get('access-control-allow-origin'), app)
    assert.doesNotMatch(allowed.headers.get('access-control-expose-headers') ?? '', /secret/i)
  })

  test('has its preflights refused by the gateway', async () => {
    await using backend = await startBackend()
    await using gateway = await startGateway(definition(backend.url))
    for (const origin of strangers) {
      const answer = await fetch(`${gateway.url}/echo/open`, preflight(origin))
      assert.equal(answer.status, 403, origin)
      assert.equal(((await answer.json()) as { code: string }).code, 'cross-site-request')
      assert.deepEqual(corsFields(answer), { vary: 'Origin' }, origin)
    }
    assert.equal(backend.received.length, 0)
  })
})

test('an OPTIONS that is no preflight goes to the service, like any request', async () => {
  await using backend = await startBackend()
  await using gateway = await startGateway(definition(backend.url))
  const plain = { method: 'OPTIONS', headers: { Origin: app } }
  assert.equal((await fetch(`${gateway.url}/echo/1`, plain)).status, 401)
  const known = { method: 'OPTIONS', headers: { Origin: app, 'X-API-Key': 'demo' } }
  assert.equal((await fetch(`${gateway.url}/echo/1`, known)).status, 200)
  assert.equal(backend.received[0]?.method, 'OPTIONS')
})

test('without origins in services.json the services have the word', async () => {
  await using backend = await startBackend((req, res) => {
    res.setHeader('Access-Control-Allow-Origin', 'https://partner.example')
    res.setHeader('X-Method', req.method ?? '')
    res.end()
  })
  await using gateway = await startGateway({
    services: [{ name: 'echo', path: '/echo', targets: [backend.url], openapi: false, security: [] }],
  })
  const answer = await fetch(`${gateway.url}/echo`, preflight('https://partner.example'))
  assert.equal(answer.headers.get('x-method'), 'OPTIONS')
  assert.deepEqual(corsFields(answer), { 'access-control-allow-origin': 'https://partner.example' })
})
