import type { Middleware, ParameterizedContext } from 'koa'
import type { Identification } from '../authentication/identify.ts'
import type { Resources } from '../gateway/decide.ts'
import type { Gateway, Route } from '../gateway/gateway.ts'
import type { Found } from '../gateway/router.ts'
import type { Problem, ProblemCode } from '../http/problem.ts'
import type { RequestHead } from '../http/request-head.ts'
import type { Outcome } from '../upstream/exchange.ts'
import type { Collect } from '../upstream/forward.ts'

/** What the steps of `app.ts` leave for those below and for the log. Each step owns what it writes. */
export interface State {
  /** The request id; observe. */
  id: string
  /**
   * Header lines that every answer carries, flat: the request id, and what CORS and limits add. Kept apart from the
   * response until its head is written, because a list of lines is written faster than fields that were set one by one.
   */
  announced: string[]
  /** The revision this request keeps until its answer has ended; pin. */
  gateway: Gateway
  /** What everybody reads instead of the raw request; guard. */
  head: RequestHead
  /** Which row answers, and the raw values of its template's parameters; route. */
  route: Route
  found: Found<Route>
  /** Which composition answers, when one does; compose. */
  composition?: string
  /** The part that a composition could not be without, as it was refused; compose. */
  refusedPart?: { readonly name: string; readonly state: State; readonly problem: Problem }
  /** Optional parts that a composition went on without, and the codes of their problems; compose. */
  missingParts?: Readonly<Record<string, ProblemCode>>
  /** Who calls; authenticate. */
  identification: Identification
  /** What was read to decide; authorize. */
  resources?: Resources
  /** The content of the request, where it was read to be checked; validate. */
  content?: Buffer
  /** Whether the client was told to send its content (RFC 9110 §10.1.1); validate. */
  continued?: boolean
  /** The header lines the service will get, flat; propagate. */
  fields: string[]
  /** How many of them come before the credential; propagate. */
  uncredentialed: number
  /** Path and query the service will get; propagate. */
  target: string
  /** Takes the service's answer to be kept; cache. */
  collect?: Collect
  /** How the cache handled the request, where the route has one (RFC 9211 §2); cache. */
  cached?: 'hit' | 'miss' | 'revalidated' | 'stale' | 'bypass'
  /** How the exchange with the service went; forward. */
  outcome: Outcome
  /** What the request was answered with when it ended badly; problems. */
  problem: Problem
}

/** Each step finds what the steps above it left, and nothing more is promised. */
export type Step = Middleware<State>
export type StepContext = ParameterizedContext<State>
