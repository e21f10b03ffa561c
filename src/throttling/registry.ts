import type { Limiter, Quota } from './limiter.ts'

/**
 * Hands out the same limiter for the same name and quota as long as somebody holds it: the gateway before a reload and
 * the one after it. What nobody holds any more is garbage, and its counts with it.
 */
export function createRegistry<L extends Limiter>(create: (name: string, quota: Quota) => L) {
  const known = new Map<string, WeakRef<L>>()

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
      for (const _ of living());
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
