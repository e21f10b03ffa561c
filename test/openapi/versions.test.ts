import assert from 'node:assert/strict'
import { test } from 'node:test'
import { type Loose, ok, publishOne, textOf, throughSchema } from './service.ts'

const swagger = (paths: object, rest: object = {}) => ({
  swagger: '2.0',
  info: { title: 't', version: '1' },
  consumes: ['application/json'],
  produces: ['application/json'],
  paths,
  ...rest,
})

test('case 9: Swagger 2.0 becomes 3.1 whole: bodies, forms, files, formats, answers and shared parameters', () => {
  const { document, codes } = publishOne(
    swagger(
      {
        '/pets/{id}': {
          parameters: [
            { name: 'id', in: 'path', required: true, type: 'integer', format: 'int64' },
            { $ref: '#/parameters/Limit' },
          ],
          get: {
            schemes: ['https'],
            produces: ['application/json', 'text/csv'],
            parameters: [
              { name: 'tags', in: 'query', type: 'array', items: { type: 'string' }, collectionFormat: 'multi' },
            ],
            responses: {
              200: {
                description: 'ok',
                schema: { $ref: '#/definitions/Pet' },
                headers: { 'X-Rate': { type: 'integer', description: 'left' } },
                examples: { 'application/json': { id: 1 } },
              },
              404: { $ref: '#/responses/Missing' },
            },
          },
          put: { parameters: [{ $ref: '#/parameters/Body' }], responses: ok },
          post: {
            consumes: ['multipart/form-data'],
            parameters: [
              { name: 'photo', in: 'formData', type: 'file', required: true, description: 'jpeg' },
              { name: 'note', in: 'formData', type: 'string', 'x-nullable': true },
            ],
            responses: ok,
          },
        },
        '/shared': {
          get: { responses: ok },
          parameters: [{ $ref: '#/parameters/Body' }],
          post: { responses: ok },
        },
      },
      {
        host: 'api.example.com',
        basePath: '/v2',
        schemes: ['https', 'http'],
        parameters: {
          Limit: { name: 'limit', in: 'query', type: 'integer', default: 10, maximum: 100 },
          Body: { name: 'body', in: 'body', required: true, schema: { $ref: '#/definitions/Pet' } },
        },
        responses: { Missing: { description: 'gone', schema: { $ref: '#/definitions/Error' } } },
        definitions: {
          Pet: {
            type: 'object',
            discriminator: 'kind',
            required: ['id'],
            properties: {
              id: { type: 'integer' },
              kind: { type: 'string' },
              name: { type: 'string', 'x-nullable': true, example: 'Rex' },
            },
          },
          Cat: { allOf: [{ $ref: '#/definitions/Pet' }, { type: 'object' }] },
          Error: { type: 'object', properties: { schemes: { type: 'array', items: { type: 'string' } } } },
        },
        securityDefinitions: { key: { type: 'apiKey', in: 'header', name: 'X-Key' } },
        security: [{ key: [] }],
      },
    ),
  )
  assert.deepEqual(codes, ['base-path'])
  const { get, put, post } = document.paths['/svc/v2/pets/{id}']
  const parameter = (name: string): Loose => {
    const entry = get.parameters.find((one: Loose) => one.name === name || one.$ref?.endsWith(`_${name}`))
    return entry.$ref ? document.components.parameters[entry.$ref.split('/').at(-1)] : entry
  }
  assert.deepEqual(parameter('id'), {
    name: 'id',
    in: 'path',
    required: true,
    schema: { type: 'integer', format: 'int64' },
  })
  assert.deepEqual(parameter('Limit'), {
    name: 'limit',
    in: 'query',
    schema: { type: 'integer', default: 10, maximum: 100 },
  })
  assert.deepEqual(parameter('tags'), {
    name: 'tags',
    in: 'query',
    style: 'form',
    explode: true,
    schema: { type: 'array', items: { type: 'string' } },
  })
  const answer = get.responses['200']
  assert.deepEqual(Object.keys(answer.content), ['application/json', 'text/csv'])
  assert.deepEqual(answer.content['application/json'], {
    schema: { $ref: '#/components/schemas/svc_Pet' },
    example: { id: 1 },
  })
  assert.deepEqual(answer.headers, { 'X-Rate': { description: 'left', schema: { type: 'integer' } } })
  assert.deepEqual(get.responses['404'], { $ref: '#/components/responses/svc_Missing' })
  assert.deepEqual(document.components.responses.svc_Missing.content['application/json'].schema, {
    $ref: '#/components/schemas/svc_Error',
  })
  const body = { required: true, content: { 'application/json': { schema: { $ref: '#/components/schemas/svc_Pet' } } } }
  assert.deepEqual(put.requestBody, body)
  assert.deepEqual(
    document.paths['/svc/v2/shared'].get.requestBody,
    body,
    'a shared body belongs to operations before it, too',
  )
  assert.deepEqual(document.paths['/svc/v2/shared'].post.requestBody, body)
  const form = post.requestBody.content['multipart/form-data'].schema
  assert.deepEqual(form.properties.photo, { contentMediaType: 'application/octet-stream', description: 'jpeg' })
  assert.deepEqual(form.properties.note.type, ['string', 'null'])
  assert.deepEqual(form.required, ['photo'])
  const { svc_Pet: pet, svc_Error: error } = document.components.schemas
  assert.deepEqual(pet.discriminator, { propertyName: 'kind', mapping: { Cat: '#/components/schemas/svc_Cat' } })
  assert.deepEqual(pet.properties.name, { type: ['string', 'null'], examples: ['Rex'] })
  assert.ok(error.properties.schemes, 'a property called schemes is data')
  assert.deepEqual(get['x-upstream-security'], [{ key: [] }])
  const { paths } = document
  for (const word of [
    '"definitions"',
    '"swagger"',
    '"collectionFormat"',
    '"consumes"',
    '"produces"',
    '"formData"',
    '"basePath"',
    'x-nullable',
    '"file"',
    '#/parameters',
    '#/responses/',
  ]) {
    assert.ok(!textOf({ paths, components: document.components }).includes(word), word)
  }
})

test('case 9: what is data in Swagger 2.0 stays data, and extensions stay where they are', () => {
  const data = { $ref: '#/definitions/A', type: 'file', nested: [{ $ref: '#/parameters/B' }] }
  const { document, findings } = publishOne(
    swagger(
      {
        '/x': {
          'x-owner': { parameters: 7, $ref: '#/definitions/A' },
          'x-none': null,
          get: {
            'x-note': data,
            responses: {
              200: {
                description: 'ok',
                schema: { type: 'object', default: data, example: data },
                examples: { 'application/json': data },
              },
              'x-none': null,
            },
          },
          post: {
            parameters: [{ in: 'body', name: 'b', schema: { $ref: '#/definitions/A', enum: [data] } }],
            responses: ok,
          },
        },
        'x-paths': { get: 'no operation' },
      },
      { definitions: { A: { title: 'A', properties: { example: { $ref: '#/definitions/A' } } } } },
    ),
  )
  assert.deepEqual(findings, [])
  const { get, post, ...item } = document.paths['/svc/x']
  assert.deepEqual(item, { 'x-owner': { parameters: 7, $ref: '#/definitions/A' }, 'x-none': null })
  const content = get.responses['200'].content['application/json']
  assert.deepEqual(content.example, data)
  assert.deepEqual([content.schema.default, content.schema.examples], [data, [data]])
  assert.deepEqual(post.requestBody.content['application/json'].schema, { $ref: '#/components/schemas/svc_A' })
  assert.deepEqual(document.components.schemas.svc_A.properties.example, { $ref: '#/components/schemas/svc_A' })
})

test('case 9: one thing of the wrong type does not cost a Swagger 2.0 document', () => {
  const paths = {
    '/x': {
      get: {
        produces: 7,
        parameters: [{ name: 'a' }, { in: '' }, null],
        responses: { 200: { description: 'ok' }, 404: null },
      },
    },
    '/y': { get: { responses: [null] } },
    '/z': null,
  }
  const { document, findings } = publishOne(
    swagger(paths, {
      securityDefinitions: { a: null },
      parameters: { B: { name: 'b' } },
      responses: { C: null },
      consumes: 'text/csv',
    }),
  )
  assert.deepEqual(Object.keys(document.paths), ['/svc/x', '/svc/y'])
  assert.deepEqual(findings, [])
})

test('case 9: a Swagger 2.0 document that cannot be converted is an error of that service, and no more', () => {
  const parameters = [{ in: 'body', name: 'b', schema: {}, content: 'text' }]
  const { document, findings } = publishOne(swagger({ '/x': { post: { parameters, responses: ok } } }))
  assert.deepEqual(document.paths, {})
  assert.deepEqual(
    findings.map(({ severity, code }) => [severity, code]),
    [['error', 'not-upgradable']],
  )
})

test('case 10: nullable becomes a null type or a null alternative, and never stays', () => {
  const A = { type: 'object' }
  const rows: readonly (readonly [unknown, unknown])[] = [
    [{ type: 'string', nullable: true }, { type: ['string', 'null'] }],
    [
      { type: 'string', nullable: true, enum: ['a', null] },
      { type: ['string', 'null'], enum: ['a', null] },
    ],
    [{ type: ['string', 'null'], nullable: true }, { type: ['string', 'null'] }],
    [{ type: ['string'], nullable: true }, { type: ['string', 'null'] }],
    [{ type: 'string', nullable: false }, { type: 'string' }],
    [{ nullable: true }, {}],
    [{ enum: ['a', null], nullable: true }, { enum: ['a', null] }],
    [
      { $ref: '#/components/schemas/A', nullable: true, description: 'd' },
      { description: 'd', anyOf: [{ $ref: '#/components/schemas/svc_A' }, { type: 'null' }] },
    ],
    [
      { allOf: [{ $ref: '#/components/schemas/A' }], nullable: true },
      { anyOf: [{ $ref: '#/components/schemas/svc_A' }, { type: 'null' }] },
    ],
    [
      { allOf: [{ $ref: '#/components/schemas/A' }, A], nullable: true },
      { anyOf: [{ allOf: [{ $ref: '#/components/schemas/svc_A' }, A] }, { type: 'null' }] },
    ],
    [{ anyOf: [A, { type: 'string' }], nullable: true }, { anyOf: [A, { type: 'string' }, { type: 'null' }] }],
    [{ oneOf: [A, { type: 'null' }], nullable: true }, { oneOf: [A, { type: 'null' }] }],
    [{ oneOf: [{ nullable: true }, A] }, { oneOf: [{ type: 'null' }, A] }],
    [{ oneOf: [{ nullable: true }, A], nullable: true }, { oneOf: [{ type: 'null' }, A] }],
    [
      { properties: { nullable: { type: 'boolean', nullable: true } } },
      { properties: { nullable: { type: ['boolean', 'null'] } } },
    ],
  ]
  for (const openapi of ['3.0.3', '3.1.0']) {
    for (const [before, after] of rows) {
      assert.deepEqual(throughSchema(before, { A }, openapi).schema, after, `${openapi} ${JSON.stringify(before)}`)
    }
  }
  assert.deepEqual(
    throughSchema({ properties: { a: { items: { allOf: [{ type: 'string', nullable: true }] } } } }).schema.properties.a
      .items.allOf[0],
    { type: ['string', 'null'] },
  )
})

test('case 11: boolean exclusive bounds become numbers, numeric ones stay', () => {
  const rows: readonly (readonly [object, object])[] = [
    [{ minimum: 1, exclusiveMinimum: true }, { exclusiveMinimum: 1 }],
    [{ maximum: 9, exclusiveMaximum: true }, { exclusiveMaximum: 9 }],
    [{ minimum: 1, exclusiveMinimum: false }, { minimum: 1 }],
    [{ exclusiveMinimum: true }, {}],
    [{ exclusiveMinimum: 0 }, { exclusiveMinimum: 0 }],
    [
      { minimum: 0, exclusiveMinimum: 5 },
      { minimum: 0, exclusiveMinimum: 5 },
    ],
  ]
  for (const openapi of ['3.0.2', '3.1.0']) {
    for (const [before, after] of rows) assert.deepEqual(throughSchema(before, {}, openapi).schema, after)
  }
})

test('case 12: an example of a schema becomes a list; examples of parameters and bodies stay; data stays data', () => {
  const data = { nullable: true, $ref: '#/components/schemas/Nobody', example: 1, exclusiveMinimum: true }
  const { schema } = throughSchema(
    { type: 'object', example: data, default: data, properties: { example: { type: 'string', example: 'x' } } },
    {},
    '3.0.3',
  )
  assert.deepEqual(schema, {
    type: 'object',
    default: data,
    properties: { example: { type: 'string', examples: ['x'] } },
    examples: [data],
  })
  const { document } = publishOne({
    openapi: '3.0.3',
    info: { title: 't', version: '1' },
    paths: {
      '/x': {
        post: {
          parameters: [{ name: 'q', in: 'query', schema: { type: 'string' }, example: 'a' }],
          requestBody: { content: { 'application/json': { schema: { enum: [data] }, example: data } } },
          responses: {
            200: {
              description: 'ok',
              headers: { A: { schema: {}, example: 'h' } },
              content: { 'text/plain': { examples: { one: { value: data } } } },
            },
          },
        },
      },
    },
  })
  const { parameters, requestBody, responses } = document.paths['/svc/x'].post
  assert.deepEqual(parameters, [{ name: 'q', in: 'query', schema: { type: 'string' }, example: 'a' }])
  assert.deepEqual(requestBody.content['application/json'], { schema: { enum: [data] }, example: data })
  assert.equal(responses['200'].headers.A.example, 'h')
  assert.deepEqual(responses['200'].content['text/plain'].examples.one.value, data)
})

test('case 13: binary and base64 formats become content keywords', () => {
  const rows: readonly (readonly [object, object])[] = [
    [{ type: 'string', format: 'binary' }, { contentMediaType: 'application/octet-stream' }],
    [
      { type: 'string', format: 'byte' },
      { type: 'string', contentEncoding: 'base64' },
    ],
    [
      { type: 'string', format: 'base64' },
      { type: 'string', contentEncoding: 'base64' },
    ],
    [{ type: 'file' }, { contentMediaType: 'application/octet-stream' }],
    [
      { type: 'integer', format: 'binary' },
      { type: 'integer', format: 'binary' },
    ],
    [
      { properties: { format: { type: 'string' }, binary: { type: 'string', format: 'date' } } },
      { properties: { format: { type: 'string' }, binary: { type: 'string', format: 'date' } } },
    ],
  ]
  for (const [before, after] of rows) assert.deepEqual(throughSchema(before, {}, '3.0.3').schema, after)
})

test('case 14: beside a reference, 3.0 keeps words but no constraints, 3.1 keeps all', () => {
  const A = { type: 'string' }
  const before = {
    $ref: '#/components/schemas/A',
    description: 'd',
    deprecated: true,
    maxLength: 3,
    type: 'integer',
    'x-k': 1,
  }
  const $ref = '#/components/schemas/svc_A'
  assert.deepEqual(throughSchema(before, { A }, '3.0.3').schema, { $ref, description: 'd', deprecated: true, 'x-k': 1 })
  assert.deepEqual(throughSchema(before, { A }, '3.1.0').schema, { ...before, $ref })
  const document = {
    openapi: '3.1.0',
    info: { title: 't', version: '1' },
    paths: {
      '/x': {
        $ref: '#/components/pathItems/P',
        summary: 'mine',
        get: { summary: 'mine', responses: ok },
      },
    },
    components: {
      responses: { R: { description: 'r' } },
      pathItems: {
        P: {
          summary: 'theirs',
          description: 'theirs',
          get: { summary: 'theirs', responses: ok },
          put: { responses: { 200: { $ref: '#/components/responses/R', description: 'allowed', headers: { A: {} } } } },
        },
      },
    },
  }
  const item = publishOne(document).document.paths['/svc/x']
  assert.equal(item.summary, 'mine')
  assert.equal(item.description, 'theirs')
  assert.equal(item.get.summary, 'mine', 'what stands beside the reference of a path item wins')
  assert.deepEqual(item.put.responses['200'], { $ref: '#/components/responses/svc_R', description: 'allowed' })
})

test('case 15: x-webhooks become webhooks', () => {
  const hook = { post: { operationId: 'hook', responses: ok } }
  const { document } = publishOne({
    openapi: '3.0.3',
    info: { title: 't', version: '1' },
    paths: {},
    'x-webhooks': { ping: hook },
  })
  assert.equal(document.webhooks.svc_ping.post.operationId, 'svc_hook')
})

test('case 16: what 3.2 added is said in the words of 3.1 or left out with a warning', () => {
  const { document, codes } = publishOne({
    openapi: '3.2.0',
    $self: 'https://example.com/api.yaml',
    info: { title: 't', version: '1' },
    servers: [{ url: '/', name: 'main' }],
    tags: [
      { name: 'all', summary: 'Everything', kind: 'nav' },
      { name: 'some', parent: 'all' },
    ],
    paths: {
      '/x': {
        query: { responses: ok },
        additionalOperations: { COPY: { responses: ok } },
        get: {
          tags: ['some'],
          parameters: [
            { name: 'q', in: 'querystring', content: { 'application/x-www-form-urlencoded': {} } },
            { $ref: 'https://example.com/api.yaml#/components/parameters/P' },
          ],
          responses: {
            200: {
              summary: 'short',
              content: {
                'application/jsonl': { itemSchema: { $ref: '#/components/schemas/Line' } },
                'application/json': { $ref: '#/components/mediaTypes/Json' },
                'multipart/mixed': {
                  schema: { type: 'array' },
                  prefixEncoding: [{ contentType: 'a/b' }],
                  itemEncoding: { contentType: 'c/d' },
                },
              },
            },
          },
        },
      },
    },
    components: {
      parameters: { P: { name: 'p', in: 'query', schema: {} } },
      mediaTypes: {
        Json: {
          schema: { $ref: '#/components/schemas/Pet' },
          examples: { a: { dataValue: { n: 1 } }, b: { serializedValue: '{}' } },
        },
      },
      schemas: {
        Line: { type: 'object', xml: { nodeType: 'attribute' } },
        Pet: {
          oneOf: [{ $ref: '#/components/schemas/Line' }],
          discriminator: { propertyName: 'k', mapping: { l: 'Line' }, defaultMapping: 'Line' },
        },
      },
      securitySchemes: {
        o: {
          type: 'oauth2',
          oauth2MetadataUrl: 'https://x.test',
          flows: { deviceAuthorization: { tokenUrl: 't', deviceAuthorizationUrl: 'd', scopes: {} } },
        },
      },
    },
  })
  const item = document.paths['/svc/x']
  assert.deepEqual(Object.keys(item), ['get'])
  assert.equal(codes.filter((code) => code === 'method-not-described').length, 2)
  assert.ok(codes.includes('querystring-parameter'))
  assert.deepEqual(item.get.parameters, [{ $ref: '#/components/parameters/svc_P' }])
  const answer = item.get.responses['200']
  assert.equal(answer.description, '')
  assert.equal(answer['x-summary'], 'short')
  assert.deepEqual(answer.content['application/jsonl'].schema, {
    type: 'array',
    items: { $ref: '#/components/schemas/svc_Line' },
  })
  assert.deepEqual(answer.content['application/json'].schema, { $ref: '#/components/schemas/svc_Pet' })
  assert.deepEqual(answer.content['application/json'].examples, {
    a: { value: { n: 1 } },
    b: { 'x-serialized-value': '{}' },
  })
  assert.deepEqual(answer.content['multipart/mixed']['x-item-encoding'], { contentType: 'c/d' })
  const { svc_Line: line, svc_Pet: pet } = document.components.schemas
  assert.deepEqual(line.xml, { attribute: true })
  assert.equal(pet.discriminator['x-default-mapping'], '#/components/schemas/svc_Line')
  const tags = new Map(document.tags.map((tag: Loose) => [tag.name, tag])) as Map<string, Loose>
  assert.deepEqual(tags.get('svc:all'), { name: 'svc:all', 'x-displayName': 'Everything', 'x-kind': 'nav' })
  assert.equal(tags.get('svc:some')['x-parent'], 'svc:all')
  assert.ok(!textOf(document).includes('deviceAuthorization') && !textOf(document).includes('$self'))
})

test('case 17: small mistakes that have one right form are repaired, with a finding', () => {
  const { document, codes } = publishOne({
    openapi: '3.0.3',
    info: { title: 't', version: 2 },
    paths: {
      '/x/{id}': {
        get: {
          deprecated: 'true',
          parameters: [
            { name: 'id', in: 'path', schema: { type: 'string' } },
            { name: 'f', in: 'query' },
            { name: 'g', in: 'query', style: 'nonsense', schema: {}, example: 1, examples: { a: { value: 2 } } },
            { name: 'nowhere', schema: {} },
          ],
          responses: { '4xx': { description: 'no' }, 200: {}, oops: { description: 'what' }, 404: null },
        },
        put: { responses: {}, unknown: 1, 'x-known': 1 },
      },
    },
    info2: {},
  })
  const { get, put } = document.paths['/svc/x/{id}']
  assert.equal(get.deprecated, true)
  assert.deepEqual(get.parameters, [
    { name: 'id', in: 'path', schema: { type: 'string' }, required: true },
    { name: 'f', in: 'query', schema: {} },
    { name: 'g', in: 'query', schema: {}, examples: { example: { value: 1 }, a: { value: 2 } } },
  ])
  assert.deepEqual(Object.keys(get.responses), ['200', '401', '403', '502', '504', '4XX'])
  assert.equal(get.responses['200'].description, '')
  assert.deepEqual(Object.keys(put.responses), ['401', '403', '502', '504'])
  assert.equal(put['x-known'], 1)
  assert.equal(put.unknown, undefined)
  assert.deepEqual(document['x-sallyport-services'].svc.version, '2')
  for (const code of [
    'wrong-type',
    'path-parameter-required',
    'unusable-parameter',
    'unknown-style',
    'response-range',
    'response-code',
    'response-without-description',
    'unknown-field',
  ]) {
    assert.ok(codes.includes(code), code)
  }
})

test('case 17: habits of Swagger 2.0 in a later document are understood', () => {
  const { document, codes } = publishOne({
    openapi: '3.0.3',
    info: { title: 't', version: '1' },
    paths: {
      '/x': {
        post: {
          parameters: [
            { name: 'q', in: 'query', type: 'array', items: { $ref: '#/components/schemas/A' }, examples: ['a', 'b'] },
            {
              name: 'b',
              in: 'body',
              required: true,
              description: 'the body',
              schema: { $ref: '#/components/schemas/A' },
            },
          ],
          responses: {
            200: {
              description: 'ok',
              schema: { $ref: '#/components/schemas/A' },
              headers: { 'X-Rate': { type: 'integer', description: 'left' } },
            },
            201: {
              description: 'made',
              content: {
                'application/json': { examples: { bare: { id: 1 }, text: 'x', right: { summary: 's', value: 2 } } },
              },
            },
          },
        },
      },
    },
    components: { schemas: { A: { type: 'string', nullable: true } } },
  })
  const { parameters, requestBody, responses } = document.paths['/svc/x'].post
  const schema = { $ref: '#/components/schemas/svc_A' }
  assert.deepEqual(parameters, [
    {
      name: 'q',
      in: 'query',
      schema: { type: 'array', items: schema },
      examples: { 0: { value: 'a' }, 1: { value: 'b' } },
    },
  ])
  assert.deepEqual(requestBody, {
    description: 'the body',
    required: true,
    content: { 'application/json': { schema } },
  })
  assert.deepEqual(responses['200'].content, { 'application/json': { schema } })
  assert.deepEqual(responses['200'].headers, { 'X-Rate': { description: 'left', schema: { type: 'integer' } } })
  assert.deepEqual(responses['201'].content['application/json'].examples, {
    bare: { value: { id: 1 } },
    text: { value: 'x' },
    right: { summary: 's', value: 2 },
  })
  assert.deepEqual(document.components.schemas.svc_A, { type: ['string', 'null'] })
  assert.deepEqual(new Set(codes), new Set(['old-habit']))
})

test('case 6: the places of a Swagger 2.0 document are named in its own words', () => {
  const { findings } = publishOne(
    swagger(
      { '/x': { get: { responses: { 200: { description: 'ok', schema: { $ref: '#/definitions/A' } } } } } },
      { definitions: { A: { properties: { b: { $ref: '#/definitions/Gone' } } } } },
    ),
  )
  assert.deepEqual(
    findings.map(({ pointer }) => pointer),
    ['/definitions/A/properties/b'],
  )
})
