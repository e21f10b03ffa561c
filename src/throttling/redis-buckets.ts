import { hash } from 'node:crypto'
import { Redis, type RedisOptions } from 'ioredis'
import { createBreaker } from '../store/breaker.ts'
import type { Log } from '../telemetry/log.ts'
import type { Limiter, Limiters, Quota } from './limiter.ts'
import { createRegistry } from './registry.ts'
import { createTokenBuckets } from './token-bucket.ts'

/**
 * The same buckets in a Redis that several gateways share, by the clock of Redis. What stands here in Lua stands in
 * `token-bucket.ts` in TypeScript; one suite of tests runs over both.
 *
 * The years before 2023 are taken off the time, because a double holds microseconds only of so many days.
 */
const takeToken = `
local step = tonumber(ARGV[1])
local window = tonumber(ARGV[2])
local time = redis.call('TIME')
local now = (time[1] - 1700000000) * 1000 + time[2] / 1000
local full = tonumber(redis.call('GET', KEYS[1]) or now)
if full < now then full = now end
local after = full + step
local excess = after - now - window
if excess > step * 0.000001 then return { 0, 0, math.ceil(excess) } end
redis.call('SET', KEYS[1], string.format('%.6f', after), 'PX', math.ceil(after - now))
local free = window - (after - now)
local remaining = math.max(0, math.floor(free / step + 0.000001))
return { 1, remaining, math.ceil(math.max(0, (remaining + 1) * step - free)) }
`

interface BucketCommands {
  takeToken(key: string, step: number, window: number): Promise<[number, number, number]>
}

/** A limit is no reason to wait: whoever does not answer at once is answered for. */
const connection = {
  connectTimeout: 500,
  commandTimeout: 100,
  socketTimeout: 1_000,
  enableOfflineQueue: false,
  maxRetriesPerRequest: 1,
  // Calls of one turn of the event loop go out together: half the work for each.
  enableAutoPipelining: true,
  retryStrategy: (attempt: number) => Math.min(50 * 2 ** (attempt - 1), 1_000) + Math.random() * 200,
  connectionName: 'sallyport-rates',
} satisfies RedisOptions

/** Connects in the background and keeps trying. */
export function connectRedisLimiters(url: string, tools: Omit<RedisBucketTools, 'client'>): Limiters {
  const client = new Redis(url, connection)
  // What a call cannot get is counted and logged there.
  client.on('error', () => {})
  return createRedisLimiters({ ...tools, client })
}

export interface RedisBucketTools {
  readonly client: Redis
  /** What the names of all our keys begin with. */
  readonly prefix: string
  readonly log: Log
  /** Called for every call that this process answered alone, to count it. */
  readonly onInsurance?: (() => void) | undefined
  /** Milliseconds, monotonic. */
  readonly time?: () => number
}

class OutOfReach extends Error {}

/** How many exhausted buckets are remembered here, so that whoever goes on calling does not reach Redis. */
const rememberedBlocks = 10_000

/**
 * A Redis that does not answer in time, or at all, neither stops nor opens the gates: each process then counts for
 * itself, from a full bucket, so that N gateways let through up to N times as much until Redis is back.
 */
export function createRedisLimiters({
  client,
  prefix,
  log,
  onInsurance,
  time = () => performance.now(),
}: RedisBucketTools): Limiters {
  client.defineCommand('takeToken', { numberOfKeys: 1, lua: takeToken })
  const commands = client as Redis & BucketCommands
  const breaker = createBreaker(OutOfReach, time)
  let insured = false

  function insure(error: unknown): void {
    onInsurance?.()
    if (!insured) log.warn({ err: error }, 'rates are limited by each process alone until Redis answers again')
    insured = true
  }

  function createLimiter(name: string, { requests, window }: Quota): Limiter {
    const step = window / requests
    const insurance = createTokenBuckets({ requests, window }, { time })
    const blocked = new Map<string, number>()

    function remember(bucket: string, next: number): void {
      if (blocked.size >= rememberedBlocks) blocked.clear()
      blocked.set(bucket, time() + next)
    }

    return {
      take: function takeShared(key) {
        // Keys are chosen by callers: no longer than this in Redis, and no addresses or names in its memory.
        const bucket = `${prefix}rate:${name}:${hash('sha256', key, 'base64url').slice(0, 22)}`
        const until = blocked.get(bucket)
        if (until !== undefined) {
          const next = until - time()
          if (next > 0) return { allowed: false, remaining: 0, next }
          blocked.delete(bucket)
        }
        return breaker(() => commands.takeToken(bucket, step, window)).then(
          ([allowed, remaining, next]) => {
            insured = false
            if (allowed === 0) remember(bucket, next)
            return { allowed: allowed === 1, remaining, next }
          },
          (error) => {
            insure(error)
            return insurance.take(key)
          },
        )
      },
    }
  }

  return {
    open: createRegistry(createLimiter),
    async close() {
      client.disconnect()
    },
  }
}
