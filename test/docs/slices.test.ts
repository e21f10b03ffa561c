import assert from 'node:assert/strict'
import { join } from 'node:path'
import { describe, test } from 'node:test'
import { corpus } from '../openapi/corpus.ts'
import { methods } from '../openapi/lossless.ts'
import { api, at, type Loose, ok, publishAll, service } from '../openapi/service.ts'
import { skipWithoutShared } from '../vectors.ts'

// A file of the page, so it has no types.
const page = join(import.meta.dirname, '../../src/docs/page/slices.js')
const { createSlicer } = (await import(page)) as {
  createSlicer: (
    document: object,
    lighten?: (section: string, entry: Loose) => unknown,
  ) => (place: readonly string[], options?: { readonly whole: boolean }) => Loose
}

describe('a slice of a document', () => {
  const see = (name: string) => ({ $ref: `#/components/schemas/${name}` })
  const answer = (schema: object) => ({ 200: { description: 'ok', content: { 'application/json': { schema } } } })
  const get = (schema: object, rest: object = {}) => ({ get: { responses: answer(schema), ...rest } })

  test('has what its place reaches, in the order of the document, and nothing else', () => {
    const slice = createSlicer(
      api(
        { '/b': get(see('Late')), '/a': get(see('Early')) },
        { components: { schemas: { Early: see('Mid'), Unused: {}, Mid: { items: see('Late') }, Late: true } } },
      ),
    )
    assert.deepEqual(Object.keys(slice(['paths', '/a', 'get']).components.schemas), ['Early', 'Mid', 'Late'])
    assert.deepEqual(Object.keys(slice(['paths', '/a', 'get']).paths), ['/a'])
    assert.deepEqual(Object.keys(slice(['paths', '/b', 'get']).components.schemas), ['Late'])
    assert.deepEqual(Object.keys(slice(['components', 'schemas', 'Mid']).components.schemas), ['Mid', 'Late'])
    assert.deepEqual(Object.keys(slice(['components', 'schemas']).components.schemas), [
      'Early',
      'Unused',
      'Mid',
      'Late',
    ])
  })

  test('keeps what stands outside of paths, webhooks and components, but for tags and extensions', () => {
    const document = api({ '/a': get({}) }, { security: [{ bearer: [] }], servers: [{ url: '/' }] })
    const more = { ...document, tags: [{ name: 'a' }], 'x-more': { a: 1 } }
    assert.deepEqual(createSlicer(more)(['paths', '/a', 'get']), document)
    const pointing = { ...more, paths: { '/a': get({ $ref: '#/x-more/a' }) } }
    assert.equal(createSlicer(pointing)(['paths', '/a', 'get']), pointing)
  })

  test('follows pointers with escapes, into other operations, webhooks, and with the address of a document', () => {
    const slice = createSlicer(
      api(
        {
          '/a/{id}': get({ $ref: '#/paths/~1b~1%7Bid%7D/get/responses/200/content/application~1json/schema' }),
          '/b/{id}': get({ $ref: '#/components/schemas/tilde~0slash~1percent%25' }),
          '/c': get({ $ref: 'https://gateway.test/openapi.json#/components/schemas/Far' }),
          '/d': get({ discriminator: { propertyName: 'kind', mapping: { far: '#/components/schemas/Far' } } }),
          '/e': get({ $ref: '#/webhooks/sent/post' }),
        },
        {
          webhooks: { sent: { post: { responses: ok } }, other: { post: { responses: ok } } },
          components: { schemas: { 'tilde~slash/percent%': {}, Far: {}, Unused: {} } },
        },
      ),
    )
    const names = (place: string) => {
      const { paths, webhooks, components } = slice(['paths', place, 'get'])
      return [paths, webhooks, components.schemas].flatMap((entries) => Object.keys(entries))
    }
    assert.deepEqual(names('/a/{id}'), ['/a/{id}', '/b/{id}', 'tilde~slash/percent%'])
    assert.deepEqual(names('/c'), ['/c', 'Far'])
    assert.deepEqual(names('/d'), ['/d', 'Far'])
    assert.deepEqual(names('/e'), ['/e', 'sent'])
  })

  test('has every schema with an identifier as soon as one is referred to by identifier', () => {
    const slice = createSlicer(
      api(
        { '/a': get({ $ref: '#node' }), '/b': get(see('Plain')), '/c': get(see('Identified')) },
        {
          components: {
            schemas: {
              Plain: {},
              Anchored: { $anchor: 'node' },
              Deep: { items: { $dynamicAnchor: 'x' } },
              Identified: { $id: 'i' },
            },
          },
        },
      ),
    )
    const names = (path: string) => Object.keys(slice(['paths', path, 'get']).components.schemas)
    assert.deepEqual(names('/a'), ['Anchored', 'Deep', 'Identified'])
    assert.deepEqual(names('/b'), ['Plain'])
    assert.deepEqual(names('/c'), ['Anchored', 'Deep', 'Identified'])
  })

  test('has the operations that a link names and those whose ids become the same, without what these refer to', () => {
    const linked = { responses: { 200: { description: 'ok', links: { next: { operationId: 'get-next' } } } } }
    const slice = createSlicer(
      api(
        {
          '/a': { get: { operationId: 'one', ...linked } },
          '/b': get(see('Big'), { operationId: 'get-next' }),
          '/c': get(see('Big'), { operationId: 'get_next' }),
          '/d': get(see('Big'), { operationId: 'other' }),
          '/e': { post: { callbacks: { done: { '{$url}': { post: { operationId: 'get next' } } } }, responses: ok } },
        },
        { components: { schemas: { Big: {} } } },
      ),
    )
    const { paths, components } = slice(['paths', '/a', 'get'])
    assert.deepEqual(Object.keys(paths), ['/a', '/b', '/c'])
    assert.deepEqual(components.schemas, {})
  })

  test('is the whole document where nothing can be left out', () => {
    for (const $ref of ['#', '#/paths', '#/components', '#/components/schemas', '#/components/schemas/%']) {
      const document = api({ '/a': get({ $ref }) }, { components: { schemas: { A: {} } } })
      assert.equal(createSlicer(document)(['paths', '/a', 'get']), document, $ref)
    }
    const document = api({ '/a': get({}) })
    for (const place of [[], ['paths', '/nothing', 'get'], ['info'], ['components', 'schemas', 'A']]) {
      assert.equal(createSlicer(document)(place), document, place.join())
    }
  })

  test('is lighter except for what is merged, pointed into, or found by its identifier', () => {
    const merged = { allOf: [see('Part'), { properties: { a: see('Far') } }] }
    const schemas = {
      Plain: { items: see('Far') },
      Part: {},
      Far: { properties: { a: true } },
      Merged: merged,
      Anchored: { $anchor: 'here' },
    }
    const document = api(
      {
        '/plain': get(see('Plain')),
        '/merged': get(see('Merged')),
        '/beside': get({ ...see('Merged'), properties: { a: see('Plain') } }),
        '/into': get({ $ref: '#/components/schemas/Far/properties/a' }),
        '/anchor': get({ $ref: '#here' }),
      },
      { components: { schemas } },
    )
    const lighten = (section: string, entry: Loose) => (section === 'schemas' ? { ...entry, light: true } : entry)
    const slice = createSlicer(document, lighten)
    const whole = (place: string, options?: { readonly whole: boolean }) =>
      Object.entries<Loose>(slice(['paths', place, 'get'], options).components.schemas)
        .filter(([, schema]) => !schema.light)
        .map(([name]) => name)
    assert.deepEqual(whole('/plain'), [])
    assert.deepEqual(whole('/merged'), ['Part', 'Far'])
    assert.deepEqual(whole('/beside'), ['Plain', 'Part', 'Far'])
    assert.deepEqual(whole('/into'), ['Far'])
    assert.deepEqual(whole('/anchor'), ['Anchored'])
    assert.deepEqual(whole('/plain', { whole: true }), ['Plain', 'Far'])
  })

  test('is not led astray by names that every object has', () => {
    const document = api(
      JSON.parse('{"/a":{"get":{"responses":{"default":{"$ref":"#/components/responses/__proto__"}}}}}'),
      {
        components: JSON.parse('{"responses":{"__proto__":{"description":"own"},"constructor":{}},"schemas":{}}'),
      },
    )
    const { components } = createSlicer(document)(['paths', '/a', 'get'])
    assert.deepEqual(Object.keys(components.responses), ['__proto__'])
    assert.equal(createSlicer(document)(['paths', 'toString', 'get']), document)
  })

  test('holds everything that can be reached from any operation of the corpus', { skip: skipWithoutShared }, () => {
    const { document } = publishAll(...corpus().map((one) => service(one.document, { name: one.name })))
    const slice = createSlicer(document)
    const operations = ['paths', 'webhooks'].flatMap((root) =>
      Object.entries<Loose>(document[root]).flatMap(([name, item]) =>
        methods.filter((method) => item[method]).map((method) => [root, name, method] as const),
      ),
    )
    assert.ok(operations.length > 3_000, `${operations.length} operations`)
    let largest = 0
    for (const place of operations.filter((_, index) => index % 40 === 0)) {
      const part = slice(place)
      largest = Math.max(largest, Object.keys(part.components.schemas).length)
      const [root, name, method] = place
      for (const reference of referencesFrom(document, document[root][name][method])) {
        assert.equal(find(part, reference), find(document, reference), `${place.join(' ')} ${reference}`)
      }
    }
    assert.ok(largest < 1_000, `one of them needs ${largest} schemas`)
  })
})

/** What a reference leads to; undefined for one in an example, which leads nowhere and need not. */
function find(document: Loose, reference: string): unknown {
  try {
    return at(document, reference)
  } catch {
    return undefined
  }
}

/** Every local reference that can be reached; not by the rules of the slicer but by following them. */
function referencesFrom(document: Loose, start: object): Set<string> {
  const references = new Set<string>()
  const pending: unknown[] = [start]
  while (pending.length > 0) {
    const node = pending.pop()
    if (typeof node !== 'object' || node === null) continue
    const reference = '$ref' in node ? node.$ref : undefined
    if (typeof reference === 'string' && reference.startsWith('#/') && !references.has(reference)) {
      references.add(reference)
      pending.push(find(document, reference))
    }
    pending.push(...Object.values(node))
  }
  return references
}
