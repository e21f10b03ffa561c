import type { Limiters, LocalLimiter, Quota, Standing } from './limiter.ts'
import { createRegistry } from './registry.ts'

/** Rounding of floating point may not cost a token, nor give one: a millionth of a token is neither. */
const tolerance = 1e-6

/**
 * Buckets in this process. Synchronous, and bounded: attackers choose keys.
 *
 * Keys move from a young to an old generation once in a window. What was not used for a whole window is full again, so
 * forgetting the old generation loses nothing; only more than `capacity` keys within a window are forgotten early, which
 * fills their buckets. `time` is monotonic, in milliseconds: a clock that is set back must not lock everybody out.
 */
export function createTokenBuckets(
  { requests, window }: Quota,
  {
    time = () => performance.now(),
    capacity = 20_000,
  }: { readonly time?: () => number; readonly capacity?: number } = {},
): LocalLimiter {
  const step = window / requests
  const half = Math.max(1, Math.floor(capacity / 2))
  /** When each bucket will be full again. */
  let young = new Map<string, number>()
  let old = new Map<string, number>()
  let turned = time()

  function turn(now: number): void {
    old = now - turned < 2 * window ? young : new Map()
    young = new Map()
    turned = now
  }

  return {
    take: function takeToken(key): Standing {
      const now = time()
      if (now - turned >= window || young.size >= half) turn(now)

      const full = Math.max(young.get(key) ?? old.get(key) ?? now, now)
      const after = full + step
      const excess = after - now - window
      if (excess > step * tolerance) return { allowed: false, remaining: 0, next: excess }

      young.set(key, after)
      const free = window - (after - now)
      const remaining = Math.max(0, Math.floor(free / step + tolerance))
      return { allowed: true, remaining, next: Math.max(0, (remaining + 1) * step - free) }
    },
  }
}

/** The limiters of a gateway that counts for itself. */
export function createLocalLimiters(time?: () => number): Limiters {
  return {
    open: createRegistry((_name, quota) => createTokenBuckets(quota, time && { time })),
    async close() {},
  }
}
