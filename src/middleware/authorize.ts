import type { Identification } from '../authentication/identify.ts'
import type { Decision, Question } from '../authorization/policy.ts'
import { compileNames } from '../authorization/requirements.ts'
import type { Route } from '../gateway/gateway.ts'
import type { Found } from '../gateway/router.ts'
import { challenge } from '../http/credentials.ts'
import { decodeSegment } from '../http/path.ts'
import { Problem } from '../http/problem.ts'
import type { RequestHead } from '../http/request-head.ts'
import type { Step } from './state.ts'

/** May they? What the requirement array names and every `allow` must hold; 403 says which row did not. */
export function authorize(now: () => number): Step {
  return function authorize(ctx, next) {
    const { route, identification } = ctx.state
    if (!identification.unmet && route.policies.length === 0) return next()
    const decision = decide(route, identification, questionOf(ctx.state, now()))
    if (decision.verdict === 'deny') throw refusal(route, identification, decision)
    return next()
  }
}

/** The first denial, or the permission. Shared with explanations, so that they cannot say anything else. */
export function decide(route: Route, identification: Identification, question: Question): Decision {
  const { unmet } = identification
  if (unmet) return compileNames(unmet.scheme, unmet.missing, unmet.kind).decide(question)
  for (const policy of route.policies) {
    const decision = policy.decide(question)
    if (decision.verdict === 'deny') return decision
  }
  return { verdict: 'permit' }
}

export function questionOf(
  state: {
    readonly head: RequestHead
    readonly identification: Identification
    readonly route: Route
    readonly found: Found<Route>
  },
  now: number,
): Question {
  const { head, identification, route, found } = state
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
export function parametersOf({ names, segments }: Found<Route>): Readonly<Record<string, string>> {
  const params: Record<string, string> = Object.create(null)
  for (const [index, name] of names.entries()) params[name] = decodeSegment(segments[index]!)
  return params
}

type Denial = Decision & { readonly verdict: 'deny' }

function refusal(route: Route, { caller, status }: Identification, denial: Denial): Problem {
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
