import assert from 'node:assert/strict'
import { hash } from 'node:crypto'
import { mkdtemp, rm } from 'node:fs/promises'
import { request as httpRequest, type ServerResponse } from 'node:http'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
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

describe('a sliding window', () => {
  test('is told and enforced like any rate', async () => {
    await using backend = await startBackend()
    const rate = [{ ...hourly(2), algorithm: 'sliding-window' }]
    await using gateway = await startGateway(definition(backend.url, { rate }))
    const first = await fetch(`${gateway.url}/echo`, caller('ann'))
    assert.match(first.headers.get('ratelimit') ?? '', /^"caller";r=1;t=3[67]\d\d$/)
    assert.deepEqual(await statuses(`${gateway.url}/echo`, 2, caller('ann')), [200, 429])
  })
})

describe('a quota', () => {
  test('survives a restart of the gateway, and begins anew with the day in UTC', async (t) => {
    const folder = await mkdtemp(join(tmpdir(), 'sallyport-quota-'))
    t.after(() => rm(folder, { recursive: true }))
    let now = Date.UTC(2026, 11, 31, 23, 0)
    await using backend = await startBackend()
    const services = {
      ...definition(backend.url, { quota: [{ requests: 3, per: 'day', by: 'organization' }] }),
      store: { type: 'sqlite', path: join(folder, 'store.db') },
    }
    {
      await using gateway = await startGateway(services, { now: () => now })
      assert.deepEqual(await statuses(`${gateway.url}/echo`, 2, caller('ann')), [200, 200])
    }
    await using gateway = await startGateway(services, { now: () => now })
    const last = await fetch(`${gateway.url}/echo`, caller('bob'))
    assert.equal(last.headers.get('ratelimit-policy'), '"organization";q=3;w=86400')
    assert.equal(last.headers.get('ratelimit'), '"organization";r=0;t=3600')
    const refused = await fetch(`${gateway.url}/echo`, caller('ann'))
    assert.equal(refused.status, 429)
    assert.equal(refused.headers.get('retry-after'), '3600')
    const problem = (await refused.json()) as Record<string, unknown>
    assert.equal(problem['code'], 'quota-exceeded')
    assert.deepEqual(problem['violated-policies'], ['organization'])
    assert.deepEqual(await statuses(`${gateway.url}/echo`, 1, caller('eve')), [200], 'another organization')
    const metrics = await (await fetch(`${gateway.adminUrl}/metrics`)).text()
    assert.match(metrics, /sallyport_limited_total\{service="echo",policy="organization"\} 1/)
    now += 3_600_000
    assert.deepEqual(await statuses(`${gateway.url}/echo`, 1, caller('ann')), [200], 'the new year')
  })
})

describe('plans', () => {
  test('go with the API key, else with the role, over all services; what is exempt counts nowhere', async () => {
    await using backend = await startBackend()
    const base = definition(backend.url, {})
    const [echo] = base.services
    const services = {
      ...base,
      plans: {
        gold: { roles: ['partner'], rate: [hourly(3)] },
        free: { default: true, rate: [hourly(1)], quota: [{ requests: 1_000, per: 'month' }] },
      },
      securitySchemes: {
        key: {
          ...base.securitySchemes.key,
          keys: [keyOf('ann', { plan: 'gold' }), keyOf('bob', { roles: ['partner'] }), keyOf('eve')],
        },
      },
      services: [
        { ...echo, routes: [{ match: '/free', limits: { plans: false } }] },
        { ...echo, name: 'other', path: '/other' },
      ],
    }
    await using gateway = await startGateway(services)
    const first = await fetch(`${gateway.url}/echo`, caller('ann'))
    assert.equal(first.headers.get('ratelimit-policy'), '"gold";q=3;w=3600')
    assert.deepEqual(await statuses(`${gateway.url}/other`, 3, caller('ann')), [200, 200, 429], 'over all services')
    assert.deepEqual(await statuses(`${gateway.url}/echo`, 4, caller('bob')), [200, 200, 200, 429], 'by role')
    const poor = await fetch(`${gateway.url}/echo`, caller('eve'))
    assert.equal(poor.headers.get('ratelimit-policy'), '"free-3600s";q=1;w=3600, "free-month";q=1000')
    assert.deepEqual(await statuses(`${gateway.url}/other`, 1, caller('eve')), [429])
    const exempt = await fetch(`${gateway.url}/echo/free`, caller('eve'))
    assert.equal(exempt.status, 200)
    assert.equal(exempt.headers.get('ratelimit-policy'), null)
    const { services: reports } = (await (await fetch(`${gateway.adminUrl}/services`)).json()) as {
      services: { name: string; limits: { plan: string; body: number; rules: { name: string }[] } }[]
    }
    assert.deepEqual(
      reports.map(({ limits }) => [limits.plan, limits.body, limits.rules.map(({ name }) => name)]),
      Array(2).fill(['free', 10_485_760, ['free-3600s', 'free-month']]),
    )
  })

  test('are given to keys that are created, by names that exist, and kept by their successors', async () => {
    await using backend = await startBackend()
    const services = {
      ...definition(backend.url, {}),
      plans: { gold: { rate: [hourly(2)] }, silver: { rate: [hourly(1)] } },
    }
    await using gateway = await startGateway(services)
    const post = (path: string, body: object) =>
      fetch(`${gateway.adminUrl}${path}`, {
        method: 'POST',
        headers: { 'Content-Type': 'application/json' },
        body: JSON.stringify(body),
      })
    const refused = await post('/keys', { owner: 'zoe', plan: 'platinum' })
    assert.equal(refused.status, 400)
    assert.match(await refused.text(), /services.json has no such plan; there are .{1,2}gold.{1,2}, .{1,2}silver/)
    const created = (await (await post('/keys', { owner: 'zoe', plan: 'gold' })).json()) as {
      text: string
      key: { id: string; plan: string }
    }
    assert.equal(created.key.plan, 'gold')
    const zoe = (text: string) => ({ headers: { 'X-API-Key': text } })
    assert.deepEqual(await statuses(`${gateway.url}/echo`, 1, zoe(created.text)), [200])
    const rotated = (await (await post(`/keys/${created.key.id}/rotate`, {})).json()) as typeof created
    assert.equal(rotated.key.plan, 'gold')
    assert.deepEqual(
      await statuses(`${gateway.url}/echo`, 2, zoe(rotated.text)),
      [200, 429],
      'one owner, one allowance',
    )

    const { gold: _, ...rest } = services.plans
    await gateway.rewrite({ ...services, plans: rest })
    assert.equal(await gateway.running.reload(), true)
    assert.deepEqual(await statuses(`${gateway.url}/echo`, 1, zoe(rotated.text)), [200])
    assert(gateway.log.some(({ message, plan }) => message.includes('names a plan') && plan === 'gold'))
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

  test('share quotas and plans to the request; while Redis is out each has its share', async () => {
    const redis = await startRedis()
    try {
      await using backend = await startBackend()
      const base = definition(backend.url, { quota: [{ requests: 41, per: 'month' }] })
      const shared = {
        ...base,
        plans: { free: { default: true, quota: [{ requests: 1_000, per: 'day' }] } },
        store: { type: 'redis', url: redis.url, localShare: 0.25 },
      }
      await using one = await startGateway(shared)
      await using other = await startGateway(shared)
      for (const gateway of [one, other]) await countsInRedis(gateway)
      const seen = await Promise.all(
        Array.from({ length: 60 }, async (_, call) => {
          const answer = await fetch(`${(call % 2 ? one : other).url}/echo`, caller('ann'))
          await answer.arrayBuffer()
          return answer.status
        }),
      )
      assert.equal(seen.filter((status) => status === 200).length, 41)
      const last = await fetch(`${one.url}/echo`, caller('ann'))
      assert.equal(((await last.json()) as { code: string }).code, 'quota-exceeded')
      assert.match(last.headers.get('ratelimit') ?? '', /^"caller";r=0;t=\d+$|^"free";r=\d+;t=\d+, "caller";r=0;t=\d+$/)

      await redis.kill()
      assert.deepEqual(await statuses(`${one.url}/echo`, 11, caller('bob')), [...Array(10).fill(200), 429])
      await redis.start()
      await countsInRedis(one)
      // What was let through alone is written down with the next call.
      assert.deepEqual(await statuses(`${one.url}/echo`, 32, caller('bob')), [...Array(31).fill(200), 429])
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
