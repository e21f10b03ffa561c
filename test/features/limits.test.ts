import assert from 'node:assert/strict'
import { hash } from 'node:crypto'
import { request as httpRequest, type ServerResponse } from 'node:http'
import { describe, test } from 'node:test'
import { setTimeout as sleep } from 'node:timers/promises'
import { openRevocations } from '../../src/authentication/revocation.ts'
import { connectRedisStore } from '../../src/store/redis.ts'
import { startBackend } from '../backend.ts'
import { startRedis } from '../redis.ts'
import { skipWithout } from '../requirements.ts'
import { eventually, type GatewayUnderTest, startGateway } from '../sallyport.ts'

const keyOf = (subject: string, more: object = {}) => ({ sha256: hash('sha256', `${subject}-key`), subject, ...more })

const definition = (target: string, limits: object, more: object = {}) => ({
  gateway: { trustedProxies: ['127.0.0.1'] },
  issuers: {},
  securitySchemes: {
    key: {
      type: 'apiKey',
      in: 'header',
      name: 'X-API-Key',
      keys: [
        keyOf('ann', { organization: 'acme' }),
        keyOf('bob', { organization: 'acme' }),
        keyOf('eve', { organization: 'other' }),
      ],
    },
  },
  services: [
    { name: 'echo', path: '/echo', targets: [target], openapi: false, security: [{ key: [] }], limits, ...more },
  ],
})

const caller = (subject: string, address?: string) => ({
  headers: { 'X-API-Key': `${subject}-key`, ...(address !== undefined && { 'X-Forwarded-For': address }) },
})

async function statuses(url: string, times: number, init: RequestInit = {}): Promise<number[]> {
  const seen: number[] = []
  for (let count = 0; count < times; count += 1) {
    const answer = await fetch(url, init)
    await answer.arrayBuffer()
    seen.push(answer.status)
  }
  return seen
}

const hourly = (requests: number, by?: string) => ({ requests, per: '1h', ...(by !== undefined && { by }) })

describe('a rate by caller', () => {
  test('is told in every answer, and answered with 429 and when to come back', async () => {
    await using backend = await startBackend()
    await using gateway = await startGateway(definition(backend.url, { rate: [hourly(2)] }))
    const first = await fetch(`${gateway.url}/echo`, caller('ann'))
    assert.equal(first.headers.get('ratelimit-policy'), '"caller";q=2;w=3600')
    assert.equal(first.headers.get('ratelimit'), '"caller";r=1;t=1800')
    await fetch(`${gateway.url}/echo/elsewhere`, caller('ann'))
    const refused = await fetch(`${gateway.url}/echo`, caller('ann'))
    assert.equal(refused.status, 429)
    assert.equal(refused.headers.get('content-type'), 'application/problem+json')
    assert.equal(refused.headers.get('ratelimit-policy'), '"caller";q=2;w=3600')
    assert.match(refused.headers.get('ratelimit') ?? '', /^"caller";r=0;t=1[78]\d\d$/)
    assert.match(refused.headers.get('retry-after') ?? '', /^1[78]\d\d$/)
    const problem = (await refused.json()) as Record<string, unknown>
    assert.equal(problem['code'], 'rate-limited')
    assert.deepEqual(problem['violated-policies'], ['caller'])
    assert.equal(backend.received.length, 2)
  })

  test('is an allowance of each caller, wherever it calls from', async () => {
    await using backend = await startBackend()
    await using gateway = await startGateway(definition(backend.url, { rate: [hourly(2)] }))
    assert.deepEqual(await statuses(`${gateway.url}/echo`, 3, caller('ann', '203.0.113.1')), [200, 200, 429])
    assert.deepEqual(await statuses(`${gateway.url}/echo`, 1, caller('ann', '203.0.113.2')), [429])
    assert.deepEqual(await statuses(`${gateway.url}/echo`, 3, caller('bob', '203.0.113.1')), [200, 200, 429])
  })

  test('survives a reload of services.json', async () => {
    await using backend = await startBackend()
    const before = definition(backend.url, { rate: [hourly(2)] })
    await using gateway = await startGateway(before)
    assert.deepEqual(await statuses(`${gateway.url}/echo`, 2, caller('ann')), [200, 200])
    await gateway.rewrite(definition(backend.url, { rate: [hourly(2)], body: '1kb' }))
    assert.equal(await gateway.running.reload(), true)
    assert.deepEqual(await statuses(`${gateway.url}/echo`, 1, caller('ann')), [429])
    await gateway.rewrite(definition(backend.url, { rate: [hourly(3)] }))
    await gateway.running.reload()
    assert.deepEqual(await statuses(`${gateway.url}/echo`, 1, caller('ann')), [200], 'another rate counts from anew')
  })
})

describe('a rate by address', () => {
  test('counts requests with refused credentials as well, and leaves other addresses alone', async () => {
    await using backend = await startBackend()
    await using gateway = await startGateway(definition(backend.url, { rate: [hourly(5, 'address')] }))
    const seen: number[] = []
    for (let attempt = 0; attempt < 20; attempt += 1) {
      const guess = { 'X-API-Key': `guess-${attempt}`, 'X-Forwarded-For': '203.0.113.66' }
      const answer = await fetch(`${gateway.url}/echo`, { headers: guess })
      seen.push(answer.status)
      assert.match(answer.headers.get('ratelimit') ?? '', /^"address";r=\d;t=\d+$/, 'also in a refusal')
    }
    assert.deepEqual(seen, [...Array(5).fill(401), ...Array(15).fill(429)])
    assert.deepEqual(await statuses(`${gateway.url}/echo`, 1, caller('ann', '203.0.113.66')), [429])
    assert.deepEqual(await statuses(`${gateway.url}/echo`, 1, caller('ann', '203.0.113.67')), [200])
  })

  test('believes only trusted proxies about the address', async () => {
    await using backend = await startBackend()
    const untrusting = { ...definition(backend.url, { rate: [hourly(1, 'address')] }), gateway: {} }
    await using gateway = await startGateway(untrusting)
    assert.deepEqual(await statuses(`${gateway.url}/echo`, 1, caller('ann', '203.0.113.1')), [200])
    assert.deepEqual(await statuses(`${gateway.url}/echo`, 1, caller('ann', '203.0.113.2')), [429])
  })
})

describe('several rates', () => {
  test('must all hold, by address before and by organization after it is known who calls', async () => {
    await using backend = await startBackend()
    const rate = [hourly(4, 'address'), hourly(2, 'organization')]
    await using gateway = await startGateway(definition(backend.url, { rate }))
    const first = await fetch(`${gateway.url}/echo`, caller('ann'))
    assert.equal(first.headers.get('ratelimit-policy'), '"address";q=4;w=3600, "organization";q=2;w=3600')
    assert.match(first.headers.get('ratelimit') ?? '', /^"address";r=3;t=\d+, "organization";r=1;t=\d+$/)
    assert.deepEqual(await statuses(`${gateway.url}/echo`, 2, caller('bob')), [200, 429], 'the same organization')
    assert.deepEqual(await statuses(`${gateway.url}/echo`, 2, caller('eve')), [200, 429], 'now the address is')
  })

  test('of a route stand instead of those of its service; an empty list lifts them', async () => {
    await using backend = await startBackend()
    const routes = [
      { match: 'POST /', limits: { rate: [hourly(1)] } },
      { match: '/free', limits: { rate: [] } },
      { match: '/same', limits: { body: '1kb' } },
    ]
    await using gateway = await startGateway(definition(backend.url, { rate: [hourly(2)] }, { routes }))
    const post = { ...caller('ann'), method: 'POST' }
    assert.deepEqual(await statuses(`${gateway.url}/echo`, 2, post), [200, 429])
    assert.deepEqual(await statuses(`${gateway.url}/echo/free`, 5, caller('ann')), [200, 200, 200, 200, 200])
    assert.deepEqual(await statuses(`${gateway.url}/echo`, 1, caller('ann')), [200])
    assert.deepEqual(await statuses(`${gateway.url}/echo/same`, 2, caller('ann')), [200, 429], 'counted together')
  })
})

test('the document describes 429 where a rate is limited, and nowhere else', async () => {
  await using backend = await startBackend()
  const openapi = {
    openapi: '3.1.0',
    info: { title: 'Echo', version: '1' },
    paths: {
      '/limited': { get: { responses: { 200: { description: 'ok' } } } },
      '/free': { get: { responses: { 200: { description: 'ok' } } } },
    },
  }
  const services = definition(
    backend.url,
    { rate: [hourly(2)] },
    { openapi: './echo.json', routes: [{ match: 'GET /free', limits: { rate: [] } }] },
  )
  await using gateway = await startGateway(services, { files: { 'echo.json': JSON.stringify(openapi) } })
  const paths = await eventually('the document is published', async () => {
    const document = (await (await fetch(`${gateway.url}/openapi.json`)).json()) as {
      paths: Record<string, { get?: { responses: Record<string, unknown> } }>
    }
    return document.paths['/echo/limited'] && document.paths
  })
  assert.deepEqual(paths['/echo/limited']?.get?.responses['429'], { $ref: '#/components/responses/TooManyRequests' })
  assert.equal(paths['/echo/free']?.get?.responses['429'], undefined)
})

describe('requests under way', () => {
  /** Holds every request until it is told to answer. */
  async function startSlowBackend() {
    const held: ServerResponse[] = []
    const backend = await startBackend((_req, res) => void held.push(res))
    return Object.assign(backend, { held })
  }

  test('beyond the limit wait for one to end; when too many wait, 503', async () => {
    await using backend = await startSlowBackend()
    const concurrent = { limit: 1, queue: 1, wait: '10s' }
    await using gateway = await startGateway(definition(backend.url, { concurrent }))
    const first = fetch(`${gateway.url}/echo/1`, caller('ann'))
    await eventually('the first has arrived', () => backend.held.length === 1)
    const second = fetch(`${gateway.url}/echo/2`, caller('ann'))
    await sleep(100)
    const third = await fetch(`${gateway.url}/echo/3`, caller('ann'))
    assert.equal(third.status, 503)
    assert.equal(third.headers.get('retry-after'), '1')
    assert.equal(((await third.json()) as { code: string }).code, 'overloaded')
    assert.equal(backend.held.length, 1)
    backend.held[0]?.end('one')
    assert.equal(await (await first).text(), 'one')
    await eventually('the second has arrived', () => backend.held.length === 2)
    backend.held[1]?.end('two')
    assert.equal(await (await second).text(), 'two')
  })

  test('give their place back when the client leaves, while it waits and while it is served', async () => {
    await using backend = await startSlowBackend()
    const concurrent = { limit: 1, queue: 5, wait: '10s' }
    await using gateway = await startGateway(definition(backend.url, { concurrent }))
    const leaver = () => httpRequest(`${gateway.url}/echo`, caller('ann')).on('error', () => {})
    const served = leaver()
    served.end()
    await eventually('the first has arrived', () => backend.held.length === 1)
    const waiting = leaver()
    waiting.end()
    await sleep(100)
    const last = fetch(`${gateway.url}/echo`, caller('ann'))
    await sleep(100)
    waiting.destroy()
    await eventually('the one that waited is on the log', () => gateway.log.some(({ status }) => status === 499))
    served.destroy()
    await eventually('the last has arrived', () => backend.held.length === 2)
    backend.held[1]?.end('last')
    assert.equal(await (await last).text(), 'last')
    assert.equal(gateway.log.filter(({ level }) => level === 'error').length, 0)
  })

  test('still count after a reload, and requests that are refused take no place', async () => {
    await using backend = await startSlowBackend()
    const concurrent = { limit: 1, queue: 0 }
    await using gateway = await startGateway(definition(backend.url, { concurrent }))
    assert.deepEqual(await statuses(`${gateway.url}/echo`, 3), [401, 401, 401])
    const first = fetch(`${gateway.url}/echo`, caller('ann'))
    await eventually('the first has arrived', () => backend.held.length === 1)
    await gateway.rewrite(definition(backend.url, { concurrent, body: '1kb' }))
    assert.equal(await gateway.running.reload(), true)
    assert.deepEqual(await statuses(`${gateway.url}/echo`, 1, caller('ann')), [503])
    backend.held[0]?.end()
    await (await first).text()
    const second = fetch(`${gateway.url}/echo`, caller('ann'))
    await eventually('the second has arrived', () => backend.held.length === 2)
    backend.held[1]?.end()
    assert.equal((await second).status, 200)
  })
})

describe('several gateways on one Redis', { skip: skipWithout('redis') }, () => {
  const alone = async ({ adminUrl }: GatewayUnderTest) => {
    const text = await (await fetch(`${adminUrl}/metrics`)).text()
    return Number(/sallyport_alarms_total\{kind="rates-counted-alone",name="redis"\} (\d+)/.exec(text)?.[1] ?? 0)
  }

  /** The connection is made in the background. */
  const countsInRedis = (gateway: GatewayUnderTest) =>
    eventually('rates are counted in Redis', async () => {
      const before = await alone(gateway)
      await statuses(`${gateway.url}/echo`, 1, caller('eve'))
      return (await alone(gateway)) === before
    })

  test('count together; while Redis is out each counts alone and says so', async () => {
    const redis = await startRedis()
    try {
      await using backend = await startBackend()
      const shared = {
        ...definition(backend.url, { rate: [hourly(4)] }),
        store: { type: 'redis', url: redis.url },
      }
      await using one = await startGateway(shared)
      await using other = await startGateway(shared)
      for (const gateway of [one, other]) await countsInRedis(gateway)
      const both = [
        ...(await statuses(`${one.url}/echo`, 2, caller('ann'))),
        ...(await statuses(`${other.url}/echo`, 3, caller('ann'))),
        ...(await statuses(`${one.url}/echo`, 1, caller('ann'))),
      ]
      assert.deepEqual(both, [200, 200, 200, 200, 429, 429])

      await redis.kill()
      assert.deepEqual(await statuses(`${one.url}/echo`, 5, caller('bob')), [200, 200, 200, 200, 429])
      assert((await alone(one)) >= 5)
    } finally {
      await redis.stop()
    }
  })

  test('a subject that is revoked at one loses its API keys at all', async () => {
    const redis = await startRedis()
    const tools = { now: Date.now, log: { debug() {}, info() {}, warn() {}, error() {} } }
    try {
      await using backend = await startBackend()
      await using gateway = await startGateway({
        ...definition(backend.url, {}),
        store: { type: 'redis', url: redis.url },
      })
      assert.deepEqual(await statuses(`${gateway.url}/echo`, 1, caller('ann')), [200])
      const store = connectRedisStore(redis.url, 'sallyport:', tools)
      const revocations = await openRevocations(store, { lifetime: 60_000 }, tools)
      await revocations.revoke({ subject: 'ann' })
      await eventually('the key is refused', async () => {
        const answer = await fetch(`${gateway.url}/echo`, caller('ann'))
        return answer.status === 401 && ((await answer.json()) as { code: string }).code === 'invalid-api-key'
      })
      assert.deepEqual(await statuses(`${gateway.url}/echo`, 1, caller('bob')), [200])
      revocations.close()
      await store.close()
    } finally {
      await redis.stop()
    }
  })
})
