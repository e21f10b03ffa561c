import assert from 'node:assert/strict'
import { describe, test } from 'node:test'
import { createCanaryChoice } from '../../src/upstream/canary.ts'
import { ask, gatewayTo, httpBackend, settingsOf, upstreamTo } from './scene.ts'

const affinity = (
  caller: string | undefined,
  { roles, field, client }: { roles?: string[]; field?: string; client?: string } = {},
) => ({
  caller,
  client,
  roles,
  field: (name: string) => (name === 'x-canary' ? field : undefined),
})

describe('the choice of the canary', () => {
  const callers = Array.from({ length: 10_000 }, (_, index) => `caller ${index}`)
  const chosenBy = (weight: number, service = 'orders') => {
    const wants = createCanaryChoice(service, { weight, roles: [] }, () => 0.5)
    return new Set(callers.filter((caller) => wants(affinity(caller))))
  }

  test('takes as many callers as the weight says, the same each time, and adds without moving any', () => {
    const [five, ten] = [chosenBy(5), chosenBy(10)]
    assert.ok(Math.abs(five.size - 500) < 75, String(five.size))
    assert.ok(Math.abs(ten.size - 1_000) < 100, String(ten.size))
    for (const caller of five) assert.ok(ten.has(caller))
    assert.deepEqual(chosenBy(5), five)
    assert.equal(chosenBy(0).size, 0)
    assert.equal(chosenBy(100).size, callers.length)
    const other = chosenBy(5, 'users')
    assert.ok([...five].filter((caller) => other.has(caller)).length < 75, 'other services try out other callers')
  })

  test('is made by the field first, then by roles, then by the weight', () => {
    const wants = createCanaryChoice('orders', { weight: 0, header: 'X-Canary', roles: ['tester'] }, () => 0)
    assert.equal(wants(affinity('ada', { field: 'always' })), true)
    assert.equal(wants(affinity('ada', { field: 'never', roles: ['tester'] })), false)
    assert.equal(wants(affinity('ada', { field: 'perhaps', roles: ['tester'] })), true)
    assert.equal(wants(affinity('ada', { roles: ['other'] })), false)
    assert.equal(wants(undefined), false)
  })

  test('of guests goes by address, and by chance when nothing is known', () => {
    const wants = createCanaryChoice('orders', { weight: 50, roles: [] }, () => 0.49)
    const addresses = Array.from({ length: 1_000 }, (_, index) => `203.0.113.${index}`)
    const chosen = addresses.filter((client) => wants(affinity(undefined, { client })))
    assert.ok(Math.abs(chosen.length - 500) < 80, String(chosen.length))
    assert.equal(wants(undefined), true)
  })
})

describe('a canary', { concurrency: true, timeout: 30_000 }, () => {
  test('that is gone leaves its callers to the service, with no failed GET', async (t) => {
    const stable = await httpBackend(t, (_req, res) => res.end('stable'))
    const settings = {
      targets: [stable.url],
      canary: { targets: ['http://127.0.0.1:9'], weight: 100 },
      breaker: { failures: 3 },
    }
    const upstream = upstreamTo(t, settings)
    const gateway = await gatewayTo(t, upstream)
    for (let call = 0; call < 10; call++) assert.equal((await ask(gateway.port)).content.toString(), 'stable')
    const [own, canary] = upstream.describe()
    assert.deepEqual([own!.canary, canary!.canary, canary!.available, canary!.requests], [false, true, false, 3])
  })

  test('nobody would get to is a mistake', () => {
    const one = 'http://127.0.0.1:4001'
    assert.throws(
      () => settingsOf({ targets: [one], canary: { targets: [one] } }),
      /nobody would be served by the canary/,
    )
    assert.throws(() => settingsOf({ targets: [one], canary: { targets: [one], weight: 101 } }), /percent, 0 to 100/)
    assert.throws(() => settingsOf({ targets: [one], canary: { targets: [], weight: 1 } }), /at least one target/)
  })
})
