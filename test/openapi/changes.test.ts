import assert from 'node:assert/strict'
import { describe, test } from 'node:test'
import { changesBetween, type Shape } from '../../src/openapi/changes.ts'
import { digest } from '../../src/openapi/digest.ts'
import { skipWithoutShared } from '../vectors.ts'
import { corpus } from './corpus.ts'
import { api, type Loose, service } from './service.ts'

const shapeOf = (document: object): Shape => digest(service(document)).document

const pet = {
  type: 'object',
  required: ['name', 'kind'],
  properties: {
    id: { type: 'integer', readOnly: true },
    name: { type: 'string', maxLength: 40 },
    kind: { enum: ['cat', 'dog'] },
    age: { type: ['integer', 'null'] },
    owner: { $ref: '#/components/schemas/Owner' },
  },
}
const owner = { type: 'object', properties: { pets: { type: 'array', items: { $ref: '#/components/schemas/Pet' } } } }
const json = (schema: object) => ({ 'application/json': { schema } })
const pets = () =>
  structuredClone(
    api(
      {
        '/pets': {
          get: {
            parameters: [{ name: 'limit', in: 'query', schema: { type: 'integer', maximum: 100 } }],
            responses: {
              200: { description: 'ok', content: json({ type: 'array', items: { $ref: '#/components/schemas/Pet' } }) },
              404: { description: 'none' },
            },
          },
          post: {
            requestBody: { content: json({ $ref: '#/components/schemas/Pet' }) },
            responses: { 201: { description: 'made' }, 202: { description: 'later' } },
          },
        },
        '/pets/{id}': { delete: { responses: { 204: { description: 'gone' } } } },
      },
      { components: { schemas: { Pet: pet, Owner: owner } } },
    ),
  ) as Loose

/** What is reported when the document is changed so. */
function after(change: (document: Loose) => void): readonly string[] {
  const changed = pets()
  change(changed)
  return changesBetween(shapeOf(pets()), shapeOf(changed)).map(
    ({ kind, operation, detail }) => `${kind} ${operation}: ${detail}`,
  )
}
const schemaOf = (document: Loose, name = 'Pet') => document.components.schemas[name]

describe('what broke between two documents of a service', () => {
  test('nothing, when nothing changed, or only grew', () => {
    assert.deepEqual(
      after(() => {}),
      [],
    )
    const grown = after((document) => {
      document.paths['/pets'].put = { responses: { 200: { description: 'ok' } } }
      document.paths['/pets'].get.parameters.push({ name: 'sort', in: 'query', schema: { type: 'string' } })
      document.paths['/pets'].get.parameters[0].schema.maximum = 1_000
      document.paths['/pets/{number}'] = document.paths['/pets/{id}']
      delete document.paths['/pets/{id}']
      schemaOf(document).properties.colour = { type: 'string' }
      document.paths['/pets'].get.responses[418] = { description: 'a teapot' }
    })
    assert.deepEqual(grown, [])
  })

  test('an operation that vanished', () => {
    assert.deepEqual(
      after(({ paths }) => delete paths['/pets/{id}']),
      ['vanished DELETE /svc/pets/{id}: the operation is not in the document any more'],
    )
  })

  const broken: readonly [string, (document: Loose) => void, readonly RegExp[]][] = [
    [
      'a parameter that is required now',
      ({ paths }) => {
        paths['/pets'].get.parameters[0].required = true
      },
      [/GET .*the query parameter "limit" is required now/],
    ],
    [
      'a new parameter that is required',
      ({ paths }) => paths['/pets'].get.parameters.push({ name: 'X-Shop', in: 'header', required: true, schema: {} }),
      [/the header parameter "X-Shop" is required now/],
    ],
    [
      'a parameter of another type',
      ({ paths }) => {
        paths['/pets'].get.parameters[0].schema = { type: 'boolean' }
      },
      [/takes boolean, where it took integer/],
    ],
    [
      'a smaller bound',
      ({ paths }) => {
        paths['/pets'].get.parameters[0].schema.maximum = 10
      },
      [/must have maximum 10 now/],
    ],
    [
      'a body that is required now',
      ({ paths }) => {
        paths['/pets'].post.requestBody.required = true
      },
      [/POST .*a request body is required now/],
    ],
    [
      'a media type that is not taken any more',
      ({ paths }) => {
        paths['/pets'].post.requestBody.content = { 'text/plain': {} }
      },
      [/the request has the media type application\/json no more/],
    ],
    [
      'an answer that is gone',
      ({ paths }) => delete paths['/pets'].post.responses[202],
      [/the answer 202 is not described any more/],
    ],
    [
      'a property that must be sent now',
      (document) => schemaOf(document).required.push('age'),
      [/POST .*must have "age" now/],
    ],
    [
      'a property that may be missing from answers',
      (document) => {
        schemaOf(document).required = ['kind']
      },
      [/GET .*each may lack "name"/],
    ],
    [
      'a property that is gone from answers',
      (document) => delete schemaOf(document).properties.age,
      [/GET .*has no "age" any more/],
    ],
    [
      'a property that may be null, in answers',
      (document) => {
        schemaOf(document).properties.id.type = ['integer', 'null']
      },
      [/GET .*› id may be null, where it was integer/],
    ],
    [
      'null that is not taken any more, in requests',
      (document) => {
        schemaOf(document).properties.age.type = 'integer'
      },
      [/POST .*› age takes integer, where it took null/],
    ],
    [
      'a value that is not taken any more',
      (document) => {
        schemaOf(document).properties.kind.enum = ['cat']
      },
      [/POST .*› kind does not take "dog" any more/],
    ],
    [
      'a pattern',
      (document) => {
        schemaOf(document).properties.name.pattern = '^[A-Z]'
      },
      [/POST .*› name must match another pattern now/],
    ],
    [
      'what is deep inside a cycle',
      (document) => delete schemaOf(document, 'Owner').properties.pets,
      [/GET .*› owner has no "pets" any more/],
    ],
  ]
  for (const [name, change, expected] of broken) {
    test(name, () => {
      const found = after(change)
      assert.equal(found.length, expected.length, found.join('\n'))
      for (const [index, line] of found.entries()) assert.match(line, expected[index]!)
    })
  }

  test('no document of the corpus differs from itself, and each is missed when it is gone', {
    skip: skipWithoutShared,
  }, () => {
    for (const { document, name } of corpus()) {
      if (JSON.stringify(document).length > 1_000_000) continue
      const made = digest(service(document, { name }))
      assert.deepEqual(changesBetween(made.document, made.document), [], name)
      const gone = changesBetween(made.document, { paths: {}, components: {} })
      assert.equal(gone.length, Math.min(200, made.operations.length), name)
    }
  })
})
