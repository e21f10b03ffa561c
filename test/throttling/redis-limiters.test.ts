import assert from 'node:assert/strict'
import { after, before, describe, test } from 'node:test'
import { setTimeout as delay } from 'node:timers/promises'
import { Redis } from 'ioredis'
import { silent } from '../../src/telemetry/log.ts'
import type { Limiters, Quota, Standing } from '../../src/throttling/limiter.ts'
import { connectRedisLimiters } from '../../src/throttling/redis-limiters.ts'
import { limiterContract } from '../contracts/limiter.ts'
import { type RunningRedis, startRedis } from '../redis.ts'
import { skipWithout } from '../requirements.ts'

const skip = skipWithout('redis')
let server: RunningRedis
before(async () => {
  if (!skip) server = await startRedis()
})
after(() => server?.stop())

/** Limiters that have reached Redis. */
async function connect(prefix: string, onInsurance?: () => void): Promise<Limiters> {
  let alone = 0
  const limiters = connectRedisLimiters(server.url, {
    prefix,
    log: silent,
    onInsurance() {
      alone++
      onInsurance?.()
    },
  })
  const probe = limiters.open('probe', { requests: 1_000, window: 1_000 })
  for (let before = -1; before !== alone; await delay(10)) {
    before = alone
    await probe.take('probe')
  }
  return limiters
}

limiterContract('Redis', { open: () => connect('contract:'), skip })

describe('limiters that share a Redis', { skip }, () => {
  const quota: Quota = { requests: 20, window: 60_000 }

  test('let the quota through once, however many gateways there are', async (context) => {
    const gateways = await Promise.all(Array.from({ length: 3 }, () => connect('shared:')))
    context.after(() => Promise.all(gateways.map((gateway) => gateway.close())))
    const limits = gateways.map((gateway) => gateway.open('orders:caller', quota))
    const standings = await Promise.all(Array.from({ length: 90 }, (_, call) => limits[call % 3]!.take('ada')))
    assert.equal(standings.filter(({ allowed }) => allowed).length, 20)
  })

  test('spare Redis the calls of whoever is refused anyway', async (context) => {
    const limiters = await connect('spared:')
    const observer = new Redis(server.url)
    context.after(async () => {
      await limiters.close()
      observer.disconnect()
    })
    const limiter = limiters.open('orders:caller', { requests: 1, window: 60_000 })
    await limiter.take('ada')
    assert.equal((await limiter.take('ada')).allowed, false)
    const evalsOf = async () => Number(/cmdstat_evalsha:calls=(\d+)/.exec(await observer.info('commandstats'))?.[1])
    const before = await evalsOf()
    for (let call = 0; call < 1_000; call++) {
      const standing = limiter.take('ada')
      assert.ok(!(standing instanceof Promise) && !standing.allowed && standing.next > 50_000)
    }
    assert.equal(await evalsOf(), before)
  })

  test('leave neither addresses nor names in Redis, and nothing that does not expire', async (context) => {
    const limiters = await connect('traces:')
    const observer = new Redis(server.url)
    context.after(async () => {
      await limiters.close()
      observer.disconnect()
    })
    await limiters.open('orders:address', quota).take('203.0.113.7')
    const keys = (await observer.keys('traces:*')).filter((key) => key.includes('orders'))
    assert.equal(keys.length, 1)
    assert.match(keys[0]!, /^traces:rate:orders:address:20\/60000:[\w-]{22}$/)
    const lifetime = await observer.pttl(keys[0]!)
    assert.ok(lifetime > 0 && lifetime <= 3_000, String(lifetime))
  })
})

describe('when Redis is out', { skip }, () => {
  const quota: Quota = { requests: 5, window: 60_000 }

  async function exhaust(limiters: Limiters, key: string) {
    const limiter = limiters.open('outage', quota)
    const standings: Standing[] = []
    let slowest = 0
    for (let call = 0; call < 12; call++) {
      const start = performance.now()
      standings.push(await limiter.take(key))
      slowest = Math.max(slowest, performance.now() - start)
    }
    return { allowed: standings.filter(({ allowed }) => allowed).length, slowest }
  }

  test('each process counts for itself: neither shut nor open, and back to one count soon after it returns', async (context) => {
    let alone = 0
    const limiters = await connect('killed:', () => alone++)
    context.after(() => limiters.close())
    assert.equal((await exhaust(limiters, 'ada')).allowed, 5)

    await server.kill()
    const { allowed, slowest } = await exhaust(limiters, 'bob')
    assert.equal(allowed, 5)
    assert.ok(slowest < 250, `${slowest} ms`)
    assert.ok(alone >= 5)

    await server.start()
    const start = performance.now()
    const limiter = limiters.open('again', { requests: 1_000, window: 60_000 })
    for (let before = -1; before !== alone; ) {
      before = alone
      await delay(20)
      await limiter.take('ada')
      assert.ok(performance.now() - start < 3_000, 'still counting alone 3 s after Redis is back')
    }
  })

  test('a Redis that hangs costs a tenth of a second, and after a few calls nothing', async (context) => {
    const limiters = await connect('hung:')
    context.after(async () => {
      server.resume()
      await limiters.close()
    })
    server.pause()
    const { allowed, slowest } = await exhaust(limiters, 'ada')
    assert.equal(allowed, 5)
    assert.ok(slowest < 250, `${slowest} ms`)
    const start = performance.now()
    await limiters.open('outage', quota).take('bob')
    assert.ok(performance.now() - start < 20)
  })
})
