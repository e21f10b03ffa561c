import assert from 'node:assert/strict'
import { describe, test } from 'node:test'
import { Watch, type Watched } from '../../src/upstream/watch.ts'
import { sleep, until } from './scene.ts'

function charge(checked: (now: number) => void = () => {}): Watched & { times: number } {
  return {
    place: -1,
    times: 0,
    check(now) {
      this.times += 1
      checked(now)
    },
  }
}

describe('the watch', () => {
  test('asks everybody on every round what the clock means to them', async () => {
    let now = 5
    const seen: number[] = []
    const watch = new Watch(() => now, 5)
    const one = charge((time) => seen.push(time))
    const other = charge()
    watch.add(one)
    watch.add(one)
    watch.add(other)
    await until(() => other.times > 1)
    now = 77
    await until(() => seen.at(-1) === 77)
    assert.ok(Math.abs(one.times - other.times) < 2)
    watch.delete(one)
    watch.delete(other)
  })

  test('leaves one round out when the process stood still, and never two', async () => {
    let now = 0
    let step = 100
    const seen: number[] = []
    const watch = new Watch(() => {
      now += step
      return now
    }, 5)
    const one = charge((time) => seen.push(time))
    watch.add(one)
    await until(() => seen.length > 1)
    // Every round comes late, and every other one is held.
    assert.deepEqual(
      seen.slice(0, 2).map((time) => time / 100),
      [3, 5],
    )
    step = 5
    await until(() => seen.length > 5)
    assert.equal(seen.at(-1)! - seen.at(-2)!, 5)
    watch.delete(one)
  })

  test('forgets who leaves, also who leaves or comes in the middle of a round', async () => {
    const watch = new Watch(() => 0, 5)
    const late = charge()
    const charges: ReturnType<typeof charge>[] = Array.from({ length: 9 }, (_, i) =>
      charge(() => {
        if (i % 2) watch.delete(charges[i]!)
        if (i === 4) watch.add(late)
        if (i === 8) for (const j of [0, 2]) watch.delete(charges[j]!)
      }),
    )
    for (const one of charges) watch.add(one)
    await until(() => late.times > 2)
    assert.deepEqual(
      charges.map(({ times }) => Math.min(times, 2)),
      [0, 1, 0, 1, 2, 1, 2, 1, 2],
    )
    for (const one of charges) watch.delete(one)
    watch.delete(late)
    const before = late.times
    await sleep(30)
    assert.equal(late.times, before)
    watch.add(late)
    await until(() => late.times > before)
    watch.delete(late)
  })
})
