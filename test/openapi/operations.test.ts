import assert from 'node:assert/strict'
import { test } from 'node:test'
import { preparePart, publish } from '../../src/openapi/publish.ts'
import { api, at, byBearer, type Loose, ok, publishAll, publishOne, service, settings } from './service.ts'

const idsOf = (document: Loose): Record<string, string> => {
  const ids: Record<string, string> = {}
  for (const [path, item] of Object.entries(document.paths as Loose)) {
    for (const [method, operation] of Object.entries(item as Loose)) {
      if ((operation as Loose).operationId) ids[`${method} ${path}`] = (operation as Loose).operationId
    }
  }
  return ids
}

test('case 40: operation ids are unique in the whole document, repeated ones get method and path', () => {
  const callbacks = { c: { url: { post: { operationId: 'list', responses: ok } } } }
  const paths: Loose = {
    '/a': { get: { operationId: 'list', responses: ok, callbacks } },
    '/b': { get: { operationId: 'list', responses: ok } },
  }
  const document = api(paths, { webhooks: { w: { post: { operationId: 'list', responses: ok } } } })
  const { document: published, codes } = publishAll(service(document, { name: 'x' }), service(document, { name: 'y' }))
  assert.deepEqual(idsOf(published), {
    'get /x/a': 'x_list',
    'get /x/b': 'x_list_get_b',
    'get /y/a': 'y_list',
    'get /y/b': 'y_list_get_b',
  })
  assert.equal(published.webhooks.x_w.post.operationId, 'x_list_post_w')
  assert.equal(published.paths['/x/a'].get.callbacks.c.url.post.operationId, 'x_list_post_a_c_url')
  assert.equal(codes.filter((code) => code === 'repeated-operation-id').length, 6)
  const more = api({
    ...paths,
    '/c': { put: { operationId: 'list', responses: ok } },
    '/new': { get: { responses: ok } },
  })
  assert.equal(
    idsOf(publishOne(more).document)['get /svc/b'],
    'svc_list_get_b',
    'an id stays when operations are added',
  )
})

test('case 41: an operation without an id gets one from method and path, whatever stands around it', () => {
  const item = {
    get: { responses: ok },
    delete: { responses: ok, operationId: '' },
    post: { responses: ok, operationId: 7 },
  }
  const { document } = publishOne(
    api({
      '/': item,
      '/items/{id}': item,
      '/items/id': { get: { responses: ok } },
      '/käse': { get: { responses: ok } },
      '/奶': { get: { responses: ok } },
      '/酪': { get: { responses: ok } },
    }),
  )
  const ids = idsOf(document)
  assert.equal(ids['get /svc'], 'svc_get_root')
  assert.equal(ids['delete /svc/items/{id}'], 'svc_delete_items_id')
  assert.equal(ids['post /svc'], 'svc_7')
  assert.match(ids['get /svc/items/id']!, /^svc_get_items_id_[0-9a-f]{6}$/)
  assert.equal(new Set(Object.values(ids)).size, Object.keys(ids).length)
  const alone = publishOne(api({ '/items/{id}': { delete: { responses: ok } } })).document
  assert.equal(idsOf(alone)['delete /svc/items/{id}'], 'svc_delete_items_id')
})

test('case 42: ids have no characters that break deep links, and cleaned ones stay apart', () => {
  const { document } = publishOne(
    api({
      '/a': { get: { operationId: 'items/get all.now', responses: ok } },
      '/b': { get: { operationId: 'items_get_all_now', responses: ok } },
      '/c': { get: { operationId: 'ünï', responses: ok } },
    }),
  )
  const ids = idsOf(document)
  assert.equal(ids['get /svc/b'], 'svc_items_get_all_now', 'one that was written so keeps it')
  assert.equal(ids['get /svc/a'], 'svc_items_get_all_now_get_a')
  for (const id of Object.values(ids)) assert.match(id, /^[A-Za-z0-9_-]+$/)
})

test('case 43: links lead to the operations they named, or are left out with a warning', () => {
  const links = {
    byId: {
      operationId: 'get one',
      parameters: { id: '$response.body#/id' },
      requestBody: '$request.body',
      server: { url: 'http://10.0.0.1' },
    },
    byRef: { operationRef: '#/paths/~1items~1%7Bid%7D/get' },
    byOwnName: { operationRef: 'openapi.json#/paths/~1items~1{id}/get' },
    unknownId: { operationId: 'nobody' },
    unknownRef: { operationRef: '#/paths/~1nowhere/get' },
    otherDocument: { operationRef: 'https://evil.test/#/paths/~1x/get' },
    neither: { description: 'what?' },
    named: { $ref: '#/components/links/Named' },
    namedGone: { $ref: '#/components/links/Gone' },
  }
  const document = api(
    {
      '/items': { post: { responses: { 201: { description: 'made', links } } } },
      '/items/{id}': { get: { operationId: 'get one', responses: ok }, put: { operationId: 'get one', responses: ok } },
    },
    { components: { links: { Named: { operationId: 'get one' }, Gone: { operationRef: './x.yaml' } } } },
  )
  const { document: published, codes } = publishOne(document)
  const left = published.paths['/svc/items'].post.responses['201'].links
  assert.deepEqual(left.byId, {
    operationId: 'svc_get_one',
    parameters: { id: '$response.body#/id' },
    requestBody: '$request.body',
  })
  assert.deepEqual(left.byRef, { operationId: 'svc_get_one' }, 'an id is right wherever the operation goes')
  assert.deepEqual(left.byOwnName, left.byRef)
  assert.deepEqual(Object.keys(left), ['byId', 'byRef', 'byOwnName', 'named'])
  assert.equal(published.components.links.svc_Named.operationId, 'svc_get_one')
  assert.equal(codes.filter((code) => code === 'link-unresolved').length, 4)
})

test('case 43: links to operations that are not exposed go with them', () => {
  const document = api(
    {
      '/a': {
        get: {
          responses: {
            200: {
              description: 'ok',
              links: { b: { operationId: 'b' }, c: { $ref: '#/components/links/C' }, a: { operationId: 'a' } },
            },
          },
          operationId: 'a',
        },
      },
      '/b': { get: { operationId: 'b', responses: ok } },
    },
    { components: { links: { C: { operationRef: '#/paths/~1b/get' } } } },
  )
  const source = service(document, { enforced: (_, path) => (path === '/b' ? undefined : byBearer) })
  const part = preparePart(source)
  const { document: published } = publish([part], settings)
  const { links } = (published.paths as Loose)['/svc/a'].get.responses['200']
  assert.deepEqual(links, { a: { operationId: 'svc_a' } })
})

test('case 44: callbacks keep their expressions and servers, and get no security', () => {
  const { document } = publishOne(
    api(
      {
        '/subscribe': {
          post: {
            responses: ok,
            callbacks: {
              inline: {
                '{$request.body#/url}?x={$request.query.x}': {
                  servers: [{ url: 'https://client.example' }],
                  post: { security: [{ theirs: [] }], responses: ok },
                },
              },
              shared: { $ref: '#/components/callbacks/Shared' },
            },
          },
        },
      },
      {
        security: [{ theirs: [] }],
        components: { callbacks: { Shared: { '{$request.header.x}': { post: { responses: ok } } } } },
      },
    ),
  )
  const { callbacks, security } = document.paths['/svc/subscribe'].post
  assert.deepEqual(security, [{ bearer: [] }])
  const inline = callbacks.inline['{$request.body#/url}?x={$request.query.x}']
  assert.deepEqual(inline.servers, [{ url: 'https://client.example' }])
  assert.deepEqual(inline.post.security, [], 'a default of the whole document does not reach it')
  assert.equal(inline.post['x-upstream-security'], undefined)
  assert.match(inline.post.operationId, /^svc_post_/)
  assert.deepEqual(Object.keys(inline.post.responses), ['200'], 'the gateway does not answer for the client')
  assert.deepEqual(Object.keys(document.components.callbacks.svc_Shared), ['{$request.header.x}'])
  assert.deepEqual(Object.keys(document.paths), ['/svc/subscribe'])
})

test('case 45: webhooks are namespaced, not mounted and not secured; a document may have nothing else', () => {
  const document = {
    openapi: '3.1.0',
    info: { title: 't', version: '1' },
    security: [{ theirs: [] }],
    webhooks: { 'item changed': { post: { tags: ['hooks'], security: [{ theirs: [] }], responses: ok } } },
  }
  const { document: published } = publishOne(document)
  assert.deepEqual(published.paths, {})
  const { post } = published.webhooks.svc_item_changed
  assert.deepEqual(post.security, [])
  assert.deepEqual(post.tags, ['svc:hooks'])
  assert.deepEqual(post.responses, ok)
})

test('case 46: prefixes are joined with one slash, trailing slashes stay', () => {
  const item = { get: { responses: ok } }
  const document = api({ '/': item, '/items': item, '/items/': item, '//double//slash': item })
  assert.deepEqual(Object.keys(publishOne(document).document.paths), [
    '/svc',
    '/svc/items',
    '/svc/items/',
    '/svc/double/slash',
  ])
  assert.deepEqual(Object.keys(publishOne(document, { prefix: '' }).document.paths), [
    '/',
    '/items',
    '/items/',
    '/double/slash',
  ])
  const { operations } = preparePart(service(document))
  assert.deepEqual(
    operations.map(({ path }) => path),
    ['/', '/items', '/items/', '/double/slash'],
  )
})

test('case 47: keys without a slash are repaired; with query or fragment they describe, and make no route', () => {
  const item = { get: { responses: ok } }
  const asked: string[] = []
  const source = service(
    api({
      items: item,
      '/files/{id}#add': item,
      '/files/{id}#drop': item,
      '/files/{id}': item,
      '/search?kind=a': item,
    }),
    {
      enforced: (method, path) => {
        asked.push(`${method} ${path}`)
        return byBearer
      },
    },
  )
  const part = preparePart(source)
  const { document } = publish([part], settings)
  assert.deepEqual(Object.keys(document.paths as Loose), [
    '/svc/items',
    '/svc/files/{id}#add',
    '/svc/files/{id}#drop',
    '/svc/files/{id}',
    '/svc/search?kind=a',
  ])
  assert.deepEqual(asked, ['GET /items', 'GET /files/{id}', 'GET /files/{id}', 'GET /files/{id}', 'GET /search'])
  assert.deepEqual(
    part.operations.filter(({ variant }) => variant).map(({ path }) => path),
    ['/files/{id}', '/files/{id}', '/search'],
  )
  assert.equal((document.paths as Loose)['/svc/search?kind=a']['x-sallyport-variant'], true)
})

test('case 48: templates that differ in names only become one path, with variables, links and expressions renamed', () => {
  const variable = (name: string) => ({ name, in: 'path', required: true, schema: { type: 'string' } })
  const { document, codes } = publishOne(
    api(
      {
        '/a/{id}/b/{x}': {
          get: {
            operationId: 'one',
            parameters: [variable('id'), variable('x')],
            responses: {
              200: {
                description: 'ok',
                links: {
                  l: {
                    operationId: 'two',
                    parameters: { name: '$response.body#/n', 'path.id': '$request.path.id', q: '1' },
                  },
                },
              },
            },
          },
        },
        '/a/{name}/b/{id}': {
          parameters: [{ $ref: '#/components/parameters/Name' }],
          put: {
            operationId: 'two',
            parameters: [variable('id')],
            responses: {
              200: {
                description: 'ok',
                links: {
                  self: {
                    operationId: 'two',
                    parameters: { name: '$request.path.name' },
                    requestBody: '{$request.path.id}',
                  },
                },
              },
            },
            callbacks: { c: { '{$request.query.url}/{$request.path.name}': { post: { responses: ok } } } },
          },
          get: { operationId: 'lost', responses: ok },
        },
        '/a/me/b/{x}': { get: { parameters: [variable('x')], responses: ok } },
      },
      { components: { parameters: { Name: variable('name') } } },
    ),
  )
  assert.deepEqual(Object.keys(document.paths), ['/svc/a/{id}/b/{x}', '/svc/a/me/b/{x}'])
  const { get, put } = document.paths['/svc/a/{id}/b/{x}']
  assert.equal(get.operationId, 'svc_one')
  assert.deepEqual(
    put.parameters.map(({ name }: Loose) => name),
    ['id', 'x'],
  )
  assert.deepEqual(put.responses['200'].links.self, {
    operationId: 'svc_two',
    parameters: { id: '$request.path.id' },
    requestBody: '{$request.path.x}',
  })
  assert.deepEqual(Object.keys(put.callbacks.c), ['{$request.query.url}/{$request.path.id}'])
  assert.deepEqual(get.responses['200'].links.l.parameters, {
    id: '$response.body#/n',
    'path.x': '$request.path.id',
    q: '1',
  })
  assert.deepEqual([...codes].sort(), ['path-conflict', 'path-variable'])
})

test('case 49: of two services that document one request, one answers it and the error names both', () => {
  const document = (id: string) =>
    api({
      '/x/{a}': { get: { operationId: id, responses: ok } },
      '/own': { [id === 'one' ? 'get' : 'put']: { responses: ok } },
    })
  const same = publishAll(
    service(document('two'), { name: 'b', prefix: '/shop' }),
    service(document('one'), { name: 'a', prefix: '/shop' }),
  )
  assert.equal(same.document.paths['/shop/x/{a}'].get.operationId, 'a_one')
  assert.deepEqual(Object.keys(same.document.paths['/shop/own']), ['get', 'put'])
  const [error] = same.findings.filter(({ severity }) => severity === 'error')
  assert.equal(error?.service, 'b')
  assert.match(error!.message, /GET \/shop\/x\/\{a\}.* a .*b; give one of them another path/)
  const renamed = publishAll(
    service(document('one'), { name: 'a', prefix: '/shop' }),
    service(
      api({
        '/x/{n}': {
          put: {
            operationId: 'put',
            parameters: [{ name: 'n', in: 'path', required: true, schema: {} }],
            responses: { 200: { description: 'ok', links: { self: { operationRef: '#/paths/~1x~1{n}/put' } } } },
          },
        },
      }),
      { name: 'b', prefix: '/shop' },
    ),
  )
  const { put } = renamed.document.paths['/shop/x/{a}']
  assert.equal(put.parameters[0].name, 'a', 'the first names the variables')
  assert.deepEqual(put.responses['200'].links.self, { operationId: 'b_put' })
})

test('case 49: what another service answers because its prefix is longer is not shown', () => {
  const root = service(
    api({
      '/orders': { get: { responses: ok } },
      '/orders/{id}': { get: { operationId: 'r', responses: ok } },
      '/ordersmore': { get: { responses: ok } },
      '/{any}/x': { get: { responses: ok } },
      '/links': { get: { responses: { 200: { description: 'ok', links: { l: { operationId: 'r' } } } } } },
    }),
    { name: 'root', prefix: '' },
  )
  const { document, findings } = publishAll(
    root,
    service(api({ '/list': { get: { responses: ok } } }), { name: 'orders' }),
  )
  assert.deepEqual(Object.keys(document.paths), ['/orders/list', '/ordersmore', '/{any}/x', '/links'])
  assert.deepEqual(document.paths['/links'].get.responses['200'].links, {})
  const errors = findings.filter(({ severity }) => severity === 'error')
  assert.deepEqual(
    errors.map(({ service, code }) => [service, code]),
    [
      ['root', 'path-conflict'],
      ['root', 'path-conflict'],
    ],
  )
  assert.match(errors[0]!.message, /GET \/orders is answered by orders and is not shown for root/)
})

test("case 49: the gateway's own paths come before those of a service at the root", () => {
  const own = {
    paths: { '/livez': { get: { operationId: 'getLiveness', tags: ['gateway'], security: [], responses: ok } } },
    components: {},
    tags: [{ name: 'gateway' }],
  }
  const part = preparePart(
    service(api({ '/livez': { get: { responses: ok }, post: { responses: ok } } }), { prefix: '' }),
  )
  const { document, findings } = publish([part], { ...settings, own })
  assert.equal((document.paths as Loose)['/livez'].get.operationId, 'getLiveness')
  assert.equal((document.paths as Loose)['/livez'].post.operationId, 'svc_post_livez')
  assert.match(findings[0]!.message, /the gateway itself/)
})

test('case 50: a concrete path beside a template is legal, and both are kept', () => {
  const item = { get: { responses: ok } }
  const { document, codes } = publishOne(
    api({ '/a/{id}': { ...item }, '/a/me': item, '/a/{id}/x': item, '/a/me/x': item }),
  )
  assert.deepEqual(Object.keys(document.paths), ['/svc/a/{id}', '/svc/a/me', '/svc/a/{id}/x', '/svc/a/me/x'])
  assert.deepEqual(new Set(codes), new Set(['path-parameter-undeclared']))
})

test('case 51: the document shows what the gateway exposes and nothing more', () => {
  const document = api({
    '/a': { get: { responses: ok }, delete: { responses: ok, 'x-internal': true } },
    '/admin': { 'x-internal': true, get: { responses: ok } },
    '/b': { get: { responses: ok } },
  })
  const {
    document: published,
    codes,
    findings,
  } = publishOne(document, { enforced: (method, path) => (method === 'GET' && path !== '/b' ? byBearer : undefined) })
  assert.deepEqual(Object.keys(published.paths), ['/svc/a'])
  assert.deepEqual(Object.keys(published.paths['/svc/a']), ['get'])
  assert.equal(codes.filter((code) => code === 'internal-operation').length, 2)
  assert.match(findings.at(-1)!.message, /GET \/svc\/b/)
})

test('case 52: the path shown is the one to send, whatever the backend thinks of its base path', () => {
  const document = (servers: unknown) => ({ ...api({ '/items': { get: { responses: ok } } }), servers })
  const shown = (servers: unknown, rest: object = {}) =>
    Object.keys(publishOne(document(servers), rest).document.paths)[0]
  assert.equal(shown(undefined), '/svc/items')
  assert.equal(shown([]), '/svc/items')
  assert.equal(shown([{ url: '/' }]), '/svc/items')
  assert.equal(shown([{ url: '/api/v3' }]), '/svc/api/v3/items', 'the backend adds it, so the client must')
  assert.equal(
    shown([
      {
        url: 'https://{host}:{port}/{base}/',
        variables: { host: { default: 'h' }, port: { default: 443 }, base: { default: 'v2' } },
      },
    ]),
    '/svc/v2/items',
  )
  assert.equal(shown([{ url: 'api' }]), '/svc/api/items')
  assert.equal(shown([{ url: '/api/v3' }], { targetBasePath: '/api/v3' }), '/svc/items', 'the target adds it already')
  assert.equal(shown([{ url: '/api/v3' }], { targetBasePath: '/api/' }), '/svc/v3/items')
  assert.equal(shown([{ url: '/other' }], { targetBasePath: '/api' }), '/svc/other/items')
  assert.equal(shown(undefined, { targetBasePath: '/api' }), '/svc/items')
  assert.equal(shown([{ url: '/svc' }]), '/svc/items', 'a backend may know where it is mounted')
  assert.equal(shown([{ url: '/svc' }], { stripPath: false }), '/svc/items')
  assert.equal(shown([{ url: '/base/svc' }], { stripPath: false, targetBasePath: '/base' }), '/svc/items')
  const { document: outside, codes } = publishOne(document(undefined), { stripPath: false })
  assert.deepEqual(outside.paths, {})
  assert.deepEqual(codes, ['path-outside'])
  const swagger = {
    swagger: '2.0',
    info: { title: 't', version: '1' },
    host: 'h',
    basePath: '/v1',
    paths: { '/items': { get: { responses: ok } } },
  }
  assert.deepEqual(Object.keys(publishOne(swagger).document.paths), ['/svc/v1/items'])
})

test('case 53: what a path item says for all is said by each; its own word wins, header names compare without case', () => {
  const { document, codes } = publishOne(
    api(
      {
        '/x': {
          summary: 'all',
          description: 'of them',
          parameters: [
            { name: 'q', in: 'query', schema: { title: 'path' } },
            { name: 'X-Trace', in: 'header', schema: { title: 'path' } },
            { $ref: '#/components/parameters/Q' },
          ],
          get: {
            parameters: [
              { name: 'x-trace', in: 'header', schema: { title: 'operation' } },
              { name: 'Q', in: 'query', schema: {} },
            ],
            responses: ok,
          },
          put: {
            parameters: [
              { name: 'q', in: 'query', schema: { title: 'first' } },
              { name: 'q', in: 'query', schema: { title: 'second' } },
            ],
            responses: ok,
          },
        },
      },
      { components: { parameters: { Q: { name: 'q', in: 'cookie', schema: { title: 'shared' } } } } },
    ),
  )
  const item = document.paths['/svc/x']
  assert.equal(item.summary, 'all')
  assert.equal(item.parameters, undefined)
  const titles = (operation: Loose) =>
    operation.parameters.map((one: Loose) => one.$ref ?? `${one.in} ${one.name} ${one.schema.title}`)
  assert.deepEqual(titles(item.get), [
    'query q path',
    'header x-trace operation',
    '#/components/parameters/svc_Q',
    'query Q undefined',
  ])
  assert.deepEqual(titles(item.put), ['query q first', 'header X-Trace path', '#/components/parameters/svc_Q'])
  assert.deepEqual(codes, ['repeated-parameter'])
})

test('case 53: path variables that nobody declared are declared', () => {
  const { document, codes } = publishOne(
    api({
      '/x/{a}/{b}.{c}': {
        get: { parameters: [{ name: 'b', in: 'path', required: true, schema: { type: 'integer' } }], responses: ok },
      },
    }),
  )
  const { parameters } = document.paths['/svc/x/{a}/{b}.{c}'].get
  assert.deepEqual(
    parameters.map(({ name }: Loose) => name),
    ['b', 'a', 'c'],
  )
  assert.deepEqual(codes, ['path-parameter-undeclared', 'path-parameter-undeclared'])
  const left = publishOne(
    api({ '/x': { get: { parameters: [{ name: 'gone', in: 'path', required: true, schema: {} }], responses: ok } } }),
  )
  assert.equal(
    left.document.paths['/svc/x'].get.parameters,
    undefined,
    'a parameter without a variable would block every try',
  )
  assert.deepEqual(left.codes, ['path-parameter-unknown'])
  const foreign = api({
    '/{id:[0-9]+}/{rest*}/{name=shelves/all}/{proxy+}': {
      get: {
        parameters: ['id', 'rest', 'name', 'proxy'].map((name) => ({ name, in: 'path', required: true, schema: {} })),
        responses: ok,
      },
    },
  })
  assert.deepEqual(Object.keys(publishOne(foreign).document.paths), ['/svc/{id}/{rest}/{name}/{proxy}'])
  assert.deepEqual(publishOne(foreign).codes, ['path-repaired'])
})

test('case 54: TRACE is shown only where the gateway lets it through', () => {
  const document = api({ '/x': { trace: { responses: ok }, get: { responses: ok } } })
  const { document: published } = publishOne(document, {
    enforced: (method) => (method === 'TRACE' ? undefined : byBearer),
  })
  assert.deepEqual(Object.keys(published.paths['/svc/x']), ['get'])
})

test('case 55: bodies of GET, HEAD and DELETE are kept', () => {
  const requestBody = { content: { 'application/json': { schema: { type: 'object' } } } }
  const { document } = publishOne(
    api({
      '/x': {
        get: { requestBody, responses: ok },
        head: { requestBody, responses: ok },
        delete: { requestBody, responses: ok },
      },
    }),
  )
  for (const method of ['get', 'head', 'delete'])
    assert.deepEqual(document.paths['/svc/x'][method].requestBody, requestBody)
})

test('case 56: the gateway is the only server; operations declared on another host are marked', () => {
  const { document, codes } = publishOne({
    ...api({
      '/a': { servers: [{ url: 'https://api.example' }], get: { responses: ok } },
      '/b': {
        get: { servers: [{ url: 'https://upload.example/v2' }], responses: ok },
        put: { servers: [], responses: ok },
      },
    }),
    servers: [{ url: 'https://API.example' }, { url: 'http://10.0.0.1' }],
  })
  assert.deepEqual(document.servers, [{ url: 'http://gateway.test' }])
  assert.equal(document.paths['/svc/a'].servers ?? document.paths['/svc/a'].get.servers, undefined)
  assert.equal(document.paths['/svc/v2/b'].get['x-sallyport-elsewhere'], true)
  assert.equal(document.paths['/svc/b'].put['x-sallyport-elsewhere'], undefined)
  assert.deepEqual(codes, ['base-path', 'other-host'])
  assert.ok(!JSON.stringify(document).includes('10.0.0.1'))
})

test('case 57: relative links would lead into the gateway, and are left out', () => {
  const { document, codes } = publishOne({
    ...api({
      '/x': {
        get: { tags: ['t'], externalDocs: { url: './x.html' }, responses: ok },
        put: { externalDocs: { url: 'https://docs.example/x', description: 'd' }, responses: ok },
      },
    }),
    info: {
      title: 't',
      version: '1',
      termsOfService: '/terms',
      contact: { name: 'n', url: 'contact.html' },
      license: { name: 'MIT', url: 'https://mit.example' },
    },
    externalDocs: { url: 'docs/index.html' },
    tags: [{ name: 't', externalDocs: { url: '//evil.test/x' } }],
  })
  assert.equal(document.paths['/svc/x'].get.externalDocs, undefined)
  assert.deepEqual(document.paths['/svc/x'].put.externalDocs, { url: 'https://docs.example/x', description: 'd' })
  assert.deepEqual(document['x-sallyport-services'].svc, {
    title: 't',
    version: '1',
    contact: { name: 'n' },
    license: { name: 'MIT', url: 'https://mit.example' },
  })
  assert.equal(document.tags[1].externalDocs, undefined)
  assert.deepEqual(codes, ['link-left-out', 'link-left-out', 'link-left-out'])
})

test("case 58: the gateway's own answers are described, unless the backend describes that status", () => {
  const document = api({
    '/x': {
      get: { responses: { ...ok, 401: { description: 'theirs' }, default: { description: 'rest' } } },
      put: { responses: ok },
      post: {},
    },
  })
  const { document: published } = publishOne(document, {
    enforced: (method) => (method === 'PUT' ? { security: [], consumed: [], limited: true } : byBearer),
  })
  const { get, put, post } = published.paths['/svc/x']
  assert.deepEqual(Object.keys(get.responses), ['200', '401', '403', '502', '504', 'default'])
  assert.equal(get.responses['401'].description, 'theirs')
  assert.deepEqual(Object.keys(put.responses), ['200', '429', '502', '504'], 'a public operation asks for nothing')
  assert.deepEqual(Object.keys(post.responses), ['401', '403', '502', '504'])
  const limited = at(published, put.responses['429'].$ref)
  assert.ok(limited.headers['Retry-After'])
  assert.deepEqual(limited.content['application/problem+json'].schema, { $ref: '#/components/schemas/Problem' })
  assert.ok(at(published, post.responses['401'].$ref).headers['WWW-Authenticate'])
})

test('a service without a document is described by its routes', () => {
  const routes = [
    { method: 'GET', path: '/items/{id}' },
    { method: '*', path: '/files/*' },
    { method: 'CONNECT', path: '/never' },
  ]
  const { document, byService } = publishOne(undefined, { routes })
  const whole = publishOne(undefined, { routes, stripPath: false, targetBasePath: '/base' })
  assert.deepEqual(whole.document.paths, document.paths, 'routes are written below the prefix')
  assert.deepEqual(Object.keys(document.paths), ['/svc/items/{id}', '/svc/files/{rest}'])
  assert.deepEqual(Object.keys(document.paths['/svc/files/{rest}']), ['get', 'put', 'post', 'delete', 'patch'])
  const { get } = document.paths['/svc/items/{id}']
  assert.equal(get.operationId, 'svc_get_items_id')
  assert.deepEqual(get.tags, ['svc'])
  assert.deepEqual(get.parameters, [{ name: 'id', in: 'path', required: true, schema: { type: 'string' } }])
  assert.deepEqual(Object.keys(byService.get('svc').paths), Object.keys(document.paths))
})
