import assert from 'node:assert/strict'
import { after, before, describe, test } from 'node:test'
import { setTimeout as delay } from 'node:timers/promises'
import type { Limiter, Limiters } from '../../src/throttling/limiter.ts'

export interface LimiterUnderTest {
  open(): Limiters | Promise<Limiters>
  readonly skip?: string | false
}

/** What every limiter must do, by the real clock: Redis has no other. */
export function limiterContract(name: string, subject: LimiterUnderTest): void {
  describe(`limiter contract: ${name}`, { skip: subject.skip ?? false }, () => {
    let limiters: Limiters
    before(async () => {
      limiters = await subject.open()
    })
    after(() => limiters?.close())

    const take = async (limiter: Limiter, key: string, times: number) => {
      const standings = []
      for (let call = 0; call < times; call++) standings.push(await limiter.take(key))
      return standings
    }

    test('lets the whole quota through at once and then refuses, counting down', async () => {
      // Nothing comes back within the test: a token takes 10 s.
      const limiter = limiters.open('countdown', { requests: 6, window: 60_000 })
      const standings = await take(limiter, 'ada', 8)
      assert.deepEqual(
        standings.map(({ allowed, remaining }) => [allowed, remaining]),
        [
          [true, 5],
          [true, 4],
          [true, 3],
          [true, 2],
          [true, 1],
          [true, 0],
          [false, 0],
          [false, 0],
        ],
      )
      for (const { next } of standings) assert.ok(next > 8_000 && next <= 10_000, String(next))
    })

    for (const quota of [
      { requests: 3, window: 60_000 },
      { requests: 3, window: 60_000, algorithm: 'sliding-window' },
      { requests: 3, period: 'month' },
    ] as const) {
      test(`can be looked at without being drawn on: ${JSON.stringify(quota)}`, async () => {
        const limiter = limiters.open('look', quota)
        for (let call = 0; call < 5; call += 1) {
          const before = await limiter.look('ada')
          assert.equal((await limiter.look('ada'))?.remaining, before?.remaining)
          const { allowed, remaining, next } = await limiter.take('ada')
          assert.equal(before?.allowed, allowed, `call ${call}`)
          assert.equal(before?.remaining, allowed ? remaining + 1 : 0, `call ${call}`)
          const after = await limiter.look('ada')
          assert.equal(after?.remaining, remaining)
          assert.ok(Math.abs(after!.next - next) < 2_000, `${after!.next} ${next}`)
        }
        assert.equal((await limiter.look('bob'))?.remaining, 3, 'another one has its own')
      })
    }

    test('keeps a bucket for every key', async () => {
      const limiter = limiters.open('keys', { requests: 1, window: 60_000 })
      const keys = ['ada', 'bob', '__proto__', 'constructor', '', 'ada ', 'x'.repeat(10_000)]
      for (const key of keys) assert.equal((await limiter.take(key)).allowed, true, key)
      for (const key of keys) assert.equal((await limiter.take(key)).allowed, false, key)
    })

    test('keeps the buckets of different limits apart, and those of the same together', async () => {
      const quota = { requests: 1, window: 60_000 }
      const one = limiters.open('apart', quota)
      assert.equal((await one.take('ada')).allowed, true)
      assert.equal((await limiters.open('apart too', quota).take('ada')).allowed, true)
      assert.equal((await limiters.open('apart', { requests: 2, window: 60_000 }).take('ada')).allowed, true)
      assert.equal((await limiters.open('apart', quota).take('ada')).allowed, false)
    })

    test('gives one back after the time it has named, and not all at once', async () => {
      const limiter = limiters.open('return', { requests: 5, window: 1_000 })
      const spent = await take(limiter, 'ada', 6)
      assert.deepEqual(
        spent.map(({ allowed }) => allowed),
        [true, true, true, true, true, false],
      )
      const { next } = spent[5]!
      assert.ok(next > 0 && next <= 200, String(next))
      await delay(next + 5)
      assert.deepEqual(
        (await take(limiter, 'ada', 2)).map(({ allowed }) => allowed),
        [true, false],
      )
    })

    test('is full again after the window', async () => {
      const limiter = limiters.open('full', { requests: 3, window: 300 })
      await take(limiter, 'ada', 4)
      await delay(310)
      assert.deepEqual(
        (await take(limiter, 'ada', 4)).map(({ allowed }) => allowed),
        [true, true, true, false],
      )
    })

    test('counts calls that come together', async () => {
      const limiter = limiters.open('together', { requests: 50, window: 60_000 })
      const standings = await Promise.all(Array.from({ length: 200 }, () => limiter.take('ada')))
      assert.equal(standings.filter(({ allowed }) => allowed).length, 50)
      assert.deepEqual(
        new Set(standings.filter(({ allowed }) => allowed).map(({ remaining }) => remaining)),
        new Set(Array.from({ length: 50 }, (_, index) => index)),
      )
    })

    test('lets no more through over time than the quota and what came back', async () => {
      const limiter = limiters.open('over time', { requests: 20, window: 400 })
      const start = performance.now()
      let allowed = 0
      while (performance.now() - start < 600) {
        if ((await limiter.take('ada')).allowed) allowed++
        await delay(1)
      }
      const elapsed = performance.now() - start
      const most = 20 + (elapsed / 400) * 20 + 1
      assert.ok(allowed <= most, `${allowed} > ${most}`)
      assert.ok(allowed >= most * 0.8, `${allowed} of ${most}`)
    })

    test('a sliding window counts down, refuses, and keeps keys and limits apart', async () => {
      const window = { requests: 4, window: 60_000, algorithm: 'sliding-window' } as const
      const limiter = limiters.open('sliding', window)
      const standings = await take(limiter, 'ada', 6)
      assert.deepEqual(
        standings.map(({ allowed, remaining }) => [allowed, remaining]),
        [
          [true, 3],
          [true, 2],
          [true, 1],
          [true, 0],
          [false, 0],
          [false, 0],
        ],
      )
      // A twentieth of the window may come on top: a slot leaves whole.
      for (const { next } of standings) assert.ok(next > 59_000 && next <= 63_001, String(next))
      assert.equal((await limiter.take('bob')).allowed, true)
      assert.equal((await limiters.open('sliding', { requests: 4, window: 60_000 }).take('ada')).allowed, true)
    })

    test('a sliding window never lets more through in any stretch as long as the window', async () => {
      const limiter = limiters.open('stretch', { requests: 10, window: 300, algorithm: 'sliding-window' })
      const passed: { readonly asked: number; readonly answered: number }[] = []
      const start = performance.now()
      while (performance.now() - start < 900) {
        // When it was counted lies between the two.
        const asked = performance.now()
        if ((await limiter.take('ada')).allowed) passed.push({ asked, answered: performance.now() })
        await delay(1)
      }
      assert.ok(passed.length >= 20, `${passed.length} in three windows`)
      for (const [index, { asked }] of passed.entries()) {
        const tenth = passed[index + 10]
        if (tenth) assert.ok(tenth.answered - asked > 298, `11 requests in ${tenth.answered - asked} ms`)
      }
    })

    test('a quota is counted down and ends with the day', async () => {
      const limiter = limiters.open('quota', { requests: 120, period: 'day' })
      const standings = await take(limiter, 'ada', 130)
      assert.deepEqual(
        standings.map(({ allowed, remaining }) => [allowed, remaining]),
        Array.from({ length: 130 }, (_, index) => [index < 120, Math.max(0, 119 - index)]),
      )
      const midnight = 86_400_000 - (Date.now() % 86_400_000)
      assert.ok(Math.abs(standings[129]!.next - midnight) < 60_000)
      assert.equal((await limiter.take('bob')).allowed, true)
      assert.equal((await limiters.open('quota', { requests: 120, period: 'month' }).take('ada')).allowed, true)
      const together = await Promise.all(Array.from({ length: 200 }, () => limiter.take('eve')))
      assert.equal(together.filter(({ allowed }) => allowed).length, 120)
    })
  })
}
