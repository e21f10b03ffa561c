import assert from 'node:assert/strict'
import { describe, test } from 'node:test'
import { setTimeout as delay } from 'node:timers/promises'
import type { Problem } from '../../src/http/problem.ts'
import type { Limiters, Rate } from '../../src/throttling/limiter.ts'
import type { Counted } from '../../src/throttling/partition.ts'
import { createPlanOf } from '../../src/throttling/plans.ts'
import { plans, quota, rate } from '../../src/throttling/rate.ts'
import { type Counting, createPlans, createRateLimits } from '../../src/throttling/rate-limits.ts'
import { createTokenBuckets } from '../../src/throttling/token-bucket.ts'
import { callerWith } from '../authorization/question.ts'
import { localLimiters } from './local-limiters.ts'

const ada: Counted = { address: '203.0.113.7', caller: callerWith({ subject: 'ada' }), route: 'orders' }
const bob: Counted = { ...ada, caller: callerWith({ subject: 'bob' }) }

function limitsOf(
  definitions: readonly unknown[],
  limiters: Limiters = localLimiters(),
  quotas: readonly unknown[] = [],
) {
  const scope = 'orders'
  return createRateLimits(
    {
      rate: definitions.map((definition) => ({ ...rate.parse(definition), scope })),
      quota: quotas.map((definition) => ({ ...quota.parse(definition), scope })),
    },
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
        const buckets = createTokenBuckets(quota as Rate)
        return {
          take(key) {
            asked.push(name)
            return name.endsWith('route') ? buckets.take(key) : Promise.resolve(buckets.take(key))
          },
          look: (key) => buckets.look(key),
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
      [
        { requests: 1, per: '1m', by: 'user' },
        /^"user" is nobody to count by; it is "address", "caller", "key", "organization", "route" or a claim, "claim:tenant"$/,
      ],
      [{ requests: 1, per: '1m', by: 'claim:' }, /the name of the claim is missing: "claim:tenant"/],
      [{ requests: 1, per: '1m', by: 5 }, /counted by "address", "caller"/],
      [{ requests: 1, per: '1m', algorithm: 'leaky' }, /token-bucket/],
      [{ requests: 1, per: '1m', burst: 5 }, /burst/],
    ] as const) {
      const result = rate.safeParse(mistake)
      assert.ok(!result.success, JSON.stringify(mistake))
      assert.match(result.error.issues.map((issue) => issue.message).join('\n'), message)
    }
  })
})

describe('quotas', () => {
  test('are counted after rates, the day before the month, and begin anew in UTC', async () => {
    let now = Date.UTC(2026, 10, 30, 23, 59, 0)
    const limiters = localLimiters({ now: () => now })
    const { callers, describe: described } = limitsOf([{ requests: 100, per: '1s' }], limiters, [
      { requests: 3, per: 'month' },
      { requests: 2, per: 'day' },
    ])
    assert.deepEqual(
      described().rules.map(({ name }) => name),
      ['caller-1s', 'caller-day', 'caller-month'],
    )
    const first = (await callers!.count(ada)) as Counting & { outcome: 'allowed' }
    assert.deepEqual(first.fields, {
      'RateLimit-Policy': '"caller-1s";q=100;w=1, "caller-day";q=2;w=86400, "caller-month";q=3',
      RateLimit: '"caller-1s";r=99;t=1, "caller-day";r=1;t=60, "caller-month";r=2;t=60',
    })
    assert.equal((await callers!.count(ada)).outcome, 'allowed')
    const problem = limited(await callers!.count(ada))
    assert.equal(problem.code, 'quota-exceeded')
    assert.equal(problem.status, 429)
    assert.equal(problem.fields['Retry-After'], '60')
    assert.match(problem.detail, /2 requests a day. The next day begins in 60 seconds, in UTC\.$/)
    assert.deepEqual(problem.members, { 'violated-policies': ['caller-day'] })
    // The month was not charged for what the day refused; both begin anew at midnight.
    now += 60_000
    assert.equal((await callers!.count(ada)).outcome, 'allowed')
    assert.equal((await callers!.count(ada)).outcome, 'allowed')
    now += 86_400_000
    assert.equal((await callers!.count(ada)).outcome, 'allowed')
    assert.deepEqual(limited(await callers!.count(ada)).members, { 'violated-policies': ['caller-month'] })
  })
})

describe('plans', () => {
  const definitions = plans.parse({
    gold: { roles: ['partner', 'staff'], rate: [{ requests: 3, per: '1h' }] },
    silver: {
      roles: ['staff'],
      rate: [{ requests: 2, per: '1h' }],
      quota: [{ requests: 9, per: 'month', by: 'organization' }],
    },
    free: { default: true, rate: [{ requests: 1, per: '1h' }] },
  })
  const withRoles = (...roles: string[]) => callerWith({ subject: roles.join('-') || 'nobody', roles })

  function open(rates: readonly unknown[] = []) {
    const unknown: string[] = []
    const limiters = localLimiters()
    const planOf = createPlanOf(definitions, (plan) => unknown.push(plan))!
    const shared = createPlans(definitions, planOf, limiters)
    const service = (scope: string) =>
      createRateLimits({ rate: rates.map((one) => ({ ...rate.parse(one), scope })), quota: [] }, limiters, shared)
    return { planOf, service, unknown }
  }

  test("the key's own wins, then the first in the file that names a role, then the default", () => {
    const { planOf, unknown } = open()
    assert.equal(planOf({ ...withRoles('partner'), plan: 'silver' }), 'silver')
    assert.equal(planOf(withRoles('staff')), 'gold')
    assert.equal(planOf(withRoles('other')), 'free')
    assert.equal(planOf({ ...withRoles('partner'), plan: 'platinum' }), 'gold')
    assert.deepEqual(unknown, ['platinum'])
    assert.equal(
      createPlanOf(plans.parse({}), () => {}),
      undefined,
    )
  })

  test('count a caller over all services, beside what each service says', () => {
    const { service } = open([{ requests: 2, per: '1h' }])
    const [orders, users] = [service('orders').callers!, service('users').callers!]
    const partner: Counted = { ...ada, caller: withRoles('partner') }
    const first = orders.count(partner) as Counting & { outcome: 'allowed' }
    assert.equal(first.fields['RateLimit-Policy'], '"caller";q=2;w=3600, "gold";q=3;w=3600')
    assert.equal((orders.count(partner) as Counting).outcome, 'allowed')
    assert.deepEqual(limited(orders.count(partner) as Counting).members, { 'violated-policies': ['caller'] })
    assert.equal((users.count(partner) as Counting).outcome, 'allowed')
    const problem = limited(users.count(partner) as Counting)
    assert.deepEqual(problem.members, { 'violated-policies': ['gold'] })
    assert.match(problem.detail, /by the plan "gold": 3 requests in 3600 seconds/)
  })

  test('tell guests apart by address, and leave alone who has none', () => {
    const { service } = open()
    const limit = service('orders').callers!
    const guest = (address: string): Counted => ({ address, route: 'orders' })
    assert.equal((limit.count(guest('203.0.113.1')) as Counting).outcome, 'allowed')
    assert.equal((limit.count(guest('203.0.113.2')) as Counting).outcome, 'allowed')
    assert.equal((limit.count(guest('203.0.113.1')) as Counting).outcome, 'limited')
    const few = plans.parse({ gold: { roles: ['gold'], rate: [{ requests: 1, per: '1h' }] } })
    const limiters = localLimiters()
    const shared = createPlans(few, createPlanOf(few, () => {})!, limiters)
    const free = createRateLimits({ rate: [], quota: [] }, limiters, shared)
    assert.deepEqual(free.callers!.count(ada), { outcome: 'uncounted' })
    assert.deepEqual(free.describe(ada.caller), { rules: [] })
  })

  test('are described for a caller', () => {
    const { service } = open([{ requests: 2, per: '1m', by: 'address' }])
    assert.deepEqual(service('orders').describe({ ...withRoles(), plan: 'silver' }), {
      plan: 'silver',
      rules: [
        { name: 'address', kind: 'rate', by: 'address', requests: 2, seconds: 60, algorithm: 'token-bucket' },
        {
          name: 'silver',
          kind: 'rate',
          by: 'caller',
          requests: 2,
          seconds: 3_600,
          algorithm: 'token-bucket',
          plan: 'silver',
        },
        { name: 'silver-organization', kind: 'quota', by: 'organization', requests: 9, per: 'month', plan: 'silver' },
      ],
    })
  })

  test('say what would be right', () => {
    for (const [mistake, message] of [
      [{ Gold: {} }, /lower-case/],
      [{ caller: {} }, /choose another/],
      [{ one: { default: true }, two: { default: true } }, /"one" is the default already/],
      [
        { one: { rate: [{ requests: 1, per: '1m', by: 'address' }] } },
        /"address" is nobody to count by; it is "caller", "key", "organization"/,
      ],
      [{ one: { quota: [{ requests: 1, per: '1d' }] } }, /a quota is per "day" or "month"/],
    ] as const) {
      const result = plans.safeParse(mistake)
      assert.ok(!result.success, JSON.stringify(mistake))
      assert.match(result.error.issues.map((issue) => issue.message + JSON.stringify(issue)).join('\n'), message)
    }
  })
})
