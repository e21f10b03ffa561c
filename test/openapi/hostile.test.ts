import assert from 'node:assert/strict'
import { test } from 'node:test'
import { parse } from '../../src/openapi/parse.ts'
import { createPress } from '../../src/openapi/press.ts'
import { preparePart, publish } from '../../src/openapi/publish.ts'
import { createServiceDocument, type ServiceDocument } from '../../src/openapi/service-document.ts'
import { silent } from '../../src/telemetry/log.ts'
import { skipWithoutShared, vectors } from '../vectors.ts'
import { type Backend, type Handler, says, startBackend } from './backend.ts'
import { corpus } from './corpus.ts'
import { api, byBearer, type Loose, ok, publishOne, service, settings } from './service.ts'

const good = JSON.stringify(api({ '/x': { get: { responses: ok } } }))

/** The cases whose text is in the file, and those it asks us to make. */
const made: Record<string, Handler> = {
  'oa-050': says(
    JSON.stringify(
      api(Object.fromEntries(Array.from({ length: 10_000 }, (_, index) => [`/p${index}`, { get: { responses: ok } }]))),
    ),
  ),
  'oa-055': says(good, { 'content-type': 'text/html' }),
  'oa-056': (_, response) => {
    response.writeHead(200)
    const drip = setInterval(() => response.write(' '), 100)
    response.on('close', () => clearInterval(drip))
  },
  // More of the same kind, of X05 in the research.
  'fifty-megabytes': says(Buffer.from(`{"openapi":"3.1.0","x":"${'y'.repeat(50 * 1_048_576)}"}`)),
  'depth-10000': says(
    `{"openapi":"3.1.0","info":{"title":"t","version":"1"},"paths":{},"x":${'['.repeat(10_000)}${']'.repeat(10_000)}}`,
  ),
  'alias-bomb': says(
    [
      'a0: &a0 [x,x,x,x,x,x,x,x,x,x]',
      ...Array.from({ length: 12 }, (_, n) => `a${n + 1}: &a${n + 1} [${`*a${n},`.repeat(10)}]`),
    ].join('\n'),
  ),
  'reference-doubling': says(
    JSON.stringify(
      api(
        { '/x': { $ref: '#/components/pathItems/L0' } },
        {
          components: {
            pathItems: Object.fromEntries(
              Array.from({ length: 60 }, (_, n) => [
                `L${n}`,
                {
                  post: {
                    responses: ok,
                    callbacks: {
                      c: {
                        a: { $ref: `#/components/pathItems/L${n + 1}` },
                        b: { $ref: `#/components/pathItems/L${n + 1}` },
                      },
                    },
                  },
                },
              ]),
            ),
          },
        },
      ),
    ),
  ),
}

test('every hostile document is contained: the good service is published, nothing leads out, nobody waits', {
  skip: skipWithoutShared,
}, async () => {
  const { cases } = vectors('malicious-openapi.json') as { cases: readonly { id: string; text: string | null }[] }
  assert.equal(cases.length, 31)
  const handlers = new Map<string, Handler>([
    ...cases.map(({ id, text }) => [id, text === null ? made[id]! : says(text)] as const),
    ...Object.entries(made),
    ['good', says(good)],
  ])
  const tools = { now: Date.now, log: silent }
  const press = createPress({}, tools)
  const backends: Backend[] = []
  const documents = new Map<string, ServiceDocument>()
  const began = performance.now()
  try {
    for (const [name, handler] of handlers) {
      const backend = await startBackend(handler)
      backends.push(backend)
      const document = await createServiceDocument(
        {
          service: {
            name,
            prefix: `/${name}`,
            stripPath: true,
            origin: `${backend.url}/openapi.json`,
            targetBasePath: '',
            routes: [],
          },
          location: { type: 'target', urls: [`${backend.url}/openapi.json`] },
          timeout: 2_500,
        },
        { ...tools, press },
      )
      documents.set(name, document)
    }
    await Promise.all([...documents.values()].map(({ ready }) => ready))
    const parts = [...documents.values()].map(({ part }) => ({ ...part, enforced: () => byBearer }))
    const { json, byService, findings } = await press.publish(parts, settings)
    assert.ok(performance.now() - began < 30_000)
    const text = json.body.toString()
    const document = JSON.parse(text) as Loose

    assert.ok(document.paths['/good/x'].get)
    assert.equal(byService.size, handlers.size)
    assert.deepEqual(document.servers, [{ url: settings.publicUrl }])
    assert.equal(({} as { polluted?: boolean }).polluted, undefined)
    assert.deepEqual(document.components.securitySchemes, settings.securitySchemes)
    for (const { service, code } of findings.filter(({ severity }) => severity === 'error'))
      assert.fail(`${service} ${code}`)

    const urls = [
      ...text.matchAll(
        /"(?:url|termsOfService|externalValue|operationRef|\$ref|openIdConnectUrl|authorizationUrl|tokenUrl)":"([^"]*)"/g,
      ),
    ].map((match) => match[1]!)
    for (const url of urls) assert.match(url, /^(#\/|http:\/\/gateway\.test)/, 'no link leads out')
    for (const path of Object.keys(document.paths)) assert.match(path, /^\/[a-z0-9-]+\/[\w%=().-]*$/)
    assert.ok(!Object.keys(document.paths).some((path) => path.includes('admin')), 'no path leaves its prefix')

    const why = (name: string) => {
      const { state } = documents.get(name)!
      return state.status === 'absent' ? state.reason : state.status
    }
    assert.match(why('oa-043'), /"9.9.9" is not supported/)
    assert.match(why('oa-044'), /number 3/)
    assert.match(why('oa-045'), /HTML/)
    assert.match(why('oa-047'), /not an object/)
    assert.match(why('oa-056'), /no complete answer/)
    assert.match(why('oa-059'), /^fresh$/)
    assert.match(why('oa-060'), /stands twice/)
    assert.match(why('oa-055'), /^fresh$/)
    assert.match(why('fifty-megabytes'), /larger than 20 MB/)
    assert.match(why('depth-10000'), /nested deeper/)
    assert.match(why('alias-bomb'), /alias|values/)
    assert.equal(Object.keys(document.paths).filter((path) => path.startsWith('/oa-050/')).length, 10_000)
    assert.deepEqual(
      document.paths['/oa-037/x'].get.security,
      [{ bearer: [] }],
      'a backend cannot declare itself public',
    )
    assert.equal(document.paths['/oa-039/x'].get.responses['200'].links.l, undefined)
    for (const [name, { state }] of documents) {
      if (state.status === 'absent')
        assert.ok(
          document.tags.find((tag: Loose) => tag.name === name)['x-sallyport-stale'].reason,
          'the reason is shown',
        )
    }
  } finally {
    for (const document of documents.values()) await document.close()
    await press.close()
    for (const backend of backends) await backend.stop()
  }
})

test('a path that could leave its prefix in any spelling is left out', () => {
  const paths = [
    '/../admin',
    '/..%2fadmin',
    '/%2e%2e/admin',
    '/a/../../admin',
    '/.%2E%5cadmin',
    '/..\\admin',
    '/%252e%252e/admin',
    '/a/..',
    '/./a',
    '/..;/admin'.replace(';', ''),
    '/{id}/../x',
  ]
  for (const prefix of ['/svc', '']) {
    const { document, codes } = publishOne(
      api(Object.fromEntries(paths.map((path) => [path, { get: { responses: ok } }]))),
      { prefix },
    )
    assert.deepEqual(document.paths, {})
    assert.ok(codes.every((code) => code === 'path-outside'))
  }
  const base = publishOne({ ...api({ '/x': { get: { responses: ok } } }), servers: [{ url: '/../..' }] })
  assert.deepEqual(base.document.paths, {})
})

test('naughty strings are carried as they are, everywhere text may stand', { skip: skipWithoutShared }, () => {
  const { cases } = vectors('naughty-strings.json') as { cases: readonly { s: string }[] }
  const strings = cases.map(({ s }) => s)
  const paths: Loose = {}
  const schemas: Loose = {}
  for (const [index, s] of strings.entries()) {
    paths[`/n${index}`] = {
      get: {
        operationId: s,
        tags: [s],
        summary: s,
        description: s,
        parameters: [
          {
            name: s,
            in: 'query',
            schema: {
              $ref: `#/components/schemas/${encodeURIComponent(s.replaceAll('~', '~0').replaceAll('/', '~1').toWellFormed())}`,
            },
          },
        ],
        responses: { 200: { description: s } },
      },
    }
    schemas[s.toWellFormed()] = { title: s, enum: [s], default: s, example: { [s]: s } }
  }
  const { document, codes } = publishOne({
    openapi: '3.1.0',
    info: { title: strings[3], version: strings[9], description: strings[20] },
    paths,
    components: { schemas },
  })
  assert.ok(!codes.includes('unresolved-reference'))
  const ids = new Set<string>()
  for (const [index, s] of strings.entries()) {
    const { get } = document.paths[`/svc/n${index}`]
    assert.deepEqual(
      [get.summary, get.description, get.responses['200'].description, get.parameters[0].name],
      [s, s, s, s],
    )
    assert.match(get.operationId, /^svc_[A-Za-z0-9_-]+$/)
    ids.add(get.operationId)
    const name = get.parameters[0].schema.$ref.split('/').at(-1)
    assert.match(name, /^svc_[A-Za-z0-9._-]*$/)
    assert.equal(document.components.schemas[name].title.toWellFormed(), s.toWellFormed())
  }
  assert.equal(ids.size, strings.length)
})

test('documents mutilated at random are published in order, or not at all, and never throw', {
  skip: skipWithoutShared,
}, () => {
  const documents = corpus().filter(({ document }) => JSON.stringify(document).length < 30_000)
  let seed = 20_261_122
  const chance = () => {
    seed = (seed * 1_664_525 + 1_013_904_223) >>> 0
    return seed / 2 ** 32
  }
  const pick = <T>(list: readonly T[]): T => list[Math.floor(chance() * list.length)]!
  const junk = [
    null,
    true,
    false,
    0,
    '',
    'x',
    '#',
    '#/paths',
    'http://10.0.0.1/x',
    [],
    {},
    [null],
    { $ref: '#' },
    { $ref: 7 },
    { type: 'string', nullable: true },
    [{}],
    { 'x-a': 1 },
  ]
  const words = [
    '$ref',
    'discriminator',
    'nullable',
    '$id',
    '$anchor',
    '$dynamicRef',
    'parameters',
    'servers',
    'operationId',
    'tags',
    'in',
    'name',
    'schema',
    'content',
    'example',
    'examples',
    'allOf',
    'items',
    '__proto__',
    'constructor',
    'callbacks',
    'links',
    'required',
    'type',
    'responses',
  ]
  for (let round = 0; round < 400; round += 1) {
    const { file, document } = pick(documents)
    const mutilated = structuredClone(document) as Loose
    const objects: Loose[] = []
    const collect = (value: Loose) => {
      if (typeof value !== 'object' || value === null) return
      objects.push(value)
      for (const member of Object.values(value)) collect(member)
    }
    collect(mutilated)
    for (let wound = 0; wound < 1 + chance() * 20; wound += 1) {
      const object = pick(objects)
      const key = pick(Object.keys(object))
      const kind = chance()
      if (kind < 0.5 && key !== undefined) object[key] = pick(junk)
      else if (kind < 0.65 && key !== undefined) delete object[key]
      else if (kind < 0.8 && key !== undefined) object[key] = structuredClone(pick(objects))
      else if (!Array.isArray(object))
        Object.defineProperty(object, pick(words), {
          value: pick(junk),
          enumerable: true,
          configurable: true,
          writable: true,
        })
    }
    const label = `round ${round} ${file}`
    try {
      const { findings } = publish([preparePart(service(mutilated))], settings)
      assert.deepEqual(
        findings.filter(({ code }) => code === 'not-published'),
        [],
        label,
      )
    } catch (error) {
      throw new Error(label, { cause: error })
    }
  }
})

test('what is not JSON is refused as JSON, quickly, whatever it is', { skip: skipWithoutShared }, () => {
  const { cases } = vectors('json-test-suite.json') as {
    cases: readonly { id: string; expect: 'y' | 'n' | 'i'; bytes_b64: string }[]
  }
  let judged = 0
  for (const { id, expect, bytes_b64 } of cases) {
    const bytes = Buffer.from(bytes_b64, 'base64')
    const began = performance.now()
    const parsed = parse(bytes)
    assert.ok(performance.now() - began < 3_000, id)
    const first = bytes.toString('latin1').trim()[0]
    // Everything else is read as YAML, which has rules of its own.
    if (first !== '{' && first !== '[') continue
    judged += 1
    if (expect === 'n') assert.equal(parsed.outcome, 'unreadable', id)
    if (expect === 'y') assert.equal(parsed.outcome, first === '{' ? 'read' : 'unreadable', id)
    if (parsed.outcome === 'unreadable') assert.ok(parsed.mistake.message.length < 200, id)
  }
  assert.ok(judged > 100)
})
