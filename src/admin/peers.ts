import type { LatestDecision } from '../gateway/decision-archive.ts'
import type { Explanation } from '../gateway/explanation.ts'
import type { Snapshot } from '../telemetry/metrics.ts'

/** What one process of a gateway can be asked by the others: what it has counted and decided is in its memory alone. */
export interface Topics {
  readonly metrics: Snapshot
  /** The latest refusals. */
  readonly decisions: readonly LatestDecision[]
  /** One refusal by its id; undefined where it was not made. */
  readonly decision: Explanation | undefined
}

export type Topic = keyof Topics

/** The other processes of the same gateway. */
export interface Peers {
  /** How many there are besides this one, when all are well. */
  readonly count: number
  /** Which one this is, for the log. */
  readonly number?: number
  /** What each of the others answers; who does not within a second is left out. */
  ask<T extends Topic>(topic: T, about?: string): Promise<readonly Topics[T][]>
  /** How this one answers. */
  answer<T extends Topic>(topic: T, reply: (about: string) => Topics[T] | Promise<Topics[T]>): void
}

/** A gateway of one process. */
export const alone: Peers = {
  count: 0,
  ask: async () => [],
  answer() {},
}
