import assert from 'node:assert/strict'
import { test } from 'node:test'
import { api, at, type Loose, ok, publishAll, publishOne, service, throughSchema } from './service.ts'

const refer = (names: readonly string[]) => ({
  oneOf: names.map((name) => ({
    $ref: `#/components/schemas/${encodeURIComponent(name.replaceAll('~', '~0').replaceAll('/', '~1'))}`,
  })),
})

test('case 35: names of components are cleaned, stay apart and stay what they are in any order', () => {
  const names = ['A b', 'A_b', 'A/b', 'Page<Item>', 'Foo[Bar]', 'List`1', 'Käse', '奶酪', 'a.b-c_d', ' ', '~', '']
  const namesIn = (order: readonly string[]) => {
    const schemas = Object.fromEntries(order.map((name) => [name, { title: name }]))
    const { schema, published } = throughSchema(refer(order), schemas)
    return new Map(
      schema.oneOf.map(({ $ref }: Loose) => [at(published.document, $ref).title, $ref.split('/').at(-1)]),
    ) as Map<string, string>
  }
  const first = namesIn(names)
  assert.deepEqual([...first.keys()].sort(), [...names].sort(), 'every reference leads to its own')
  assert.equal(new Set(first.values()).size, names.length)
  for (const name of first.values()) assert.match(name, /^svc_[A-Za-z0-9._-]*$/)
  assert.equal(first.get('A_b'), 'svc_A_b', 'a clean name keeps its form')
  assert.equal(first.get('Page<Item>'), 'svc_Page_Item_')
  const second = namesIn([...names].reverse())
  for (const [name, cleaned] of first) assert.equal(second.get(name), cleaned, name)
  assert.equal(namesIn(['A b', 'A_b', 'x']).get('A b'), first.get('A b'))
})

test('case 36: equal schemas of two services stay two', () => {
  const document = api(
    {
      '/x': {
        get: {
          responses: { 200: { description: 'ok', content: { a: { schema: { $ref: '#/components/schemas/S' } } } } },
        },
      },
    },
    { components: { schemas: { S: { type: 'object' } } } },
  )
  const { document: published } = publishAll(service(document, { name: 'a' }), service(document, { name: 'b' }))
  assert.deepEqual(Object.keys(published.components.schemas), ['Problem', 'a_S', 'b_S'])
})

test('case 37: no name of one service can be that of another, or one of the gateway', () => {
  const document = (schema: string, id: string) =>
    api(
      {
        '/x': {
          get: {
            operationId: id,
            tags: [id],
            responses: {
              200: { description: schema, content: { a: { schema: { $ref: `#/components/schemas/${schema}` } } } },
            },
          },
        },
      },
      {
        webhooks: { [schema]: { post: { operationId: `${id}Hook`, responses: ok } } },
        components: { schemas: { [schema]: { title: schema } } },
      },
    )
  const { document: published } = publishAll(
    service(document('b_C', 'b_c'), { name: 'a' }),
    service(document('C', 'c'), { name: 'a-b' }),
    service(document('a_C', 'a_c'), { name: 'b' }),
    service(document('Problem', 'problem'), { name: 'gateway' }),
  )
  const { schemas } = published.components
  assert.deepEqual(Object.keys(schemas), ['Problem', 'a_b_C', 'a-b_C', 'b_a_C', 'gateway_Problem'])
  assert.deepEqual(Object.keys(published.webhooks), ['a_b_C', 'a-b_C', 'b_a_C', 'gateway_Problem'])
  assert.equal(published.paths['/a/x'].get.operationId, 'a_b_c')
})

test('case 38: every section of components is carried, vendor sections and unknown ones are not', () => {
  const { document, codes } = publishOne(
    api(
      {
        '/x': {
          get: {
            responses: {
              200: { description: 'ok', content: { a: { schema: { $ref: '#/components/x-parts/Deep' } } } },
            },
          },
        },
      },
      { components: { 'x-parts': { Deep: { title: 'deep' } }, unknown: { A: {} }, schemas: null, responses: [] } },
    ),
  )
  assert.deepEqual(Object.keys(document.components).sort(), ['responses', 'schemas', 'securitySchemes'])
  assert.equal(
    at(document, document.paths['/svc/x'].get.responses['200'].content.a.schema.$ref).title,
    'deep',
    'what a vendor section is referred to for is kept',
  )
  assert.ok(codes.includes('unknown-field'))
})

test('case 39: components that nothing leads to are left out, also when only a hidden operation led there', () => {
  const use = (name: string) => ({
    get: {
      responses: { 200: { description: 'ok', content: { a: { schema: { $ref: `#/components/schemas/${name}` } } } } },
    },
  })
  const document = api(
    { '/shown': use('Shown'), '/hidden': use('Hidden') },
    {
      components: {
        schemas: {
          Shown: { properties: { deep: { $ref: '#/components/schemas/Deep/properties/part' } } },
          Deep: { properties: { part: { title: 'part' } } },
          Hidden: { properties: { next: { $ref: '#/components/schemas/OnlyHidden' } } },
          OnlyHidden: {},
          Unused: { properties: { shown: { $ref: '#/components/schemas/Shown' } } },
        },
        responses: { Unused: { description: 'u' } },
      },
    },
  )
  const { document: published, codes } = publishOne(document, {
    enforced: (_, path) => (path === '/hidden' ? undefined : { security: [], consumed: [], limited: false }),
  })
  assert.deepEqual(Object.keys(published.components.schemas), ['Problem', 'svc_Shown', 'svc_Deep'])
  assert.equal(published.components.responses.svc_Unused, undefined)
  assert.ok(codes.includes('not-exposed'))
})
