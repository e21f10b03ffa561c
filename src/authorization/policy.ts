import type { Caller } from '../authentication/caller.ts'
import type { ProblemCode } from '../http/problem.ts'
import type { RequestHead } from '../http/request-head.ts'

/** What a policy decides about (the four parts of NIST SP 800-162, with the gateway's own words). */
export interface Question {
  readonly caller: Caller
  readonly head: RequestHead
  /** The values of the route template's parameters, decoded. */
  readonly params: Readonly<Record<string, string>>
  readonly service: { readonly name: string }
  readonly route: { readonly id: string }
  /** Milliseconds since the epoch. */
  readonly now: number
}

/**
 * `row` is the part of `allow` that said no, as a JSON pointer below it (`/roles`, `/0/when`).
 * `detail` is for the caller: it names what is missing, never the expression.
 */
export type Decision =
  | { readonly verdict: 'permit' }
  | {
      readonly verdict: 'deny'
      readonly code: ProblemCode
      readonly row: string
      readonly detail: string
      readonly scopes?: readonly string[]
    }

export const permit: Decision = Object.freeze({ verdict: 'permit' })

/** One compiled `allow`. Pure: the same question always gets the same decision. */
export interface Policy {
  decide(question: Question): Decision
}
