import assert from 'node:assert/strict'
import { describe, test } from 'node:test'
import { setTimeout as delay } from 'node:timers/promises'
import type { Problem } from '../../src/http/problem.ts'
import type { Limiters } from '../../src/throttling/limiter.ts'
import type { Counted } from '../../src/throttling/partition.ts'
import { type Counting, createRateLimits, rate } from '../../src/throttling/rate.ts'
import { createLocalLimiters, createTokenBuckets } from '../../src/throttling/token-bucket.ts'
import { callerWith } from '../authorization/question.ts'

const ada: Counted = { address: '203.0.113.7', caller: callerWith({ subject: 'ada' }), route: 'orders' }
const bob: Counted = { ...ada, caller: callerWith({ subject: 'bob' }) }

function limitsOf(definitions: readonly unknown[], limiters: Limiters = createLocalLimiters()) {
  return createRateLimits(
    'orders',
    definitions.map((definition) => rate.parse(definition)),
    limiters,
  )
}

function limited(counting: Counting): Problem {
  assert.equal(counting.outcome, 'limited')
  return (counting as Extract<Counting, { outcome: 'limited' }>).problem
}

describe('a rate', () => {
  test('tells the client how it stands, and when to come again', () => {
    const { callers } = limitsOf([{ requests: 2, per: '1m' }])
    const first = callers!.count(ada)
    assert.deepEqual(first, {
      outcome: 'allowed',
      fields: { 'RateLimit-Policy': '"caller";q=2;w=60', RateLimit: '"caller";r=1;t=30' },
    })
    callers!.count(ada)
    const problem = limited(callers!.count(ada) as Counting)
    assert.equal(problem.status, 429)
    assert.equal(problem.code, 'rate-limited')
    assert.equal(problem.detail, 'More requests than you may get: 2 requests in 60 seconds. Try again in 30 seconds.')
    assert.deepEqual(problem.fields, {
      'RateLimit-Policy': '"caller";q=2;w=60',
      RateLimit: '"caller";r=0;t=30',
      'Retry-After': '30',
    })
    assert.deepEqual(problem.members, { 'violated-policies': ['caller'] })
    assert.equal((callers!.count(bob) as Counting).outcome, 'allowed')
  })

  test('never asks to come again before the limit would let it through', async () => {
    const { callers } = limitsOf([{ requests: 5, per: '1s' }])
    for (let call = 0; call < 5; call++) callers!.count(ada)
    const wait = Number(limited(callers!.count(ada) as Counting).fields['Retry-After'])
    await delay(wait * 1_000)
    assert.equal((callers!.count(ada) as Counting).outcome, 'allowed')
  })

  test('of several is over when any one is used up, and all are told', () => {
    const { callers } = limitsOf([
      { requests: 100, per: '1h' },
      { requests: 1, per: '10s', by: 'caller' },
      { requests: 1_000, per: '1m', by: 'route' },
    ])
    assert.deepEqual(callers!.count(ada), {
      outcome: 'allowed',
      fields: {
        'RateLimit-Policy': '"caller-3600s";q=100;w=3600, "caller-10s";q=1;w=10, "route";q=1000;w=60',
        RateLimit: '"caller-3600s";r=99;t=36, "caller-10s";r=0;t=10, "route";r=999;t=1',
      },
    })
    const problem = limited(callers!.count(ada) as Counting)
    assert.deepEqual(problem.members, { 'violated-policies': ['caller-10s'] })
    assert.equal(problem.fields['RateLimit'], '"caller-3600s";r=98;t=36, "caller-10s";r=0;t=10')
  })

  test('by address is counted before anybody is asked who it is, the others after', () => {
    const { clients, callers } = limitsOf([
      { requests: 1, per: '1m', by: 'address' },
      { requests: 5, per: '1m', by: 'claim:tenant' },
    ])
    const unknown: Counted = { address: '203.0.113.7', route: 'orders' }
    assert.equal((clients!.count(unknown) as Counting).outcome, 'allowed')
    assert.equal((clients!.count({ ...unknown, address: '203.0.113.8' }) as Counting).outcome, 'allowed')
    assert.deepEqual(limited(clients!.count(unknown) as Counting).members, { 'violated-policies': ['address'] })
    assert.match(
      (callers!.count(ada) as Counting & { outcome: 'allowed' }).fields['RateLimit-Policy'],
      /^"claim:tenant";q=5;w=60$/,
    )
    assert.equal(limitsOf([{ requests: 1, per: '1m', by: 'address' }]).callers, undefined)
    assert.equal(limitsOf([]).clients, undefined)
  })

  test('writes no field that a strange claim could break out of', () => {
    const { callers } = limitsOf([{ requests: 1, per: '1s', by: 'claim:a"b\\c\r\nX: ü' }])
    const { fields } = callers!.count(ada) as Counting & { outcome: 'allowed' }
    assert.equal(fields['RateLimit-Policy'], '"claim:a\\"b\\\\c??X: ?";q=1;w=1')
  })

  test('waits for a limiter that is elsewhere, and stops at the first that refuses', async () => {
    const asked: string[] = []
    const limiters: Limiters = {
      open: (name, quota) => {
        const buckets = createTokenBuckets(quota)
        return {
          take(key) {
            asked.push(name)
            return name.endsWith('route') ? buckets.take(key) : Promise.resolve(buckets.take(key))
          },
        }
      },
      async close() {},
    }
    const { callers } = limitsOf(
      [
        { requests: 2, per: '1m', by: 'route' },
        { requests: 1, per: '1m', by: 'caller' },
        { requests: 9, per: '1m', by: 'key' },
      ],
      limiters,
    )
    assert.equal((await callers!.count(ada)).outcome, 'allowed')
    assert.deepEqual(asked.splice(0), ['orders:route', 'orders:caller', 'orders:key'])
    assert.deepEqual(limited(await callers!.count(ada)).members, { 'violated-policies': ['caller'] })
    assert.deepEqual(asked.splice(0), ['orders:route', 'orders:caller'])
    assert.deepEqual(limited(await callers!.count(bob)).members, { 'violated-policies': ['route'] })
    assert.deepEqual(asked, ['orders:route'])
  })

  test('says what would be right', () => {
    for (const [mistake, message] of [
      [{ requests: 0, per: '1m' }, /at least one request/],
      [{ requests: 1.5, per: '1m' }, /whole number/],
      [{ requests: 1, per: '500ms' }, /whole seconds/],
      [{ requests: 1, per: '1.5s' }, /whole seconds/],
      [{ requests: 1, per: '2d' }, /at most 86400000 ms/],
      [{ requests: 1, per: 60 }, /"5s"/],
      [{ requests: 1, per: '1m', by: 'user' }, /caller, key, organization, route or "claim:<name>"/],
      [{ requests: 1, per: '1m', by: 'claim:' }, /"claim:<name>"/],
      [{ requests: 1, per: '1m', burst: 5 }, /burst/],
    ] as const) {
      const result = rate.safeParse(mistake)
      assert.ok(!result.success, JSON.stringify(mistake))
      assert.match(result.error.issues.map((issue) => issue.message).join('\n'), message)
    }
  })
})
