import type { Explanation } from './explanation.ts'

/** The last refusals with their reasons, by request id. In memory: they go with the process. */
export interface Decisions {
  keep(id: string, explanation: Explanation): void
  find(id: string): Explanation | undefined
  /** The latest first. */
  list(): readonly { readonly id: string; readonly explanation: Explanation }[]
}

/** Keeps the last `capacity` of them; the oldest makes room. */
export function createDecisions(capacity = 1_000): Decisions {
  // A Map remembers the order in which keys came.
  const kept = new Map<string, Explanation>()
  return {
    keep(id, explanation) {
      kept.delete(id)
      kept.set(id, explanation)
      if (kept.size > capacity) kept.delete(kept.keys().next().value!)
    },
    find: (id) => kept.get(id),
    list: () => [...kept].reverse().map(([id, explanation]) => ({ id, explanation })),
  }
}
