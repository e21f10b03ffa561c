import { Generations } from './generations.ts'
import type { LocalLimiter, Rate } from './limiter.ts'

/** Rounding of floating point may not cost a token, nor give one: a millionth of a token is neither. */
const tolerance = 1e-6

/** How limiters of this process tell the time, and how many keys they remember. */
export interface LocalTools {
  /** Milliseconds, monotonic: a clock that is set back must not lock everybody out. */
  readonly time?: () => number
  readonly capacity?: number
}

/**
 * Token buckets in this process, by the generic cell rate algorithm: a bucket is one number, when it will be full again.
 * What was not used for a window is full, so forgetting it loses nothing.
 */
export function createTokenBuckets(
  { requests, window }: Omit<Rate, 'algorithm'>,
  { time = () => performance.now(), capacity }: LocalTools = {},
): LocalLimiter {
  const step = window / requests
  const buckets = new Generations<number>(window, time(), capacity)

  const fullAt = (key: string, now: number) => Math.max(buckets.get(key, now) ?? now, now)

  /** Of a bucket that will be full in so many milliseconds. */
  function standing(missing: number, allowed: boolean) {
    const free = window - missing
    const remaining = Math.max(0, Math.floor(free / step + tolerance))
    return { allowed, remaining, next: Math.max(0, Math.min(missing, (remaining + 1) * step - free)) }
  }

  return {
    take: function takeToken(key) {
      const now = time()
      const after = fullAt(key, now) + step
      const excess = after - now - window
      if (excess > step * tolerance) return { allowed: false, remaining: 0, next: excess }
      buckets.set(key, after)
      return standing(after - now, true)
    },
    look: function lookAtBucket(key) {
      const now = time()
      const missing = fullAt(key, now) - now
      return standing(missing, missing + step - window <= step * tolerance)
    },
  }
}
