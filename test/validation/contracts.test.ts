import assert from 'node:assert/strict'
import { describe, test } from 'node:test'
import { dereferenced } from '../../src/openapi/arrange.ts'
import { contractOf } from '../../src/openapi/contract.ts'
import { digest } from '../../src/openapi/digest.ts'
import { createValidator, type Validator } from '../../src/validation/validator.ts'
import { corpus } from '../openapi/corpus.ts'
import { type Loose, service } from '../openapi/service.ts'
import { skipWithoutShared } from '../vectors.ts'

const nothingCovered = () => false

function contract(operation: Loose, components: Loose = {}) {
  const document = {
    openapi: '3.1.0',
    info: { title: 'x', version: '1' },
    paths: { '/x': { post: { responses: {}, ...operation } } },
    components,
  }
  return contractOf(digest(service(document, { name: 'svc' })), 0)
}

function ofBody(schema: unknown, schemas: Loose = {}): (value: unknown) => readonly string[] {
  const made = contract({ requestBody: { content: { 'application/json': { schema } } } }, { schemas })
  assert.deepEqual(made.unchecked, [])
  return complaintsOf(createValidator(made, nothingCovered))
}

function complaintsOf({ content }: Validator): (value: unknown) => readonly string[] {
  const media = content!.accepts('application/json')!
  return (value) => media.check(Buffer.from(JSON.stringify(value))).map(({ pointer, detail }) => `${pointer} ${detail}`)
}

describe('checks made from documents', () => {
  test('tell two patterns of one schema apart', () => {
    const check = ofBody({ properties: { a: { pattern: '^a+$' }, b: { pattern: '^b+$' } } })
    assert.deepEqual(check({ a: 'aa', b: 'bb' }), [])
    assert.deepEqual(
      check({ a: 'bb', b: 'aa' }).map((line) => line.split(' ')[0]),
      ['/a', '/b'],
    )
  })

  test('take a pattern that would run for minutes in no time', () => {
    const check = ofBody({ type: 'string', pattern: '^(a+)+$' })
    assert.equal(check(`${'a'.repeat(20_000)}b`).length, 1)
  })

  test('do not go every way through a schema that branches into itself', () => {
    const branch = (op: string) => ({
      type: 'object',
      properties: { op: { const: op }, left: { $ref: '#/components/schemas/Filter' } },
      required: ['op', 'left'],
    })
    const schemas = { Filter: { oneOf: [branch('and'), branch('or'), { type: 'integer' }] } }
    const check = ofBody({ $ref: '#/components/schemas/Filter' }, schemas)
    let body: unknown = 1
    for (let depth = 0; depth < 6; depth += 1) body = { op: 'and', left: body }
    assert.deepEqual(check(body), [])
    // Sixty levels are 2^60 ways.
    for (let depth = 0; depth < 54; depth += 1) body = { op: 'and', left: body }
    assert.deepEqual(check(body), [' can be read in too many ways to be checked'])
    assert.deepEqual(check({ op: 'and', left: 1 }), [], 'the next body has steps of its own')
  })

  test('compare what stands twice within the same steps', () => {
    const next = { $ref: '#/components/schemas/Chain' }
    const Chain = { anyOf: [{ properties: { next } }, { properties: { next }, uniqueItems: true }] }
    const check = ofBody(next, { Chain })
    let body: unknown = Array.from({ length: 20_000 }, (_none, index) => index)
    for (let depth = 0; depth < 60; depth += 1) body = { next: body }
    assert.deepEqual(check(body), [' can be read in too many ways to be checked'])
  })

  test('say of a hundred thousand mistakes what somebody reads', () => {
    const check = ofBody({ items: { anyOf: [{ type: 'object' }, { type: 'array' }, { enum: ['a', 'b'] }] } })
    assert.equal(check(Array(60_000).fill(1)).length, 1_000)
  })

  test('take an address that is a long row of "@" in no time', () => {
    const check = ofBody({ type: 'string', format: 'url' })
    assert.equal(check(`${'http://user@'.repeat(20_000)} `).length, 1)
    assert.equal(check('https://example.com/a?b=c').length, 0)
  })

  test('answer at once also where a schema says $async', () => {
    const check = ofBody({ $async: true, type: 'object', required: ['a'] })
    assert.deepEqual(check({}), [' must have the member "a"'])
  })

  test('have no text of a document where code is', () => {
    const code = '*/globalThis.broken=1;/*'
    const schema = { $comment: code, title: code, format: `"];${code}`, required: [code], enum: [code, {}] }
    const document = {
      openapi: '3.1.0',
      info: { title: 'x', version: '1' },
      paths: { '/x': { post: { responses: {}, requestBody: { content: { 'application/json': { schema } } } } } },
    }
    const made = digest(service(document, { name: 'svc' }))
    // As if what takes names off had missed one.
    const item = Object.values(made.document.paths)[0] as Loose
    item.post.requestBody.content['application/json'].schema.$id = code
    createValidator(contractOf(made, 0), nothingCovered).content!.accepts('application/json')!.check(Buffer.from('{}'))
    assert.equal(Reflect.get(globalThis, 'broken'), undefined)
  })

  test('match like JavaScript, by whichever engine', () => {
    for (const [pattern, fitting, other] of [
      ['^[a-z]{2}-\\d+$', 'ab-17', 'ab-x'],
      ['^[\\]x-]+$', ']-x', 'y'],
      ['^ord_[^\\s]{3}$', 'ord_a.b', 'ord_a b'],
      ['^a$', 'a', 'a\n'],
      ['\\u00e9+$', 'caf\u00e9', 'cafe'],
      ['^(?:ab|c)*$', 'abcab', 'aba'],
      ['^\\p{Lu}\\w*$', '\u00c9t', 'et'],
    ] as const) {
      const check = ofBody({ type: 'string', pattern })
      assert.deepEqual([check(fitting).length, check(other).length], [0, 1], pattern)
    }
  })

  test('name what they cannot say, and check the rest', () => {
    const made = contract({
      requestBody: {
        content: { 'application/json': { schema: { type: 'string', minLength: 3, pattern: '^(?=.*x).*$' } } },
      },
    })
    assert.match(made.unchecked.join(), /pattern/)
    const check = complaintsOf(createValidator(made, nothingCovered))
    assert.deepEqual([check('abc').length, check('ab').length], [0, 1])
  })

  test('follow references that go round in a circle', () => {
    const check = ofBody(
      { $ref: '#/components/schemas/Node' },
      {
        Node: {
          type: 'object',
          required: ['name'],
          properties: { name: { type: 'string' }, next: { $ref: '#/components/schemas/Node' } },
        },
      },
    )
    assert.deepEqual(check({ name: 'a', next: { name: 'b' } }), [])
    assert.deepEqual(check({ name: 'a', next: { next: {} } }), [
      '/next must have the member "name"',
      '/next/next must have the member "name"',
    ])
  })

  test('take names of the prototype for ordinary ones', () => {
    const check = ofBody({ type: 'object', required: ['toString'], properties: { constructor: { type: 'string' } } })
    assert.deepEqual(check({}), [' must have the member "toString"'])
    assert.deepEqual(check({ toString: 1, constructor: 1 }), ['/constructor must be string'])
  })

  test('know that equal items are equal in any order of their members', () => {
    const check = ofBody({ uniqueItems: true })
    assert.equal(
      check([
        { a: 1, b: [2] },
        { b: [2], a: 1 },
      ]).length,
      1,
    )
    assert.equal(check([1, '1', true, null, 'true']).length, 0)
  })

  test('turn texts into what the schema says, also where one of several fits', () => {
    const parameters = [
      { name: 'n', in: 'query', schema: { oneOf: [{ type: 'integer' }, { type: 'string', maxLength: 3 }] } },
      { name: 'b', in: 'query', schema: { type: 'boolean' } },
      { name: 'e', in: 'query', schema: { enum: [1, 2] } },
      { name: 's', in: 'query', schema: { $ref: '#/components/schemas/Size' } },
    ]
    const made = contract({ parameters }, { schemas: { Size: { type: ['number', 'null'], exclusiveMinimum: 0 } } })
    const validator = createValidator(made, nothingCovered)
    const check = (query: string) =>
      validator.parameters({ query, fields: { raw: [], get: () => undefined, all: () => [] } }, new Map())
    assert.deepEqual(check('n=5&b=true&e=2&s=0.5'), [])
    assert.deepEqual(check('n=abc'), [])
    assert.deepEqual(
      check('n=abcd&b=1&e=3&s=-1').map(({ name }) => name),
      ['n', 'n', 'n', 'b', 'e', 's'],
    )
  })
})

/** Written into these documents by hand, and wrong there. */
const wrongExamples: ReadonlySet<string> = new Set([
  's30-kong-admin-oss-3.9.yaml',
  's30-nestjs-e2e.json',
  's30-xero-files.yaml',
])

describe('checks made from the corpus', { skip: skipWithoutShared }, () => {
  for (const { file, name, document } of corpus()) {
    test(`${file}: every check can be loaded, and the document's own examples fit`, () => {
      const made = digest(service(document, { name }))
      // As many as keep a large document from taking minutes.
      const step = Math.max(1, Math.ceil(made.operations.length / 6))
      for (let index = 0; index < made.operations.length; index += step) {
        const { content } = createValidator(contractOf(made, index), nothingCovered)
        if (wrongExamples.has(file)) continue
        const { published, method } = made.operations[index]!
        const { requestBody } = (made.document.paths as Loose)[published][method.toLowerCase()]
        const body: Loose = dereferenced(requestBody, made.document.components) ?? {}
        for (const [range, media] of Object.entries<Loose>(body.content ?? {})) {
          const examples = Object.values((media.examples ?? {}) as Loose).map(
            (entry) => (dereferenced(entry, made.document.components) as Loose).value,
          )
          for (const example of [media.example, ...examples]) {
            if (example === undefined) continue
            const mistakes = content!.accepts(range)!.check(Buffer.from(JSON.stringify(example)))
            assert.deepEqual(mistakes, [], `${method} ${published}`)
          }
        }
      }
    })
  }
})
