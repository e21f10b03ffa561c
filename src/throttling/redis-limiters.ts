import { hash } from 'node:crypto'
import { Redis, type RedisOptions } from 'ioredis'
import { createBreaker } from '../store/breaker.ts'
import type { Log } from '../telemetry/log.ts'
import { createCalendar } from './calendar.ts'
import { Generations } from './generations.ts'
import type { CalendarQuota, Limiter, Limiters, Quota, Rate, Standing } from './limiter.ts'
import { createLocalRate } from './local-limiters.ts'
import { createRegistry } from './registry.ts'
import { slots } from './sliding-window.ts'

/**
 * The same limiters in a Redis that several gateways share, by the clock of Redis. What stands here in Lua stands in
 * `token-bucket.ts` and `sliding-window.ts` in TypeScript; one suite of tests runs over both.
 *
 * The years before 2023 are taken off the time, because a double holds microseconds only of so many days.
 */
const clock = `
local time = redis.call('TIME')
local now = (time[1] - 1700000000) * 1000 + time[2] / 1000
`

const takeToken = `
local step = tonumber(ARGV[1])
local window = tonumber(ARGV[2])
${clock}
local full = tonumber(redis.call('GET', KEYS[1]) or now)
if full < now then full = now end
if ARGV[3] == 'look' then
  local free = window - (full - now)
  local left = math.max(0, math.floor(free / step + 0.000001))
  local next = math.ceil(math.max(0, math.min(full - now, (left + 1) * step - free)))
  return { left > 0 and 1 or 0, left, next }
end
local after = full + step
local excess = after - now - window
if excess > step * 0.000001 then return { 0, 0, math.ceil(excess) } end
redis.call('SET', KEYS[1], string.format('%.6f', after), 'PX', math.ceil(after - now))
local free = window - (after - now)
local remaining = math.max(0, math.floor(free / step + 0.000001))
return { 1, remaining, math.ceil(math.max(0, (remaining + 1) * step - free)) }
`

const takeFromWindow = `
local requests = tonumber(ARGV[1])
local width = tonumber(ARGV[2])
local slots = tonumber(ARGV[3])
${clock}
local slot = math.floor(now / width)
local total, oldest, gone = 0, slot, {}
local counts = redis.call('HGETALL', KEYS[1])
for i = 1, #counts, 2 do
  local at = tonumber(counts[i])
  if at < slot - slots then
    gone[#gone + 1] = counts[i]
  else
    total = total + tonumber(counts[i + 1])
    if at < oldest then oldest = at end
  end
end
local next = math.ceil((oldest + 1 + slots) * width - now)
if ARGV[4] == 'look' then return { total < requests and 1 or 0, math.max(0, requests - total), total > 0 and next or 0 } end
if total >= requests then return { 0, 0, next } end
if #gone > 0 then redis.call('HDEL', KEYS[1], unpack(gone)) end
redis.call('HINCRBY', KEYS[1], string.format('%.0f', slot), 1)
redis.call('PEXPIRE', KEYS[1], math.ceil((slots + 1) * width))
return { 1, requests - total - 1, next }
`

/** `ARGV[3]`: what a gateway has let through while it was alone. */
const takeFromQuota = `
local requests = tonumber(ARGV[1])
local owed = tonumber(ARGV[3])
local used = tonumber(redis.call('GET', KEYS[1]) or 0) + owed
if ARGV[4] == 'look' then return { used < requests and 1 or 0, math.max(0, requests - used), 0 } end
local allowed = used < requests and 1 or 0
if allowed + owed > 0 then redis.call('SET', KEYS[1], used + allowed, 'PX', ARGV[2]) end
return { allowed, math.max(0, requests - used - allowed), 0 }
`

type Answer = [allowed: number, remaining: number, next: number]

/** With 'look' at their end they take nothing. */
interface LimiterCommands {
  takeToken(key: string, step: number, window: number, ...look: 'look'[]): Promise<Answer>
  takeFromWindow(key: string, requests: number, width: number, slots: number, ...look: 'look'[]): Promise<Answer>
  takeFromQuota(key: string, requests: number, lifetime: number, owed: number, ...look: 'look'[]): Promise<Answer>
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
export function connectRedisLimiters(url: string, tools: Omit<RedisLimiterTools, 'client'>): Limiters {
  const client = new Redis(url, connection)
  // What a call cannot get is counted and logged there.
  client.on('error', () => {})
  return createRedisLimiters({ ...tools, client })
}

export interface RedisLimiterTools {
  readonly client: Redis
  /** What the names of all our keys begin with. */
  readonly prefix: string
  readonly log: Log
  /** The part of each rate and quota that this process lets through while Redis is out: above 0, at most 1. */
  readonly localShare?: number
  /** Called for every call that this process answered alone, to count it. */
  readonly onInsurance?: (() => void) | undefined
  /** Milliseconds since the epoch, for the calendar. */
  readonly now?: () => number
  /** Milliseconds, monotonic. */
  readonly time?: () => number
}

class OutOfReach extends Error {}

/** How many exhausted keys are remembered here, so that whoever goes on calling does not reach Redis. */
const rememberedBlocks = 10_000
const day = 86_400_000

/**
 * A Redis that does not answer in time, or at all, neither stops nor opens the gates: each process then counts for
 * itself, its share of every allowance and from a full one.
 */
export function createRedisLimiters({
  client,
  prefix,
  log,
  localShare = 1,
  onInsurance,
  now = Date.now,
  time = () => performance.now(),
}: RedisLimiterTools): Limiters {
  client.defineCommand('takeToken', { numberOfKeys: 1, lua: takeToken })
  client.defineCommand('takeFromWindow', { numberOfKeys: 1, lua: takeFromWindow })
  client.defineCommand('takeFromQuota', { numberOfKeys: 1, lua: takeFromQuota })
  const commands = client as Redis & LimiterCommands
  const breaker = createBreaker(OutOfReach, time)
  const shareOf = (requests: number) => Math.max(1, Math.floor(requests * localShare))
  let insured = false

  function insure(error: unknown): void {
    onInsurance?.()
    if (!insured) log.warn({ err: error }, 'rates are limited by each process alone until Redis answers again')
    insured = true
  }

  /** Asks Redis, but for keys that it has refused already, and this process when Redis does not answer. */
  function ask(
    blocked: Map<string, number>,
    key: string,
    call: () => Promise<Answer>,
    alone: () => Standing,
  ): Standing | Promise<Standing> {
    const until = blocked.get(key)
    if (until !== undefined) {
      const next = until - time()
      if (next > 0) return { allowed: false, remaining: 0, next }
      blocked.delete(key)
    }
    return breaker(call).then(
      ([allowed, remaining, next]) => {
        insured = false
        if (allowed === 0) {
          if (blocked.size >= rememberedBlocks) blocked.clear()
          blocked.set(key, time() + next)
        }
        return { allowed: allowed === 1, remaining, next }
      },
      (error) => {
        insure(error)
        return alone()
      },
    )
  }

  /** What Redis says; nothing when it does not answer. */
  function lookAt(call: () => Promise<Answer>): Promise<Standing | undefined> {
    return breaker(call).then(
      ([allowed, remaining, next]) => ({ allowed: allowed === 1, remaining, next }),
      () => undefined,
    )
  }

  function createRate(name: string, rate: Rate): Limiter {
    const { requests, window } = rate
    const sliding = rate.algorithm === 'sliding-window'
    const insurance = createLocalRate({ ...rate, requests: shareOf(requests) }, { time })
    const blocked = new Map<string, number>()
    const take = sliding
      ? (row: string, ...look: 'look'[]) => commands.takeFromWindow(row, requests, window / slots, slots, ...look)
      : (row: string, ...look: 'look'[]) => commands.takeToken(row, window / requests, window, ...look)
    const kind = sliding ? `${requests}/${window}/sliding` : `${requests}/${window}`
    const rowOf = (key: string) => `${prefix}rate:${name}:${kind}:${nameOf(key)}`
    return {
      look: (key) => lookAt(() => take(rowOf(key), 'look')),
      take: function takeShared(key) {
        const row = rowOf(key)
        return ask(
          blocked,
          row,
          () => take(row),
          () => insurance.take(key),
        )
      },
    }
  }

  function createQuota(name: string, { requests, period }: CalendarQuota): Limiter {
    const periodOf = createCalendar(period)
    const blocked = new Map<string, number>()
    /** What was let through while Redis was out, by key and period. */
    const alone = new Generations<number>(day, now())
    const rowOf = (key: string, periodName: string) => `${prefix}quota:${name}:${periodName}:${nameOf(key)}`
    return {
      look(key) {
        const at = now()
        const { name: periodName, end } = periodOf(at)
        const row = rowOf(key, periodName)
        const owed = alone.get(row, at) ?? 0
        return lookAt(async () => {
          const [allowed, remaining] = await commands.takeFromQuota(row, requests, 0, owed, 'look')
          return [allowed, remaining, end - at]
        })
      },
      take: function takeShared(key) {
        const at = now()
        const { name: periodName, end } = periodOf(at)
        const row = rowOf(key, periodName)
        const next = end - at
        let owed = 0
        return ask(
          blocked,
          row,
          () => {
            // Handed over by the first call that gets through; meanwhile nobody else may hand it over again.
            owed = alone.get(row, at) ?? 0
            if (owed > 0) alone.set(row, 0)
            // A day longer than the period, for clocks that go wrong.
            const answer = commands.takeFromQuota(row, requests, next + day, owed)
            return answer.then(([allowed, remaining]) => [allowed, remaining, next])
          },
          () => {
            const used = (alone.get(row, at) ?? 0) + owed
            const allowed = used < shareOf(requests)
            alone.set(row, allowed ? used + 1 : used)
            return { allowed, remaining: Math.max(0, shareOf(requests) - used - 1), next }
          },
        )
      },
    }
  }

  const { open } = createRegistry((name: string, quota: Quota) =>
    'period' in quota ? createQuota(name, quota) : createRate(name, quota),
  )
  return {
    open,
    async close() {
      client.disconnect()
    },
  }
}

/** Keys are chosen by callers: no longer than this in Redis, and no addresses or names in its memory. */
function nameOf(key: string): string {
  return hash('sha256', key, 'base64url').slice(0, 22)
}
