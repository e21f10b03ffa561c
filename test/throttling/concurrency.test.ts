import assert from 'node:assert/strict'
import { describe, test } from 'node:test'
import { setTimeout as delay } from 'node:timers/promises'
import fc from 'fast-check'
import { Problem } from '../../src/http/problem.ts'
import { concurrent, createConcurrencyLimit, type Release } from '../../src/throttling/concurrency.ts'

describe('a limit on requests under way', () => {
  test('lets them in without waiting until it is full, then one for each that ends, first come first served', async () => {
    const limit = createConcurrencyLimit({ limit: 2, queue: 3, wait: 5_000 })
    const [one, two] = [limit.acquire(), limit.acquire()] as Release[]
    assert.equal(typeof one, 'function')
    const served: number[] = []
    const waiting = [0, 1, 2].map(async (index) => {
      const release = await limit.acquire()
      served.push(index)
      return release
    })
    assert.deepEqual([limit.active, limit.waiting], [2, 3])
    one!()
    const first = await waiting[0]!
    assert.deepEqual(served, [0])
    assert.deepEqual([limit.active, limit.waiting], [2, 2])
    two!()
    first()
    await Promise.all(waiting)
    assert.deepEqual(served, [0, 1, 2])
    for (const release of await Promise.all(waiting)) release()
    assert.deepEqual([limit.active, limit.waiting], [0, 0])
  })

  test('answers 503 at once when the line is full', async () => {
    const limit = createConcurrencyLimit({ limit: 1, queue: 0, wait: 5_000 })
    limit.acquire()
    await assert.rejects(
      async () => limit.acquire(),
      (error) => {
        assert.ok(error instanceof Problem)
        assert.deepEqual([error.status, error.code, error.fields['Retry-After']], [503, 'overloaded', '1'])
        return true
      },
    )
  })

  test('answers 503 soon to whoever waits in vain, and leaves no place behind', async () => {
    const limit = createConcurrencyLimit({ limit: 1, queue: 5, wait: 30 })
    const release = limit.acquire() as Release
    const start = performance.now()
    await assert.rejects(async () => limit.acquire(), { code: 'overloaded' })
    assert.ok(performance.now() - start < 200)
    assert.equal(limit.waiting, 0)
    release()
    assert.equal(limit.active, 0)
    assert.equal(typeof limit.acquire(), 'function')
  })

  test('lets a client that leaves out of the line, and serves the next', async () => {
    const limit = createConcurrencyLimit({ limit: 1, queue: 5, wait: 5_000 })
    const release = limit.acquire() as Release
    const leaving = new AbortController()
    const left = limit.acquire(leaving.signal) as Promise<Release>
    const next = limit.acquire() as Promise<Release>
    leaving.abort(new Error('gone'))
    await assert.rejects(left, { message: 'gone' })
    assert.equal(limit.waiting, 1)
    release()
    const late = await next
    leaving.abort()
    late()
    assert.deepEqual([limit.active, limit.waiting], [0, 0])
    limit.acquire()
    await assert.rejects(limit.acquire(AbortSignal.abort(new Error('gone before'))) as Promise<Release>, {
      message: 'gone before',
    })
  })

  test('gives a place back once, however often it is given back', () => {
    const limit = createConcurrencyLimit({ limit: 2, queue: 0, wait: 1 })
    const [one] = [limit.acquire(), limit.acquire()] as Release[]
    one!()
    one!()
    assert.equal(limit.active, 1)
  })

  test('never has more under way than it says, nor fewer than could be, whatever happens', async () => {
    const step = fc.constantFrom('come', 'end', 'leave', 'wait')
    await fc.assert(
      fc.asyncProperty(
        fc.integer({ min: 1, max: 3 }),
        fc.nat(3),
        fc.array(step, { maxLength: 40 }),
        async (most, queue, steps) => {
          const limit = createConcurrencyLimit({ limit: most, queue, wait: 60_000 })
          const held: Release[] = []
          const queued: AbortController[] = []
          for (const what of steps) {
            if (what === 'come') {
              const controller = new AbortController()
              const place = limit.acquire(controller.signal)
              if (!(place instanceof Promise)) held.push(place)
              else {
                queued.push(controller)
                place.then(
                  (release) => held.push(release),
                  () => {},
                )
              }
            } else if (what === 'end') held.shift()?.()
            else if (what === 'leave') queued.shift()?.abort(new Error('gone'))
            await Promise.resolve()
            await Promise.resolve()
            assert.ok(limit.active <= most && limit.waiting <= queue)
            assert.ok(limit.waiting === 0 || limit.active === most)
            assert.equal(limit.active, held.length)
          }
          for (const controller of queued) controller.abort(new Error('over'))
        },
      ),
      { numRuns: 200 },
    )
  })

  test('keeps the rest waiting no longer than the wait under a flood', async () => {
    const limit = createConcurrencyLimit({ limit: 10, queue: 50, wait: 50 })
    const start = performance.now()
    const outcomes = await Promise.all(
      Array.from({ length: 200 }, async () => {
        try {
          const release = await limit.acquire()
          await delay(10)
          release()
          return 'served'
        } catch {
          return 'refused'
        }
      }),
    )
    const took = performance.now() - start
    const served = outcomes.filter((outcome) => outcome === 'served').length
    assert.ok(served >= 20 && served <= 60, `${served} served`)
    assert.ok(took < 500, `${took} ms`)
    assert.deepEqual([limit.active, limit.waiting], [0, 0])
  })

  test('may be written as a number or with a line of its own', () => {
    assert.deepEqual(concurrent.parse(200), { limit: 200, queue: 200, wait: 50 })
    assert.deepEqual(concurrent.parse({ limit: 10, queue: 0, wait: '1s' }), { limit: 10, queue: 0, wait: 1_000 })
    assert.deepEqual(concurrent.parse({ limit: 10 }), { limit: 10, queue: 10, wait: 50 })
    for (const mistake of [0, 1.5, '200', { limit: 0 }, { limit: 1, wait: '2m' }, { limit: 1, que: 1 }, {}]) {
      assert.equal(concurrent.safeParse(mistake).success, false, JSON.stringify(mistake))
    }
  })
})
