import type { Problem } from '../http/problem.ts'
import type { RequestHead } from '../http/request-head.ts'
import type { Caller } from './caller.ts'
import type { ExplainedStep } from './token-refusal.ts'

/** What an authenticator found in one request. */
export type Authentication =
  /** No credential of this kind was sent. */
  | { readonly outcome: 'absent' }
  /**
   * The credential is good. `credential` is the secret text as it was sent, for propagation; never logged.
   * `accessToken` is what it stands for, where the gateway keeps one: a session's.
   */
  | {
      readonly outcome: 'accepted'
      readonly caller: Caller
      readonly credential: string
      readonly accessToken?: string
    }
  /**
   * The credential is present and refused, with the 401 (or 400, or 503 in an outage) to answer.
   * `reason` names the first check that failed, for explanations and metrics: `expired`, `audience`, `signature`, ...
   * `found` is what the credential says there, such as the audience it names; for operators, never shown to callers.
   */
  | {
      readonly outcome: 'rejected'
      readonly problem: Problem
      readonly reason: string
      readonly found?: string
      /**
       * What it would be if the store could be asked whether the credential is still good, and said yes. Only routes
       * with `"storeOutage": "accept"` take that for an answer.
       */
      readonly unconfirmed?: Authentication & { readonly outcome: 'accepted' }
    }

export const absent: Authentication = Object.freeze({ outcome: 'absent' })

/** Where a credential stands in a request; what the gateway consumes it also strips. Names in lower case for header fields. */
export interface CredentialLocation {
  readonly in: 'header' | 'query' | 'cookie'
  readonly name: string
}

/**
 * One security scheme of services.json, compiled: finds its credential in a request and checks it.
 *
 * Synchronous when it can be (a remembered token, a key in memory): callers `await` only when a promise comes back.
 * Never throws for what a client sent; a throw is a defect.
 */
export interface Authenticator {
  /** The name under `securitySchemes`. */
  readonly scheme: string
  /** Whether the names in a requirement array are OAuth scopes or roles (OpenAPI 3.1, Security Requirement Object). */
  readonly names: 'scopes' | 'roles'
  /** Where the credential stands. */
  readonly location: CredentialLocation
  /** False for cookies, which browsers send unasked: an expired one counts as absent beside a valid explicit credential. */
  readonly explicit: boolean
  /** The `WWW-Authenticate` challenge, such as `Bearer`; absent for schemes that have none registered (RFC 9110 §11.6.1). */
  readonly challenge?: string
  authenticate(head: RequestHead): Authentication | Promise<Authentication>
  /** What a request presents, checked step by step with nothing remembered; undefined when it presents nothing. For explanations. */
  explainRequest?(head: RequestHead): Promise<readonly ExplainedStep[] | undefined>
  /** What a genuine credential with these claims would come to: everything is judged but its signature. For explanations. */
  simulate?(claims: Readonly<Record<string, unknown>>): Authentication | Promise<Authentication>
}
