import assert from 'node:assert/strict'
import { test } from 'node:test'
import { brotliDecompressSync, gunzipSync } from 'node:zlib'
import { parse as parseYaml } from 'yaml'
import { createPrinter, yamlOf } from '../../src/openapi/bytes.ts'
import { check } from '../../src/openapi/check.ts'
import type { JsonObject } from '../../src/openapi/document.ts'
import { createOwnPart } from '../../src/openapi/own.ts'
import { preparePart, publish } from '../../src/openapi/publish.ts'
import { api, type Loose, ok, publishAll, publishOne, service, settings } from './service.ts'

const { jsonOf } = createPrinter()

test('case 71: tags are namespaced, cleaned, declared, kept apart and grouped by service', () => {
  const operation = (...tags: string[]) => ({ tags, responses: ok })
  const document = api(
    {
      '/a': {
        get: operation('items', 'Items'),
        put: operation('a/b c'),
        post: operation('a-b-c'),
        delete: { responses: ok },
      },
    },
    {
      tags: [
        { name: 'items', description: 'Things', externalDocs: { url: 'https://docs.example' } },
        { name: 'unused' },
        { name: 'items', description: 'again' },
      ],
    },
  )
  const { document: published } = publishAll(service(document, { name: 'x' }), service(document, { name: 'y' }))
  const { get, put, post, delete: remove } = published.paths['/x/a']
  assert.deepEqual(get.tags, ['x:items', 'x:Items'])
  assert.equal(post.tags[0], 'x:a-b-c')
  assert.match(put.tags[0], /^x:a-b-c-[0-9a-f]{6}$/)
  assert.deepEqual(remove.tags, ['x'])
  const names = published.tags.map(({ name }: Loose) => name)
  assert.equal(new Set(names).size, names.length)
  assert.ok(names.every((name: string) => !/[\s/]/.test(name)))
  assert.deepEqual(
    published.tags.find(({ name }: Loose) => name === 'x:items'),
    { name: 'x:items', 'x-displayName': 'items', description: 'Things', externalDocs: { url: 'https://docs.example' } },
  )
  assert.equal(published.tags.find(({ name }: Loose) => name === put.tags[0])['x-displayName'], 'a/b c')
  assert.deepEqual(
    published['x-tagGroups'].map(({ name }: Loose) => name),
    ['x', 'y'],
  )
  assert.deepEqual(
    published['x-tagGroups'].flatMap(({ tags }: Loose) => tags),
    names,
  )
})

test("case 72: the info is the gateway's; what services say of themselves stands in their tags and beside", () => {
  const document = {
    ...api({}),
    info: {
      title: 'Orders',
      version: '2.1',
      description: '*All* orders',
      contact: { name: 'Team', email: 't@example.com' },
      license: { name: 'MIT', identifier: 'MIT' },
    },
    externalDocs: { url: 'https://docs.example' },
  }
  const { document: published, byService } = publishOne(document)
  assert.deepEqual(published.info, settings.info)
  assert.deepEqual(published.tags, [
    { name: 'svc', description: 'Orders 2.1\n\n*All* orders', externalDocs: { url: 'https://docs.example' } },
  ])
  const { contact, license } = document.info
  assert.deepEqual(published['x-sallyport-services'].svc, {
    title: 'Orders',
    version: '2.1',
    description: '*All* orders',
    contact,
    license,
    externalDocs: document.externalDocs,
  })
  assert.deepEqual(byService.get('svc').info, {
    title: 'Shop: svc',
    description: 'Orders 2.1\n\n*All* orders',
    version: '1.0.0',
  })
})

test('case 73: hostile text is carried as text, and the bytes say that they are JSON', async () => {
  const text = '</script><script>alert(1)</script>\u2028\u2029<img src=x onerror=alert(1)>'
  const { document } = publishOne({
    ...api({ '/x': { get: { summary: text, description: text, responses: ok } } }),
    info: { title: text, version: text },
  })
  assert.equal(document.paths['/svc/x'].get.summary, text)
  const { type, body } = await jsonOf(document)
  assert.equal(type, 'application/json')
  assert.deepEqual(JSON.parse(body.toString()), document)
})

test('case 74: bytes are made once in every coding, and equal documents have equal tags', async () => {
  const document = publishOne(
    api({ '/x': { get: { description: 'yes: no\n# not a comment', responses: ok } } }),
  ).document
  const json = await jsonOf(document)
  const yaml = await yamlOf(document, json)
  assert.deepEqual(gunzipSync(json.gzip), json.body)
  assert.deepEqual(brotliDecompressSync(json.brotli), json.body)
  assert.deepEqual(gunzipSync(yaml.gzip), yaml.body)
  assert.deepEqual(parseYaml(yaml.body.toString()), document)
  assert.ok(!/[&*]a\d/.test(yaml.body.toString()), 'no anchors')
  assert.equal(yaml.type, 'application/yaml')
  assert.match(json.etag, /^W\/"[\w-]{22}"$/)
  assert.equal((await jsonOf(structuredClone(document))).etag, json.etag)
  assert.notEqual((await jsonOf({ ...document, more: 1 })).etag, json.etag)
  assert.notEqual(yaml.etag, json.etag)
  assert.equal(json.cacheControl, 'private, no-cache')
})

test('case 74: what is written in pieces is what JSON.stringify writes, the first time and again', async () => {
  const shared = { get: { summary: 'ü 🧀 \u2028 "' } }
  const documents: JsonObject[] = [
    {},
    { openapi: '3.1.1', none: undefined, paths: {}, components: {}, webhooks: { a: shared } },
    {
      paths: { '/a"b': shared, '/c': shared, 'x-text': 'ü', 'x-null': null },
      components: { schemas: {}, responses: { A: shared, B: true }, 'x-list': [1], 'x-text': 't' },
      tags: [{ name: 'é' }],
    },
    { paths: [1], components: null, webhooks: 'w' },
    publishOne(api({ '/x': { get: { responses: ok } } })).document,
  ]
  for (const document of [...documents, ...documents])
    assert.equal((await jsonOf(document)).body.toString(), JSON.stringify(document))
})

test('YAML says text to readers of YAML 1.1 as well, for whom more words are something else', async () => {
  const words = ['yes', 'no', 'On', 'y', '2020-01-01', '12:30', '1_000', '0b11', '017', '~', '=', '<<', '1e3', '']
  const document = publishOne(
    api({ '/x': { get: { parameters: [{ name: 'q', in: 'query', schema: { enum: words } }], responses: ok } } }),
  ).document
  const text = (await yamlOf(document, await jsonOf(document))).body.toString()
  for (const version of ['1.1', '1.2'] as const) assert.deepEqual(parseYaml(text, { version }), document)
})

test('case 74: a large document is sent as the JSON it is, also as YAML', async () => {
  const large = { list: Array.from({ length: 100_000 }, (_, index) => ({ index, text: 'some words of text' })) }
  const json = await jsonOf(large)
  const yaml = await yamlOf(large, json)
  assert.ok(json.body.length > 2 * 1_048_576)
  assert.equal(yaml.body, json.body)
  assert.equal(yaml.type, 'application/yaml')
  assert.deepEqual(brotliDecompressSync(json.brotli), json.body)
})

test('case 75: each service has a document of its own, complete by itself', () => {
  const document = api(
    {
      '/x': {
        get: {
          responses: { 200: { description: 'ok', content: { a: { schema: { $ref: '#/components/schemas/S' } } } } },
        },
      },
    },
    { components: { schemas: { S: {} } } },
  )
  const { byService } = publishAll(service(document, { name: 'a' }), service(document, { name: 'b' }))
  for (const [name, one] of byService) {
    assert.deepEqual(Object.keys(one.paths), [`/${name}/x`])
    assert.deepEqual(Object.keys(one.components.schemas), ['Problem', `${name}_S`])
    assert.deepEqual(one.servers, [{ url: 'http://gateway.test' }])
    assert.deepEqual(check(one), [])
  }
})

test('case 76: the last look finds whatever must not be published', () => {
  const good = publishOne(
    api(
      {
        '/x/{id}': {
          get: {
            operationId: 'get',
            parameters: [{ name: 'id', in: 'path', required: true, schema: { $ref: '#/components/schemas/S' } }],
            responses: { 200: { description: 'ok', links: { l: { operationId: 'get' } } } },
          },
        },
      },
      {
        components: {
          schemas: { S: { oneOf: [{ $ref: '#/components/schemas/T' }], discriminator: { propertyName: 'k' } }, T: {} },
        },
      },
    ),
  ).document
  assert.deepEqual(check(good), [])
  const spoil: readonly (readonly [RegExp, (document: Loose) => void])[] = [
    [/leads to no Schema/, (d) => delete d.components.schemas.svc_T],
    [/value "T" leads to no schema/, (d) => delete d.components.schemas.svc_T],
    [
      /leads to no Schema/,
      (d) => {
        d.paths['/svc/x/{id}'].get.parameters[0].schema.$ref = 'other.json'
      },
    ],
    [
      /leads to no Schema/,
      (d) => {
        d.paths['/svc/x/{id}'].get.parameters[0].schema.$ref = '#/paths'
      },
    ],
    [/has no operationId/, (d) => delete d.paths['/svc/x/{id}'].get.operationId],
    [
      /is also that of/,
      (d) => {
        d.paths['/y'] = structuredClone(d.paths['/svc/x/{id}'])
      },
    ],
    [/"nobody" is not defined/, (d) => d.paths['/svc/x/{id}'].get.security.push({ nobody: [] })],
    [/does not say which security/, (d) => delete d.paths['/svc/x/{id}'].get.security],
    [/variable "id" is not declared/, (d) => delete d.paths['/svc/x/{id}'].get.parameters],
    [
      /leads to no operation/,
      (d) => {
        d.paths['/svc/x/{id}'].get.responses[200].links.l.operationId = 'x'
      },
    ],
    [
      /leads to no operation/,
      (d) => {
        d.paths['/svc/x/{id}'].get.responses[200].links.l = { operationRef: '#/paths/~1y/get' }
      },
    ],
    [
      /"nullable" is not a word/,
      (d) => {
        d.components.schemas.svc_T.nullable = true
      },
    ],
    [
      /"exclusiveMinimum" must be a number/,
      (d) => {
        d.components.schemas.svc_T.exclusiveMinimum = true
      },
    ],
    [
      /"produces" is not a field of a Operation/,
      (d) => {
        d.paths['/svc/x/{id}'].get.produces = []
      },
    ],
    [
      /"itemSchema" is not a field/,
      (d) => {
        d.paths['/svc/x/{id}'].get.responses[200].content = { a: { itemSchema: {} } }
      },
    ],
    [
      /cannot be the name of a component/,
      (d) => {
        d.components.schemas['a b'] = {}
      },
    ],
    [
      /does not begin with a slash/,
      (d) => {
        d.paths.y = {}
      },
    ],
    [
      /not OpenAPI 3.1/,
      (d) => {
        d.openapi = '3.0.3'
      },
    ],
  ]
  for (const [message, change] of spoil) {
    const spoilt = structuredClone(good)
    change(spoilt)
    assert.ok(
      check(spoilt).some((fault) => message.test(fault.message)),
      `${message}: ${JSON.stringify(check(spoilt))}`,
    )
  }
})

test('case 76: a part that does not hold together is left out with an error, the others are published', () => {
  const part = preparePart(service(api({ '/x': { get: { responses: ok } } }), { name: 'a' }))
  const other = preparePart(service(api({ '/x': { get: { responses: ok } } }), { name: 'b' }))
  const paths = structuredClone(part.document.paths) as Loose
  paths['/a/x'].get.responses['200'] = { $ref: '#/components/responses/a_Gone' }
  const spoilt = { ...part, document: { ...part.document, paths: paths as JsonObject } }
  const { document, byService, findings } = publish([spoilt, other], settings)
  assert.deepEqual(Object.keys(document.paths as object), ['/b/x'])
  assert.deepEqual(check(document), [])
  assert.deepEqual((byService.get('a') as Loose).paths, {})
  assert.deepEqual(
    findings.map(({ service, severity, code }) => [service, severity, code]),
    [['a', 'error', 'not-published']],
  )
})

test('the gateway alone has a document, too', () => {
  const { document } = publish([], { ...settings, own: createOwnPart({ documents: true, health: true }) })
  assert.deepEqual(check(document), [])
  assert.deepEqual(Object.keys(document.paths as object), [
    '/openapi.json',
    '/openapi.yaml',
    '/openapi/{service}.json',
    '/livez',
    '/readyz',
  ])
})
