import assert from 'node:assert/strict'
import { hash } from 'node:crypto'
import { describe, test } from 'node:test'
import fc from 'fast-check'
import { startBackend } from '../backend.ts'
import { eventually, type GatewayUnderTest, startGateway } from '../sallyport.ts'

// biome-ignore lint/suspicious/noExplicitAny: a document is read here as a person would
type Document = any

const keyOf = (subject: string) => `key-of-${subject}`
const holder = (subject: string, more: object) => ({ sha256: hash('sha256', keyOf(subject), 'hex'), subject, ...more })
const sent = (subject: string) => ({ 'X-API-Key': keyOf(subject) })

const operation = (operationId: string, more: object = {}) => ({
  operationId,
  responses: { 200: { description: 'Fine.' } },
  ...more,
})
const answer = (schema: string) => ({
  responses: {
    200: {
      description: 'Fine.',
      content: { 'application/json': { schema: { $ref: `#/components/schemas/${schema}` } } },
    },
  },
})

const orders = {
  openapi: '3.1.0',
  info: { title: 'Orders', version: '1' },
  tags: [{ name: 'reading' }, { name: 'cleaning', description: 'For administrators.' }],
  components: {
    schemas: {
      Order: { type: 'object', properties: { id: { type: 'string' } } },
      Purge: { type: 'object', properties: { report: { $ref: '#/components/schemas/Report' } } },
      Report: { type: 'object', description: 'What was thrown away.' },
    },
  },
  paths: {
    '/': { get: operation('list', { tags: ['reading'], ...answer('Order') }) },
    '/{id}': {
      get: operation('read', { tags: ['reading'], ...answer('Order') }),
      delete: operation('remove', { tags: ['cleaning'] }),
    },
    '/purge': { post: operation('purge', { tags: ['cleaning'], ...answer('Purge') }) },
    '/health': { get: operation('health') },
  },
}

const shop = (target: string, docs: object = { view: 'caller' }) => ({
  gateway: { docs },
  roles: { admin: ['orders:purge'] },
  securitySchemes: {
    apiKey: {
      type: 'apiKey',
      in: 'header',
      name: 'X-API-Key',
      keys: [holder('vic', { roles: ['viewer'] }), holder('abe', { roles: ['admin'] })],
    },
    apiKeyQuery: {
      type: 'apiKey',
      in: 'query',
      name: 'key',
      keys: [holder('quinn', { roles: ['viewer'] })],
    },
  },
  security: [{ apiKey: [] }],
  services: [
    {
      name: 'orders',
      path: '/orders',
      targets: [target],
      openapi: '/openapi.json',
      routes: [
        { match: 'GET /', security: [{ apiKey: [] }, { apiKeyQuery: [] }, {}] },
        { match: 'GET /{id}', allow: { when: "request.params.id == caller.subject || 'admin' in caller.roles" } },
        { match: 'DELETE /{id}', allow: { roles: ['admin'] } },
        { match: 'POST /purge', allow: [{ permissions: ['orders:purge'] }, { when: 'request.method == "GET"' }] },
        { match: 'GET /health', security: [] },
      ],
    },
    {
      name: 'vault',
      path: '/vault',
      targets: [target],
      openapi: false,
      allow: { roles: ['admin'] },
      routes: [{ match: 'GET /secrets' }],
    },
  ],
  compositions: [
    {
      match: 'GET /overview',
      parts: {
        secrets: { service: 'vault', path: '/secrets' },
        list: { service: 'orders', path: '/', optional: true },
      },
    },
  ],
})

const serving = (document: object) =>
  startBackend((req, res) => {
    res.setHeader('Content-Type', 'application/json')
    res.end(req.url === '/openapi.json' ? JSON.stringify(document) : '{}')
  })

async function fetchDocument({ url }: GatewayUnderTest, path: string, headers = {}): Promise<Document> {
  const response = await fetch(url + path, { headers })
  assert.equal(response.status, 200, path)
  return response.json()
}

const own = /^\/(?:me$|\.auth|openapi|livez|readyz|token|oauth2|\.well-known)/
const operationsOf = ({ paths }: Document) =>
  Object.entries<object>(paths)
    .flatMap(([path, item]) => Object.keys(item).map((method) => `${method.toUpperCase()} ${path}`))
    .filter((key) => !own.test(key.slice(key.indexOf(' ') + 1)))
    .sort()

const guests = ['GET /orders', 'GET /orders/health']
const viewers = ['GET /orders', 'GET /orders/health', 'GET /orders/{id}']
const everything = [
  'DELETE /orders/{id}',
  'GET /orders',
  'GET /orders/health',
  'GET /orders/{id}',
  'GET /overview',
  'GET /vault/secrets',
  'POST /orders/purge',
]

describe('gateway.docs.view: "caller"', () => {
  test('shows each caller what it may call, in every form of the document', async () => {
    await using backend = await serving(orders)
    await using gateway = await startGateway(shop(backend.url))
    for (const [who, shown] of [
      [undefined, guests],
      ['vic', viewers],
      ['abe', everything],
      ['nobody-we-know', ['GET /orders/health']],
    ] as const) {
      const headers = who === undefined ? {} : sent(who)
      assert.deepEqual(operationsOf(await fetchDocument(gateway, '/openapi.json', headers)), shown, who)
      const yaml = await (await fetch(`${gateway.url}/openapi.yaml`, { headers })).text()
      assert.equal(yaml.includes('/vault/secrets'), shown === everything, who)
      const part = await fetchDocument(gateway, '/openapi/orders.json', headers)
      assert.deepEqual(
        operationsOf(part),
        shown.filter((key) => key.includes(' /orders')),
        who,
      )
    }
    const byQuery = await fetchDocument(gateway, `/openapi.json?key=${keyOf('quinn')}`)
    assert.deepEqual(operationsOf(byQuery), guests, 'a key in the query is nobody to routes that do not ask for it')
    assert.equal((await fetch(`${gateway.url}/openapi/none.json`)).status, 404)
  })

  test('leaves out what only hidden operations used: components, tags and services', async () => {
    await using backend = await serving(orders)
    await using gateway = await startGateway(shop(backend.url))
    const seen = await fetchDocument(gateway, '/openapi.json', sent('vic'))
    const text = JSON.stringify(seen)
    for (const hidden of ['Purge', 'What was thrown away', 'cleaning', 'vault', 'overview', 'compositions'])
      assert(!text.includes(hidden), `${hidden} is gone`)
    assert.deepEqual(Object.keys(seen['x-sallyport-services']), ['orders'])
    assert.deepEqual(
      seen.tags.map(({ name }: { name: string }) => name),
      ['gateway', 'orders', 'orders:reading'],
    )
    assert.deepEqual(
      Object.keys(seen.components.securitySchemes),
      ['apiKey', 'apiKeyQuery'],
      'who may sign in, and how',
    )
    assert(seen.paths['/me'], 'whoever is known may ask who it is')

    const guest = await fetchDocument(gateway, '/openapi.json')
    assert.equal(guest.paths['/me'], undefined)
    assert.equal(guest.components.schemas.Caller, undefined, 'nor what the answer would look like')
    assert(Object.keys(guest.components.securitySchemes).length > 0, 'a guest must be able to sign in')

    const closed = await fetchDocument(gateway, '/openapi/vault.json')
    assert.deepEqual(closed.paths, {})
    assert(!JSON.stringify(closed).includes('secrets'))
  })

  test('is for one reader: private, told apart by the credentials, with a tag of its own', async () => {
    await using backend = await serving(orders)
    await using gateway = await startGateway(shop(backend.url))
    const ask = (path: string, headers = {}) => fetch(gateway.url + path, { headers })
    for (const path of ['/openapi.json', '/openapi.yaml', '/openapi/orders.json']) {
      const [guest, vic, abe] = await Promise.all([ask(path), ask(path, sent('vic')), ask(path, sent('abe'))])
      const tags = [guest, vic, abe].map(({ headers }) => headers.get('etag')!)
      assert.equal(new Set(tags).size, 3, path)
      for (const { headers } of [guest, vic, abe]) {
        assert.equal(headers.get('cache-control'), 'private, no-cache')
        assert.match(headers.get('vary')!, /\bX-API-Key\b/i)
      }
      assert.equal((await ask(path, { ...sent('vic'), 'If-None-Match': tags[1] })).status, 304)
      assert.equal((await ask(path, { ...sent('vic'), 'If-None-Match': tags[2] })).status, 200, 'another one has it')
    }
    assert.equal((await ask('/openapi.json', { ...sent('vic'), Cookie: 'a=1' })).status, 200)
  })

  test('follows a reload: new rules, new documents', async () => {
    await using backend = await serving(orders)
    await using gateway = await startGateway(shop(backend.url))
    assert.deepEqual(operationsOf(await fetchDocument(gateway, '/openapi.json', sent('vic'))), viewers)
    const opened = shop(backend.url)
    opened.services[0]!.routes[2] = { match: 'DELETE /{id}', allow: { roles: ['viewer'] } }
    await gateway.rewrite(opened)
    await eventually('the viewer sees what it may do now', async () =>
      operationsOf(await fetchDocument(gateway, '/openapi.json', sent('vic'))).includes('DELETE /orders/{id}'),
    )
    await gateway.rewrite(shop(backend.url, {}))
    await eventually('everybody sees everything', async () => {
      const response = await fetch(`${gateway.url}/openapi.json`)
      return (
        operationsOf(await response.json()).length === everything.length &&
        !/api-key/i.test(response.headers.get('vary') ?? '')
      )
    })
  })

  const roles = ['admin', 'editor', 'viewer']
  const someRoles = fc.subarray(roles, { maxLength: 2 })
  const block = fc
    .record(
      {
        roles: fc.subarray(roles, { minLength: 1 }),
        permissions: fc.constantFrom(['write'], ['write', 'read']),
        when: fc.constantFrom(
          "'admin' in caller.roles",
          "caller.subject.startsWith('p1') || request.method == 'DELETE'",
          'caller.authenticated && !("viewer" in caller.roles)',
          "request.method == 'GET' ? size(caller.permissions) > 0 : 'editor' in caller.roles",
          'caller.claims.missing == 1',
        ),
      },
      { requiredKeys: [] },
    )
    .filter((rows) => Object.keys(rows).length > 0)
  const security = fc.oneof(
    fc.constant([]),
    fc.array(
      fc.oneof(
        fc.constant({}),
        someRoles.map((apiKey) => ({ apiKey })),
        someRoles.map((other) => ({ other })),
        someRoles.map((names) => ({ apiKey: names, other: [] })),
      ),
      { minLength: 1, maxLength: 3 },
    ),
  )
  const rules = fc.record(
    { security, allow: fc.oneof(block, fc.array(block, { minLength: 1, maxLength: 2 })), override: fc.constant(true) },
    { requiredKeys: [] },
  )
  const persona = fc.record({ roles: someRoles, permissions: fc.subarray(['read', 'write']) })
  const service = fc.record({
    base: rules.map(({ override: _, ...rest }) => ({ security: [{ apiKey: [] as string[] }], ...rest })),
    invalidCredentials: fc.constantFrom('reject', 'anonymous'),
    // Four paths with two methods each; a path without a rule of its own has the service's.
    routes: fc.array(fc.option(rules), { minLength: 8, maxLength: 8 }),
  })
  const world = fc.record({
    services: fc.array(service, { minLength: 8, maxLength: 8 }),
    keys: fc.array(persona, { minLength: 3, maxLength: 3 }),
    others: fc.array(persona, { minLength: 2, maxLength: 2 }),
  })

  test('for random rules and personas, what is listed is what the authorizer permits, and nothing else', async () => {
    const methods = ['get', 'delete']
    const paths = ['/a', '/b', '/c', '/d']
    const all = paths.flatMap((path) => methods.map((method) => ({ path, method: method.toUpperCase() })))
    await using backend = await serving({
      openapi: '3.1.0',
      info: { title: 'Random', version: '1' },
      paths: Object.fromEntries(
        paths.map((path) => [path, Object.fromEntries(methods.map((name) => [name, operation(name + path.slice(1))]))]),
      ),
    })
    const scheme = (name: string, personas: readonly object[], prefix: string) => ({
      type: 'apiKey',
      in: 'header',
      name,
      keys: personas.map((one, index) => holder(`${prefix}${index}`, one)),
    })
    let [listed, hidden] = [0, 0]
    await fc.assert(
      fc.asyncProperty(world, async ({ services, keys, others }) => {
        await using gateway = await startGateway({
          gateway: { docs: { view: 'caller' } },
          roles: { editor: ['write'] },
          securitySchemes: { apiKey: scheme('X-API-Key', keys, 'p'), other: scheme('X-Other', others, 'o') },
          services: services.map(({ base, invalidCredentials, routes }, index) => ({
            name: `s${index}`,
            path: `/s${index}`,
            targets: [backend.url],
            openapi: '/openapi.json',
            ...base,
            ...(invalidCredentials === 'anonymous' && { invalidCredentials }),
            routes: all.flatMap(({ path, method }, place) => {
              const written = routes[place]
              return written ? [{ match: `${method} ${path}`, ...written }] : []
            }),
          })),
        })
        const operations = services.flatMap((_, index) =>
          all.map(({ path, method }) => ({ path: `/s${index}${path}`, method })),
        )
        const keyed = [undefined, 'p0', 'p1', 'p2', 'forged']
        for (const { key, other } of keyed.flatMap((key) => [undefined, 'o0', 'o1'].map((other) => ({ key, other })))) {
          const headers = {
            ...(key !== undefined && { 'X-API-Key': keyOf(key) }),
            ...(other !== undefined && { 'X-Other': keyOf(other) }),
          }
          const shown = operationsOf(await fetchDocument(gateway, '/openapi.json', headers))
          const answers = await Promise.all(
            operations.map(async ({ path, method }) => {
              const { status } = await fetch(gateway.url + path, { method, headers })
              assert([200, 401, 403].includes(status), `${status}`)
              return status === 200 ? [`${method} ${path}`] : []
            }),
          )
          assert.deepEqual(shown, answers.flat().sort(), JSON.stringify({ key, other }))
          listed += shown.length
          hidden += operations.length - shown.length
        }
      }),
      { numRuns: 2, endOnFailure: true },
    )
    assert(listed > 100 && hidden > 100, `${listed} were listed, ${hidden} were not`)
  })
})

describe('what a 403 says is needed', () => {
  const guarded = (docs: object) => ({
    gateway: { docs },
    securitySchemes: {
      bearer: { type: 'http', scheme: 'bearer' },
      oauth2: { type: 'oauth2' },
      apiKey: { type: 'apiKey', in: 'header', name: 'X-API-Key', keys: [holder('vic', {})] },
    },
    services: [
      {
        name: 'svc',
        path: '/svc',
        targets: ['http://127.0.0.1:9'],
        openapi: false,
        security: [{ bearer: [] }],
        routes: [
          { match: 'GET /open', security: [] },
          { match: 'GET /known' },
          {
            match: 'GET /role',
            security: [{ bearer: ['admin'] }, { oauth2: ['orders', 'stock'] }, { apiKey: [] }, {}],
          },
          { match: 'GET /both', security: [{ bearer: ['admin', 'editor'], apiKey: ['robot'] }] },
          { match: 'GET /all', allow: { roles: ['admin', 'editor'], permissions: ['a', 'b'], scopes: ['s'] } },
          {
            match: 'GET /any',
            allow: [{ roles: ['admin'] }, { permissions: ['own'], when: 'caller.subject == request.query.owner' }],
          },
        ],
      },
    ],
  })
  const described = async (docs: object) => {
    await using gateway = await startGateway(guarded(docs))
    const { paths, components } = await fetchDocument(gateway, '/openapi.json')
    return (path: string) => {
      const { responses, 'x-sallyport-allow': allow } = paths[`/svc${path}`].get
      const name = responses['403']?.$ref.split('/').at(-1)
      return { description: name && components.responses[name].description, allow }
    }
  }
  const known = 'The caller is known and may not do this.'

  test('names roles, permissions and scopes of every alternative', async () => {
    const at = await described({})
    assert.equal(at('/open').description, undefined)
    assert.equal(at('/known').description, known)
    assert.equal(
      at('/role').description,
      `${known} With \`bearer\`: the role admin; with \`oauth2\`: the scopes orders, stock; with \`apiKey\`: nothing more; without a credential: nothing more.`,
    )
    assert.equal(
      at('/both').description,
      `${known} With \`bearer\` and \`apiKey\`: the roles admin, editor and the role robot.`,
    )
    assert.equal(
      at('/all').description,
      `${known} Needed: one of the roles admin, editor and the permissions a, b and the scope s.`,
    )
  })

  test('shows the text of a condition only where services.json says so', async () => {
    const silent = (await described({}))('/any')
    assert.equal(
      silent.description,
      `${known} One of these: the role admin; or the permission own and a condition on the caller and the request.`,
    )
    assert.deepEqual(silent.allow, { anyOf: [{ roles: ['admin'] }, { permissions: ['own'], condition: true }] })

    const telling = (await described({ policies: true }))('/any')
    const when = 'caller.subject == request.query.owner'
    assert.equal(
      telling.description,
      `${known} One of these: the role admin; or the permission own and the condition \`${when}\`.`,
    )
    assert.deepEqual(telling.allow, { anyOf: [{ roles: ['admin'] }, { permissions: ['own'], when }] })
  })
})
