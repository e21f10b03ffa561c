import type { Store } from '../store/store.ts'
import type { Log } from '../telemetry/log.ts'
import type { Limiter, Limiters, LocalLimiter, Quota, Rate } from './limiter.ts'
import { createRegistry } from './registry.ts'
import { createSlidingWindows } from './sliding-window.ts'
import { createStoredQuota, type StoredQuota } from './stored-quota.ts'
import { createTokenBuckets, type LocalTools } from './token-bucket.ts'

export interface LocalLimiterTools {
  /** Where quotas are written down. */
  readonly store: Store
  readonly log: Log
  /** Milliseconds since the epoch, for the calendar. */
  readonly now: () => number
  /** Milliseconds, monotonic. */
  readonly time?: () => number
  /** Called when a quota had to be counted without the store. */
  readonly onAlone?: () => void
}

/** The limiters of a gateway that counts for itself: rates in memory, quotas in its store. */
export function createLocalLimiters({ time, ...tools }: LocalLimiterTools): Limiters {
  const rates = createRegistry((_name, quota) => createLocalRate(quota as Rate, time && { time }))
  const quotas = createRegistry<StoredQuota>((name, quota) => {
    if ('period' in quota) return createStoredQuota(name, quota, tools)
    throw new TypeError('a rate is not kept in the store')
  })
  return {
    open: (name: string, quota: Quota): Limiter => ('period' in quota ? quotas : rates).open(name, quota),
    async close() {
      for (const quota of quotas.living()) await quota.close()
    },
  }
}

export function createLocalRate({ algorithm, ...quota }: Rate, tools?: LocalTools): LocalLimiter {
  return algorithm === 'sliding-window' ? createSlidingWindows(quota, tools) : createTokenBuckets(quota, tools)
}
