import assert from 'node:assert/strict'
import { describe, test } from 'node:test'
import { createSlidingWindows } from '../../src/throttling/sliding-window.ts'

describe('sliding windows', () => {
  test('hold in every stretch as long as the window, whatever the rhythm', () => {
    let now = 0
    const windows = createSlidingWindows({ requests: 7, window: 1_000 }, { time: () => now })
    let seed = 1
    const chance = () => {
      seed = (seed * 48_271) % 2_147_483_647
      return seed / 2_147_483_647
    }
    const passed: number[] = []
    for (let call = 0; call < 50_000; call++) {
      now += chance() < 0.1 ? chance() * 900 : chance() * 40
      const { allowed, remaining, next } = windows.take('ada')
      const inWindow = passed.filter((at) => at > now - 1_000)
      if (allowed) {
        assert.ok(inWindow.length < 7)
        passed.push(now)
      } else {
        // Not stricter than by one slot, a twentieth of the window.
        assert.ok(passed.filter((at) => at > now - 1_050).length >= 7)
        assert.ok(next > 0 && next <= 1_050, String(next))
      }
      assert.ok(remaining >= 0 && remaining < 7)
      if (passed.length > 50) passed.splice(0, 20)
    }
    assert.ok(passed.length > 0)
  })

  test('let a request through when the time that was named is over', () => {
    let now = 12_345
    const windows = createSlidingWindows({ requests: 2, window: 10_000 }, { time: () => now })
    windows.take('ada')
    now += 4_000
    windows.take('ada')
    const refused = windows.take('ada')
    assert.equal(refused.allowed, false)
    now += refused.next - 1
    assert.equal(windows.take('ada').allowed, false)
    now += 1
    assert.equal(windows.take('ada').allowed, true)
    assert.equal(windows.take('ada').allowed, false)
  })

  test('forget the oldest of many keys, and keep counting the latest', () => {
    const windows = createSlidingWindows({ requests: 1, window: 60_000 }, { time: () => 0, capacity: 100 })
    for (let key = 0; key < 5_000; key++) assert.equal(windows.take(`attacker ${key}`).allowed, true)
    assert.equal(windows.take('attacker 4999').allowed, false)
    assert.equal(windows.take('attacker 0').allowed, true)
  })
})
