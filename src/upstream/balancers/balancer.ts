import type { Target } from '../target.ts'

/** What tells requests apart that should stay with one target. Every member may be missing. */
export interface Affinity {
  /** Subject of the caller; absent for guests. */
  readonly caller?: string | undefined
  /** Roles of the caller. */
  readonly roles?: readonly string[] | undefined
  /** Address of the client. */
  readonly client?: string | undefined
  /** A request header field by lower-case name. */
  field(name: string): string | undefined
}

/**
 * Chooses one of several targets. `candidates` has at least two members, all of them fit to serve; it is another array
 * whenever a target is out.
 */
export type Balancer = (candidates: readonly Target[], affinity: Affinity | undefined) => Target

/** What a balancer may use. */
export interface BalancerTools {
  /** A number from 0 up to 1. */
  readonly chance: () => number
}
