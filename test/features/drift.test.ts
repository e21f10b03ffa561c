import assert from 'node:assert/strict'
import { join } from 'node:path'
import { describe, test } from 'node:test'
import { run } from '../../src/cli/run.ts'
import type { DriftFinding, ServiceDrift } from '../../src/gateway/drift.ts'
import { createTraffic } from '../../src/gateway/traffic.ts'
import { type Backend, startBackend } from '../backend.ts'
import { eventually, type GatewayUnderTest, startGateway } from '../sallyport.ts'

const operation = (operationId: string, more: object = {}) => ({
  operationId,
  responses: { 200: { description: 'ok' } },
  ...more,
})
const api = (paths: object, more: object = {}) => ({
  openapi: '3.1.0',
  info: { title: 'Orders', version: '1' },
  paths,
  ...more,
})

/** A service whose document can be changed, and who answers everything else but `/nothing`. */
async function startService(first: object) {
  let served = first
  const backend = await startBackend((req, res) => {
    if (req.url === '/openapi.json') return res.end(JSON.stringify(served))
    res.statusCode = req.url?.startsWith('/nothing') ? 404 : 200
    res.end('ok')
  })
  const serve = (next: object) => {
    served = next
  }
  return Object.assign(backend, { serve })
}

const orders = (backend: Pick<Backend, 'url'>, more: object = {}) => ({
  services: [{ name: 'orders', path: '/orders', targets: [backend.url], security: [], ...more }],
})

async function findingsOf({ adminUrl }: Pick<GatewayUnderTest, 'adminUrl'>): Promise<readonly DriftFinding[]> {
  const { services } = (await (await fetch(`${adminUrl}/drift`)).json()) as { services: ServiceDrift[] }
  return services.flatMap(({ findings }) => findings)
}
const lines = (findings: readonly DriftFinding[]) => findings.map(({ kind, operation }) => `${kind} ${operation}`)

async function drift(gateway: GatewayUnderTest, ...words: string[]) {
  const printed: string[] = []
  const write = (text: string) => void printed.push(text)
  const code = await run(['drift', ...words, '--config', join(gateway.folder, 'services.json')], {
    environment: { PORT: '0', ADMIN_PORT: new URL(gateway.adminUrl).port },
    out: write,
    err: write,
  })
  return { code, text: printed.join('\n') }
}

const basic = { securitySchemes: { basic: { type: 'http', scheme: 'basic' } } }

describe('what a service says of its security, and what the gateway enforces', () => {
  const document = api(
    {
      '/open': { get: operation('open', { security: [] }) },
      '/closed': { get: operation('closed') },
      '/scoped': { get: operation('scoped', { security: [{ basic: ['orders:write'] }] }) },
      '/header': {
        get: operation('header', { parameters: [{ name: 'authorization', in: 'header', schema: { type: 'string' } }] }),
      },
    },
    { components: basic, security: [{ basic: [] }] },
  )

  test('is told where the gateway asks for less', async () => {
    await using backend = await startService(document)
    await using gateway = await startGateway(orders(backend))
    assert.deepEqual(lines(await findingsOf(gateway)), [
      'looser GET /orders/closed',
      'looser GET /orders/scoped',
      'looser GET /orders/header',
    ])
  })

  test('is told where the gateway asks for more, and where it misses a scope', async () => {
    await using backend = await startService(document)
    const routes = [{ match: 'GET /header', allow: { scopes: ['orders:write'] } }]
    await using gateway = await startGateway(orders(backend, { security: [{ bearer: [] }], routes }))
    const findings = await findingsOf(gateway)
    assert.deepEqual(lines(findings), ['stricter GET /orders/open', 'looser GET /orders/scoped'])
    assert.match(findings[1]!.detail, /orders:write/)
    await using scoped = await startGateway(
      orders(backend, { security: [{ bearer: [] }], allow: { scopes: ['orders:write'] } }),
    )
    assert.deepEqual(lines(await findingsOf(scoped)), ['stricter GET /orders/open'])
  })

  test('is nothing where the service says nothing', async () => {
    await using backend = await startService(api({ '/open': { get: operation('open') } }))
    await using gateway = await startGateway(orders(backend, { security: [{ bearer: [] }] }))
    assert.deepEqual(await findingsOf(gateway), [])
    assert.deepEqual((await drift(gateway)).code, 0)
  })
})

describe('what a service answers beyond its document', () => {
  test('is counted by method and kind of path, until the document has it', async () => {
    const documented = { '/{id}': { get: operation('read') } }
    await using backend = await startService(api(documented))
    await using gateway = await startGateway(orders(backend))
    for (const path of ['/7', '/7/lines/1', '/8/lines/2', '/export', '/nothing/here'])
      assert((await fetch(`${gateway.url}/orders${path}`)).status < 500)
    await fetch(`${gateway.url}/orders/7`, { method: 'DELETE' })
    const findings = await findingsOf(gateway)
    // "/export" is what the document calls "/{id}".
    assert.deepEqual(lines(findings), ['undocumented GET /orders/{}/lines/{}', 'undocumented DELETE /orders/{}'])
    assert.match(findings[0]!.detail, /answered 2 times/)

    const { services } = (await (await fetch(`${gateway.adminUrl}/services`)).json()) as {
      services: { drift: object }[]
    }
    assert.deepEqual(services[0]!.drift, { looser: 0, stricter: 0, undocumented: 2, vanished: 0, breaking: 0 })
    const metrics = await (await fetch(`${gateway.adminUrl}/metrics`)).text()
    assert.match(metrics, /^sallyport_document_drift\{service="orders",kind="undocumented"\} 2$/m)
    const told = await drift(gateway)
    assert.equal(told.code, 1)
    assert.match(told.text, /undocumented\s+GET \/orders\/\{\}\/lines\/\{\}: answered 2 times/)

    backend.serve(api({ ...documented, '/{id}/lines/{line}': { get: operation('line') } }))
    await gateway.running.refreshDocuments()
    assert.deepEqual(lines(await findingsOf(gateway)), ['undocumented DELETE /orders/{}'])
  })

  test('goes on being counted over a reload', async () => {
    await using backend = await startService(api({}))
    await using gateway = await startGateway(orders(backend))
    await fetch(`${gateway.url}/orders/a`)
    await gateway.rewrite(orders(backend, { routes: [{ match: '/b', security: [] }] }))
    await eventually('the reload', () => gateway.running.live.current.definition.services[0]!.routes.length === 1)
    assert.deepEqual(lines(await findingsOf(gateway)), ['undocumented GET /orders/a'])
  })

  test('is bounded, however many paths clients think of', () => {
    const traffic = createTraffic(() => 0)
    const word = (index: number) => [...String(index)].map((digit) => 'abcdefghij'[Number(digit)]).join('')
    for (let index = 0; index < 500; index += 1) traffic.note('GET', `/orders/${word(index)}`)
    for (let index = 0; index < 500; index += 1) traffic.note('GET', `/orders/${index}/${'x'.repeat(40)}`)
    const kept = traffic.undocumented(() => false)
    assert.equal(kept.length, 100)
    assert.equal(traffic.others, 900)
  })
})

describe('what changed since the document that clients know', () => {
  const paths = { '/a': { get: operation('a') }, '/b': { get: operation('b') } }
  const wanting = { parameters: [{ name: 'unit', in: 'query', required: true, schema: { type: 'string' } }] }

  test('is kept until it is accepted, also over later changes', async () => {
    await using backend = await startService(api(paths))
    await using gateway = await startGateway(orders(backend))
    assert.deepEqual(await findingsOf(gateway), [])
    backend.serve(api({ '/a': { get: operation('a', wanting) } }))
    await gateway.running.refreshDocuments()
    const expected = ['breaking GET /orders/a', 'vanished GET /orders/b']
    assert.deepEqual(lines(await findingsOf(gateway)), expected)
    backend.serve(api({ '/a': { get: operation('a', wanting) }, '/c': { get: operation('c') } }))
    await gateway.running.refreshDocuments()
    assert.deepEqual(lines(await findingsOf(gateway)), expected)
    assert.equal((await drift(gateway)).code, 1)

    const accepted = await drift(gateway, '--accept', 'orders', '--json')
    assert.equal(accepted.code, 0, accepted.text)
    assert.deepEqual(JSON.parse(accepted.text).accepted, ['orders'])
    assert.deepEqual(await findingsOf(gateway), [])
    backend.serve(api({ '/a': { get: operation('a', wanting) } }))
    await gateway.running.refreshDocuments()
    assert.deepEqual(lines(await findingsOf(gateway)), ['vanished GET /orders/c'])
  })

  test('is known without a running gateway as well, from what the store remembers', async () => {
    await using backend = await startService(api(paths))
    await using gateway = await startGateway({ ...orders(backend), store: { type: 'sqlite', path: 'kept.db' } })
    await gateway.running.refreshDocuments()
    backend.serve(api({ '/a': { get: operation('a') } }))
    const offline = await drift(gateway, '--offline')
    assert.equal(offline.code, 1)
    assert.match(offline.text, /vanished\s+GET \/orders\/b/)
    assert.match(offline.text, /No running gateway was asked/)
  })

  test('is called with what there is, or ends with 2', async () => {
    await using backend = await startService(api(paths))
    await using gateway = await startGateway(orders(backend))
    assert.equal((await drift(gateway, '--accept', 'nobody')).code, 2)
    assert.equal((await drift(gateway, 'please')).code, 2)
    const answer = await fetch(`${gateway.adminUrl}/drift/accept`, {
      method: 'POST',
      headers: { 'content-type': 'application/json' },
      body: '{"services":["nobody"]}',
    })
    assert.equal(answer.status, 404)
  })
})
