import assert from 'node:assert/strict'
import { beforeEach, describe, test } from 'node:test'
import { type Attempts, countAttempts } from '../../src/issuer/attempts.ts'
import { createMemoryStore } from '../../src/store/memory.ts'
import { silent } from '../../src/telemetry/log.ts'

describe('attempts to sign in', () => {
  let time: number
  let attempts: Attempts
  beforeEach(() => {
    time = 1_700_000_000_000
    const now = () => time
    attempts = countAttempts(createMemoryStore({ now, log: silent }), now)
  })

  /** How many of several wrong passwords are looked at. */
  async function allowed(names: readonly string[], addresses: readonly string[]): Promise<number> {
    const outcomes = await Promise.all(
      names.map((name, index) => attempts.begin(name, addresses[index % addresses.length]!)),
    )
    return outcomes.filter(({ outcome }) => outcome === 'allowed').length
  }
  const times = <T>(count: number, make: (n: number) => T) => Array.from({ length: count }, (_, n) => make(n))

  test('are five for one name at one address in five minutes', async () => {
    assert.equal(
      await allowed(
        times(100, () => 'ada'),
        ['192.0.2.1'],
      ),
      5,
    )
    const refused = await attempts.begin('ada', '192.0.2.1')
    assert.deepEqual(refused, { outcome: 'refused', retryAfter: 300 })
    time += 299_000
    assert.deepEqual(await attempts.begin('ada', '192.0.2.1'), { outcome: 'refused', retryAfter: 1 })
    time += 1_000
    assert.equal(
      await allowed(
        times(10, () => 'ada'),
        ['192.0.2.1'],
      ),
      5,
    )
  })

  test('of one stranger never lock out the one whose name it is', async () => {
    for (let round = 0; round < 3; round += 1) {
      await allowed(
        times(100, () => 'ada'),
        ['192.0.2.66'],
      )
      time += 250_000
    }
    assert.equal((await attempts.begin('ada', '192.0.2.1')).outcome, 'allowed')
  })

  test('from everywhere are thirty for one name', async () => {
    assert.equal(
      await allowed(
        times(200, () => 'ada'),
        times(100, (n) => `192.0.2.${n}`),
      ),
      30,
    )
    assert.equal((await attempts.begin('bob', '192.0.2.1')).outcome, 'allowed')
    time += 900_000
    assert.equal((await attempts.begin('ada', '192.0.2.1')).outcome, 'allowed')
  })

  test('from one address are fifty for all names, and an IPv6 network is one address', async () => {
    const names = times(200, (n) => `name-${n}`)
    assert.equal(await allowed(names, ['192.0.2.1']), 50)
    assert.equal(await allowed(names, ['::ffff:192.0.2.1']), 0, 'the same address in IPv6 clothes')
    assert.equal(
      await allowed(
        names,
        times(50, (n) => `2001:db8:1:2::${n}`),
      ),
      50,
    )
    assert.equal((await attempts.begin('ada', '2001:db8:1:3::1')).outcome, 'allowed')
  })

  test('that succeed do not count', async () => {
    for (let n = 0; n < 200; n += 1) {
      const attempt = await attempts.begin('ada', '192.0.2.1')
      assert.equal(attempt.outcome, 'allowed')
      if (attempt.outcome === 'allowed') await attempt.succeeded()
    }
  })

  test('leave no name and no address in the store', async () => {
    const now = () => time
    const store = createMemoryStore({ now, log: silent })
    await countAttempts(store, now).begin('ada', '192.0.2.1')
    const text = JSON.stringify(await store.list('issuer.attempts'))
    assert.ok(!text.includes('ada') && !text.includes('192.0.2'))
    time += 900_000
    assert.deepEqual(await store.list('issuer.attempts'), [])
  })
})
