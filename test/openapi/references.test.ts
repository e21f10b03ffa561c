import assert from 'node:assert/strict'
import { readFileSync } from 'node:fs'
import { test } from 'node:test'
import { parse } from '../../src/openapi/parse.ts'
import { sharedPath, skipWithoutShared } from '../vectors.ts'
import { api, at, type Loose, ok, publishOne, textOf, throughSchema } from './service.ts'

const corpus = (name: string) => {
  const parsed = parse(readFileSync(sharedPath('corpus', name)))
  assert.equal(parsed.outcome, 'read')
  return parsed.document
}

test('case 18: references of every kind follow their target into the namespace', () => {
  const { document, findings } = publishOne(
    api(
      {
        '/x': {
          post: {
            parameters: [{ $ref: '#/components/parameters/P' }],
            requestBody: { $ref: '#/components/requestBodies/B' },
            responses: { 200: { $ref: '#/components/responses/R' } },
            callbacks: { c: { $ref: '#/components/callbacks/C' } },
          },
        },
      },
      {
        components: {
          schemas: { S: { type: 'object' } },
          parameters: {
            P: {
              name: 'p',
              in: 'query',
              schema: { $ref: '#/components/schemas/S' },
              examples: { e: { $ref: '#/components/examples/E' } },
            },
          },
          requestBodies: {
            B: {
              content: {
                'application/json': { encoding: { f: { headers: { H: { $ref: '#/components/headers/H' } } } } },
              },
            },
          },
          responses: {
            R: {
              description: 'r',
              headers: { H: { $ref: '#/components/headers/H' } },
              links: { l: { $ref: '#/components/links/L' } },
            },
          },
          examples: { E: { value: 1 } },
          headers: { H: { schema: { $ref: '#/components/schemas/S' } } },
          links: { L: { operationId: 'svc' } },
          callbacks: {
            C: {
              '{$request.query.url}': {
                post: { operationId: 'svc', requestBody: { $ref: '#/components/requestBodies/B' } },
              },
            },
          },
        },
      },
    ),
  )
  assert.deepEqual(findings, [])
  const sections = document.components
  for (const section of [
    'schemas',
    'parameters',
    'requestBodies',
    'responses',
    'examples',
    'headers',
    'links',
    'callbacks',
  ]) {
    const own = Object.keys(sections[section]).filter((name) => name.startsWith('svc_'))
    assert.equal(own.length, 1, section)
  }
  assert.ok(!/#\/components\/\w+\/[A-Z]"/.test(textOf(document.paths)))
})

test('case 19: escapes and percent-encoding are compared decoded and written encoded, in every combination', () => {
  const name = 'A b/c~d%e{f}+ü'
  const escaped = 'A b~1c~0d%e{f}+ü'
  const spellings = [
    escaped.replace('%', '%25'),
    encodeURIComponent(escaped),
    'A%20b~1c~0d%25e%7Bf%7D+%C3%BC',
    'A%20b%7E1c%7E0d%25e{f}%2Bü',
  ]
  for (const spelling of spellings) {
    const { schema, published } = throughSchema(
      { $ref: `#/components/schemas/${spelling}` },
      { [name]: { title: 'found' } },
    )
    assert.equal(at(published.document, schema.$ref).title, 'found', spelling)
    assert.match(schema.$ref, /^#\/components\/schemas\/svc_[A-Za-z0-9._-]+$/)
  }
  assert.equal(
    throughSchema({ $ref: '#/components/schemas/a+b' }, { 'a b': {} }).schema['x-sallyport-unresolved'],
    '#/components/schemas/a+b',
  )
  const raw = throughSchema({ $ref: '#/components/schemas/a%20b' }, { 'a%20b': { title: 'raw' } })
  assert.equal(
    at(raw.published.document, raw.schema.$ref).title,
    'raw',
    'a name that itself looks encoded is found as well',
  )
})

test('case 19: the fiendish documents of the corpus', { skip: skipWithoutShared }, () => {
  for (const name of ['s2-fiendish-ref-encoding2.yaml', 'bad-component-names.json', 's30-readme-circular-paths.json']) {
    const { codes } = publishOne(corpus(name))
    assert.ok(!codes.includes('unresolved-reference'), name)
  }
})

test('case 20: of a deep pointer only the name changes', () => {
  const document = api(
    { '/x': { get: { responses: { 200: { $ref: '#/components/responses/E' } } } } },
    {
      components: {
        responses: {
          E: {
            description: 'e',
            content: {
              'application/json': {
                schema: {
                  oneOf: [
                    { $ref: '#/components/schemas/Pet/oneOf/0' },
                    { $ref: '#/components/schemas/Pet/properties/a~1b' },
                  ],
                },
              },
              'a/b': { schema: { $ref: '#/components/responses/E/content/application~1json/schema' } },
            },
          },
        },
        schemas: { Pet: { oneOf: [{ title: 'first' }], properties: { 'a/b': { title: 'second' } } } },
      },
    },
  )
  const { document: published } = publishOne(document)
  const { content } = published.components.responses.svc_E
  const [first, second] = content['application/json'].schema.oneOf
  assert.equal(first.$ref, '#/components/schemas/svc_Pet/oneOf/0')
  assert.equal(at(published, first.$ref).title, 'first')
  assert.equal(at(published, second.$ref).title, 'second')
  assert.equal(content['a/b'].schema.$ref, '#/components/responses/svc_E/content/application~1json/schema')
})

test('case 20: a deep pointer may pass over another reference', () => {
  const { schema, published } = throughSchema(
    { $ref: '#/components/schemas/A/properties/x' },
    { A: { $ref: '#/components/schemas/B' }, B: { properties: { x: { title: 'here' } } } },
  )
  assert.equal(at(published.document, schema.$ref).title, 'here')
})

test('case 21: references into paths stay right, also when the operation they lead to is not exposed', () => {
  const document = api({
    '/items/{id}': {
      get: {
        parameters: [{ name: 'id', in: 'path', required: true, schema: { title: 'id' } }],
        responses: {
          200: {
            description: 'found',
            content: {
              'application/json': {
                schema: {
                  title: 'item',
                  properties: {
                    next: { $ref: '#/paths/~1items~1%7Bid%7D/get/responses/200/content/application~1json/schema' },
                  },
                },
              },
            },
          },
        },
      },
    },
    '/other': {
      get: {
        parameters: [{ $ref: '#/paths/~1items~1{id}/get/parameters/0' }],
        responses: { 200: { $ref: '#/paths/~1items~1{id}/get/responses/200' } },
      },
    },
  })
  for (const hidden of [undefined, '/items/{id}']) {
    const { document: published } = publishOne(document, {
      enforced: (_, path) => (path === hidden ? undefined : { security: [], consumed: [], limited: false }),
    })
    const { responses } = published.paths['/svc/other'].get
    const found = at(published, responses['200'].$ref)
    assert.equal(found.description, 'found')
    const item = found.content['application/json'].schema
    assert.equal(at(published, item.properties.next.$ref).title, 'item')
    assert.equal(Object.keys(published.paths).length, hidden ? 1 : 2)
  }
})

test('case 22: references into webhooks are kept, to the whole document or its head reported', () => {
  const { document, findings } = publishOne(
    api(
      {
        '/x': {
          get: {
            responses: {
              200: { $ref: '#/webhooks/ping/post/responses/200' },
              201: {
                description: 'a',
                content: {
                  a: { schema: { $ref: '#/info' } },
                  b: { schema: { $ref: '#/info/title' } },
                  c: { schema: { properties: { self: { $ref: '#' } }, title: 'me' } },
                },
              },
              202: { $ref: '#' },
            },
          },
        },
      },
      { webhooks: { ping: { post: { responses: { 200: { description: 'pong' } } } } } },
    ),
  )
  const { responses } = document.paths['/svc/x'].get
  assert.equal(at(document, responses['200'].$ref).description, 'pong')
  const { a, b, c } = responses['201'].content
  assert.deepEqual(a.schema, { 'x-sallyport-unresolved': '#/info' })
  assert.deepEqual(b.schema, { 'x-sallyport-unresolved': '#/info/title' })
  assert.equal(at(document, c.schema.properties.self.$ref).title, 'me', 'in a schema of its own, # means that schema')
  assert.deepEqual(responses['202'], { description: '', 'x-sallyport-unresolved': '#' })
  assert.equal(findings.filter(({ code }) => code === 'unresolved-reference').length, 3)
})

test('case 23: references to references, circles and self-references end', () => {
  const { document, findings } = publishOne(
    api(
      {
        '/x': {
          get: {
            parameters: [{ $ref: '#/components/parameters/A' }, { $ref: '#/components/parameters/Loop' }],
            responses: { 200: { $ref: '#/components/responses/A' }, 201: { $ref: '#/components/responses/Loop' } },
          },
        },
      },
      {
        components: {
          parameters: {
            A: { $ref: '#/components/parameters/B' },
            B: { name: 'b', in: 'query', schema: {} },
            Loop: { $ref: '#/components/parameters/Loop' },
          },
          responses: {
            A: { $ref: '#/components/responses/B' },
            B: {
              description: 'b',
              content: {
                a: {
                  schema: {
                    oneOf: ['Self', 'One', 'Tree', 'Ref'].map((name) => ({ $ref: `#/components/schemas/${name}` })),
                  },
                },
              },
            },
            Loop: { $ref: '#/components/responses/Loop2' },
            Loop2: { $ref: '#/components/responses/Loop' },
          },
          schemas: {
            Self: { $ref: '#/components/schemas/Self' },
            One: { $ref: '#/components/schemas/Two' },
            Two: { $ref: '#/components/schemas/One', description: 'circle' },
            Tree: { properties: { children: { items: { $ref: '#/components/schemas/Tree' } } } },
            Ref: { $ref: '#/components/schemas/Tree' },
          },
        },
      },
    ),
  )
  const { parameters, responses } = document.paths['/svc/x'].get
  assert.deepEqual(parameters, [{ $ref: '#/components/parameters/svc_A' }])
  assert.deepEqual(responses['200'], { $ref: '#/components/responses/svc_A' })
  assert.deepEqual(document.components.responses.svc_A, { $ref: '#/components/responses/svc_B' })
  const { svc_Tree: tree, svc_Ref: ref } = document.components.schemas
  assert.deepEqual(tree.properties.children.items, { $ref: '#/components/schemas/svc_Tree' })
  assert.deepEqual(ref, { $ref: '#/components/schemas/svc_Tree' })
  assert.ok(!textOf(document).includes('svc_Self"}') || document.components.schemas.svc_Self === undefined)
  assert.ok(findings.some(({ message }) => message.includes('leads back to itself')))
})

test('case 24: what leads nowhere leaves a valid document and a finding with its place', () => {
  const gone = (section: string) => ({ $ref: `#/components/${section}/Gone` })
  const { document, findings } = publishOne(
    api({
      '/x': {
        $ref: '#/components/pathItems/Gone',
        post: {
          parameters: [gone('parameters'), { name: 'kept', in: 'query', schema: gone('schemas') }],
          requestBody: gone('requestBodies'),
          responses: {
            200: gone('responses'),
            201: {
              description: 'made',
              headers: { h: gone('headers') },
              links: { l: gone('links') },
              content: { a: { examples: { e: gone('examples') } } },
            },
          },
          callbacks: { c: gone('callbacks') },
        },
      },
    }),
  )
  const { post } = document.paths['/svc/x']
  assert.deepEqual(post.parameters, [
    { name: 'kept', in: 'query', schema: { 'x-sallyport-unresolved': '#/components/schemas/Gone' } },
  ])
  assert.equal(post.requestBody, undefined)
  assert.deepEqual(post.responses['200'], { description: '', 'x-sallyport-unresolved': '#/components/responses/Gone' })
  assert.deepEqual(post.responses['201'], {
    description: 'made',
    headers: {},
    links: {},
    content: { a: { examples: {} } },
  })
  assert.deepEqual(post.callbacks, {})
  assert.deepEqual(
    findings.map(({ pointer }) => pointer),
    [
      '/paths/~1x',
      '/parameters/0',
      '/parameters/1/schema',
      '/requestBody',
      '/responses/200',
      '/responses/201/headers/h',
      '/responses/201/content/a/examples/e',
      '/responses/201/links/l',
      '/callbacks/c',
    ]
      .map((tail, index) => (index === 0 ? tail : `/paths/~1x/post${tail}`))
      .sort(
        (a, b) =>
          findings.findIndex(({ pointer }) => pointer === a) - findings.findIndex(({ pointer }) => pointer === b),
      ),
  )
})

test('case 24: a reference to the wrong kind of thing is left out, too', () => {
  const { document, findings } = publishOne(
    api(
      {
        '/x': {
          get: {
            parameters: [{ $ref: '#/components/schemas/S' }],
            responses: { 200: { $ref: '#/components/schemas/S' } },
          },
        },
      },
      { components: { schemas: { S: {} } } },
    ),
  )
  assert.equal(document.paths['/svc/x'].get.parameters, undefined)
  assert.equal(document.paths['/svc/x'].get.responses['200'].description, '')
  assert.match(findings[0]!.message, /leads to a Schema/)
})

test('case 25: a path item that serves two paths is two sets of operations', () => {
  const { document } = publishOne(
    api(
      {
        '/a': { $ref: '#/components/pathItems/Shared' },
        '/b': { $ref: '#/components/pathItems/Shared' },
        '/c': { $ref: '#/paths/~1a' },
      },
      {
        webhooks: { w: { $ref: '#/components/pathItems/Shared' } },
        components: { pathItems: { Shared: { get: { operationId: 'shared', responses: ok } } } },
      },
    ),
  )
  const ids = ['/svc/a', '/svc/b', '/svc/c'].map((path) => document.paths[path].get.operationId)
  assert.deepEqual(
    [...ids, document.webhooks.svc_w.get.operationId],
    ['svc_shared', 'svc_shared_get_b', 'svc_shared_get_c', 'svc_shared_get_w'],
  )
  assert.equal(document.components.pathItems, undefined)
})

test('case 25: path items that contain themselves or double at every step end', () => {
  const pathItems: Loose = {
    Self: { post: { responses: ok, callbacks: { c: { url: { $ref: '#/components/pathItems/Self' } } } } },
  }
  for (let level = 0; level < 40; level += 1) {
    const next = { $ref: `#/components/pathItems/L${level + 1}` }
    pathItems[`L${level}`] = { post: { responses: ok, callbacks: { c: { one: next, two: next } } } }
  }
  pathItems.L40 = { post: { responses: ok } }
  const began = performance.now()
  const { codes } = publishOne(
    api(
      { '/x': { $ref: '#/components/pathItems/Self' }, '/y': { $ref: '#/components/pathItems/L0' } },
      { components: { pathItems } },
    ),
  )
  assert.ok(codes.includes('unresolved-reference'))
  assert.ok(performance.now() - began < 5_000)
})

test('case 26: an operation that is a reference becomes the operation', () => {
  const { document } = publishOne(
    api({
      '/a': { get: { operationId: 'a', responses: { 200: { description: 'mine' } } } },
      '/b': { put: { $ref: '#/paths/~1a/get' }, get: { $ref: '#/nowhere' }, post: { $ref: './post.yaml' } },
    }),
  )
  const { put, get, post } = document.paths['/svc/b']
  assert.equal(put.responses['200'].description, 'mine')
  assert.equal(put.operationId, 'svc_a_put_b')
  assert.equal(get ?? post, undefined)
})

test('case 27: properties that are called like keywords are data', () => {
  const names = [
    '$ref',
    'discriminator',
    'mapping',
    'security',
    'operationId',
    'parameters',
    'nullable',
    'example',
    'schemes',
    '$id',
    'x-sallyport',
    'allOf',
    'properties',
    'items',
  ]
  const properties = Object.fromEntries(
    names.map((name) => [name, { type: 'string', description: `a property called ${name}` }]),
  )
  for (const openapi of ['3.0.3', '3.1.0']) {
    assert.deepEqual(throughSchema({ type: 'object', properties, required: names }, {}, openapi).schema, {
      type: 'object',
      properties,
      required: names,
    })
  }
})

test('case 28: a reference in data is data; one to an example that exists is its value', () => {
  const data = { $ref: '#/components/schemas/Nobody' }
  const remote = { $ref: 'http://127.0.0.1:1/x' }
  const { document, findings } = publishOne(
    api(
      {
        '/x': {
          get: {
            responses: {
              200: {
                description: 'ok',
                content: {
                  a: {
                    example: data,
                    schema: { default: data, const: remote, enum: [data], examples: [remote], 'x-note': remote },
                  },
                  b: {
                    examples: {
                      list: {
                        value: [
                          { $ref: '#/components/examples/Item' },
                          { deep: { $ref: '#/components/examples/Item' } },
                          data,
                        ],
                      },
                    },
                  },
                },
              },
            },
          },
        },
      },
      {
        components: {
          examples: {
            Item: { value: { id: 1, inner: { $ref: '#/components/examples/Inner' } } },
            Inner: { value: 'inside' },
          },
        },
      },
    ),
  )
  assert.deepEqual(findings, [])
  const { a, b } = document.paths['/svc/x'].get.responses['200'].content
  assert.deepEqual(a.example, data)
  assert.deepEqual(a.schema, { default: data, const: remote, enum: [data], examples: [remote], 'x-note': remote })
  assert.deepEqual(b.examples.list.value, [{ id: 1, inner: 'inside' }, { deep: { id: 1, inner: 'inside' } }, data])
})

test('case 28: examples that contain themselves end', () => {
  const value = [{ $ref: '#/components/examples/E' }, { $ref: '#/components/examples/E' }]
  const { document } = publishOne(
    api(
      {
        '/x': {
          get: {
            responses: {
              200: { description: 'ok', content: { a: { examples: { e: { $ref: '#/components/examples/E' } } } } },
            },
          },
        },
      },
      { components: { examples: { E: { value } } } },
    ),
  )
  assert.ok(document.components.examples.svc_E)
})

test('case 29: keys that look like keywords are paths; x- is an extension except among free names', () => {
  const { document } = publishOne(
    api(
      {
        '/paths/$ref': { get: { responses: ok } },
        'x-note': { get: 'mine' },
        '/x': {
          get: {
            responses: {
              200: {
                description: 'ok',
                headers: { 'x-rate': { $ref: '#/components/headers/x-common' } },
                content: { a: { schema: { properties: { 'x-id': { $ref: '#/components/schemas/x-id' } } } } },
              },
              'x-extra': { description: 7 },
            },
          },
        },
      },
      {
        components: {
          headers: { 'x-common': { schema: { type: 'integer' } } },
          schemas: { 'x-id': { type: 'string' } },
          'x-section': { a: 1 },
        },
      },
    ),
  )
  assert.deepEqual(Object.keys(document.paths), ['/svc/paths/$ref', '/svc/x'])
  const answer = document.paths['/svc/x'].get.responses
  assert.deepEqual(answer['200'].headers['x-rate'], { $ref: '#/components/headers/svc_x-common' })
  assert.deepEqual(answer['200'].content.a.schema.properties['x-id'], { $ref: '#/components/schemas/svc_x-id' })
  assert.deepEqual(answer['x-extra'], { description: 7 })
  assert.deepEqual(document.components.headers['svc_x-common'], { schema: { type: 'integer' } })
})

test('case 30: other files and hosts are never looked at, and the document stays valid', () => {
  const { document, findings } = publishOne(
    api({
      '/x': {
        get: {
          parameters: [{ $ref: 'file:///etc/passwd' }],
          responses: {
            200: { $ref: './other.yaml#/a' },
            201: {
              description: 'made',
              content: {
                a: {
                  schema: { $ref: 'http://169.254.169.254/latest' },
                  examples: {
                    e: { externalValue: 'file:///etc/passwd' },
                    f: { externalValue: 'https://docs.example/e.json' },
                    g: { externalValue: './g.json' },
                  },
                },
              },
            },
          },
        },
      },
      '/y': { $ref: 'https://evil.test/y.json' },
    }),
  )
  assert.ok(!/etc\/passwd|169\.254|evil\.test|other\.yaml/.test(textOf(document)), 'not even the address is shown')
  const { content } = document.paths['/svc/x'].get.responses['201']
  assert.deepEqual(content.a, {
    schema: { 'x-sallyport-unresolved': 'external' },
    examples: { e: {}, f: { externalValue: 'https://docs.example/e.json' }, g: {} },
  })
  assert.equal(findings.filter(({ code }) => code === 'external-reference').length, 4)
  assert.equal(document.paths['/svc/y'], undefined)
})

test('case 30: a document may call itself by its own file name', () => {
  const document = api(
    { '/x': { get: { responses: { 200: { $ref: 'openapi.json#/components/responses/R' } } } } },
    { components: { responses: { R: { description: 'r' } } } },
  )
  const { document: published, findings } = publishOne(document, { origin: 'http://svc.test/v1/openapi.json' })
  assert.deepEqual(published.paths['/svc/x'].get.responses['200'], { $ref: '#/components/responses/svc_R' })
  assert.deepEqual(findings, [])
})

test('case 31: discriminator values survive, written by name, by reference, or not at all', () => {
  const arm = (name: string) => ({ $ref: `#/components/schemas/${name}` })
  const schemas = {
    Pet: {
      oneOf: ['Cat', 'Dog', 'Big.Dog', 'Odd Name'].map((name) => (name === 'Odd Name' ? arm('Odd%20Name') : arm(name))),
      discriminator: {
        propertyName: 'kind',
        mapping: {
          cat: 'Cat',
          dog: '#/components/schemas/Dog',
          lizard: 'Lizard.json',
          big: 'Big.Dog',
          gone: '#/components/schemas/Gone',
        },
      },
    },
    Any: { anyOf: [arm('Cat'), arm('Dog'), { type: 'object' }], discriminator: { propertyName: 'kind' } },
    Base: { type: 'object', discriminator: { propertyName: 'kind' }, properties: { kind: { type: 'string' } } },
    Child: { allOf: [arm('Base'), { type: 'object' }] },
    Grandchild: { allOf: [arm('Child')] },
    Cat: {},
    Dog: {},
    'Big.Dog': {},
    'Odd Name': {},
    Decoy: { properties: { discriminator: { type: 'object', properties: { mapping: { const: { a: 'Cat' } } } } } },
  }
  const { published } = throughSchema({ oneOf: ['Pet', 'Any', 'Base', 'Decoy'].map(arm) }, schemas)
  const { svc_Pet, svc_Any, svc_Base, svc_Decoy } = published.document.components.schemas
  const ref = (name: string) => `#/components/schemas/svc_${name}`
  assert.deepEqual(svc_Pet.discriminator.mapping, {
    cat: ref('Cat'),
    dog: ref('Dog'),
    big: ref('Big.Dog'),
    'Odd Name': ref('Odd_Name'),
  })
  assert.deepEqual(svc_Any.discriminator.mapping, { Cat: ref('Cat'), Dog: ref('Dog') })
  assert.deepEqual(svc_Base.discriminator.mapping, { Child: ref('Child'), Grandchild: ref('Grandchild') })
  assert.ok(published.document.components.schemas.svc_Grandchild, 'what only a discriminator leads to is kept')
  assert.deepEqual(svc_Decoy.properties.discriminator.properties.mapping, { const: { a: 'Cat' } })
  assert.equal(published.codes.filter((code) => code.endsWith('reference')).length, 2)
})

test('case 32: references relative to $id, anchors and dynamic anchors', () => {
  const { schema, published } = throughSchema(
    {
      oneOf: [
        { $ref: 'https://a.example/tree#leaf' },
        { $ref: 'https://a.example/tree' },
        { $ref: '#/components/schemas/Pasted' },
        { $ref: '#/components/schemas/Old' },
        { $ref: '#point' },
      ],
    },
    {
      Tree: {
        $id: 'https://a.example/tree',
        $dynamicAnchor: 'node',
        properties: {
          children: { items: { $dynamicRef: '#node' } },
          leaf: { $ref: '#/$defs/Leaf' },
          root: { $ref: '#' },
          sibling: { $ref: 'other' },
          common: { $ref: '#/components/schemas/Other' },
        },
        $defs: { Leaf: { $anchor: 'leaf', title: 'leaf' } },
      },
      Other: {
        $id: 'https://a.example/other',
        title: 'other',
        properties: { point: { $anchor: 'point', title: 'point' } },
      },
      Pasted: { properties: { a: { $ref: '#/definitions/A' } }, definitions: { A: { title: 'A' } } },
      Old: {
        $schema: 'http://json-schema.org/draft-07/schema#',
        items: [{ title: 'first' }],
        properties: { up: { $recursiveRef: '#' } },
      },
    },
  )
  const { document, codes } = published
  assert.deepEqual(codes, [])
  const found = schema.oneOf.map((one: Loose) => at(document, one.$ref))
  assert.equal(found[0].title, 'leaf')
  const tree = found[1]
  assert.equal(tree.$id, undefined)
  assert.equal(tree.$dynamicAnchor, 'svc_node')
  assert.deepEqual(tree.properties.children.items, { $dynamicRef: '#svc_node' })
  assert.equal(at(document, tree.properties.leaf.$ref).title, 'leaf')
  assert.equal(at(document, tree.properties.root.$ref), tree)
  assert.equal(at(document, tree.properties.sibling.$ref).title, 'other')
  assert.equal(at(document, tree.properties.common.$ref).title, 'other')
  assert.equal(at(document, found[2].properties.a.$ref).title, 'A')
  assert.deepEqual(found[3].items, [{ title: 'first' }], 'an older dialect keeps its lists of items')
  assert.equal(at(document, found[3].properties.up.$ref), found[3])
  assert.equal(found[4].title, 'point')
})

test('case 32: a dialect of the whole document is said by each of its schemas', () => {
  const draft = 'http://json-schema.org/draft-07/schema#'
  const document = (jsonSchemaDialect: string) =>
    api(
      {
        '/x': {
          get: {
            responses: {
              200: {
                description: 'ok',
                content: { a: { schema: { properties: { a: { $ref: '#/components/schemas/S' } } } } },
              },
            },
          },
        },
      },
      { jsonSchemaDialect, components: { schemas: { S: { type: 'string' } } } },
    )
  const old = publishOne(document(draft)).document
  assert.equal(old.jsonSchemaDialect, undefined)
  assert.equal(old.paths['/svc/x'].get.responses['200'].content.a.schema.$schema, draft)
  assert.equal(old.paths['/svc/x'].get.responses['200'].content.a.schema.properties.a.$schema, undefined)
  assert.equal(old.components.schemas.svc_S.$schema, draft)
  const same = publishOne(document('https://spec.openapis.org/oas/3.1/dialect/base')).document
  assert.deepEqual(same.components.schemas.svc_S, { type: 'string' })
})

test('case 33: boolean and empty schemas and lists of items stand anywhere', () => {
  const before = {
    properties: { a: true, b: false, c: {} },
    additionalProperties: false,
    items: [true, { type: 'string' }],
    additionalItems: { type: 'integer' },
    not: false,
    oneOf: [true, {}],
    required: true,
  }
  assert.deepEqual(throughSchema(before).schema, {
    properties: { a: true, b: false, c: {} },
    additionalProperties: false,
    not: false,
    oneOf: [true, {}],
    prefixItems: [true, { type: 'string' }],
    items: { type: 'integer' },
  })
  assert.equal(throughSchema(true).schema, true)
  const { published, schema } = throughSchema({ $ref: '#/components/schemas/Any' }, { Any: true })
  assert.equal(at(published.document, schema.$ref), true)
})

test('case 34: #/definitions in a later document means the component of that name', () => {
  const { schema, published } = throughSchema(
    { oneOf: [{ $ref: '#/definitions/A' }, { $ref: '#/definitions/Nobody' }, { $ref: '#/$defs/A' }] },
    { A: { title: 'A' } },
  )
  assert.equal(at(published.document, schema.oneOf[0].$ref).title, 'A')
  assert.deepEqual(schema.oneOf[1], { 'x-sallyport-unresolved': '#/definitions/Nobody' })
  assert.equal(schema.oneOf[2].$ref, schema.oneOf[0].$ref)
  const own = publishOne({
    ...api({
      '/x': {
        get: { responses: { 200: { description: 'ok', content: { a: { schema: { $ref: '#/definitions/B' } } } } } },
      },
    }),
    definitions: {
      B: { title: 'B', properties: { c: { $ref: '#/definitions/C' } } },
      C: { nullable: true, type: 'string' },
    },
    openapi: '3.0.0',
  })
  const b = at(own.document, own.document.paths['/svc/x'].get.responses['200'].content.a.schema.$ref)
  assert.equal(b.title, 'B')
  assert.deepEqual(
    at(own.document, b.properties.c.$ref).type,
    ['string', 'null'],
    'what was lifted is upgraded as well',
  )
})
