import type { Limiter, Quota } from './limiter.ts'

/**
 * Hands out the same limiter for the same name and quota as long as somebody holds it: the gateway before a reload and
 * the one after it. What nobody holds any more is garbage, and its buckets with it.
 */
export function createRegistry(create: (name: string, quota: Quota) => Limiter) {
  const known = new Map<string, WeakRef<Limiter>>()

  return function open(name: string, quota: Quota): Limiter {
    for (const [key, reference] of known) if (reference.deref() === undefined) known.delete(key)
    const key = `${name}:${quota.requests}/${quota.window}`
    const existing = known.get(key)?.deref()
    if (existing) return existing
    const limiter = create(key, quota)
    known.set(key, new WeakRef(limiter))
    return limiter
  }
}
