import assert from 'node:assert/strict'
import { once } from 'node:events'
import { mkdtemp, readdir, readFile, rm, writeFile } from 'node:fs/promises'
import { createServer } from 'node:http'
import type { AddressInfo } from 'node:net'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { test } from 'node:test'
import type { Finding } from '../../src/openapi/document.ts'
import { type LintOrder, lint } from '../../src/openapi/lint.ts'
import { createLinter } from '../../src/openapi/linter.ts'
import { sharedPath, skipWithoutShared, vectors } from '../vectors.ts'

const order = (text: string, more: Partial<LintOrder> = {}): LintOrder => ({
  service: 'orders',
  bytes: Buffer.from(text),
  ...more,
})
const placed = (findings: readonly Finding[]) =>
  findings.map(({ severity, code, line, column }) => `${severity} ${code} ${line}:${column}`)

const faulty = `openapi: 3.0.3
info: { title: t, version: "1" }
paths:
  /a/{id}:
    get:
      operationId: a
      parameters:
        - { name: q, in: body, schema: { type: string } }
      responses:
        200: { $ref: '#/components/responses/None' }
  /b:
    get:
      operationId: a
      responses: { 200: { description: ok } }
`

test('what is wrong in a document is told with service, line and column; what is a matter of taste is not', async () => {
  const findings = await lint(order(faulty))
  assert.deepEqual(placed(findings).sort(), [
    'error no-unresolved-refs 10:9',
    'error operation-operationId-unique 12:5',
    'error path-parameters-defined 7:7',
    'error struct 8:22',
  ])
  assert.ok(findings.every(({ service, message }) => service === 'orders' && !message.includes('\n')))
  const sound = faulty
    .replace('in: body', 'in: query')
    .replace('  /b', '  /a/{id}/b')
    .replace(/operationId: a/g, '')
  const rest = sound.replace("$ref: '#/components/responses/None'", 'description: ok').replace(/\{id\}/g, 'x')
  assert.deepEqual(placed(await lint(order(rest))), [])
  // The same in JSON, on one line.
  const json = '{"openapi":"3.1.0","info":{"title":"t"},"paths":{"/x":{"get":{"responses":{"200":{"description":1}}}}}}'
  assert.deepEqual(placed(await lint(order(json))), ['error struct 1:20', 'error struct 1:83'])
})

test('keywords that JSON Schema does not know are no mistake since 3.1', async () => {
  const text = (version: string) =>
    `openapi: ${version}\ninfo: { title: t, version: "1" }\npaths: {}\ncomponents:\n  schemas:\n    A: { type: string, nullabel: true }\n`
  assert.deepEqual(placed(await lint(order(text('3.1.0')))), ['warning struct 6:24'])
  assert.deepEqual(placed(await lint(order(text('3.0.3')))), ['error struct 6:24'])
})

test('of a thousand mistakes of one kind the first are told, and their number', async () => {
  const paths = Object.fromEntries(Array.from({ length: 200 }, (_, index) => [`/x${index}`, { get: { responses: 1 } }]))
  const findings = await lint(order(JSON.stringify({ openapi: '3.0.0', info: { title: 't', version: '1' }, paths })))
  assert.equal(findings.length, 11)
  assert.match(findings[10]!.message, /the same in 190 more places/)
})

test('what is no document at all is told by its place', async () => {
  assert.deepEqual(placed(await lint(order('openapi: 3.0.0\na: [\n'))), ['error invalid-yaml 3:1'])
  assert.deepEqual(placed(await lint(order('{"openapi":"7"}'))), ['error unsupported-version undefined:undefined'])
})

test('no host is asked and no file is read, whatever a document refers to', async () => {
  let asked = 0
  const server = createServer((_, res) => {
    asked += 1
    res.end('{}')
  }).listen(0, '127.0.0.1')
  await once(server, 'listening')
  const folder = await mkdtemp(join(tmpdir(), 'sallyport-lint-'))
  try {
    const { port } = server.address() as AddressInfo
    await writeFile(join(folder, 'secret.yaml'), 'type: string\ndescription: hunter2\n')
    const urls = [
      `http://127.0.0.1:${port}/x`,
      `http://localhost:${port}/x`,
      join(folder, 'secret.yaml'),
      'secret.yaml',
    ]
    const references = [...urls, `file://${folder}/secret.yaml`, '../../../../etc/hostname', '/etc/hostname']
    const schemas = Object.fromEntries(references.map(($ref, index) => [`S${index}`, { $ref }]))
    const examples = Object.fromEntries(references.map(($ref, index) => [`E${index}`, { value: { $ref } }]))
    const text = JSON.stringify({
      openapi: '3.1.0',
      info: { title: 't', version: '1' },
      paths: {},
      components: { schemas, examples },
    })
    const findings = await lint(order(text))
    assert.equal(asked, 0)
    assert.ok(!JSON.stringify(findings).includes('hunter2'))
    const refused = findings.filter(({ message }) => /other files and hosts are not read/.test(message))
    assert.ok(refused.length >= references.length)

    // Its own files are a local document's; others are not.
    const path = join(folder, 'openapi.yaml')
    const local =
      'openapi: 3.1.0\ninfo: { title: t, version: "1" }\npaths: {}\ncomponents:\n  schemas:\n    A: { $ref: secret.yaml }\n'
    await writeFile(path, local)
    assert.deepEqual(placed(await lint(order(local, { local: { path, root: folder } }))), [])
    const beyond = local.replace('secret.yaml', '/etc/hostname')
    const [outside] = await lint(order(beyond, { local: { path, root: folder } }))
    assert.match(outside!.message, /files outside of the folder are not read/)
    assert.equal(outside!.line, 6)
    await writeFile(join(folder, 'secret.yaml'), 'type: string\nrequired: yes\n')
    const [other] = await lint(order(local, { local: { path, root: folder } }))
    assert.match(other!.message, /^secret\.yaml: /)
    assert.equal(other!.line, 2)
  } finally {
    server.close()
    await rm(folder, { recursive: true })
  }
})

test('every reference of the vectors that leads elsewhere is refused', { skip: skipWithoutShared }, async () => {
  const { cases } = vectors('ssrf-urls.json') as { cases: readonly { readonly url: string }[] }
  for (const { url } of cases) {
    const text = JSON.stringify({
      openapi: '3.0.3',
      info: { title: 't', version: '1' },
      paths: { '/x': { get: { responses: { 200: { $ref: url } } } } },
    })
    const findings = await lint(order(text))
    assert.ok(
      findings.some(({ code, severity }) => code === 'no-unresolved-refs' && severity === 'error'),
      url,
    )
  }
})

test('documents of the corpus that are bad are told to be, each by its place', {
  skip: skipWithoutShared,
}, async () => {
  const expected: Readonly<Record<string, string>> = {
    'bad-component-names.json': 'error spec-components-invalid-map-name 156:7',
    'bad-duplicate-operationid-2.yaml': 'error operation-operationId-unique 15:5',
    'bad-duplicate-operationid.yaml': 'error operation-operationId-unique 14:5',
    'bad-rapid7-js.json': 'error path-not-include-query 27:5',
    'bad-redocly-petstore-with-errors.yaml': 'error struct 40:11',
    'bad-yamlbomb.yaml': 'error cyclic undefined:undefined',
  }
  const names = await readdir(sharedPath('corpus'))
  for (const name of names.filter((file) => file.startsWith('bad-') && Object.hasOwn(expected, file))) {
    const findings = await lint({ service: 's', bytes: await readFile(sharedPath('corpus', name)) })
    assert.ok(placed(findings).includes(expected[name]!), `${name}: ${placed(findings).join(', ')}`)
  }
})

test('a linter works in threads that end, gives up what takes too much, and ends with its owner', async () => {
  const linter = createLinter()
  const small = createLinter({ patience: 1 })
  try {
    const both = await Promise.all([linter.lint(order(faulty)), linter.lint(order('{"openapi":"7"}'))])
    assert.deepEqual(
      both.map(({ length }) => length),
      [4, 1],
    )
    await assert.rejects(small.lint(order(faulty)), /longer than 0.001 s/)
    const pending = assert.rejects(linter.lint(order(faulty)), /closed|ended/)
    await linter.close()
    await pending
    await assert.rejects(linter.lint(order(faulty)), /closed/)
  } finally {
    await Promise.all([linter.close(), small.close()])
  }
})
