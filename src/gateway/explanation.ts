import type { Authentication, CredentialLocation } from '../authentication/authenticator.ts'
import type { AuthenticationStatus, StoreOutage } from '../authentication/identify.ts'
import type { ExplainedStep } from '../authentication/token-refusal.ts'
import type { ExplainedBlock } from '../authorization/explain.ts'
import type { Decision } from '../authorization/policy.ts'
import type { SecurityRequirement } from '../openapi/document.ts'
import type { RuleStanding } from '../throttling/rate-limits.ts'
import type { LimitsDescription } from './describe-limits.ts'
import type { Origin } from './outbound.ts'

/**
 * Why the gateway does with a request what it does, in the order in which it does it; a part that was not reached is
 * absent. JSON, and without secrets: credentials are masked, and what callers said of themselves appears only as far
 * as something was decided by it.
 */
export interface Explanation {
  /** ISO 8601. */
  readonly at: string
  /**
   * `answered`: by an endpoint of the gateway itself. `sign-in`: a person is sent to where a session begins; `problem`
   * says what a script would be told. `composed`: of the answers to the requests in `composition`. `undecided`: it hangs
   * on a thing of the service (`allow.resource`) that was not read.
   */
  readonly outcome: 'forwarded' | 'refused' | 'answered' | 'sign-in' | 'composed' | 'undecided'
  readonly request: ExplainedRequest
  /** How it is answered, when it is refused. */
  readonly problem?: ExplainedProblem
  /** How it would be answered if what is in shadow were enforced. */
  readonly shadow?: ExplainedProblem
  readonly route?: ExplainedRoute
  readonly authentication?: ExplainedAuthentication
  readonly limits?: ExplainedLimits
  readonly authorization?: ExplainedAuthorization
  readonly forward?: ExplainedForward
  readonly composition?: ExplainedComposition
}

export interface ExplainedRequest {
  readonly method: string
  /** Canonical, as it is matched. */
  readonly path: string
  /** Credentials in it are masked. */
  readonly query?: string
  /** Address of the client. */
  readonly client: string
}

export interface ExplainedProblem {
  /** The step that said no. */
  readonly step: 'read' | 'route' | 'authenticate' | 'throttle' | 'authorize' | 'validate' | 'forward'
  readonly status: number
  readonly code: string
  readonly detail: string
  /** JSON pointer below `allow`, or to the scheme whose names are missing. */
  readonly row?: string
  /** `WWW-Authenticate` of the answer. */
  readonly challenges?: readonly string[]
}

export interface ExplainedRoute {
  /** `orders` for the service's own row, `orders GET /{id}` for an exception. */
  readonly id: string
  readonly service: string
  readonly parameters: Readonly<Record<string, string>>
  /** `documented`: what the service's document does not list is answered with 404. */
  readonly expose: 'all' | 'documented'
  /** Other rows whose template fits the path, and why they do not answer. */
  readonly losers: readonly { readonly id: string; readonly reason: 'method' | 'less-specific' }[]
}

export interface ExplainedAuthentication {
  /** `nobody`: the route is public and looks at no credential. `anybody`: guests are let in. */
  readonly asks: 'nobody' | 'anybody' | 'somebody'
  readonly schemes: readonly ExplainedScheme[]
  readonly alternatives: readonly ExplainedAlternative[]
  /** What a credential is worth while the store is out; absent where none is looked at. */
  readonly storeOutage?: StoreOutage
  /** Absent when nobody may call like this. */
  readonly status?: AuthenticationStatus
  readonly caller?: ExplainedCaller
  /** Names in the requirement array that the caller lacks. */
  readonly unmet?: { readonly scheme: string; readonly kind: 'scopes' | 'roles'; readonly missing: readonly string[] }
}

export interface ExplainedScheme {
  readonly scheme: string
  readonly location: CredentialLocation
  readonly verdict: Authentication['outcome']
  /** The first check that failed: `expired`, `audience`, `signature`, ... */
  readonly reason?: string
  readonly detail?: string
  /** What the credential says where the check failed. */
  readonly found?: string
  readonly subject?: string
  /** No credential was looked at: the claims that were asked about stand for a genuine one. */
  readonly simulated?: true
  /** The checks of a token, in order. */
  readonly steps?: readonly ExplainedStep[]
}

export interface ExplainedAlternative {
  readonly requirement: SecurityRequirement
  /**
   * `decides`: it says who calls. `holds`: it would have done as well. `lacks`: its schemes accept, but `missing` names
   * are not there. `fails`: one of its schemes does not accept.
   */
  readonly verdict: 'decides' | 'holds' | 'lacks' | 'fails'
  /** Scopes or roles that are not there. */
  readonly missing?: readonly string[]
}

export interface ExplainedCaller {
  readonly subject: string
  readonly issuer: string
  readonly clientId?: string
  readonly organization?: string
  readonly roles: readonly string[]
  readonly permissions: readonly string[]
  readonly scopes: readonly string[]
  readonly method: string
  /** ISO 8601. */
  readonly expires?: string
}

export interface ExplainedAuthorization {
  readonly verdict: Decision['verdict']
  /** Every `allow` that must hold, the service's first; then those that are only tried. */
  readonly policies: readonly ExplainedPolicy[]
}

export interface ExplainedPolicy {
  readonly verdict: Decision['verdict']
  /** It refuses nobody (`"enforce": "shadow"`). */
  readonly shadow?: true
  readonly blocks: readonly ExplainedBlock[]
}

/**
 * What limits this request, in the order in which it is counted, with what is left for this caller where it can be
 * known; nothing was counted. Of a request that was refused: only for a 429, without what was left.
 */
export interface ExplainedLimits extends Omit<LimitsDescription, 'rules'> {
  readonly rules: readonly ExplainedRule[]
}

/** `violated`: the one that was used up. */
export type ExplainedRule = RuleStanding & { readonly violated?: true }

export interface ExplainedComposition {
  /** As written: `GET /dashboard/{userId}`. */
  readonly id: string
  readonly parts: readonly ExplainedPart[]
}

export interface ExplainedPart {
  readonly name: string
  /** The composition goes on without it. */
  readonly optional: boolean
  /** Parts whose answers say what this one asks for; it cannot be explained before they are there. */
  readonly needs: readonly string[]
  readonly explanation?: Explanation
}

export interface ExplainedForward {
  readonly method: string
  /** What a target would be asked for, one of these. */
  readonly urls: readonly string[]
  /** Whether they are those of the canary; absent where there is none. */
  readonly canary?: boolean
  /** Where a copy may go: the URL of the mirror. */
  readonly mirror?: string
  readonly credentials: string
  readonly fields: readonly ExplainedField[]
}

export interface ExplainedField {
  readonly name: string
  /** Masked where it is a credential. */
  readonly value: string
  /** Whose word it is. */
  readonly from: Origin
}
