import assert from 'node:assert/strict'
import { describe, test } from 'node:test'
import { z } from 'zod'
import { upstreamSettings } from '../../src/upstream/settings.ts'

const schema = z.strictObject(upstreamSettings)
const one = 'http://127.0.0.1:4001'

/** Every complaint, those of the branches of a union included, as "place: message"; `config/load.ts` picks among them. */
function complaints(issues: readonly z.core.$ZodIssue[], base: readonly PropertyKey[] = []): string[] {
  return issues.flatMap((issue) => {
    const path = [...base, ...issue.path]
    const inner = issue.code === 'invalid_union' ? issue.errors.flatMap((errors) => complaints(errors, path)) : []
    return [...inner, `${path.join('.')}: ${issue.message}`]
  })
}

describe('what an operator writes about targets', () => {
  test('needs no more than the targets: the rest has the defaults of the documentation', () => {
    assert.deepEqual(schema.parse({ targets: [one, { url: 'https://b.example/api', weight: 3 }] }), {
      targets: [
        { url: one, weight: 1 },
        { url: 'https://b.example/api', weight: 3 },
      ],
      balance: { type: 'round-robin' },
      connections: 1_024,
      timeouts: { connect: 2_000, response: 10_000, idle: 60_000 },
      retry: { attempts: 1, budget: 0.2 },
      breaker: { failures: 5, cooldown: 10_000, maxEjected: 0.5, slowStart: 10_000 },
    })
  })

  test('reads durations, and fills in the rest of what is begun', () => {
    const { health, timeouts, balance } = schema.parse({
      targets: [one],
      health: { path: '/health', interval: '1m' },
      timeouts: { response: '250ms' },
      balance: 'hash',
    })
    assert.deepEqual(health, { path: '/health', interval: 60_000, timeout: 2_000, unhealthyAfter: 2, healthyAfter: 1 })
    assert.deepEqual(timeouts, { connect: 2_000, response: 250, idle: 60_000 })
    assert.deepEqual(balance, { type: 'hash', by: 'caller' })
    for (const name of ['least-requests', 'random-two', 'round-robin']) {
      assert.deepEqual(schema.parse({ targets: [one], balance: name }).balance, { type: name })
    }
    const by = { header: 'X-Tenant' }
    assert.deepEqual(schema.parse({ targets: [one], balance: { type: 'hash', by } }).balance, { type: 'hash', by })
  })

  for (const [what, settings, path, message] of [
    ['no target', { targets: [] }, 'targets', /at least one target/],
    ['a file', { targets: ['file:///etc/passwd'] }, 'targets.0', /http:\/\/ or https:\/\//],
    ['credentials', { targets: ['http://u:p@h'] }, 'targets.0', /no user name/],
    ['a fragment', { targets: [`${one}#x`] }, 'targets.0', /no fragment/],
    ['a query', { targets: [`${one}/?a=1`] }, 'targets.0', /no query/],
    ['a host alone', { targets: ['localhost:4001'] }, 'targets.0', /starts with http/],
    ['a number', { targets: [4001] }, 'targets.0', /is a URL, or/],
    ['a target twice', { targets: [one, { url: one, weight: 2 }] }, 'targets', /listed once/],
    ['a weight of nothing', { targets: [{ url: one, weight: 0 }] }, 'targets.0.weight', />=1/],
    ['an unknown key of a target', { targets: [{ url: one, wieght: 2 }] }, 'targets.0', /wieght/],
    [
      'an unknown balance',
      { targets: [one], balance: 'fastest' },
      'balance',
      /"round-robin", "least-requests", "random-two", "hash"/,
    ],
    [
      'an unknown hash key',
      { targets: [one], balance: { type: 'hash', by: 'moon' } },
      'balance.by',
      /"caller", "client"/,
    ],
    [
      'a health path without a slash',
      { targets: [one], health: { path: 'health' } },
      'health.path',
      /starts with "\/"/,
    ],
    ['seconds without a unit', { targets: [one], timeouts: { response: 10 } }, 'timeouts.response', /"5s"/],
    ['a budget above one', { targets: [one], retry: { budget: 20 } }, 'retry.budget', /<=1/],
    ['more attempts than sense', { targets: [one], retry: { attempts: 10 } }, 'retry.attempts', /<=3/],
    ['a breaker that never closes', { targets: [one], breaker: { cooldown: '2h' } }, 'breaker.cooldown', /at most/],
  ] as const) {
    test(`${what} is refused, with the place and what would be right`, () => {
      const { error } = schema.safeParse(settings)
      const found = complaints(error?.issues ?? [])
      assert.ok(
        found.some((complaint) => complaint.startsWith(`${path}: `) && message.test(complaint)),
        `no complaint about ${path}: ${JSON.stringify(found)}`,
      )
    })
  }

  test('is all described for the editor', () => {
    const { properties } = z.toJSONSchema(schema, { io: 'input' }) as {
      properties: Record<string, { description?: string }>
    }
    const silent = Object.entries(properties).filter(([, { description }]) => !description)
    assert.deepEqual(silent, [])
  })
})
