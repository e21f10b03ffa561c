import assert from 'node:assert/strict'
import { describe, test } from 'node:test'
import { BaseResolver, createConfig, lintFromString } from '@redocly/openapi-core'
import { bundle } from '../../src/openapi/bundle.ts'
import { check } from '../../src/openapi/check.ts'
import { preparePart, publish } from '../../src/openapi/publish.ts'
import type { Part } from '../../src/openapi/secure.ts'
import { sharedPath, skipWithoutShared } from '../vectors.ts'
import { corpus } from './corpus.ts'
import { differences, methods, resolve } from './lossless.ts'
import { type Loose, service, settings } from './service.ts'

const documents = corpus()
const parts = new Map<string, Part>()

/** The gateway asks for a bearer token everywhere; prepared once, because the largest takes a second. */
function partOf({ name, document }: { name: string; document: Loose }): Part {
  const part = parts.get(name) ?? preparePart(service(document, { name }))
  parts.set(name, part)
  return part
}

const only = (part: Part): Loose => publish([part], settings).document

/** The path a client sends: prefix, path of the server, key. Written down here once more, for the sake of being sure. */
function expectedPath(name: string, document: Loose, item: Loose, operation: Loose, key: string): string {
  const [server] =
    [operation.servers, item.servers, document.servers].find((list) => Array.isArray(list) && list.length > 0) ?? []
  let base = document.basePath ?? ''
  if (server) {
    const url = server.url.replace(
      /\{(\w+)\}/g,
      (whole: string, variable: string) => server.variables?.[variable]?.default ?? whole,
    )
    base = /^\w+:\/\/[^/]*(\/.*)?$/.exec(url)?.[1] ?? (url.includes('://') ? '' : url)
  }
  base = base.replace(/\/+$/, '')
  const [, bare, suffix] = /^([^?#]*)(.*)$/s.exec(key)!
  const joined = `/${name}/${base}/${bare}`.replace(/\/{2,}/g, '/')
  const slashed = base === '' && bare === '/' ? joined.slice(0, -1) : joined
  return `${encodeURI(slashed).replace(/%7B/g, '{').replace(/%7D/g, '}')}${suffix}`
}

const shape = (path: string) => path.replace(/\{[^{}/]*\}/g, '{}')

describe('the corpus, one by one', { skip: skipWithoutShared }, () => {
  for (const entry of documents) {
    test(`${entry.file} is published whole`, () => {
      const { name, document } = entry
      const part = partOf(entry)
      const published = only(part)
      assert.deepEqual(check(published), [])
      const byShape = new Map(Object.keys(published.paths).map((path) => [shape(path), path]))
      const lost: string[] = []
      let count = 0
      for (const [key, reference] of Object.entries((document.paths ?? {}) as Loose)) {
        const item = resolve(document, reference)
        if (key.startsWith('x-') || !item) continue
        for (const method of methods) {
          if (!item[method]) continue
          count += 1
          // One document has a program for a path, braces and all; there is nothing else it could be.
          const expected =
            count === part.operations.length && count === 1
              ? part.operations[0]!.published
              : expectedPath(name, document, item, item[method], key)
          const path = byShape.get(shape(expected))
          const after = path === undefined ? undefined : published.paths[path][method]
          if (!after) lost.push(`${method} ${key} is not there`)
          else
            lost.push(
              ...differences(document, published, { before: item[method], after, item, key, shown: path! }).map(
                (line) => `${method} ${key} ${line}`,
              ),
            )
        }
      }
      for (const [key, reference] of Object.entries({ ...document['x-webhooks'], ...document.webhooks } as Loose)) {
        const item = resolve(document, reference)
        const after = published.webhooks[`${name}_${key.replace(/[^\w.-]+/g, '_')}`]
        for (const method of methods) {
          if (item[method])
            lost.push(
              ...differences(document, published, {
                before: item[method],
                after: after[method],
                item,
                key: '',
                shown: '',
              }).map((line) => `webhook ${key} ${line}`),
            )
        }
      }
      assert.deepEqual(lost.slice(0, 20), [])
      assert.equal(part.operations.length, count)
    })
  }
})

describe('the corpus, all together', { skip: skipWithoutShared }, () => {
  test('the order in which services come changes no byte of 40 services', () => {
    const all = documents.map(partOf)
    const print = (order: readonly Part[]) => JSON.stringify(publish(order, settings).document)
    const first = print(all)
    assert.equal(print([...all].reverse()), first)
    const [one, ...rest] = all
    assert.equal(print([...rest, one!]), first)
    const whole = JSON.parse(first)
    assert.deepEqual(check(whole), [])
    assert.equal(whole['x-tagGroups'].length, all.length)
  })

  test('reading a document again gives the same bytes', () => {
    for (const entry of documents.filter(({ document }) => JSON.stringify(document).length < 300_000)) {
      assert.equal(
        JSON.stringify(only(preparePart(service(entry.document, { name: entry.name })))),
        JSON.stringify(only(partOf(entry))),
        entry.file,
      )
    }
  })
})

/** Nothing is fetched, whatever a document refers to. */
class Refuse extends BaseResolver {
  override async loadExternalRef(): Promise<never> {
    throw new Error('nothing is fetched here')
  }
}

test('what is published satisfies another tool, too: no structural error, no dangling reference', {
  skip: skipWithoutShared,
}, async () => {
  const rules = {
    struct: 'error',
    'no-unresolved-refs': 'error',
    'operation-operationId-unique': 'error',
    'security-defined': 'error',
    'path-parameters-defined': 'error',
    'no-identical-paths': 'error',
    'spec-components-invalid-map-name': 'error',
  } as const
  const config = await createConfig({ rules })
  for (const entry of documents) {
    const published = JSON.stringify(only(partOf(entry)))
    if (published.length > 2_000_000) continue
    const problems = await lintFromString({
      source: published,
      absoluteRef: '/published.json',
      config,
      externalRefResolver: new Refuse(),
    })
    const told = problems.map(({ ruleId, message, location }) => `${ruleId} ${message} ${location[0]?.pointer}`)
    assert.deepEqual(told.slice(0, 10), [], entry.file)
  }
})

test('documents split over files are put together within their folder', { skip: skipWithoutShared }, async () => {
  const folder = sharedPath('corpus', 'multi-petstore-separate')
  const outside = await bundle(sharedPath('corpus', 'multi-petstore-separate', 'spec', 'swagger.yaml'))
  assert.ok(
    outside.outcome === 'unreadable' && /files outside of the folder are not read/.test(outside.mistake.message),
  )
  const pets = await bundle(sharedPath('corpus', 'multi-petstore-separate', 'spec', 'swagger.yaml'), folder)
  assert.equal(pets.outcome, 'read')
  assert.deepEqual(
    pets.files.map((file) => file.slice(folder.length)),
    ['/common/Error.yaml', '/spec/NewPet.yaml', '/spec/Pet.yaml', '/spec/parameters.yaml'],
  )
  const petDocument = only(preparePart(service(pets.document)))
  assert.deepEqual(Object.keys(petDocument.paths), ['/svc/api/pets', '/svc/api/pets/{id}'])
  assert.deepEqual(Object.keys(petDocument.components.schemas).sort(), [
    'Problem',
    'svc_Error',
    'svc_NewPet',
    'svc_Pet',
  ])

  const cafe = await bundle(sharedPath('corpus', 'multi-redocly-starter', 'openapi.yaml'))
  assert.equal(cafe.outcome, 'read')
  const part = preparePart(service(cafe.document))
  assert.equal(part.operations.length, 12)
  assert.deepEqual(
    part.findings.filter(({ code }) => code.endsWith('reference')),
    [],
  )
  assert.deepEqual(Object.keys(only(part).webhooks), ['svc_order-notification'])
})
