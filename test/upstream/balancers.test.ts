import assert from 'node:assert/strict'
import { describe, test } from 'node:test'
import { build } from '../../src/kind.ts'
import type { Affinity } from '../../src/upstream/balancers/balancer.ts'
import { balance, balancers } from '../../src/upstream/settings.ts'
import type { Target } from '../../src/upstream/target.ts'
import { ask, gatewayTo, httpBackend, upstreamTo } from './scene.ts'

/** Targets of given weights; balancers look at nothing else of them. */
function targetsOf(...weights: readonly number[]): (Target & { state: { inFlight: number; share: number } })[] {
  return weights.map((weight, i) => {
    const state = { inFlight: 0, share: 1 }
    return {
      url: `http://127.0.0.1:${4_000 + i}`,
      basePath: '',
      weight,
      state: state as Target['state'] & typeof state,
    }
  })
}

/** Chance that is the same every time the tests run. */
function seeded(seed = 1): () => number {
  let state = seed
  return () => {
    state = (Math.imul(state, 1_664_525) + 1_013_904_223) >>> 0
    return state / 4_294_967_296
  }
}

function balancer(type: string | object) {
  return build(balancers, balance.parse(type), { chance: seeded() })
}

function field(values: Record<string, string> = {}): Affinity {
  return { field: (name) => values[name] }
}

function count(targets: readonly Target[], choose: () => Target, times: number): number[] {
  const hits = new Map(targets.map((target) => [target, 0]))
  for (let i = 0; i < times; i++) {
    const target = choose()
    hits.set(target, hits.get(target)! + 1)
  }
  return [...hits.values()]
}

describe('round-robin', () => {
  test('gives every target its weight exactly, and never a run of one of them', () => {
    const targets = targetsOf(5, 1, 1)
    const choose = balancer('round-robin')
    const turn = Array.from({ length: 7 }, () => targets.indexOf(choose(targets, undefined) as (typeof targets)[0]))
    assert.deepEqual(turn, [0, 0, 1, 0, 2, 0, 0])
    assert.deepEqual(
      count(targets, () => choose(targets, undefined), 700),
      [500, 100, 100],
    )
  })

  test('gives a target that has just returned little at first', () => {
    const targets = targetsOf(1, 1)
    targets[1]!.state.share = 0.1
    const choose = balancer('round-robin')
    assert.deepEqual(
      count(targets, () => choose(targets, undefined), 1_100),
      [1_000, 100],
    )
  })

  test('goes on when a target leaves and comes back', () => {
    const targets = targetsOf(1, 1, 1)
    const choose = balancer('round-robin')
    assert.deepEqual(
      count(targets, () => choose(targets.slice(1), undefined), 100),
      [0, 50, 50],
    )
    const [first, ...others] = count(targets, () => choose(targets, undefined), 300)
    assert.equal(first, 100)
    assert.deepEqual(others, [100, 100])
  })
})

describe('least-requests', () => {
  test('takes the least loaded for its weight', () => {
    const targets = targetsOf(1, 1, 4)
    targets[0]!.state.inFlight = 3
    targets[1]!.state.inFlight = 1
    targets[2]!.state.inFlight = 6
    const choose = balancer('least-requests')
    assert.equal(choose(targets, undefined), targets[2])
    targets[2]!.state.inFlight = 8
    assert.equal(choose(targets, undefined), targets[1])
  })

  test('spreads equals by chance', () => {
    const targets = targetsOf(1, 1, 1)
    const choose = balancer('least-requests')
    for (const hits of count(targets, () => choose(targets, undefined), 3_000))
      assert.ok(Math.abs(hits - 1_000) < 120, `${hits}`)
  })
})

test('random-two never takes the most loaded, and spreads the rest', () => {
  const targets = targetsOf(1, 1, 1, 1)
  targets[2]!.state.inFlight = 9
  const choose = balancer('random-two')
  const hits = count(targets, () => choose(targets, undefined), 4_000)
  assert.equal(hits[2], 0)
  for (const i of [0, 1, 3]) assert.ok(hits[i]! > 1_000, `${hits}`)
})

describe('hash', () => {
  const keys = Array.from({ length: 3_000 }, (_, i) => `user-${i}`)

  test('keeps a caller with one target, by weight, and moves nobody else when a target leaves', () => {
    const targets = targetsOf(1, 1, 2)
    const choose = balancer('hash')
    const before = keys.map((caller) => choose(targets, { ...field(), caller }))
    assert.deepEqual(
      keys.map((caller) => choose(targets, { ...field(), caller })),
      before,
    )
    const hits = targets.map((target) => before.filter((chosen) => chosen === target).length)
    assert.ok(Math.abs(hits[2]! - 1_500) < 150 && Math.abs(hits[0]! - 750) < 120, `${hits}`)
    const left = targets.slice(1)
    keys.forEach((caller, i) => {
      if (before[i] !== targets[0]) assert.equal(choose(left, { ...field(), caller }), before[i])
    })
  })

  test('goes by the address for guests, by a field or by a cookie when told so', () => {
    const targets = targetsOf(1, 1, 1, 1, 1)
    const spread = (choose: ReturnType<typeof balancer>, affinity: (key: string) => Affinity) =>
      new Set(keys.slice(0, 50).map((key) => choose(targets, affinity(key)))).size
    assert.equal(
      spread(balancer('hash'), (client) => ({ ...field(), client })),
      5,
    )
    assert.equal(
      spread(balancer('hash'), (client) => ({ ...field(), client, caller: 'same' })),
      1,
    )
    assert.equal(
      spread(balancer({ type: 'hash', by: 'client' }), (caller) => ({ ...field(), client: 'same', caller })),
      1,
    )
    const tenant = balancer({ type: 'hash', by: { header: 'X-Tenant' } })
    assert.equal(
      spread(tenant, (key) => field({ 'x-tenant': key })),
      5,
    )
    assert.equal(
      spread(tenant, (caller) => ({ ...field({ 'x-tenant': 'same' }), caller })),
      1,
    )
    const session = balancer({ type: 'hash', by: { cookie: 'sid' } })
    assert.equal(
      spread(session, (key) => field({ cookie: `a=1; sid=${key}; b=2` })),
      5,
    )
    assert.equal(
      spread(session, (key) => field({ cookie: `sidd=${key}; sid=same; b=${key}` })),
      1,
    )
  })

  test('spreads requests without a key', () => {
    const targets = targetsOf(1, 1)
    const choose = balancer({ type: 'hash', by: { header: 'x-none' } })
    for (const hits of count(targets, () => choose(targets, field()), 1_000)) assert.ok(hits > 400, `${hits}`)
    for (const hits of count(targets, () => choose(targets, undefined), 1_000)) assert.ok(hits > 400, `${hits}`)
  })
})

test('requests reach real targets by weight', async (t) => {
  const hits = [0, 0]
  const backends = await Promise.all(
    hits.map((_, i) =>
      httpBackend(t, (_req, res) => {
        hits[i]! += 1
        res.end('ok')
      }),
    ),
  )
  const [one, other] = backends.map(({ url }) => url) as [string, string]
  const gateway = await gatewayTo(t, upstreamTo(t, { targets: [one, { url: other, weight: 3 }] }))
  await Promise.all(Array.from({ length: 80 }, () => ask(gateway.port)))
  assert.deepEqual(hits, [20, 60])
})
