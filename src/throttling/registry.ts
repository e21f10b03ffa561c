import type { Limiter, Quota } from './limiter.ts'

/**
 * Hands out the same limiter for the same name and quota as long as somebody holds it: the gateway before a reload and
 * the one after it. What nobody holds any more is garbage, and its counts with it.
 */
export function createRegistry<L extends Limiter>(create: (name: string, quota: Quota) => L) {
  const known = new Map<string, WeakRef<L>>()
  /** How many there may be before the dead are looked for: not each time, there may be thousands of services. */
  let most = 1_000

  function* living(): Iterable<L> {
    for (const [key, reference] of known) {
      const limiter = reference.deref()
      if (limiter) yield limiter
      else known.delete(key)
    }
  }

  return {
    living,
    open(name: string, quota: Quota): L {
      if (known.size >= most) {
        for (const _ of living());
        most = Math.max(most, 2 * known.size)
      }
      const key = `${name}:${wordOf(quota)}`
      const existing = known.get(key)?.deref()
      if (existing) return existing
      const limiter = create(name, quota)
      known.set(key, new WeakRef(limiter))
      return limiter
    },
  }
}

function wordOf(quota: Quota): string {
  if ('period' in quota) return `${quota.requests}/${quota.period}`
  return `${quota.requests}/${quota.window}${quota.algorithm === 'sliding-window' ? '/sliding' : ''}`
}
