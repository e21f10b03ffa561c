import assert from 'node:assert/strict'
import { readFileSync } from 'node:fs'
import { test } from 'node:test'
import { parse as parseYaml } from 'yaml'
import { type Parsed, parse } from '../../src/openapi/parse.ts'
import { preparePart, publish } from '../../src/openapi/publish.ts'
import { recognise } from '../../src/openapi/version.ts'
import { sharedPath, skipWithoutShared } from '../vectors.ts'
import { api, deepFreeze, ok, publishAll, publishOne, service, settings } from './service.ts'

function reasonOf(parsed: Parsed): string {
  assert.equal(parsed.outcome, 'unreadable')
  return parsed.mistake.message
}

function documentOf(text: string | Uint8Array) {
  const parsed = parse(text)
  assert.equal(parsed.outcome, 'read', JSON.stringify(parsed))
  return parsed.document
}

test('case 1: refuses what is no OpenAPI document or of an unknown version, and forgives a missing patch number', () => {
  for (const text of ['[]', '"text"', '7', 'null', 'true']) assert.match(reasonOf(parse(text)), /not an object/)
  const refused = [
    { swagger: '1.2' },
    { swaggerVersion: '1.2' },
    { openapi: '4.0.0' },
    { openapi: '3.3.0' },
    { openapi: '9.9.9' },
    { openapi: 3 },
    { openapi: 3.1 },
    { openapi: '3' },
    { openapi: '' },
    { openapi: null },
    { asyncapi: '2.0.0' },
    {},
  ]
  for (const document of refused) {
    assert.equal(recognise(document).outcome, 'unknown', JSON.stringify(document))
    const { document: published, findings } = publishOne({ ...document, paths: { '/x': { get: {} } } })
    assert.deepEqual(published.paths, {}, 'nothing is passed through unread')
    assert.equal(findings[0]?.severity, 'error')
    assert.equal(findings[0]?.service, 'svc')
  }
  for (const openapi of ['3.0', '3.1', '3.2']) {
    const { document, codes } = publishOne({ ...api({ '/x': { get: { responses: ok } } }), openapi })
    assert.ok(document.paths['/svc/x'].get)
    assert.ok(codes.includes('version'))
  }
  for (const known of [
    { swagger: '2.0' },
    { swagger: 2 },
    { openapi: '3.0.4' },
    { openapi: '3.1.0-rc1' },
    { openapi: '3.2.0' },
  ]) {
    assert.equal(recognise(known).outcome, 'known', JSON.stringify(known))
  }
})

test('case 2: tells JSON from YAML by content, skips a byte order mark and takes UTF-8 only', () => {
  assert.deepEqual(documentOf('{"openapi":"3.1.0"}'), { openapi: '3.1.0' })
  assert.deepEqual(documentOf('\n  {"openapi":"3.1.0"}\n'), { openapi: '3.1.0' })
  assert.deepEqual(documentOf('openapi: "3.1.0"\n'), { openapi: '3.1.0' })
  assert.deepEqual(documentOf('--- # a comment\nopenapi: 3.1.0\n'), { openapi: '3.1.0' })
  assert.deepEqual(documentOf(Buffer.from('\ufeff{"openapi":"3.1.0"}')), { openapi: '3.1.0' })
  assert.deepEqual(documentOf('\ufeffopenapi: 3.1.0'), { openapi: '3.1.0' })
  assert.deepEqual(documentOf(Buffer.from('info: { title: Käse 🧀 }')), { info: { title: 'Käse 🧀' } })
  assert.match(reasonOf(parse(Buffer.from('{"a":"\xe9"}', 'latin1'))), /not UTF-8/)
  assert.match(reasonOf(parse(Buffer.from('\ufeffopenapi: 3.1.0', 'utf16le'))), /not UTF-8/)
  for (const empty of ['', ' \n\t ', '\ufeff']) assert.match(reasonOf(parse(empty)), /empty/)
  for (const page of ['<!doctype html><p>Sign in', '  <html></html>', '<?xml version="1.0"?>']) {
    assert.match(reasonOf(parse(page)), /HTML or XML/)
  }
})

test('case 2: reads YAML 1.2 as people write it: merge keys, anchors, unquoted status codes and dates', () => {
  const document = documentOf(`
base: &base { type: object, nullable: yes }
a: { <<: *base, title: A }
list: [*base, *base]
responses: { 200: ok, default: no }
when: 2026-01-01
version: 1.0
`)
  assert.deepEqual(document, {
    base: { type: 'object', nullable: 'yes' },
    a: { type: 'object', nullable: 'yes', title: 'A' },
    list: [
      { type: 'object', nullable: 'yes' },
      { type: 'object', nullable: 'yes' },
    ],
    responses: { 200: 'ok', default: 'no' },
    when: '2026-01-01',
    version: 1,
  })
})

test('case 2: says where a text is wrong, by line and column', () => {
  const place = (text: string) => {
    const parsed = parse(text)
    assert.equal(parsed.outcome, 'unreadable', text)
    return [parsed.mistake.code, parsed.mistake.line, parsed.mistake.column]
  }
  assert.deepEqual(place('{\n  "a": 1,\n  "b": hello\n}'), ['invalid-json', 3, 8])
  assert.deepEqual(place('{\n  "a": 1\n'), ['invalid-json', 3, 1])
  assert.deepEqual(place('{"a": [1, 2,}'), ['invalid-json', 1, 13])
  assert.deepEqual(place('a: 1\nb: [1\nc: 2\n'), ['invalid-yaml', 3, 1])
  assert.deepEqual(place('openapi: 3.0.3\nopenapi: 2.0\n'), ['duplicate-key', 2, 1])
  assert.deepEqual(place('a: 1\n---\nb: 2\n')[0], 'invalid-yaml')
  assert.deepEqual(place('a: *nobody\n')[0], 'alias')
  const secret = parse('{"password": hunter2}')
  assert.ok(secret.outcome === 'unreadable' && !secret.mistake.message.includes('hunter2'), 'the text is not quoted')
})

test('case 2: a scalar of YAML is what the library that is asked in doubt says it is', () => {
  const numbers = ['0', '-1', '+12', '012', '0o17', '0x1F', '1_000', '1e3', '-.5', '5.', '.inf', '-.Inf', '.NaN']
  const words = [
    'true',
    'True',
    'TRUE',
    'yes',
    'on',
    'null',
    'Null',
    '~',
    '',
    'NULL',
    'nan',
    '=',
    '<<',
    '2026-11-28',
    '12:30:45',
  ]
  const texts = [
    '"a\\u00e9\\n"',
    "'it''s'",
    '|\n  a\n   b\n\n',
    '>-\n  a\n  b\n',
    '!!str 12',
    '! 12',
    '[a, {b: c}, ]',
    '{a, b: }',
  ]
  for (const scalar of [...numbers, ...words, ...texts]) {
    const text = `a: 1\nb: ${scalar}\nc:\n  - ${scalar.replaceAll('\n  ', '\n      ')}\n`
    const expected = JSON.stringify(parseYaml(text, { merge: true }))
    assert.equal(JSON.stringify(documentOf(text)), expected, scalar)
  }
})

test('case 3: bounds size, nesting, values and aliases, and copies what is shared', () => {
  assert.match(reasonOf(parse(`{"a":"${'x'.repeat(21 * 1_048_576)}"}`)), /larger than 20 MB/)
  assert.match(reasonOf(parse(`a: ${'x'.repeat(11 * 1_048_576)}`)), /larger|up to 10 MB/)
  assert.match(reasonOf(parse(`{"a":${'['.repeat(10_000)}${']'.repeat(10_000)}}`)), /nested deeper/)
  assert.match(reasonOf(parse(`a: ${'['.repeat(20_000)}`)), /stack|nested/)
  assert.match(reasonOf(parse(`{"a":[${'1,'.repeat(3_200_000)}1]}`)), /more than 3000000 values/)
  assert.match(reasonOf(parse(`a: ${'['.repeat(300)}${']'.repeat(300)}`)), /nested/)
  assert.deepEqual(documentOf('{"a":[1e999,{"b":-1e999}]}'), { a: [null, { b: null }] })
  assert.match(reasonOf(parse('a: &a [*a]')), /alias|itself/)
  assert.match(reasonOf(parse('a: &a { b: { c: *a } }')), /contains itself/)
  const bomb = ['a0: &a0 [x,x,x,x,x,x,x,x,x]']
  for (let level = 1; level < 12; level += 1) bomb.push(`a${level}: &a${level} [${`*a${level - 1},`.repeat(9)}]`)
  const began = performance.now()
  assert.equal(parse(bomb.join('\n')).outcome, 'unreadable')
  assert.ok(performance.now() - began < 1_000)

  const { a, b } = documentOf('a: &x { n: 1 }\nb: *x\n') as { a: { n: number }; b: { n: number } }
  a.n = 2
  assert.equal(b.n, 1, 'an alias is a copy')
})

test('case 3: the document that contains itself is refused with a reason', { skip: skipWithoutShared }, () => {
  assert.match(reasonOf(parse(readFileSync(sharedPath('corpus', 'bad-yamlbomb.yaml')))), /contains itself/)
})

test('case 4: names such as __proto__ are data everywhere and pollute nothing', () => {
  const text = `{
    "openapi": "3.0.3",
    "info": { "title": "t", "version": "1", "__proto__": { "polluted": true } },
    "paths": {
      "/__proto__": { "get": { "operationId": "__proto__", "tags": ["__proto__"], "responses": { "200": { "description": "ok",
        "headers": { "__proto__": { "schema": { "type": "string" } } },
        "content": { "application/json": { "schema": { "$ref": "#/components/schemas/__proto__" } } } } } } },
      "/constructor": { "get": { "operationId": "constructor", "parameters": [{ "$ref": "#/components/parameters/toString" }],
        "responses": { "200": { "description": "ok", "content": { "application/json": { "schema": { "$ref": "#/constructor/prototype" } } } } } } }
    },
    "components": {
      "parameters": { "toString": { "name": "__proto__", "in": "query", "schema": { "type": "string" } } },
      "schemas": { "__proto__": { "type": "object", "polluted": true, "properties": {
        "__proto__": { "type": "string", "nullable": true }, "constructor": { "$ref": "#/components/schemas/prototype" }, "hasOwnProperty": { "type": "integer" } } },
        "prototype": { "type": "object", "discriminator": { "propertyName": "k", "mapping": { "__proto__": "#/components/schemas/__proto__" } } } }
    }
  }`
  const { document } = publishOne(documentOf(text))
  assert.equal(({} as { polluted?: boolean }).polluted, undefined)
  const { schemas, parameters } = document.components
  assert.deepEqual(Object.keys(schemas).sort(), ['Problem', 'svc___proto__', 'svc_prototype'])
  const properties = schemas.svc___proto__.properties
  assert.deepEqual(Object.keys(properties), ['__proto__', 'constructor', 'hasOwnProperty'])
  assert.deepEqual(Object.getOwnPropertyDescriptor(properties, '__proto__')?.value, { type: ['string', 'null'] })
  assert.deepEqual(properties.constructor, { $ref: '#/components/schemas/svc_prototype' })
  assert.deepEqual(Object.entries(schemas.svc_prototype.discriminator.mapping), [
    ['__proto__', '#/components/schemas/svc___proto__'],
  ])
  assert.equal(parameters.svc_toString.name, '__proto__')
  assert.equal(document.paths['/svc/__proto__'].get.operationId, 'svc___proto__')
  assert.ok(Object.hasOwn(document.paths['/svc/__proto__'].get.responses['200'].headers, '__proto__'))
  const broken = document.paths['/svc/constructor'].get.responses['200'].content['application/json'].schema
  assert.deepEqual(broken, { 'x-sallyport-unresolved': '#/constructor/prototype' })
})

test('case 5: a document that cannot be used harms no other service, and is marked', () => {
  const good = service(api({ '/x': { get: { responses: ok } } }), { name: 'good' })
  const broken = service({ openapi: '7' }, { name: 'broken' })
  const late = service(api({ '/y': { get: { responses: ok } } }), {
    name: 'late',
    stale: { since: 1_790_000_000, reason: 'the connection was refused' },
  })
  const gone = service(undefined, { name: 'gone', stale: { reason: 'the answer was 404' } })
  const { document, byService, findings } = publishAll(good, broken, late, gone)
  assert.deepEqual(Object.keys(document.paths), ['/good/x', '/late/y'])
  assert.deepEqual(
    findings.filter(({ severity }) => severity === 'error').map(({ service }) => service),
    ['broken'],
  )
  const tag = (name: string) => document.tags.find((one: { name: string }) => one.name === name)
  assert.equal(tag('good')['x-sallyport-stale'], undefined)
  assert.deepEqual(tag('late')['x-sallyport-stale'], {
    since: '2026-09-21T14:13:20.000Z',
    reason: 'the connection was refused',
  })
  assert.match(tag('late').description, /a copy of 2026-09-21T14:13:20.000Z.*the connection was refused/)
  assert.match(tag('gone').description, /could not be read.*404/)
  assert.match(byService.get('gone').info.description, /could not be read/)
  assert.deepEqual([...byService.keys()], ['broken', 'gone', 'good', 'late'])
})

test('case 6: a finding names the service, the place and the rule', () => {
  const document = api({
    '/a/{id}': {
      get: {
        parameters: [{ $ref: '#/components/parameters/Nobody' }],
        responses: { 200: { $ref: 'http://10.0.0.1/x' } },
      },
    },
  })
  const { findings } = publishOne(document, { name: 'orders' })
  const [missing] = findings.filter(({ code }) => code === 'unresolved-reference')
  assert.equal(missing?.service, 'orders')
  assert.equal(missing?.pointer, '/paths/~1a~1{id}/get/parameters/0')
  assert.match(missing!.message, /#\/components\/parameters\/Nobody.*nothing at that place/)
  const [external] = findings.filter(({ code }) => code === 'external-reference')
  assert.equal(external?.pointer, '/paths/~1a~1{id}/get/responses/200')
})

test('case 6: findings are one line each, and a thousand of a kind are summed up', () => {
  const parameters = Array.from({ length: 1_000 }, (_, index) => ({ name: `p${index}\u0000\n\u2028`, in: 'body' }))
  const { findings } = publishOne(api({ '/x': { get: { parameters, responses: ok } } }))
  assert.equal(findings.length, 11)
  assert.match(findings[10]!.message, /990 more/)
  for (const { message } of findings) assert.ok(message.length <= 500 && !/\p{Cc}|\u2028/u.test(message))
})

test('case 7: the order in which services arrive changes no byte', () => {
  const sources = ['c', 'a', 'b-b', 'b'].map((name) =>
    service(api({ '/x': { get: { tags: ['T'], responses: ok } }, '/a': { post: { responses: ok } } }), { name }),
  )
  const print = (order: readonly number[]) =>
    JSON.stringify(
      publish(
        order.map((index) => preparePart(sources[index]!)),
        settings,
      ).document,
    )
  const first = print([0, 1, 2, 3])
  for (const order of [
    [3, 2, 1, 0],
    [1, 3, 0, 2],
    [2, 0, 3, 1],
  ])
    assert.equal(print(order), first)
  assert.deepEqual(Object.keys(JSON.parse(first).paths), [
    '/a/x',
    '/a/a',
    '/b/x',
    '/b/a',
    '/b-b/x',
    '/b-b/a',
    '/c/x',
    '/c/a',
  ])
})

test('case 8: inputs are left as they are, and publishing twice gives the same', () => {
  const document = {
    swagger: '2.0',
    info: { title: 't', version: '1' },
    basePath: '/v1',
    paths: {
      '/x': {
        post: {
          parameters: [{ name: 'b', in: 'body', schema: { $ref: '#/definitions/A' } }],
          responses: { 200: { description: 'ok', schema: { $ref: '#/definitions/A' } } },
        },
      },
    },
    definitions: { A: { type: 'object', 'x-nullable': true, properties: { f: { type: 'file' } } } },
  }
  const before = JSON.stringify(document)
  const source = service(deepFreeze(document))
  const part = preparePart(source)
  const frozen = deepFreeze(part)
  const one = JSON.stringify(publish([frozen], settings).document)
  assert.equal(JSON.stringify(publish([frozen], settings).document), one)
  assert.equal(JSON.stringify(publish([preparePart(source)], settings).document), one)
  assert.equal(JSON.stringify(document), before)
})
