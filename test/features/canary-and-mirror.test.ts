import assert from 'node:assert/strict'
import { hash } from 'node:crypto'
import { describe, test } from 'node:test'
import { startBackend } from '../backend.ts'
import { eventually, startGateway } from '../sallyport.ts'

const key = (subject: string, more: object = {}) => ({ sha256: hash('sha256', `${subject}-key`), subject, ...more })
const headers = (subject: string, more: Record<string, string> = {}) => ({ 'X-API-Key': `${subject}-key`, ...more })

const definition = (service: object) => ({
  issuers: {},
  securitySchemes: {
    key: { type: 'apiKey', in: 'header', name: 'X-API-Key', keys: [key('ann'), key('tess', { roles: ['tester'] })] },
    query: { type: 'apiKey', in: 'query', name: 'api_key', keys: [key('ann')] },
  },
  services: [{ name: 'orders', path: '/orders', openapi: false, security: [{ key: [] }, { query: [] }], ...service }],
})

const named = (name: string) => startBackend((_req, res) => res.end(name))

describe('a canary', () => {
  test('serves whom its header, its roles and its weight send there, and always the same', async () => {
    await using stable = await named('stable')
    await using fresh = await named('canary')
    const canary = { targets: [fresh.url], weight: 20, header: 'X-Canary', roles: ['tester'] }
    const callers = Array.from({ length: 60 }, (_, index) => `caller${index}`)
    const base = definition({ targets: [stable.url], canary })
    base.securitySchemes.key.keys.push(...callers.map((caller) => key(caller)))
    await using gateway = await startGateway(base)
    const ask = async (subject: string, more?: Record<string, string>) =>
      (await fetch(`${gateway.url}/orders`, { headers: headers(subject, more) })).text()
    assert.equal(await ask('tess'), 'canary')
    assert.equal(await ask('tess', { 'X-Canary': 'never' }), 'stable')
    assert.equal(await ask('ann', { 'X-Canary': 'always' }), 'canary')
    const first = await Promise.all(callers.map((caller) => ask(caller)))
    const share = first.filter((name) => name === 'canary').length
    assert.ok(share >= 3 && share <= 25, `${share} of 60 at 20 %`)
    for (let again = 0; again < 2; again += 1)
      assert.deepEqual(await Promise.all(callers.map((caller) => ask(caller))), first)

    const { services } = (await (await fetch(`${gateway.adminUrl}/services`)).json()) as {
      services: { targets: { url: string; canary: boolean; requests: number }[] }[]
    }
    assert.deepEqual(
      services[0]!.targets.map(({ url, canary: isCanary, requests }) => [url, isCanary, requests]),
      [
        [stable.url, false, 1 + 3 * (60 - share)],
        [fresh.url, true, 2 + 3 * share],
      ],
    )
  })
})

test('an explanation names the targets that the caller would be sent to, the time they are told, and the mirror', async () => {
  await using gateway = await startGateway(
    definition({
      targets: ['http://127.0.0.1:9'],
      canary: { targets: ['http://127.0.0.1:10'], roles: ['tester'] },
      mirror: { url: 'http://127.0.0.1:11/shadow', methods: ['GET'] },
      timeouts: { response: '9s' },
      deadline: 'X-Time-Left',
    }),
  )
  const explain = async (body: object) => {
    const answer = await fetch(`${gateway.adminUrl}/explain`, {
      method: 'POST',
      headers: { 'Content-Type': 'application/json' },
      body: JSON.stringify({ path: '/orders/1', ...body }),
    })
    const { forward } = (await answer.json()) as {
      forward: { urls: string[]; canary: boolean; mirror?: string; fields: { name: string; value: string }[] }
    }
    const told = forward.fields.find(({ name }) => name === 'X-Time-Left')?.value
    return { urls: forward.urls, canary: forward.canary, mirror: forward.mirror, told }
  }
  assert.deepEqual(await explain({ headers: headers('tess') }), {
    urls: ['http://127.0.0.1:10/1'],
    canary: true,
    mirror: 'http://127.0.0.1:11/shadow',
    told: '9000',
  })
  assert.deepEqual(await explain({ headers: headers('ann', { 'X-Time-Left': '700' }), method: 'DELETE' }), {
    urls: ['http://127.0.0.1:9/1'],
    canary: false,
    mirror: undefined,
    told: '700',
  })
})

describe('a mirror', () => {
  const said = (raw: readonly string[]) => raw.join('\n').toLowerCase()

  test('sees what the service sees, but nothing with which one could act for the caller', async () => {
    await using service = await startBackend()
    await using shadow = await startBackend()
    await using gateway = await startGateway(
      definition({
        targets: [service.url],
        mirror: { url: shadow.url },
        forward: { headers: { 'Internal-Token': 'of-the-gateway' } },
      }),
    )
    const answer = await fetch(`${gateway.url}/orders/new?x=1&api_key=ann-key`, {
      method: 'POST',
      headers: { Cookie: 'sid=secret', 'Content-Type': 'application/json', 'X-Note': 'kept' },
      body: '{"item":1}',
    })
    assert.equal(answer.status, 200)
    await eventually('the copy has arrived', () => shadow.received.length === 1)
    const [original, copy] = [service.received[0]!, shadow.received[0]!]
    assert.equal(copy.method, 'POST')
    assert.equal(copy.url, '/new?x=1')
    assert.equal(copy.body, '{"item":1}')
    assert.equal(copy.headers['content-type'], 'application/json')
    assert.equal(copy.headers['x-note'], 'kept')
    assert.equal(copy.headers['user-id'], 'ann')
    assert.equal(copy.headers['x-request-id'], original.headers['x-request-id'])
    assert.equal(copy.headers['sallyport-mirror'], '1')
    assert.match(said(original.raw), /of-the-gateway/)
    for (const secret of ['ann-key', 'sid=secret', 'of-the-gateway', 'authorization'])
      assert(!said(copy.raw).includes(secret) && !copy.url.includes(secret), secret)
    const { services } = (await (await fetch(`${gateway.adminUrl}/services`)).json()) as {
      services: { mirror: object }[]
    }
    assert.deepEqual(services[0]!.mirror, { answered: 1, failed: 0, skipped: 0 })
    const metrics = await (await fetch(`${gateway.adminUrl}/metrics`)).text()
    assert.match(metrics, /^sallyport_mirrored_total\{service="orders",outcome="answered"\} 1$/m)
  })

  test('that is trusted with credentials gets what the service gets; refused requests are not copied', async () => {
    await using service = await startBackend()
    await using shadow = await startBackend()
    await using gateway = await startGateway(
      definition({
        targets: [service.url],
        mirror: { url: shadow.url, credentials: true },
        forward: { credentials: 'passthrough', headers: { 'Internal-Token': 'of-the-gateway' } },
      }),
    )
    assert.equal((await fetch(`${gateway.url}/orders`)).status, 401)
    assert.equal((await fetch(`${gateway.url}/orders`, { headers: headers('ann') })).status, 200)
    await eventually('the copy has arrived', () => shadow.received.length === 1)
    const lines = (raw: readonly string[]) =>
      said(raw)
        .replace(/host\n.*\n/, '')
        .replace(/\nsallyport-mirror\n1/, '')
    assert.equal(lines(shadow.received[0]!.raw), lines(service.received[0]!.raw))
    assert.match(said(shadow.received[0]!.raw), /ann-key/)
  })
})
