import type { DecisionArchive } from './decision-archive.ts'
import type { Explanation } from './explanation.ts'

/**
 * The last refusals with their reasons, by request id, and apart from them what only would have been refused: live
 * traffic in shadow must not push out what somebody asks about. In memory: they go with the process.
 */
export interface Decisions {
  keep(id: string, explanation: Explanation): void
  find(id: string): Explanation | undefined
  /** The latest first. */
  list(): readonly { readonly id: string; readonly explanation: Explanation }[]
  /** Where they are kept besides, together with those of other gateways. */
  readonly archive: DecisionArchive | undefined
}

/** Keeps the last `capacity` of either; the oldest makes room. */
export function createDecisions(archive?: DecisionArchive, capacity = 1_000): Decisions {
  // A Map remembers the order in which keys came.
  const refused = new Map<string, Explanation>()
  const tried = new Map<string, Explanation>()
  return {
    archive,
    keep(id, explanation) {
      const kept = explanation.problem ? refused : tried
      kept.delete(id)
      kept.set(id, explanation)
      if (kept.size > capacity) kept.delete(kept.keys().next().value!)
      if (explanation.problem) archive?.keep(id, explanation)
    },
    find: (id) => refused.get(id) ?? tried.get(id),
    list: () =>
      [...tried, ...refused]
        .map(([id, explanation]) => ({ id, explanation }))
        .reverse()
        .sort((one, other) => Date.parse(other.explanation.at) - Date.parse(one.explanation.at)),
  }
}
