import assert from 'node:assert/strict'
import { after, before, describe, test } from 'node:test'
import { setTimeout as delay } from 'node:timers/promises'
import { Redis } from 'ioredis'
import { createBreaker } from '../../src/store/breaker.ts'
import { connectRedisStore } from '../../src/store/redis.ts'
import { type Store, StoreUnavailable } from '../../src/store/store.ts'
import { silent } from '../../src/telemetry/log.ts'
import { storeContract } from '../contracts/store.ts'
import { type RunningRedis, startRedis } from '../redis.ts'
import { skipWithout } from '../requirements.ts'

const skip = skipWithout('redis')
const tools = { now: Date.now, log: silent }

let server: RunningRedis
before(async () => {
  if (!skip) server = await startRedis()
})
after(async () => {
  await server?.stop()
})

storeContract('redis', {
  open: (given) => connectRedisStore(server.url, 'contract:', given),
  shared: true,
  skip,
})

/** How long until the store answers again, in milliseconds. */
async function recovery(store: Store): Promise<number> {
  const started = performance.now()
  while (performance.now() - started < 5_000) {
    try {
      await store.put('test', 'alive', 1)
      return performance.now() - started
    } catch (error) {
      assert.ok(error instanceof StoreUnavailable)
      await delay(20)
    }
  }
  return Number.POSITIVE_INFINITY
}

/** The slowest of many calls that must all fail. */
async function slowestFailure(store: Store, calls: number, pause: number): Promise<number> {
  let slowest = 0
  for (let n = 0; n < calls; n += 1) {
    const started = performance.now()
    await assert.rejects(store.get('test', 'a'), StoreUnavailable)
    slowest = Math.max(slowest, performance.now() - started)
    await delay(pause)
  }
  return slowest
}

describe('a Redis in trouble', { skip }, () => {
  test('costs a caller at most 250 ms when it hangs, and nothing once the breaker is open', async (t) => {
    const store = connectRedisStore(server.url, 'hang:', tools)
    t.after(() => store.close())
    await store.put('test', 'a', 1)
    server.pause()
    try {
      const slowest = await slowestFailure(store, 8, 60)
      assert.ok(slowest < 250, `${slowest} ms`)
      // Open, half open, open again: of calls in quick succession most are refused at once.
      const times: number[] = []
      for (let n = 0; n < 20; n += 1) {
        const started = performance.now()
        await assert.rejects(store.ping(), StoreUnavailable)
        times.push(performance.now() - started)
      }
      assert.ok(times.filter((time) => time < 20).length >= 15, times.map(Math.round).join(' '))
      const writing = performance.now()
      await assert.rejects(store.create('test', 'b', 1), StoreUnavailable)
      await assert.rejects(store.publish('test', 1), StoreUnavailable)
      assert.ok(performance.now() - writing < 500)
    } finally {
      server.resume()
    }
    const took = await recovery(store)
    assert.ok(took < 2_000, `${took} ms`)
    assert.equal((await store.get('test', 'a'))?.value, 1)
  })

  test('comes back empty within two seconds after it was killed, and listeners hear of it', async (t) => {
    const store = connectRedisStore(server.url, 'kill:', tools)
    const other = connectRedisStore(server.url, 'kill:', tools)
    t.after(() => Promise.all([store.close(), other.close()]))
    let missed = 0
    const heard: unknown[] = []
    store.subscribe(
      'news',
      (message) => heard.push(message),
      () => {
        missed += 1
      },
    )
    await store.put('test', 'a', 1)
    while (missed === 0) await delay(5)
    await server.kill()
    const slowest = await slowestFailure(store, 10, 30)
    assert.ok(slowest < 250, `${slowest} ms`)
    await server.start()
    const took = await recovery(store)
    assert.ok(took < 2_000, `${took} ms`)
    assert.equal(await store.get('test', 'a'), undefined)

    const end = Date.now() + 3_000
    while (missed < 2 && Date.now() < end) await delay(10)
    assert.equal(missed, 2)
    await recovery(other)
    await other.publish('news', 'back')
    while (heard.length === 0 && Date.now() < end) await delay(10)
    assert.deepEqual(heard, ['back'])
  })

  test('that was not there yet is found when it comes', async (t) => {
    await server.kill()
    const store = connectRedisStore(server.url, 'late:', tools)
    t.after(() => store.close())
    await assert.rejects(store.ping(), StoreUnavailable)
    await server.start()
    assert.ok((await recovery(store)) < 2_000)
  })

  test('that refuses writes is an outage, not a crash', async (t) => {
    const admin = new Redis(server.url)
    const store = connectRedisStore(server.url, 'full:', tools)
    t.after(async () => {
      await admin.config('SET', 'maxmemory', '0')
      admin.disconnect()
      await store.close()
    })
    await store.put('test', 'a', 1)
    await admin.config('SET', 'maxmemory', '1')
    await assert.rejects(store.put('test', 'b', 1), (error: unknown) => {
      assert.ok(error instanceof StoreUnavailable)
      return /OOM/.test(error.message)
    })
    assert.equal((await store.get('test', 'a'))?.value, 1)
    await admin.config('SET', 'maxmemory', '0')
    await store.put('test', 'b', 1)
  })
})

test('leaves nothing behind in Redis but what lives', { skip }, async (t) => {
  const admin = new Redis(server.url)
  const store = connectRedisStore(server.url, 'tidy:', tools)
  t.after(async () => {
    admin.disconnect()
    await store.close()
  })
  await store.put('test', 'a', 1, { expiresAt: Date.now() / 1_000 + 0.3, group: 'g' })
  await store.put('test', 'b', 1, { group: 'g' })
  await store.put('gone', 'a', 1, { expiresAt: Date.now() / 1_000 + 0.3, group: 'g' })
  await delay(450)
  await store.put('test', 'c', 1)
  const keys = (await admin.keys('tidy:*')).sort()
  assert.deepEqual(keys, [
    'tidy:entry:test:b',
    'tidy:entry:test:c',
    'tidy:group:test:g',
    'tidy:index:test',
    'tidy:revision',
  ])
  assert.deepEqual(await admin.zrange('tidy:index:test', '0', '-1'), ['b', 'c'])
})

describe('the breaker', () => {
  class Refusal extends Error {}
  const failing = () => Promise.reject(new Error('out'))

  test('opens after five failures in a second, lets one call try after half a second, and closes when it succeeds', async () => {
    let time = 0
    const breaker = createBreaker(Refusal, () => time)
    let calls = 0
    const call = (result: Promise<unknown> | (() => Promise<unknown>)) =>
      breaker(() => {
        calls += 1
        return typeof result === 'function' ? result() : result
      })
    for (let n = 0; n < 5; n += 1) await assert.rejects(call(failing), /out/)
    await assert.rejects(call(failing), Refusal)
    assert.equal(calls, 5)

    time = 500
    let finish: (value: unknown) => void = () => {}
    const probe = call(new Promise((resolve) => (finish = resolve)))
    await assert.rejects(call(failing), Refusal)
    finish('well')
    assert.equal(await probe, 'well')
    assert.equal(await call(() => Promise.resolve('again')), 'again')
  })

  test('stays open when the one that tries fails, and forgets failures that are old', async () => {
    let time = 0
    const breaker = createBreaker(Refusal, () => time)
    for (let n = 0; n < 8; n += 1) {
      await assert.rejects(breaker(failing), /out/)
      time += 400
    }
    time = 10_000
    for (let n = 0; n < 5; n += 1) await assert.rejects(breaker(failing), /out/)
    time = 10_500
    await assert.rejects(breaker(failing), /out/)
    await assert.rejects(breaker(failing), Refusal)
  })
})
