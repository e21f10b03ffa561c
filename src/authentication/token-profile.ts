import type { Algorithm } from './algorithms.ts'
import type { Caller } from './caller.ts'
import { type ClaimMap, compileClaimMap, type MalformedClaim } from './claim-map.ts'

/** What is believed of one issuer's tokens, and nothing beyond it. Times in seconds. */
export interface TokenProfile {
  /** The issuer's name in services.json. */
  readonly name: string
  /** `iss`, to the letter. */
  readonly issuer: string
  /** One of these must be among `aud`. */
  readonly audiences: readonly string[]
  /** Secrets or public keys, never both: else a public key could be taken for a secret (RFC 8725 §2.1). */
  readonly algorithms: readonly Algorithm[]
  /** Values of `typ`, lower case, without `application/`; `absent` lets tokens without one pass. */
  readonly types: readonly string[]
  /** Further header parameters that may stand in a token and are ignored. */
  readonly headerParameters: readonly string[]
  /** Whether ID tokens may stand in for access tokens everywhere; an authenticator may allow it for itself. */
  readonly idTokens: boolean
  /** How far the issuer's clock may be off when `exp` is judged. */
  readonly clockTolerance: number
  /** The longest time from `iat` to `exp`. */
  readonly maxLifetime: number
  /** Claims that must be there besides `iss`, `aud` and `exp`. */
  readonly requiredClaims: readonly string[]
  readonly claims: ClaimMap
}

export interface AcceptedTimes {
  readonly outcome: 'valid'
  /** Seconds since the epoch, tolerances included: good from the one, refused from the other on. */
  readonly startsAt: number
  readonly endsAt: number
}

export interface RefusedClaims {
  readonly outcome: 'refused'
  readonly reason: ClaimReason
  /** The claim at fault, where one is. */
  readonly claim?: string
}

export type ClaimReason =
  | 'audience'
  | 'expired'
  | 'not-yet-valid'
  | 'issued-in-future'
  | 'lifetime'
  | 'missing-claim'
  | 'malformed-claim'
  | 'id-token'
  | 'proof-of-possession'

/** A claim policy, compiled for one issuer. Pure: what changes comes in as arguments. */
export interface ClaimPolicy {
  judgeAudience(claims: Claims): RefusedClaims | undefined
  judgeTimes(claims: Claims, now: number): AcceptedTimes | RefusedClaims
  /** Everything else, and who the token is about. */
  judgeCaller(claims: Claims, token: TokenKind): Caller | RefusedClaims
}

export interface TokenKind {
  readonly typ: string | undefined
  readonly idTokens: boolean
  readonly method: Caller['method']
}

type Claims = Readonly<Record<string, unknown>>

/** A token of another instance of the issuer may start a little later than our clock says. */
const startTolerance = 5
/** RFC 7519 asks nothing of `iat`; a token from the future is a clock gone wrong or a forgery. */
const issueTolerance = 60
/** The year 9999: above, somebody wrote milliseconds. */
const lastSecond = 253_402_300_799

/** `typ` as it is compared (RFC 7515 §4.1.9): media types ignore case, and `application/` may be left out. */
export function normalizeType(typ: string | undefined): string {
  if (typ === undefined) return 'absent'
  const type = typ.toLowerCase()
  // A token that calls itself "absent" is not one without a type.
  if (type === 'absent') return 'application/absent'
  return type.startsWith('application/') && !type.includes('/', 12) ? type.slice(12) : type
}

export function compileClaimPolicy(profile: TokenProfile): ClaimPolicy {
  const { clockTolerance, maxLifetime, requiredClaims } = profile
  const audiences = new Set(profile.audiences)
  const mapClaims = compileClaimMap(profile.claims)

  return {
    judgeAudience(claims) {
      const { aud } = claims
      if (aud === undefined) return refused('missing-claim', 'aud')
      const named = Array.isArray(aud) ? aud : [aud]
      if (!named.every((name) => typeof name === 'string')) return refused('malformed-claim', 'aud')
      return named.some((name) => audiences.has(name)) ? undefined : refused('audience')
    },

    judgeTimes(claims, now) {
      const { exp, nbf, iat } = claims
      if (exp === undefined) return refused('missing-claim', 'exp')
      if (!isNumericDate(exp)) return refused('malformed-claim', 'exp')
      if (nbf !== undefined && !isNumericDate(nbf)) return refused('malformed-claim', 'nbf')
      if (iat !== undefined && !isNumericDate(iat)) return refused('malformed-claim', 'iat')
      const valid = nbf === undefined ? 0 : nbf - Math.max(clockTolerance, startTolerance)
      const issued = iat === undefined ? 0 : iat - issueTolerance
      if (now >= exp + clockTolerance) return refused('expired')
      if (now < valid) return refused('not-yet-valid')
      if (now < issued) return refused('issued-in-future')
      if (exp - (iat ?? now) > maxLifetime) return refused('lifetime')
      return { outcome: 'valid', startsAt: Math.max(valid, issued), endsAt: exp + clockTolerance }
    },

    judgeCaller(claims, { typ, idTokens, method }) {
      const missing = requiredClaims.find((name) => !Object.hasOwn(claims, name))
      if (missing !== undefined) return refused('missing-claim', missing)
      if (Object.hasOwn(claims, 'cnf')) return refused('proof-of-possession', 'cnf')
      if (!idTokens && !profile.idTokens && normalizeType(typ) !== 'at+jwt' && isIdToken(claims))
        return refused('id-token')
      if (claims['jti'] !== undefined && typeof claims['jti'] !== 'string') return refused('malformed-claim', 'jti')
      const mapped = mapClaims(claims)
      if (mapped.outcome === 'malformed') return malformed(claims, mapped, profile.claims)
      return callerOf(claims, mapped.caller, profile.issuer, method)
    },
  }
}

/** The caller of verified claims: frozen through and through, since one object serves every request with the token. */
export function callerOf(
  claims: Claims,
  mapped: Pick<Caller, 'subject' | 'roles' | 'permissions' | 'scopes'>,
  issuer: string,
  method: Caller['method'],
): Caller {
  const { exp, iat, jti } = claims
  return Object.freeze({
    ...mapped,
    issuer,
    claims: deepFreeze(claims),
    method,
    tokenType: 'Bearer',
    ...(typeof exp === 'number' && { expiresAt: exp }),
    ...(typeof iat === 'number' && { issuedAt: iat }),
    ...(typeof jti === 'string' && { tokenId: jti }),
  })
}

/** RFC 7519 §2: seconds since the epoch; fractions are allowed. */
export function isNumericDate(value: unknown): value is number {
  return typeof value === 'number' && value > 0 && value <= lastSecond
}

/**
 * Whether the claims are those of an ID token (OpenID Connect Core §2, §3.1.3.6), which says who logged in at a client
 * and is no permission to call anybody. RFC 9068 access tokens are told apart by `typ`; for the others, what the
 * issuer says of the token itself (Keycloak's `typ`, Cognito's `token_use`) goes before what only ID tokens carry.
 */
function isIdToken(claims: Claims): boolean {
  const said = claims['token_use'] ?? claims['typ']
  if (typeof said === 'string') {
    const kind = said.toLowerCase()
    if (kind === 'bearer' || kind === 'access') return false
    if (kind === 'id' || kind === 'refresh' || kind === 'offline' || kind === 'logout') return true
  }
  return onlyInIdTokens.some((name) => Object.hasOwn(claims, name))
}

const onlyInIdTokens = ['nonce', 'at_hash', 'c_hash', 's_hash']

function malformed(claims: Claims, { claim }: MalformedClaim, map: ClaimMap): RefusedClaims {
  const absent = map.subject.includes(claim) && !map.subject.some((name) => Object.hasOwn(claims, name))
  return refused(absent ? 'missing-claim' : 'malformed-claim', claim)
}

function refused(reason: ClaimReason, claim?: string): RefusedClaims {
  return { outcome: 'refused', reason, ...(claim !== undefined && { claim }) }
}

function deepFreeze<T>(value: T): T {
  if (value !== null && typeof value === 'object' && !Object.isFrozen(value)) {
    Object.freeze(value)
    for (const inside of Object.values(value)) deepFreeze(inside)
  }
  return value
}
