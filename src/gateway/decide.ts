import type { Identification } from '../authentication/identify.ts'
import type { Decision, Policy, Question } from '../authorization/policy.ts'
import { compileNames } from '../authorization/requirements.ts'
import { challenge } from '../http/credentials.ts'
import { decodeSegment } from '../http/path.ts'
import { Problem } from '../http/problem.ts'
import type { RequestHead } from '../http/request-head.ts'
import type { Route } from './gateway.ts'
import type { Found } from './router.ts'

/** One request of which it is known who calls, and by which row it is answered. */
export interface Identified {
  readonly head: RequestHead
  readonly identification: Identification
  readonly route: Route
  readonly found: Found<Route>
}

export type Denial = Extract<Decision, { verdict: 'deny' }>

/** Whether anything is asked of the caller besides who it is; most routes ask nothing more. */
export function isDecided({ route, identification }: Pick<Identified, 'route' | 'identification'>): boolean {
  return !identification.unmet && route.policies.length === 0
}

/** What the requirement array names and every `allow` must hold: the first denial, or the permission. */
export function decide({ unmet }: Identification, policies: readonly Policy[], question: Question): Decision {
  if (unmet) return compileNames(unmet.scheme, unmet.missing, unmet.kind).decide(question)
  for (const policy of policies) {
    const decision = policy.decide(question)
    if (decision.verdict === 'deny') return decision
  }
  return { verdict: 'permit' }
}

export function questionOf({ head, identification, route, found }: Identified, now: number): Question {
  return {
    caller: identification.caller,
    head,
    get params() {
      return parametersOf(found)
    },
    service: route.service,
    route,
    now,
  }
}

/** The values of the template's parameters, decoded. No prototype, so that no name finds anything but a parameter. */
export function parametersOf({ names, segments }: Found<unknown>): Readonly<Record<string, string>> {
  const params: Record<string, string> = Object.create(null)
  for (const [index, name] of names.entries()) params[name] = decodeSegment(segments[index]!)
  return params
}

/** How a denial is answered: 403, or 401 to a guest who could say who it is. */
export function refusalOf(denial: Denial, route: Route, { caller, status }: Identification): Problem {
  const { authenticators } = route.security
  const challenges = authenticators.flatMap((authenticator) => authenticator.challenge ?? [])
  // A guest is not refused but asked who it is, where there is a way to say it (RFC 9110 §15.5.2).
  if (status !== 'authenticated' && caller.method === 'none' && authenticators.length > 0) {
    return new Problem('no-credentials', denial.detail, { fields: { 'WWW-Authenticate': [...new Set(challenges)] } })
  }
  const scopes = denial.scopes?.join(' ')
  return new Problem(denial.code, denial.detail, {
    members: { row: denial.row },
    ...(scopes !== undefined && {
      // RFC 6750 §3.1: the answer to a token whose scope does not reach names the scope that would.
      fields: { 'WWW-Authenticate': challenge('Bearer', { error: 'insufficient_scope', scope: scopes }) },
    }),
  })
}
