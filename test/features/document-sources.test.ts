import assert from 'node:assert/strict'
import { mkdtemp, rm, writeFile } from 'node:fs/promises'
import { createServer, type Server } from 'node:http'
import type { AddressInfo } from 'node:net'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { test } from 'node:test'
import { run } from '../../src/cli/run.ts'
import { loadDefinition } from '../../src/config/load.ts'
import { startBackend } from '../backend.ts'
import { eventually, startGateway } from '../sallyport.ts'

const api = (path: string) => ({
  openapi: '3.1.0',
  info: { title: 'Orders', version: '1' },
  paths: { [path]: { get: { operationId: 'one', responses: { 200: { description: 'ok' } } } } },
})
const orders = (target: string, more: object) => ({
  services: [{ name: 'orders', path: '/orders', targets: [target], security: [], ...more }],
})
// biome-ignore lint/suspicious/noExplicitAny: a document is read here as a person would
const documentOf = async (url: string): Promise<any> => (await fetch(`${url}/openapi.json`)).json()

test('a document that is not for everybody is fetched with the header fields of services.json, and never published with them', async () => {
  const asked: (string | undefined)[] = []
  await using backend = await startBackend((req, res) => {
    asked.push(req.headers.authorization)
    if (req.headers.authorization !== 'Bearer let-me-read') res.writeHead(401)
    res.end(JSON.stringify(api('/a')))
  })
  const openapi = { from: '/openapi.json', headers: { Authorization: 'Bearer ${DOCS_TOKEN}' } }
  await using gateway = await startGateway(orders(backend.url, { openapi }), {
    environment: { DOCS_TOKEN: 'let-me-read' },
  })
  const document = await documentOf(gateway.url)
  assert('/orders/a' in document.paths)
  assert(!JSON.stringify(document).includes('let-me-read'))
  assert(asked.every((credential) => credential === 'Bearer let-me-read'))
})

test('a document is looked at as often as services.json says', async () => {
  let served = api('/a')
  await using backend = await startBackend((_req, res) => res.end(JSON.stringify(served)))
  const openapi = { from: '/openapi.json', every: '50ms' }
  await using gateway = await startGateway(orders(backend.url, { openapi }))
  assert('/orders/a' in (await documentOf(gateway.url)).paths)
  served = api('/b')
  await eventually('the other document', async () => '/orders/b' in (await documentOf(gateway.url)).paths, 20_000)
})

test('a service that answers as another version is asked for its document at once', async () => {
  let version = '1'
  let asked = 0
  await using backend = await startBackend((req, res) => {
    res.setHeader('X-Service-Version', version)
    if (req.url === '/openapi.json') asked += 1
    res.end(JSON.stringify(api(`/v${version}`)))
  })
  const openapi = { from: '/openapi.json', every: '1h', version: 'X-Service-Version' }
  await using gateway = await startGateway(orders(backend.url, { openapi }))
  await eventually('the first document', async () => '/orders/v1' in (await documentOf(gateway.url)).paths, 20_000)
  await fetch(`${gateway.url}/orders/x`)
  await fetch(`${gateway.url}/orders/x`)
  const before = asked
  version = '2'
  await fetch(`${gateway.url}/orders/x`)
  await eventually('the next document', async () => '/orders/v2' in (await documentOf(gateway.url)).paths, 20_000)
  assert.equal(asked, before + 1)
})

test('header fields for a local file, and other mistakes, are told', async () => {
  const folder = await mkdtemp(join(tmpdir(), 'sallyport-source-'))
  try {
    const file = join(folder, 'services.json')
    for (const [openapi, message] of [
      [{ from: './orders.yaml', headers: { A: 'b' } }, /a local file is read without header fields/],
      [{ from: '/openapi.json', every: 'now and then' }, /\/services\/0\/openapi/],
      [{ headers: {} }, /\/services\/0\/openapi/],
    ] as const) {
      await writeFile(file, JSON.stringify(orders('http://127.0.0.1:9', { openapi })))
      await assert.rejects(loadDefinition(file, {}), message)
    }
  } finally {
    await rm(folder, { recursive: true })
  }
})

test('a service that comes back is asked for its document at once, long before it is due', async () => {
  let served = api('/a')
  const listen = (port: number): Promise<Server> =>
    new Promise((resolve) => {
      const server = createServer((req, res) => res.end(req.url === '/openapi.json' ? JSON.stringify(served) : 'ok'))
      server.listen(port, '127.0.0.1', () => resolve(server))
    })
  let server = await listen(0)
  const { port } = server.address() as AddressInfo
  const end = () => {
    server.closeAllConnections()
    return new Promise((done) => server.close(done))
  }
  try {
    const health = { path: '/health', interval: '50ms', timeout: '5s', unhealthyAfter: 1, healthyAfter: 1 }
    const openapi = { from: '/openapi.json', every: '10m' }
    await using gateway = await startGateway(orders(`http://127.0.0.1:${port}`, { health, openapi }))
    assert('/orders/a' in (await documentOf(gateway.url)).paths)
    const [service] = gateway.running.live.current.services
    await end()
    await eventually('that it is away', () => !service!.upstream.available, 20_000)
    // Long enough for a look around; what comes after is what counts.
    await new Promise((resolve) => setTimeout(resolve, 1_500))
    served = api('/b')
    server = await listen(port)
    await eventually(
      'the document of its return',
      async () => '/orders/b' in (await documentOf(gateway.url)).paths,
      30_000,
    )
  } finally {
    await end()
  }
})

test('a credential of the service that clients send themselves is asked for in the document, and arrives', async () => {
  const arrived: (string | undefined)[] = []
  await using backend = await startBackend((req, res) => {
    arrived.push(req.headers['x-partner'] as string | undefined)
    const securitySchemes = { partner: { type: 'apiKey', in: 'header', name: 'X-Partner' } }
    res.end(JSON.stringify({ ...api('/a'), security: [{ partner: [] }], components: { securitySchemes } }))
  })
  const match = 'GET /b'
  const routes = [{ match, forward: { upstreamSecurity: [] } }]
  await using gateway = await startGateway(
    orders(backend.url, { forward: { upstreamSecurity: ['partner', 'nobody'] }, routes }),
  )
  const { paths } = await documentOf(gateway.url)
  assert.deepEqual(paths['/orders/a'].get.security, [{ orders_partner: [] }])
  const { published } = gateway.running.live.current.documents
  assert(published.findings.some(({ code }) => code === 'unknown-upstream-scheme'))
  await fetch(`${gateway.url}/orders/a`, { headers: { 'X-Partner': 'ours' } })
  assert.equal(arrived.at(-1), 'ours')
})

test('a scheme of the service that cannot be found or named is told before the start', async () => {
  const folder = await mkdtemp(join(tmpdir(), 'sallyport-upstream-'))
  try {
    const file = join(folder, 'services.json')
    const forward = { upstreamSecurity: ['key', 'key'] }
    const securitySchemes = { orders_key: { type: 'apiKey', in: 'header', name: 'X-Key' } }
    for (const [definition, message] of [
      [
        orders('http://127.0.0.1:9', { openapi: false, forward }),
        /upstreamSecurity\/0.*\n?.*no document that could define/,
      ],
      [orders('http://127.0.0.1:9', { forward }), /is named twice/],
      [
        { ...orders('http://127.0.0.1:9', { forward }), securitySchemes },
        /published as "orders_key", which securitySchemes has/,
      ],
    ] as const) {
      await writeFile(file, JSON.stringify(definition))
      await assert.rejects(loadDefinition(file, {}), message)
    }
  } finally {
    await rm(folder, { recursive: true })
  }
})

test('what is odd in a document is shown by the admin port and by docs build, with the line and the column', async () => {
  const text =
    'openapi: 3.1.0\ninfo: { title: t, version: "1" }\npaths:\n  /a:\n    get: { responses: { 200: { $ref: "#/nowhere" } } }\n'
  await using backend = await startBackend((_req, res) => res.end(text))
  await using gateway = await startGateway(orders(backend.url, {}))
  const answer = await fetch(`${gateway.adminUrl}/services`)
  const { services } = (await answer.json()) as { services: { findings: object[] }[] }
  assert.deepEqual(services[0]!.findings, [
    {
      service: 'orders',
      severity: 'warning',
      code: 'unresolved-reference',
      message: 'the reference "#/nowhere" was left out: there is nothing at that place',
      pointer: '/paths/~1a/get/responses/200',
      line: 5,
      column: 25,
    },
  ])

  const folder = await mkdtemp(join(tmpdir(), 'sallyport-findings-'))
  try {
    const config = join(folder, 'services.json')
    await writeFile(config, JSON.stringify({ store: { type: 'memory' }, ...orders(backend.url, {}) }))
    const lines: string[] = []
    const err = (line: string) => void lines.push(line)
    assert.equal(await run(['docs', 'build', '--config', config], { environment: {}, out: () => {}, err }), 0)
    assert.match(
      lines.join('\n'),
      /^orders:5:25 warning: the reference "#\/nowhere" was left out.*\(unresolved-reference, at \//m,
    )
  } finally {
    await rm(folder, { recursive: true })
  }
})
