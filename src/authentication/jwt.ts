import type { KeyObject } from 'node:crypto'
import * as errors from 'jose/errors'
import { jwtVerify } from 'jose/jwt/verify'
import koaJwt from 'koa-jwt'
import type { Problem } from '../http/problem.ts'
import { type Algorithm, algorithms } from './algorithms.ts'
import type { Caller } from './caller.ts'
import type { VerificationKey } from './key-import.ts'
import { type MalformedJwt, parseStrictJwt, type StrictJwt } from './strict-jwt.ts'
import type { JwtIssuer } from './token-issuer.ts'
import { type ClaimPolicy, compileClaimPolicy, normalizeType, type TokenProfile } from './token-profile.ts'
import type { TokenRefusal, VerificationStep } from './token-refusal.ts'

export interface VerifiedJwt {
  readonly outcome: 'verified'
  readonly caller: Caller
  readonly issuer: JwtIssuer
  /** The key that signed it: the token is good only as long as the issuer has this key. */
  readonly key: VerificationKey
  /** Seconds since the epoch, tolerances included: good from the one, refused from the other on. */
  readonly startsAt: number
  readonly endsAt: number
}

/** Nobody can say whether the token is good: 503. */
export interface UnverifiableJwt {
  readonly outcome: 'unavailable'
  readonly problem: Problem
}

export type Verification = VerifiedJwt | TokenRefusal | UnverifiableJwt

/** Hears of every step that a token passed, with what was found there. Explanations listen; production does not. */
export type Observe = (step: VerificationStep, found: string) => void

export interface JwtVerifierSettings {
  readonly issuers: readonly JwtIssuer[]
  /** Milliseconds since the epoch. */
  readonly now: () => number
  /** Whether ID tokens are as good as access tokens where this verifier is used. */
  readonly idTokens: boolean
  /** How the callers proved themselves. */
  readonly method: Caller['method']
}

export interface JwtVerifier {
  /** Never rejects for what a token says. */
  verify(token: string, observe?: Observe): Promise<Verification>
  /** The same for a token that has been parsed already. */
  verifyParsed(token: string, parsed: StrictJwt | MalformedJwt, observe?: Observe): Promise<Verification>
  /**
   * The judgement on the claims of a token that nobody signed, for simulations. What an issuer always writes is filled
   * in where it is left out: `iss`, `aud`, `iat`, `exp`, and what the profile asks for besides `sub`.
   */
  simulate(claims: Readonly<Record<string, unknown>>): JudgedClaims | TokenRefusal
}

/** Claims that the policy of their issuer accepts. */
export interface JudgedClaims extends Pick<VerifiedJwt, 'caller' | 'startsAt' | 'endsAt'> {
  readonly outcome: 'judged'
}

/**
 * Who signed a JWT, and whom it makes the caller.
 *
 * 1. Form: `parseStrictJwt`; from here on there is one reading of the text.
 * 2. Issuer: the profile whose `issuer` equals `iss` to the letter. Unknown issuers cost no request to anybody.
 * 3. Algorithm and type: only those of the profile (RFC 8725 §3.1, §3.11).
 * 4. Key: by `kid` among that issuer's keys, bound to that algorithm.
 * 5. Signature: koa-jwt, or jose for EdDSA, with this one key and this one algorithm.
 * 6. Audience, times, everything else: the claim policy of the profile.
 *
 * The engines check issuer, audience and times as well, by the same clock. A token passes only where both agree.
 */
export function createJwtVerifier({ issuers, now, idTokens, method }: JwtVerifierSettings): JwtVerifier {
  const profiles = new Map(issuers.map((issuer) => [issuer.profile.issuer, compileIssuer(issuer, now)]))
  if (profiles.size < issuers.length) throw new TypeError('two issuers of one scheme have the same `issuer`')

  async function verifyParsed(
    token: string,
    parsed: StrictJwt | MalformedJwt,
    observe?: Observe,
  ): Promise<Verification> {
    // 1.
    if (parsed.outcome === 'malformed') return refused(parsed.reason)
    const { header, claims } = parsed
    observe?.('form', `a signed JWT of ${token.length} characters`)

    // 2.
    const { iss } = claims
    const known = typeof iss === 'string' ? profiles.get(iss) : undefined
    if (known === undefined) return refused('issuer', iss)
    const { issuer, policy, types, headerParameters, engines } = known
    observe?.('issuer', `${issuer.profile.issuer} ("${issuer.name}")`)

    // 3.
    const engine = engines.get(header.alg as Algorithm)
    if (engine === undefined) return refused('algorithm', header.alg)
    observe?.('algorithm', header.alg)
    if (!types.has(normalizeType(header.typ))) return refused('type', header.typ)
    const surplus = parsed.unlisted.find((name) => !headerParameters.has(name))
    if (surplus !== undefined) return refused('header-parameter', surplus)
    observe?.('type', header.typ ?? 'none')

    // 4.
    const looked = issuer.keys.find(header.kid, header.alg)
    const lookup = looked instanceof Promise ? await looked : looked
    if (lookup.outcome === 'unavailable') return lookup
    if (lookup.outcome === 'unknown') return refused('key', header.kid)
    observe?.('key', header.kid ?? 'the only one')

    // 5.
    const verdict = await engine(token, lookup.key)
    if (verdict === 'signature') return refused('signature')
    observe?.('signature', 'holds')

    // 6.
    const judged = judge(policy, claims, header.typ, observe)
    if (judged.outcome === 'refused') return judged
    if (verdict !== 'verified') return refused('engines-disagree')
    const { caller, startsAt, endsAt } = judged
    return { outcome: 'verified', caller, issuer, key: lookup.key, startsAt, endsAt }
  }

  function judge(
    policy: ClaimPolicy,
    claims: StrictJwt['claims'],
    typ: string | undefined,
    observe?: Observe,
  ): JudgedClaims | TokenRefusal {
    const audience = policy.judgeAudience(claims)
    if (audience) return { ...audience, found: textOf(claims['aud']) }
    observe?.('audience', textOf(claims['aud']))
    const times = policy.judgeTimes(claims, Math.floor(now() / 1_000))
    if (times.outcome === 'refused') return { ...times, found: describeTimes(claims) }
    observe?.('times', describeTimes(claims))
    const caller = policy.judgeCaller(claims, { typ, idTokens, method })
    if ('outcome' in caller) return caller
    observe?.('claims', `subject ${caller.subject}`)
    return { outcome: 'judged', caller, startsAt: times.startsAt, endsAt: times.endsAt }
  }

  function simulate(given: StrictJwt['claims']): JudgedClaims | TokenRefusal {
    const { iss = issuers[0]!.profile.issuer } = given
    const known = typeof iss === 'string' ? profiles.get(iss) : undefined
    if (known === undefined) return refused('issuer', iss)
    const { audiences, maxLifetime, types, requiredClaims } = known.issuer.profile
    const { iat = Math.floor(now() / 1_000) } = given
    const end = typeof iat === 'number' ? { exp: iat + Math.min(simulatedLifetime, maxLifetime) } : {}
    const ids = Object.fromEntries(requiredClaims.filter((name) => name !== 'sub').map((name) => [name, 'simulated']))
    const claims = { ...ids, iss, aud: audiences[0], iat, ...end, ...given }
    return judge(
      known.policy,
      claims,
      types.find((type) => type !== 'absent'),
    )
  }

  return {
    verifyParsed,
    verify: (token, observe) => verifyParsed(token, parseStrictJwt(token), observe),
    simulate,
  }
}

/** Seconds that a simulated token lives when it does not say. */
const simulatedLifetime = 300

/** `claims`: the signature holds, but the engine does not like what is signed. Our own policy then says why. */
type EngineVerdict = 'verified' | 'signature' | 'claims'
type Engine = (token: string, key: VerificationKey) => Promise<EngineVerdict>

function compileIssuer(issuer: JwtIssuer, now: () => number) {
  const { profile } = issuer
  complainAboutProfile(profile)
  const engines = new Map<Algorithm, Engine>(
    profile.algorithms.map((algorithm) => [
      algorithm,
      algorithms[algorithm].engine === 'jose'
        ? joseEngine(profile, algorithm, now)
        : koaJwtEngine(profile, algorithm, now),
    ]),
  )
  return {
    issuer,
    engines,
    policy: compileClaimPolicy(profile),
    types: new Set(profile.types.map((type) => (type === 'absent' ? type : normalizeType(type)))),
    headerParameters: new Set(profile.headerParameters),
  }
}

/** The engines skip every check whose setting is empty or of another type: what must never be empty is checked here. */
function complainAboutProfile({
  name,
  issuer,
  audiences,
  algorithms: names,
  types,
  clockTolerance,
  maxLifetime,
}: TokenProfile): void {
  const isName = (value: unknown) => typeof value === 'string' && value !== ''
  // "60" would be compared as a number and added as a text.
  const isBetween = (value: unknown, least: number, most: number) =>
    typeof value === 'number' && value >= least && value <= most
  const families = new Set(names.map((algorithm) => algorithms[algorithm]?.family))
  const complaint =
    (!isName(issuer) && 'its issuer is empty') ||
    ((audiences.length === 0 || !audiences.every(isName)) && 'it has no audience') ||
    (names.length === 0 && 'it has no algorithm') ||
    (families.has(undefined as never) && 'one of its algorithms is not supported') ||
    (families.size > 1 && 'its algorithms mix secrets and public keys') ||
    (types.length === 0 && 'it has no type') ||
    (!isBetween(clockTolerance, 0, 300) && 'its clock tolerance is not between 0 and 300 seconds') ||
    (!isBetween(maxLifetime, 1, Number.POSITIVE_INFINITY) && 'its longest lifetime is not above 0 seconds')
  if (complaint) throw new TypeError(`the issuer "${name}" cannot be used: ${complaint}`)
}

/** The engines are laxer about time than our policy, never stricter: so it is the policy that names the reason. */
const engineTolerance = (profile: TokenProfile) => Math.max(profile.clockTolerance, 5)

/**
 * What koa-jwt needs of a Koa context when `getToken` always finds the token: a `state` and a `throw`. This object
 * is ours alone and lives for one verification. `state.secret` takes precedence over the middleware's own secret,
 * which is a trap where others can write to `state`; here it is how each token gets its own key, and never more than
 * that one. `throw` passes on what jsonwebtoken complained about instead of wrapping it into an HTTP error.
 */
interface TokenContext {
  readonly token: string
  readonly state: { readonly secret: KeyObject; claims?: unknown }
  throw(status: number, message: string, properties?: { readonly originalError?: unknown }): never
}

const throwOriginal: TokenContext['throw'] = function throwOriginal(_status, message, properties) {
  throw properties?.originalError ?? new Error(message)
}

/**
 * koa-jwt for one issuer and one algorithm. Neither `passthrough` (every failure would let the request pass) nor
 * `cookie`, `tokenKey`, `isRevoked` and `unless` are used.
 *
 * The options reach jsonwebtoken by reference, and it copies them for each verification. So the getter is read once
 * for each token, and no two verifications can see each other's clock.
 */
function koaJwtEngine(profile: TokenProfile, algorithm: Algorithm, now: () => number): Engine {
  const middleware = koaJwt({
    getToken: (context: TokenContext) => context.token,
    key: 'claims',
    algorithms: [algorithm],
    issuer: profile.issuer,
    audience: [...profile.audiences],
    clockTolerance: engineTolerance(profile),
    get clockTimestamp() {
      return Math.floor(now() / 1_000)
    },
  } as unknown as koaJwt.Options) as unknown as (context: TokenContext, next: () => Promise<void>) => Promise<void>

  return async function verifyWithKoaJwt(token, { key }) {
    const context: TokenContext = { token, state: { secret: key }, throw: throwOriginal }
    try {
      await middleware(context, done)
      return context.state.claims === undefined ? 'signature' : 'verified'
    } catch (error) {
      return isClaimFailure(error as Error) ? 'claims' : 'signature'
    }
  }
}

const done = async () => {}

/** jsonwebtoken looks at the claims only after the signature; these are the complaints that can follow. */
function isClaimFailure({ name, message }: Error): boolean {
  return (
    name === 'TokenExpiredError' ||
    name === 'NotBeforeError' ||
    /^(?:jwt (?:audience|issuer) invalid|invalid (?:exp|nbf) value)/.test(message)
  )
}

/** jose for one issuer and one algorithm; it has the EdDSA that jsonwebtoken has not. */
function joseEngine(profile: TokenProfile, algorithm: Algorithm, now: () => number): Engine {
  const options = {
    algorithms: [algorithm],
    issuer: profile.issuer,
    audience: [...profile.audiences],
    clockTolerance: engineTolerance(profile),
  }
  return async function verifyWithJose(token, { key }) {
    try {
      await jwtVerify(token, key, { ...options, currentDate: new Date(now()) })
      return 'verified'
    } catch (error) {
      return error instanceof errors.JWTExpired || error instanceof errors.JWTClaimValidationFailed
        ? 'claims'
        : 'signature'
    }
  }
}

function refused(reason: TokenRefusal['reason'], found?: unknown): TokenRefusal {
  return { outcome: 'refused', reason, ...(found !== undefined && { found: textOf(found) }) }
}

function textOf(value: unknown): string {
  return typeof value === 'string' ? value : (JSON.stringify(value) ?? 'none')
}

function describeTimes(claims: Readonly<Record<string, unknown>>): string {
  return ['iat', 'nbf', 'exp']
    .filter((name) => claims[name] !== undefined)
    .map((name) => `${name} ${readable(claims[name])}`)
    .join(', ')
}

function readable(value: unknown): string {
  const date = typeof value === 'number' ? new Date(value * 1_000) : undefined
  return date && !Number.isNaN(date.getTime()) ? date.toISOString() : textOf(value)
}
