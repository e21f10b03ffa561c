import assert from 'node:assert/strict'
import { test } from 'node:test'
import type { Finding } from '../../src/openapi/document.ts'
import { locateFindings } from '../../src/openapi/locate.ts'
import { createPressWork } from '../../src/openapi/press-work.ts'

const finding = (pointer: string): Finding => ({ service: 's', severity: 'info', code: 'c', message: 'm', pointer })
const placesIn = (text: string, ...pointers: string[]) =>
  locateFindings(pointers.map(finding), Buffer.from(text)).map(({ line, column }) => [line, column])

const json = `{
  "openapi": "3.1.0", "info": { "contact": { "name": "n" } }, "tags": [{ "name": "t" }, []],
  "paths": {
    "/a/{b}": {
      "get": { "tags": ["one", "two"] }
    }
  }
}`
const yaml = `# a document
openapi: 3.1.0
paths:
  /a/{b}:
    get:
      tags:
        - one
        - two
`
const pointers = [
  '/openapi',
  '/paths/~1a~1{b}/get',
  '/paths/~1a~1{b}/get/tags/1',
  '/paths/~1a~1{b}/put/nowhere',
  '/nowhere',
]

test('a finding says where it is in the text, or where the part of it is that is there', () => {
  assert.deepEqual(placesIn(json, ...pointers), [
    [2, 3],
    [5, 7],
    [5, 32],
    [4, 5],
    [undefined, undefined],
  ])
  assert.deepEqual(placesIn(yaml, ...pointers), [
    [2, 1],
    [5, 5],
    [8, 11],
    [4, 3],
    [undefined, undefined],
  ])
  assert.deepEqual(placesIn('', '/openapi'), [[undefined, undefined]])
})

test('what a document of a service is found to say wrongly is reported with line and column', async () => {
  const text =
    'openapi: 3.1.0\ninfo: { title: t, version: "1" }\npaths:\n  a//b:\n    get: { responses: { 200: { description: ok } } }\n'
  const work = createPressWork()
  const service = { name: 's', prefix: '/s', stripPath: true, origin: 's.yaml', targetBasePath: '', routes: [] }
  const answer = await work.read(1, { service, bytes: Buffer.from(text) })
  assert(answer.outcome === 'read')
  const [repaired] = answer.findings
  assert.deepEqual([repaired?.code, repaired?.line, repaired?.column], ['path-repaired', 5, 5])
})

test('places are found in YAML however it is written: quotes, anchors, blocks, lists in lists, carriage returns', () => {
  const text = `"a": &all { 'b': 1, c: [x, "y"] }\r
d:\r
  - - one\r
    - |\r
      text\r
  - *all\r
  - ? [not, a, name]\r
    : 1\r
    e~/f: { <<: *all }\r
a: { g: 1 }\r
`
  const places = placesIn(text, '/a', '/a/b', '/a/c/1', '/d/0/1', '/d/1', '/d/2/e~0~1f', '/d/2/e~0~1f/b', '/a/g')
  // The last one stands in the second of two members of one name, which no document that is read has.
  assert.deepEqual(places, [
    [1, 1],
    [1, 13],
    [1, 28],
    [4, 7],
    [6, 5],
    [9, 5],
    [9, 5],
    [1, 1],
  ])
})
