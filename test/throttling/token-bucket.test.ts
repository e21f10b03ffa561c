import assert from 'node:assert/strict'
import { describe, test } from 'node:test'
import fc from 'fast-check'
import { createTokenBuckets } from '../../src/throttling/token-bucket.ts'
import { limiterContract } from '../contracts/limiter.ts'
import { localLimiters } from './local-limiters.ts'

limiterContract('in this process', { open: () => localLimiters() })

/** A clock that stands still until it is moved. */
function createTime(start = 1_000) {
  let now = start
  return {
    time: () => now,
    forward(milliseconds: number) {
      now += milliseconds
    },
  }
}

describe('token buckets', () => {
  test('agree with a bucket that is counted in fractions, call by call', () => {
    const call = fc.record({ key: fc.constantFrom('a', 'b'), wait: fc.oneof(fc.constant(0), fc.nat(3_000)) })
    fc.assert(
      fc.property(
        fc.integer({ min: 1, max: 7 }),
        fc.integer({ min: 1, max: 4 }),
        fc.array(call, { maxLength: 60 }),
        (requests, seconds, calls) => {
          const window = seconds * 1_000
          const clock = createTime()
          const buckets = createTokenBuckets({ requests, window }, { time: clock.time })
          // Tokens in units of one per (requests × window), all whole numbers.
          const model = new Map<string, { level: number; at: number }>()
          const full = requests * window
          for (const { key, wait } of calls) {
            clock.forward(wait)
            const now = clock.time()
            const { level, at } = model.get(key) ?? { level: full, at: now }
            const filled = Math.min(full, level + (now - at) * requests)
            const allowed = filled >= window
            const left = allowed ? filled - window : filled
            model.set(key, { level: left, at: now })

            const standing = buckets.take(key)
            assert.equal(standing.allowed, allowed)
            assert.equal(standing.remaining, allowed ? Math.floor(left / window) : 0)
            const missing = window - (left % window)
            assert.ok(
              Math.abs(standing.next - missing / requests) < 0.01,
              `${standing.next} and not ${missing / requests}`,
            )
          }
        },
      ),
      { numRuns: 300 },
    )
  })

  test('neither lose nor gain a token by rounding, over a million calls', () => {
    const clock = createTime(123_456_789.123)
    const buckets = createTokenBuckets({ requests: 7, window: 3_000 }, { time: clock.time })
    let allowed = 0
    for (let call = 0; call < 1_000_000; call++) {
      if (buckets.take('ada').allowed) allowed++
      clock.forward(1)
    }
    // A full bucket, and what came back before the last call.
    assert.equal(allowed, 7 + Math.floor(999_999 / (3_000 / 7)))
  })

  test('forget what is full again, and nothing else', () => {
    const clock = createTime()
    const buckets = createTokenBuckets({ requests: 2, window: 1_000 }, { time: clock.time })
    buckets.take('ada')
    clock.forward(400)
    buckets.take('ada')
    // Just after the generations have turned.
    for (const wait of [600, 1, 1]) {
      clock.forward(wait)
      buckets.take(`other ${wait}`)
    }
    // 1,002 ms in all: one token has come back for each 500 ms.
    assert.deepEqual(
      [buckets.take('ada').allowed, buckets.take('ada').allowed, buckets.take('ada').allowed],
      [true, true, false],
    )
  })

  test('forget the oldest of 200,000 keys, and keep counting the latest', () => {
    const clock = createTime()
    const buckets = createTokenBuckets({ requests: 1, window: 60_000 }, { time: clock.time, capacity: 1_000 })
    for (let key = 0; key < 200_000; key++) assert.equal(buckets.take(`attacker ${key}`).allowed, true)
    // The latest are known, the first are forgotten: the memory is bounded.
    assert.equal(buckets.take('attacker 199999').allowed, false)
    assert.equal(buckets.take('attacker 199500').allowed, false)
    assert.equal(buckets.take('attacker 0').allowed, true)
  })
})

describe('limiters of this process', () => {
  test('are the same over a reload, as long as one holds them', async () => {
    const limiters = localLimiters()
    const quota = { requests: 1, window: 60_000 }
    const held = limiters.open('orders:caller', quota)
    assert.equal(limiters.open('orders:caller', { ...quota }), held)
    assert.notEqual(limiters.open('orders:caller', { requests: 2, window: 60_000 }), held)
    await limiters.close()
  })
})
