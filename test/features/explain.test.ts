import assert from 'node:assert/strict'
import { createHash, randomBytes } from 'node:crypto'
import { request as httpRequest, type IncomingHttpHeaders } from 'node:http'
import { describe, test } from 'node:test'
import fc from 'fast-check'
import jwt from 'jsonwebtoken'
import type { Explanation } from '../../src/gateway/explanation.ts'
import { type Backend, startBackend } from '../backend.ts'
import { eventually, type GatewayUnderTest, startGateway } from '../sallyport.ts'

const secrets = { one: randomBytes(48).toString('base64'), two: randomBytes(48).toString('base64') }
const issuers = Object.fromEntries(
  Object.entries(secrets).map(([name, secret]) => [
    name,
    { type: 'secret', issuer: `https://${name}.example`, audience: 'api', secret },
  ]),
)
const sha256 = (text: string) => createHash('sha256').update(text).digest('hex')
const keys = [
  { sha256: sha256('good-key'), subject: 'robot', roles: ['service'], permissions: ['orders:read'] },
  { sha256: sha256('old-key'), subject: 'rust', roles: ['admin'], expires: '2020-01-01T00:00:00Z' },
]
const securitySchemes = {
  bearer: { type: 'http', scheme: 'bearer', issuers: ['one'] },
  oauth2: { type: 'oauth2', issuers: ['one', 'two'] },
  header: { type: 'apiKey', in: 'header', name: 'X-Their-Token', issuers: ['two'] },
  cookie: { type: 'apiKey', in: 'cookie', name: 'token', issuers: ['one'] },
  key: { type: 'apiKey', in: 'header', name: 'X-API-Key', keys },
  query: { type: 'apiKey', in: 'query', name: 'api_key', keys },
}

interface Claims {
  readonly [name: string]: unknown
}

function mint(issuer: keyof typeof secrets, claims: Claims): string {
  const iat = Math.floor(Date.now() / 1_000)
  const whole = { iss: `https://${issuer}.example`, aud: 'api', iat, exp: iat + 300, ...claims }
  return jwt.sign(whole, secrets[issuer], { algorithm: 'HS256' })
}

interface Answer {
  readonly status: number
  readonly headers: IncomingHttpHeaders
  // biome-ignore lint/suspicious/noExplicitAny: problems and echoes
  readonly body: any
}

/** One request with the bytes of its path as they are. */
function send(url: string, method: string, path: string, headers: Readonly<Record<string, string>>): Promise<Answer> {
  const { hostname, port } = new URL(url)
  return new Promise((resolve, reject) => {
    const req = httpRequest({ hostname, port, method, path, headers, agent: false }, (res) => {
      const chunks: Buffer[] = []
      res.on('data', (chunk) => chunks.push(chunk))
      res.on('end', () => {
        const text = Buffer.concat(chunks).toString()
        resolve({ status: res.statusCode!, headers: res.headers, body: text === '' ? undefined : JSON.parse(text) })
      })
    })
    req.on('error', reject)
    req.end()
  })
}

async function explain(gateway: GatewayUnderTest, asked: object): Promise<Explanation> {
  const answer = await fetch(`${gateway.adminUrl}/explain`, {
    method: 'POST',
    headers: { 'Content-Type': 'application/json' },
    body: JSON.stringify(asked),
  })
  assert.equal(answer.status, 200, await answer.clone().text())
  return (await answer.json()) as Explanation
}

/* Random configurations, callers and requests */

const some = (names: readonly string[]) => fc.subarray([...names], { maxLength: 2 })
const roles = some(['admin', 'editor', 'service'])
const scopes = some(['orders', 'reports'])
const requirement = fc
  .subarray(Object.keys(securitySchemes), { maxLength: 2 })
  .chain((schemes) =>
    fc.record(
      Object.fromEntries(
        schemes.map((scheme) => [
          scheme,
          fc.oneof({ weight: 2, arbitrary: fc.constant([]) }, scheme === 'oauth2' ? scopes : roles),
        ]),
      ),
    ),
  )
const security = fc.oneof(
  { weight: 1, arbitrary: fc.constant([]) },
  { weight: 5, arbitrary: fc.array(requirement, { minLength: 1, maxLength: 3 }) },
)
const conditions = [
  "caller.subject == 'ada'",
  "'admin' in caller.roles || request.method == 'GET'",
  'caller.claims.level > 3',
  "has(caller.claims.tenant) && caller.claims.tenant == 'acme'",
  "request.path.startsWith('/orders/') && !caller.authenticated",
  "'full' in request.query || request.ip == '127.0.0.1' && caller.permissions.exists(p, p.startsWith('orders'))",
]
const block = fc
  .record(
    {
      roles: fc.subarray(['admin', 'editor', 'service', 'guest'], { minLength: 1 }),
      permissions: fc.subarray(['orders:read', 'orders:write'], { minLength: 1 }),
      scopes: fc.subarray(['orders', 'reports'], { minLength: 1 }),
      when: fc.constantFrom(...conditions),
    },
    { requiredKeys: [] },
  )
  .filter((rows) => Object.keys(rows).length > 0)
const allow = fc.option(fc.oneof(block, fc.array(block, { minLength: 1, maxLength: 2 })), { nil: undefined, freq: 1 })
const defined = (value: object) =>
  Object.fromEntries(Object.entries(value).filter(([, member]) => member !== undefined))
const forward = fc.record({
  credentials: fc.constantFrom('passthrough', 'none', 'gateway-jwt', { type: 'static', value: 'Bearer fixed-secret' }),
  identity: fc.constantFrom(true, false, { 'User-ID': 'X-Who', Permissions: false }),
  headers: fc.constantFrom({}, { 'Feature-Tier': 'premium', 'X-Partner-Key': 'partner-secret' }),
})
const invalidCredentials = fc.constantFrom('reject', 'anonymous')
const route = fc.record({
  match: fc.constantFrom(
    'GET /{id}',
    'DELETE /{id}',
    'GET /special',
    '/admin/*',
    'HEAD /{id}',
    'POST /',
    'GET /{id}/items/{item}',
  ),
  security: fc.option(security, { nil: undefined }),
  allow,
  invalidCredentials,
  forward,
})
const service = fc.record({
  security,
  allow,
  invalidCredentials,
  forward,
  stripPath: fc.boolean(),
  documented: fc.boolean(),
  routes: fc.uniqueArray(route, { selector: ({ match }) => match, maxLength: 4 }),
})

const caller = fc.record({
  sub: fc.constantFrom('ada', 'bob'),
  roles,
  scope: scopes.map((names) => names.join(' ')),
  permissions: some(['orders:read', 'orders:write']),
  level: fc.constantFrom(1, 5),
  tenant: fc.constantFrom('acme', 'other'),
})
const token = fc
  .record({
    issuer: fc.constantFrom('one' as const, 'two' as const),
    claims: caller,
    flaw: fc.constantFrom(
      {},
      {},
      {},
      {},
      {},
      {},
      { exp: 1_600_000_000 },
      { aud: 'other' },
      { iss: 'https://nobody.example' },
    ),
  })
  .map(({ issuer, claims, flaw }) => mint(issuer, { ...claims, ...flaw }))
const bad = fc.constantFrom('garbage', 'ey.ey.sig', '')
const credential = {
  Authorization: fc.oneof({ weight: 4, arbitrary: token }, bad).map((text) => `Bearer ${text}`),
  'X-Their-Token': fc.oneof({ weight: 4, arbitrary: token }, bad),
  Cookie: token.map((text) => `a=b; token=${text}`),
  'X-API-Key': fc.constantFrom('good-key', 'good-key', 'old-key', 'nonsense'),
} as const
const one = fc.oneof(...Object.entries(credential).map(([name, value]) => fc.record({ [name]: value })))
const several = fc.record(credential, { requiredKeys: [] })
const others = fc.record({ 'User-ID': fc.constant('root'), 'X-Kept': fc.constant('yes') }, { requiredKeys: [] })
const credentials = fc
  .tuple(fc.oneof({ weight: 3, arbitrary: one }, several), others)
  .map((parts): Readonly<Record<string, string>> => Object.assign({}, ...parts))
const asked = fc.record({
  method: fc.constantFrom('GET', 'HEAD', 'POST', 'DELETE', 'OPTIONS', 'PUT'),
  path: fc.constantFrom(
    ...[
      '/orders',
      '/orders/',
      '/orders/1',
      '/Orders/1',
      '/orders/special',
      '/orders/%61da?full=1',
      '/orders/admin/x/y',
    ],
    ...[
      '/orders/1/items/2?api_key=good-key',
      '/orders/1?api_key=nonsense',
      '/elsewhere',
      '/orders/../admin',
      '/orders//x',
    ],
    ...['/livez', '/orders/a;b', '/orders/2', '/orders/3?full=1', '/orders/x/y/z'],
  ),
  headers: credentials,
})

const document = JSON.stringify({
  openapi: '3.1.0',
  info: { title: 'Orders', version: '1' },
  paths: {
    '/': { get: { responses: {} }, post: { responses: {} } },
    '/special': { get: { responses: {} } },
    '/{id}': { get: { responses: {} }, delete: { responses: {} } },
  },
})

/** Services side by side, because a gateway takes longer to start than to answer: `/orders0`, `/orders1`, ... */
function definitionOf(backend: Backend, written: readonly { documented: boolean; routes: readonly object[] }[]) {
  return {
    issuers,
    securitySchemes,
    roles: { editor: ['orders:write'] },
    services: written.map(({ documented, ...rest }, index) => ({
      name: `orders${index}`,
      path: `/orders${index}`,
      targets: [backend.url],
      ...(documented ? { openapi: './orders.json', expose: 'documented' } : { openapi: false }),
      ...defined(rest),
      routes: rest.routes.map(defined),
    })),
  }
}

const services = fc.array(service, { minLength: 6, maxLength: 12, size: 'max' })
const index = fc.nat(11)
const at = (path: string, service: number) => path.replace(/^\/orders/i, (prefix) => prefix + service)

/** Fields that are new for each request, and those of the connection. */
const fleeting = new Set(['x-request-id', 'traceparent', 'via', 'host', 'connection', 'content-length'])

function assertForwarded(
  { forward }: Explanation,
  { raw, url, method }: Backend['received'][number],
  backend: Backend,
) {
  assert.ok(forward)
  assert.equal(forward.method, method)
  const hidden = url.replace(/(api_key=)[^&]*/g, '$1***')
  assert.deepEqual(forward.urls, [`${backend.url}${hidden}`])
  const sent: (readonly [string, string])[] = []
  for (let index = 0; index < raw.length; index += 2) sent.push([raw[index]!, raw[index + 1]!])
  const lasting = sent.filter(([name]) => !fleeting.has(name.toLowerCase()))
  const told = forward.fields.filter(({ name }) => !fleeting.has(name.toLowerCase()))
  assert.deepEqual(
    told.map(({ name, value }) => [name, value]),
    lasting.map(([name, value], index) => [name, told[index]?.value.endsWith('***') ? told[index].value : value]),
  )
}

function assertRefused({ problem }: Explanation, { status, headers, body }: Answer) {
  assert.ok(problem)
  assert.equal(problem.status, status)
  assert.equal(problem.challenges?.join(', '), headers['www-authenticate'])
  // HEAD is told by the status alone.
  if (body === undefined) return
  assert.equal(problem.code, body.code)
  assert.equal(problem.detail, body.detail)
  assert.equal(problem.row, body.row)
}

describe('explain', () => {
  test('says what the gateway does, whatever the configuration, the caller and the request', async (t) => {
    await using backend = await startBackend()
    const outcomes = new Map<string, number>()
    const requests = fc.array(fc.tuple(index, asked), { minLength: 40, maxLength: 80, size: 'max' })
    await fc.assert(
      fc.asyncProperty(services, requests, async (written, all) => {
        const files = { 'orders.json': document }
        await using gateway = await startGateway(definitionOf(backend, written), { files })
        const { documents } = gateway.running.live.current
        await eventually('the documents are there', () =>
          written.every(({ documented }, index) => !documented || documents.operations(`orders${index}`)),
        )
        for (const [index, { method, headers: credentials, ...request }] of all) {
          const path = at(request.path, index % written.length)
          const headers = { Host: 'api.example', ...credentials }
          const explanation = await explain(gateway, { method, path, headers })
          const before = backend.received.length
          const answer = await send(gateway.url, method, path, headers)
          const received = backend.received[before]
          outcomes.set(explanation.outcome, (outcomes.get(explanation.outcome) ?? 0) + 1)
          if (explanation.outcome === 'forwarded') {
            assert.ok(received, `forwarded, says the explanation; answered was ${answer.status}`)
            assertForwarded(explanation, received, backend)
          } else {
            assert.equal(received, undefined)
            if (explanation.outcome === 'refused') assertRefused(explanation, answer)
            else assert.equal(path, '/livez')
          }
          assertNoSecrets(explanation, credentials)

          if (![401, 403].includes(answer.status) || answer.body === undefined) continue
          const kept = await fetch(`${gateway.adminUrl}/decisions/${answer.body.instance}`)
          const { at: _, request: _request, authentication: was, ...past } = (await kept.json()) as Explanation
          // What is left is only looked at when somebody asks; a refusal remembers limits it was refused by.
          const { at: __, request: __request, authentication: is, limits: __limits, ...present } = explanation
          assert.deepEqual(past, present)
          assert.deepEqual(was, is && { ...is, schemes: is.schemes.map(({ steps, ...scheme }) => scheme) })
        }
      }),
      { numRuns: 3 },
    )
    t.diagnostic(JSON.stringify(Object.fromEntries(outcomes)))
    for (const outcome of ['forwarded', 'refused']) assert.ok((outcomes.get(outcome) ?? 0) > 0, outcome)
  })

  test('a caller that is only described fares like one with a token that says the same', async () => {
    await using backend = await startBackend()
    const ways = fc.constantFrom(
      ...[[{ bearer: [] }], [{ bearer: ['admin'] }, {}], [{ key: [] }, { bearer: ['editor'] }], []],
      ...[[{ oauth2: ['orders'] }, { bearer: [] }], [{ oauth2: ['orders', 'reports'] }], [{ key: [], oauth2: [] }]],
    )
    const guarded = fc.tuple(service, ways).map(([service, security]) => ({ ...service, security, routes: [] }))
    await fc.assert(
      fc.asyncProperty(
        fc.array(guarded, { minLength: 1, maxLength: 12, size: 'max' }),
        fc.array(fc.tuple(index, caller, asked), { minLength: 1, maxLength: 40, size: 'max' }),
        async (written, all) => {
          const definition = definitionOf(
            backend,
            written.map((service) => ({ ...service, documented: false })),
          )
          await using gateway = await startGateway(definition)
          for (const [index, claims, { method, ...request }] of all) {
            const path = at(request.path, index % written.length)
            const headers = { Authorization: `Bearer ${mint('one', claims)}` }
            const { route, problem, outcome, authorization } = await explain(gateway, { method, path, headers })
            const simulated = await explain(gateway, { method, path, claims })
            assert.equal(simulated.outcome, outcome)
            assert.deepEqual(simulated.problem, problem)
            assert.deepEqual(simulated.route, route)
            assert.deepEqual(simulated.authorization, authorization)
          }
        },
      ),
      { numRuns: 2 },
    )
  })

  test('tells of each part of a composition, and ends where it would end', async () => {
    await using backend = await startBackend()
    const service = (name: string, more: object) => ({
      name,
      path: `/${name}`,
      targets: [backend.url],
      openapi: false,
      ...more,
    })
    await using gateway = await startGateway({
      issuers,
      securitySchemes,
      services: [
        service('users', { security: [{ bearer: [] }] }),
        service('orders', { security: [{ bearer: ['admin'] }] }),
      ],
      compositions: [
        {
          match: 'GET /dashboard/{id}',
          parts: {
            user: { service: 'users', path: '/{id}' },
            orders: { service: 'orders', path: '/?user={id}', optional: true },
            last: { service: 'orders', path: '/{user.last}', optional: true },
          },
        },
        { match: 'GET /strict/{id}', parts: { orders: { service: 'orders', path: '/?user={id}' } } },
      ],
    })
    const headers = { Authorization: `Bearer ${mint('one', { sub: 'ada' })}` }
    const { outcome, composition } = await explain(gateway, { path: '/dashboard/7', headers })
    assert.equal(outcome, 'composed')
    const [user, orders, last] = composition!.parts
    assert.deepEqual(user?.explanation?.forward?.urls, [`${backend.url}/7`])
    assert.equal(orders?.explanation?.problem?.code, 'insufficient-role')
    assert.deepEqual([last?.needs, last?.explanation], [['user'], undefined])

    for (const asked of [headers, {}]) {
      const told = await explain(gateway, { path: '/strict/7', headers: asked })
      const { status, body } = await send(gateway.url, 'GET', '/strict/7', asked)
      assert.deepEqual([told.problem?.status, told.problem?.code], [status, body.code])
    }
    assert.equal(backend.received.length, 0)
  })

  test('says what a credential is worth while the store is out', async () => {
    await using backend = await startBackend()
    const service = { name: 'open', path: '/open', targets: [backend.url], openapi: false }
    await using gateway = await startGateway({
      services: [
        { ...service, security: [{ bearer: [] }], storeOutage: 'refuse', routes: [{ match: '/free', security: [] }] },
      ],
    })
    const worth = async (path: string) => (await explain(gateway, { path })).authentication?.storeOutage
    assert.deepEqual([await worth('/open/'), await worth('/open/free')], ['refuse', undefined])
  })

  test('knows pages that may not open a WebSocket, and tokens among subprotocols', async () => {
    await using backend = await startBackend()
    await using gateway = await startGateway({
      issuers,
      securitySchemes,
      services: [{ name: 'chat', path: '/chat', targets: [backend.url], openapi: false, security: [{ bearer: [] }] }],
    })
    const upgrade = { Upgrade: 'websocket', Connection: 'Upgrade' }
    const foreign = await explain(gateway, { path: '/chat', headers: { ...upgrade, Origin: 'https://evil.example' } })
    assert.equal(foreign.problem?.code, 'cross-site-request')
    const token = mint('one', { sub: 'ada' })
    const headers = { ...upgrade, 'Sec-WebSocket-Protocol': `chat, bearer.${token}` }
    const told = await explain(gateway, { path: '/chat', headers })
    assert.equal(told.authentication?.caller?.subject, 'ada')
    assert.ok(!JSON.stringify(told).includes(token))
  })
})

function assertNoSecrets(explanation: Explanation, credentials: Readonly<Record<string, string>>): void {
  const text = JSON.stringify(explanation)
  const sent = Object.values(credentials).flatMap((value) => /[\w-]+\.[\w-]+\.[\w-]{20,}/.exec(value)?.[0] ?? [])
  for (const secret of ['good-key', 'old-key', 'partner-secret', 'fixed-secret', ...sent])
    assert.ok(!text.includes(secret), `${secret} stands in the explanation`)
}
