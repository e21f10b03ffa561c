import type { Caller } from '../authentication/caller.ts'
import type { Problem, ProblemCode } from '../http/problem.ts'
import type { RequestHead } from '../http/request-head.ts'

/** What a policy decides about (the four parts of NIST SP 800-162, with the gateway's own words). */
export interface Question {
  readonly caller: Caller
  readonly head: RequestHead
  /** The values of the route template's parameters, decoded. */
  readonly params: ReadonlyMap<string, string>
  readonly service: { readonly name: string }
  readonly route: { readonly id: string }
  /** Milliseconds since the epoch. */
  readonly now: number
  /** What has been read of the things that conditions are about, by `ResourceNeed.get`. */
  readonly resources?: ReadonlyMap<string, Resource> | undefined
}

/** A thing of the service that a condition is about (`allow.resource`). */
export interface ResourceNeed {
  /** Path and query below the service, with `{parameters}` of the route: `/{id}`. */
  readonly get: string
  /** Milliseconds for which what was read serves the same caller again; 0 for never. */
  readonly cache: number
}

/** What the service said when the thing was asked for in the caller's name. */
export type Resource =
  | { readonly outcome: 'read'; readonly value: unknown }
  /** It shows the caller no such thing, whether or not there is one. */
  | { readonly outcome: 'hidden' }
  /** Nobody could say. Where the decision hangs on it, this is the answer. */
  | { readonly outcome: 'failed'; readonly problem: Problem }

/**
 * `undecided`: it hangs on things that have not been read; a question with them gets one of the others.
 *
 * `row` is the part of `allow` that said no, as a JSON pointer below it (`/roles`, `/0/when`).
 * `detail` is for the caller: it names what is missing, never the expression. `problem` is there when nobody could say
 * whether the row holds.
 */
export type Decision =
  | { readonly verdict: 'permit' }
  | { readonly verdict: 'undecided'; readonly needs: readonly ResourceNeed[] }
  | {
      readonly verdict: 'deny'
      readonly code: ProblemCode
      readonly row: string
      readonly detail: string
      readonly scopes?: readonly string[]
      readonly problem?: Problem
    }

export const permit: Decision = Object.freeze({ verdict: 'permit' })

/** One compiled `allow`. Pure: the same question always gets the same decision. */
export interface Policy {
  decide(question: Question): Decision
}
