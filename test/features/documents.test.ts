import assert from 'node:assert/strict'
import { createHash } from 'node:crypto'
import { describe, test } from 'node:test'
import { type Backend, startBackend } from '../backend.ts'
import { eventually, startGateway } from '../sallyport.ts'

const key = 'a-key-for-tests'
const sha256 = createHash('sha256').update(key).digest('hex')
const securitySchemes = {
  bearer: { type: 'http', scheme: 'bearer', bearerFormat: 'JWT' },
  apiKey: { type: 'apiKey', in: 'header', name: 'X-API-Key', keys: [{ sha256, subject: 'robot', roles: ['admin'] }] },
}

const operation = (operationId: string, more: object = {}) => ({
  operationId,
  responses: { 200: { description: 'Fine.' } },
  ...more,
})

const trap = {
  openapi: '3.0.3',
  info: { title: 'Inventory', version: '1' },
  servers: [{ url: 'http://internal.example:9999' }],
  components: {
    securitySchemes: { bearer: { type: 'http', scheme: 'bearer' } },
    parameters: { Auth: { name: 'authorization', in: 'header', required: true, schema: { type: 'string' } } },
  },
  paths: {
    '/items': {
      get: operation('list', {
        parameters: [{ name: 'Authorization', in: 'header', required: true, schema: { type: 'string' } }],
      }),
      delete: operation('clear', { parameters: [{ $ref: '#/components/parameters/Auth' }] }),
    },
    '/health': { get: operation('health') },
  },
}

// biome-ignore lint/suspicious/noExplicitAny: a document is read here as a person would
type Document = any
const documentOf = async (url: string, path = '/openapi.json'): Promise<Document> => (await fetch(url + path)).json()

const inventory = (backend: Pick<Backend, 'url'>, more: object = {}) => ({
  securitySchemes,
  services: [
    {
      name: 'inventory',
      path: '/inventory',
      targets: [backend.url],
      security: [{ bearer: [] }, { apiKey: [] }],
      routes: [
        { match: 'GET /health', security: [] },
        { match: 'DELETE /items', security: [{ apiKey: ['admin'] }] },
      ],
      ...more,
    },
  ],
})

const serving = (document: object | (() => object)) =>
  startBackend((req, res) => {
    if (req.url !== '/openapi.json') return res.end('ok')
    res.setHeader('Content-Type', 'application/json')
    res.end(JSON.stringify(typeof document === 'function' ? document() : document))
  })

describe('the published document', () => {
  test('says at every operation what its route enforces, and nothing the backend claims', async () => {
    await using backend = await serving(trap)
    await using gateway = await startGateway(inventory(backend))
    const { paths, servers, components } = await documentOf(gateway.url)
    assert.deepEqual(paths['/inventory/items'].get.security, [{ bearer: [] }, { apiKey: [] }])
    assert.deepEqual(paths['/inventory/items'].delete.security, [{ apiKey: ['admin'] }])
    assert.deepEqual(paths['/inventory/health'].get.security, [])
    assert.deepEqual(servers, [{ url: gateway.running.publicUrl }])
    assert.deepEqual(Object.keys(components.securitySchemes), ['bearer', 'apiKey'])
    assert(!JSON.stringify(components.securitySchemes).includes(sha256), 'how a key is checked is not published')
  })

  test('has no Authorization header parameter left, in any case and through any reference', async () => {
    await using backend = await serving(trap)
    await using gateway = await startGateway(inventory(backend))
    const text = JSON.stringify(await documentOf(gateway.url))
    assert(!/"name":"authorization"/i.test(text))
  })

  test('shows no operation of a service at the root that the gateway or another service answers', async () => {
    const everything = {
      ...trap,
      paths: {
        '/docs': { get: operation('docs') },
        '/inventory/x': { get: operation('x') },
        '/mine': { get: operation('mine') },
      },
    }
    await using backend = await serving(trap)
    await using root = await serving(everything)
    const { services, ...rest } = inventory(backend)
    const below = { ...services[0]!, name: 'root', path: '/', targets: [root.url], routes: [] }
    await using gateway = await startGateway({ ...rest, services: [...services, below] })
    const alone = await documentOf(gateway.url, '/openapi/root.json')
    assert.deepEqual(Object.keys(alone.paths), ['/mine'])
  })

  test('says what else is needed, but not the text of a condition', async () => {
    await using backend = await serving(trap)
    const allow = [{ roles: ['admin'] }, { permissions: ['stock:read'], when: "caller.organization == 'acme'" }]
    const routes = [{ match: 'DELETE /items', allow: { roles: ['owner'] } }]
    await using gateway = await startGateway(inventory(backend, { allow, routes }))
    const { paths } = await documentOf(gateway.url)
    const anyOf = [{ roles: ['admin'] }, { permissions: ['stock:read'], condition: true }]
    assert.deepEqual(paths['/inventory/items'].get['x-sallyport-allow'], { anyOf })
    assert.deepEqual(paths['/inventory/items'].delete['x-sallyport-allow'], {
      allOf: [{ anyOf }, { roles: ['owner'] }],
    })
    assert(!JSON.stringify(paths).includes('acme'))
  })

  test('describes what the gateway itself answers', async () => {
    await using backend = await serving(trap)
    await using gateway = await startGateway(inventory(backend))
    const { paths } = await documentOf(gateway.url)
    const guarded = Object.keys(paths['/inventory/items'].get.responses)
    for (const status of ['401', '403', '502', '504']) assert(guarded.includes(status), status)
    const open = Object.keys(paths['/inventory/health'].get.responses)
    assert(!open.includes('401') && open.includes('502'))
  })

  test('is there for each service alone, as YAML, and need not be sent twice', async () => {
    await using backend = await serving(trap)
    await using gateway = await startGateway(inventory(backend))
    const alone = await documentOf(gateway.url, '/openapi/inventory.json')
    assert.deepEqual(Object.keys(alone.paths), ['/inventory/items', '/inventory/health'])
    assert.match(await (await fetch(`${gateway.url}/openapi.yaml`)).text(), /^openapi: ["']?3\.1/)
    const first = await fetch(`${gateway.url}/openapi.json`)
    const again = await fetch(`${gateway.url}/openapi.json`, {
      headers: { 'If-None-Match': first.headers.get('etag')! },
    })
    assert.equal(again.status, 304)
    assert.equal((await fetch(`${gateway.url}/openapi/nobody.json`)).status, 404)
  })

  test('follows a backend that comes up after the gateway, without a restart', async () => {
    const { port } = await startBackend().then(async (taken) => {
      await taken[Symbol.asyncDispose]()
      return taken
    })
    await using gateway = await startGateway(inventory({ url: `http://127.0.0.1:${port}` }))
    assert.equal((await documentOf(gateway.url)).paths['/inventory/items'].get, undefined)
    const late = await startBackend((_req, res) => res.end(JSON.stringify(trap)), port)
    await eventually(
      'the document has the service',
      async () => (await documentOf(gateway.url)).paths['/inventory/items'],
    )
    await late[Symbol.asyncDispose]()
  })

  test('keeps the last good part of a service that is down, marked, and everything else', async () => {
    let broken = false
    await using backend = await serving(() => (broken ? { nonsense: true } : trap))
    await using other = await serving({ ...trap, info: { title: 'Other', version: '1' } })
    const { services, ...rest } = inventory(backend)
    const second = { ...services[0]!, name: 'other', path: '/other', targets: [other.url] }
    await using gateway = await startGateway({ ...rest, services: [...services, second] })
    broken = true
    await gateway.running.refreshDocuments()
    const after = await eventually('the part is marked', async () => {
      const document = await documentOf(gateway.url)
      return JSON.stringify(document.tags).includes('x-sallyport-stale') && document
    })
    assert(after.paths['/inventory/items'] && after.paths['/other/items'])
    const { services: states } = (await (await fetch(`${gateway.url}/readyz`)).json()) as {
      services: { document: string }[]
    }
    assert.deepEqual(
      states.map(({ document }) => document),
      ['stale', 'fresh'],
    )
  })

  for (const [what, answer] of Object.entries({
    'an HTML page': '<!doctype html><title>Not found</title>',
    'a YAML bomb':
      'a: &a [x,x]\nb: &b [*a,*a,*a,*a,*a,*a,*a,*a]\nc: &c [*b,*b,*b,*b,*b,*b,*b,*b]\nd: &d [*c,*c,*c,*c,*c,*c,*c,*c]\ne: &e [*d,*d,*d,*d,*d,*d,*d,*d]\nf: [*e,*e,*e,*e,*e,*e,*e,*e]',
    '50 MB': Buffer.alloc(50 * 1_048_576, 'x'),
  })) {
    test(`survives ${what} in place of a document, and says so`, async () => {
      await using backend = await startBackend((req, res) => res.end(req.url === '/openapi.json' ? answer : 'ok'))
      await using gateway = await startGateway(inventory(backend))
      const document = await documentOf(gateway.url)
      assert.equal(document.paths['/inventory/items'].get, undefined)
      assert.equal((await fetch(`${gateway.url}/inventory/health`)).status, 200)
      const { services } = (await (await fetch(`${gateway.adminUrl}/services`)).json()) as Document
      assert.equal(services[0].document.status, 'absent')
      assert(services[0].document.reason.length > 10)
    })
  }
})

describe('a service that exposes only what it documents', () => {
  test('is 404 for other paths, 405 with Allow for other methods', async () => {
    await using backend = await serving(trap)
    await using gateway = await startGateway(inventory(backend, { expose: 'documented' }))
    const headers = { 'X-API-Key': key }
    const status = async (method: string, path: string) => (await fetch(gateway.url + path, { method, headers })).status
    assert.equal(await status('GET', '/inventory/items'), 200)
    assert.equal(await status('GET', '/inventory/internal'), 404)
    assert.equal(await status('GET', '/inventory/ITEMS'), 404)
    const refused = await fetch(`${gateway.url}/inventory/items`, { method: 'POST', headers })
    assert.equal(refused.status, 405)
    assert.equal(refused.headers.get('allow'), 'DELETE, GET, HEAD')
  })
})

describe('what is wrong in the document of a service', () => {
  const lintOf = async (gateway: { adminUrl: string }, name: string) => {
    const answer = await fetch(`${gateway.adminUrl}/services/${name}/lint`)
    return { status: answer.status, body: (await answer.json()) as Document }
  }
  const countsOf = async (gateway: { adminUrl: string }) =>
    ((await (await fetch(`${gateway.adminUrl}/services`)).json()) as Document).services[0].lint

  test('is told on the admin port when somebody asks, and counted in /services from then on', async () => {
    let document: object = { ...trap, paths: { '/items': { get: { ...operation('list'), tags: 'no list' } } } }
    await using backend = await serving(() => document)
    await using gateway = await startGateway(inventory(backend))
    assert.equal(await countsOf(gateway), undefined)
    const { status, body } = await lintOf(gateway, 'inventory')
    assert.equal(status, 200)
    assert.deepEqual([body.service, body.errors], ['inventory', 1])
    const [finding] = body.findings
    assert.deepEqual(
      [finding.severity, finding.code, finding.pointer, finding.line],
      ['error', 'struct', '/paths/~1items/get/tags', 1],
    )
    assert.deepEqual(await countsOf(gateway), { errors: 1, warnings: 0 })
    assert.equal((await lintOf(gateway, 'nobody')).status, 404)

    document = trap
    await gateway.running.refreshDocuments()
    assert.equal(await countsOf(gateway), undefined, 'what was found in another text is no longer told')
    assert.equal((await lintOf(gateway, 'inventory')).body.errors, 0)
  })
})
