import assert from 'node:assert/strict'
import { hash } from 'node:crypto'
import { describe, test } from 'node:test'
import { createDecisionArchive } from '../../src/gateway/decision-archive.ts'
import type { Explanation } from '../../src/gateway/explanation.ts'
import { createMemoryStore } from '../../src/store/memory.ts'
import { StoreUnavailable } from '../../src/store/store.ts'
import { silent } from '../../src/telemetry/log.ts'
import { startBackend } from '../backend.ts'
import { sendRaw } from '../raw.ts'
import { startRedis } from '../redis.ts'
import { skipWithout } from '../requirements.ts'
import { eventually, type GatewayUnderTest, startGateway } from '../sallyport.ts'

const keyOf = (subject: string) => `key-of-${subject}`
const holder = (subject: string, roles: readonly string[]) => ({
  sha256: hash('sha256', keyOf(subject), 'hex'),
  subject,
  roles,
})

const definition = (target: string) => ({
  securitySchemes: {
    key: { type: 'apiKey', in: 'header', name: 'X-API-Key', keys: [holder('ada', ['admin']), holder('bob', [])] },
  },
  plans: { basic: { default: true, quota: [{ requests: 1_000, per: 'month' }] } },
  services: [
    {
      name: 'orders',
      path: '/orders',
      targets: [target],
      openapi: false,
      security: [{ key: [] }],
      limits: {
        rate: [
          { requests: 100, per: '1m', by: 'address' },
          { requests: 2, per: '1h', by: 'caller' },
        ],
        concurrent: { limit: 5, queue: 7 },
      },
      routes: [{ match: 'DELETE /{id}', allow: { roles: ['admin'] } }],
    },
    {
      name: 'vault',
      path: '/vault',
      targets: [target],
      openapi: false,
      security: [{ key: [] }],
      allow: { roles: ['admin'] },
    },
  ],
  compositions: [
    {
      match: 'GET /overview',
      parts: {
        secrets: { service: 'vault', path: '/secrets' },
        more: { service: 'vault', path: '/more', optional: true },
      },
    },
  ],
})

// biome-ignore lint/suspicious/noExplicitAny: explanations are read here as an operator would
type Explained = any

async function explain(gateway: GatewayUnderTest, subject: string, method = 'GET', path = '/orders/1') {
  const answer = await fetch(`${gateway.adminUrl}/explain`, {
    method: 'POST',
    headers: { 'Content-Type': 'application/json' },
    body: JSON.stringify({ method, path, headers: { 'X-API-Key': keyOf(subject) } }),
  })
  return (await answer.json()) as Explained
}

const call = (gateway: GatewayUnderTest, subject: string, method = 'GET', path = '/orders/1') =>
  fetch(gateway.url + path, { method, headers: { 'X-API-Key': keyOf(subject) } })

async function decisionOn(gateway: GatewayUnderTest, answer: Response): Promise<Explained> {
  const { instance } = (await answer.json()) as { instance: string }
  const decision = await fetch(`${gateway.adminUrl}/decisions/${instance}`)
  assert.equal(decision.status, 200)
  return decision.json()
}

describe('the limits in an explanation', () => {
  test('are shown with what is left for this caller, and nothing is taken', async () => {
    await using backend = await startBackend()
    await using gateway = await startGateway(definition(backend.url))
    for (let count = 0; count < 3; count += 1) {
      const { limits, outcome } = await explain(gateway, 'ada')
      assert.equal(outcome, 'forwarded')
      assert.equal(limits.plan, 'basic')
      assert.deepEqual(
        limits.rules.map(({ name, by, requests, remaining }: Explained) => [name, by, requests, remaining]),
        [
          ['address', 'address', 100, 100],
          ['caller', 'caller', 2, 2],
          ['basic', 'caller', 1_000, 1_000],
        ],
      )
      assert.deepEqual(limits.concurrent, { limit: 5, queue: 7, wait: 50, active: 0, waiting: 0 })
      assert.equal(limits.body, 10 * 1_048_576)
    }
    assert.equal((await call(gateway, 'ada')).status, 200)
    const { limits } = await explain(gateway, 'ada')
    assert.deepEqual(
      limits.rules.map(({ remaining }: Explained) => remaining),
      [99, 1, 999],
    )
    assert(limits.rules[1].next > 1_700, 'half an hour until there is one more')
  })

  test('tell what would be answered when one is used up, at the step that it ends', async () => {
    await using backend = await startBackend()
    await using gateway = await startGateway(definition(backend.url))
    for (let count = 0; count < 2; count += 1) assert.equal((await call(gateway, 'bob')).status, 200)
    const told = await explain(gateway, 'bob')
    const answer = await call(gateway, 'bob')
    const problem = (await answer.clone().json()) as Explained
    assert.deepEqual(
      [told.outcome, told.problem.step, told.problem.status, told.problem.code],
      ['refused', 'throttle', 429, 'rate-limited'],
    )
    assert.equal(answer.status, 429)
    assert.match(told.problem.detail, /2 requests in 3600 seconds/)
    assert.equal(told.authorization, undefined, 'nobody asks what he may')
    assert.equal((await explain(gateway, 'ada')).outcome, 'forwarded', 'another one has her own')

    const kept = await decisionOn(gateway, answer)
    assert.deepEqual(
      kept.limits.rules.map(({ name, violated }: Explained) => [name, violated]),
      [
        ['address', undefined],
        ['caller', true],
        ['basic', undefined],
      ],
    )
    const line = await eventually('the line of the refusal', () =>
      gateway.log.find(({ message, id }) => message === 'request' && id === problem.instance),
    )
    assert.deepEqual(
      [line['route'], line['problem'], line['limits'], line['verdicts']],
      ['orders', 'rate-limited', ['caller'], { key: 'accepted' }],
    )
  })

  test('and of a route that was refused for another reason, too', async () => {
    await using backend = await startBackend()
    await using gateway = await startGateway(definition(backend.url))
    const { problem, limits } = await explain(gateway, 'bob', 'DELETE')
    assert.equal(problem.code, 'insufficient-role')
    assert.equal(limits.rules.length, 3)
  })
})

describe('what is kept of a refusal', () => {
  test('says of a composition which part was refused, and why', async () => {
    await using backend = await startBackend()
    await using gateway = await startGateway(definition(backend.url))
    const answer = await call(gateway, 'bob', 'GET', '/overview')
    assert.equal(answer.status, 403)
    const { instance } = (await answer.clone().json()) as { instance: string }
    const { problem, request, composition } = await decisionOn(gateway, answer)
    assert.equal(request.path, '/overview')
    assert.deepEqual([problem.step, problem.code], ['authorize', 'insufficient-role'])
    assert.equal(composition.id, 'GET /overview')
    const [{ name, explanation }] = composition.parts
    assert.equal(name, 'secrets')
    assert.equal(explanation.route.id, 'vault')
    assert.equal(explanation.authorization.policies[0].blocks[0].rows[0].verdict, 'deny')
    const line = await eventually('its line', () =>
      gateway.log.find(({ message, id }) => message === 'request' && id === instance),
    )
    assert.deepEqual([line['part'], line['route'], line['row']], ['secrets', 'vault', '/roles'])
  })

  test("is there for the gateway's own endpoints", async () => {
    await using backend = await startBackend()
    await using gateway = await startGateway(definition(backend.url))
    const { problem } = await decisionOn(gateway, await fetch(`${gateway.url}/me`))
    assert.deepEqual([problem.step, problem.status], ['authenticate', 401])
  })

  test('waits for no store and is bounded there: the last of each process, so many in a second', async () => {
    const store = createMemoryStore({ now: () => time, log: silent })
    let time = 1_700_000_000_000
    const settings = { capacity: 10, perSecond: 4 }
    const archive = createDecisionArchive(settings, { store, now: () => time, log: silent })
    const at = () => new Date(time).toISOString()
    const explanation = (): Explanation => ({
      at: at(),
      outcome: 'refused',
      request: { method: 'GET', path: '/orders', client: '192.0.2.1' },
      problem: { step: 'authenticate', status: 401, code: 'no-credentials', detail: 'None.' },
    })
    for (let second = 0; second < 5; second += 1) {
      for (let count = 0; count < 100; count += 1) archive.keep(`${second}-${count}`, explanation())
      time += 1_000
    }
    await eventually('the last ten are there', async () => {
      const ids = (await store.list('decisions')).map(({ key }) => key)
      return ids.length === 10 && ids.includes('4-3') && !ids.includes('0-0') && !ids.includes('4-4')
    })
    assert.equal((await archive.list()).length, 10)
    assert.equal((await archive.find('4-3'))?.problem?.status, 401)
    assert.equal(await archive.find('0-0'), undefined)

    const warnings: string[] = []
    const broken = {
      ...store,
      put: () => Promise.reject(new StoreUnavailable('gone')),
      list: () => Promise.reject(new StoreUnavailable('gone')),
    }
    const log = { ...silent, warn: (_facts: object, message: string) => void warnings.push(message) }
    const alone = createDecisionArchive(settings, { store: broken, now: () => time, log })
    for (const id of ['a', 'b']) alone.keep(id, explanation())
    await eventually('it is said once', () => warnings.length === 1)
    assert.deepEqual(await alone.list(), [])
  })

  test('can be asked for at any gateway that shares the Redis', { skip: skipWithout('redis') }, async () => {
    const redis = await startRedis()
    try {
      await using backend = await startBackend()
      const shared = { ...definition(backend.url), store: { type: 'redis', url: redis.url } }
      await using one = await startGateway(shared)
      await using other = await startGateway(shared)
      const answer = await call(one, 'bob', 'DELETE')
      const { instance } = (await answer.json()) as { instance: string }
      const decision = await eventually('the other one knows it', async () => {
        const found = await fetch(`${other.adminUrl}/decisions/${instance}`)
        return found.status === 200 && ((await found.json()) as Explained)
      })
      assert.equal(decision.route.id, 'orders DELETE /{id}')
      await call(other, 'ada', 'GET', '/orders/1')
      await fetch(`${other.url}/orders/1`)
      for (const { adminUrl } of [one, other]) {
        await eventually('both list both', async () => {
          const { decisions } = (await (await fetch(`${adminUrl}/decisions`)).json()) as Explained
          return decisions.map(({ status }: Explained) => status).join() === '401,403'
        })
      }
      assert(!JSON.stringify(decision).includes(keyOf('bob')))
    } finally {
      await redis.stop()
    }
  })
})

test('who waits for 100 Continue at the admin port is told to go on, once somebody wants the body', async () => {
  await using gateway = await startGateway(definition('http://127.0.0.1:9'))
  const { host } = new URL(gateway.adminUrl)
  const body = '{"path":"/orders/1"}'
  const ask = (path: string) =>
    sendRaw(
      gateway.adminUrl,
      `POST ${path} HTTP/1.1\r\nHost: ${host}\r\nContent-Type: application/json\r\nExpect: 100-continue\r\nConnection: close\r\nContent-Length: ${body.length}\r\n\r\n`,
      500,
    )
  for (const path of ['/explain', '/inspect', '/revocations', '/keys'])
    assert.equal((await ask(path)).text, 'HTTP/1.1 100 Continue\r\n\r\n', path)
  assert.equal((await ask('/nothing')).status, 404)
})
