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

  return {
    take: function takeToken(key) {
      const now = time()
      const full = Math.max(buckets.get(key, now) ?? now, now)
      const after = full + step
      const excess = after - now - window
      if (excess > step * tolerance) return { allowed: false, remaining: 0, next: excess }

      buckets.set(key, after)
      const free = window - (after - now)
      const remaining = Math.max(0, Math.floor(free / step + tolerance))
      return { allowed: true, remaining, next: Math.max(0, (remaining + 1) * step - free) }
    },
  }
}
