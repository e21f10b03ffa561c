import { clientAuthentication } from '../http/client-authentication.ts'
import { Problem } from '../http/problem.ts'
import type { Log } from '../telemetry/log.ts'
import { type ClaimMap, compileClaimMap } from './claim-map.ts'
import type { FetchJson } from './fetch-json.ts'
import type { IntrospectingIssuer, Introspection } from './token-issuer.ts'
import { callerOf, isNumericDate } from './token-profile.ts'
import type { TokenRefusal } from './token-refusal.ts'

export interface IntrospectionSettings {
  /** The issuer's name in services.json. */
  readonly name: string
  /** The introspection endpoint (RFC 7662 §2). */
  readonly endpoint: string
  readonly clientId: string
  readonly clientSecret: string
  readonly clientAuthentication: 'client_secret_basic' | 'client_secret_post'
  /** `iss` of the tokens; an answer that names another is refused. */
  readonly issuer?: string | undefined
  /** One of these must be among the answer's `aud`, when there are any. */
  readonly audiences: readonly string[]
  readonly claims: ClaimMap
  /** Seconds for which a good answer may be relied on, at most. */
  readonly remember: number
  readonly fetchJson: FetchJson
  /** Milliseconds since the epoch. */
  readonly now: () => number
  readonly log: Log
}

/**
 * An issuer of opaque tokens, asked about each one (RFC 7662).
 *
 * A token is good only when the answer's `active` is `true` itself. `exp`, `nbf`, `aud` and `iss` are checked again here:
 * the answer is for us, and other resource servers ask the same endpoint. Anything but a well-formed 200 is an outage,
 * even 401: then it is our own password that the endpoint does not like, and the caller can do nothing about it.
 */
export function introspectingIssuer(settings: IntrospectionSettings): IntrospectingIssuer {
  const { name, endpoint, issuer, remember, fetchJson, now, log } = settings
  const audiences = new Set(settings.audiences)
  const mapClaims = compileClaimMap(settings.claims)
  const { headers, form } = clientAuthentication(settings)

  return {
    kind: 'introspection',
    name,
    ...(issuer !== undefined && { issuer }),

    async introspect(token, method): Promise<Introspection> {
      let answer: unknown
      try {
        answer = await fetchJson({ url: endpoint, headers, form: { token, token_type_hint: 'access_token', ...form } })
        if (
          answer === null ||
          typeof answer !== 'object' ||
          typeof (answer as { active?: unknown }).active !== 'boolean'
        )
          throw new TypeError('the answer does not say whether the token is active')
      } catch (error) {
        log.warn({ issuer: name, err: error }, 'the issuer could not be asked about a token')
        const detail = 'The issuer of the token cannot be asked right now.'
        return {
          outcome: 'unavailable',
          problem: new Problem('issuer-unavailable', detail, { cause: error, fields: { 'Retry-After': '1' } }),
        }
      }
      return judge(answer as Readonly<Record<string, unknown>>, method)
    },
  }

  function judge(claims: Readonly<Record<string, unknown>>, method: Parameters<typeof callerOf>[3]): Introspection {
    if (claims['active'] !== true) return refused('inactive')
    const { exp, nbf, aud, iss, cnf } = claims
    const seconds = Math.floor(now() / 1_000)
    if (exp !== undefined && !isNumericDate(exp)) return refused('malformed-claim', 'exp')
    if (nbf !== undefined && !isNumericDate(nbf)) return refused('malformed-claim', 'nbf')
    if (exp !== undefined && seconds >= exp) return refused('expired')
    if (nbf !== undefined && nbf > seconds + 5) return refused('not-yet-valid')
    if (issuer !== undefined && iss !== undefined && iss !== issuer) return refused('issuer')
    if (audiences.size > 0 && ![aud].flat().some((one) => audiences.has(one as string))) return refused('audience')
    if (cnf !== undefined) return refused('proof-of-possession', 'cnf')
    const mapped = mapClaims(claims)
    if (mapped.outcome === 'malformed') return refused('malformed-claim', mapped.claim)
    const caller = callerOf(claims, mapped.caller, issuer ?? (typeof iss === 'string' ? iss : name), method)
    return { outcome: 'active', caller, endsAt: Math.min(seconds + remember, exp ?? Number.POSITIVE_INFINITY) }
  }
}

function refused(reason: TokenRefusal['reason'], claim?: string): TokenRefusal {
  return { outcome: 'refused', reason, ...(claim !== undefined && { claim }) }
}
