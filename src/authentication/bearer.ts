import { recall } from '../http/connection-memory.ts'
import { cookie } from '../http/cookies.ts'
import { bearerText, challenge, checkedBearer, type Presented } from '../http/credentials.ts'
import { Problem } from '../http/problem.ts'
import { queryParameter } from '../http/query.ts'
import type { RequestHead } from '../http/request-head.ts'
import { type Authentication, type Authenticator, absent, type CredentialLocation } from './authenticator.ts'
import type { Caller } from './caller.ts'
import { createJwtVerifier, type Observe } from './jwt.ts'
import type { VerificationKey } from './key-import.ts'
import { digestOf, TwoGenerations } from './remember.ts'
import { looksLikeJwt, parseStrictJwt } from './strict-jwt.ts'
import type { IntrospectingIssuer, JwtIssuer, TokenIssuer } from './token-issuer.ts'
import {
  type ExplainedStep,
  type TokenRefusal,
  tokenRefusals,
  type VerificationStep,
  verificationSteps,
} from './token-refusal.ts'

export interface TokenAuthenticatorSettings {
  /** The name under `securitySchemes`. */
  readonly scheme: string
  readonly names: Authenticator['names']
  /** Where the token stands; `Authorization: Bearer` when it is the header field `authorization`. */
  readonly location: CredentialLocation
  /** Whose tokens are believed here; at most one of them is asked about opaque tokens. */
  readonly issuers: readonly TokenIssuer[]
  /** Asked on every request, for remembered tokens as well. A throw is an outage: 503. */
  readonly revoked?: (caller: Caller) => boolean | Promise<boolean>
  /** Milliseconds since the epoch. */
  readonly now: () => number
  /** Texts that belong to another scheme at the same place, such as API keys in `Authorization: Bearer`: not ours to judge. */
  readonly foreign?: (text: string) => boolean
  /** How many good tokens are remembered, at most; 10,000 by default. */
  readonly capacity?: number
}

export interface TokenAuthenticator extends Authenticator {
  /** The verification of a token, step by step: the same code that guards requests, with nothing remembered. */
  explain(token: string): Promise<TokenExplanation>
}

export interface TokenExplanation {
  readonly outcome: 'accepted' | 'refused' | 'unavailable'
  /** The word that `Authentication.reason` would be. */
  readonly reason?: string
  readonly caller?: Caller
  /** Every step in order. After the one that failed, none is reached. */
  readonly steps: readonly ExplainedStep[]
}

/** A token that was found good, without the token. */
interface Remembered {
  readonly outcome: 'good'
  readonly caller: Caller
  /** Seconds since the epoch. */
  readonly startsAt: number
  readonly endsAt: number
  /** The key that signed it, and whose it is; undefined for tokens the issuer was asked about. */
  readonly signedBy: { readonly issuer: JwtIssuer; readonly key: VerificationKey } | undefined
}

type Checked = Remembered | TokenRefusal | { readonly outcome: 'unavailable'; readonly problem: Problem }

/** Seconds for which a refusal that lasts is not found out anew. */
const rememberRefusal = 10
const mostRefusals = 2_000

/**
 * The authenticator of the OpenAPI schemes `http` bearer, `oauth2` and `openIdConnect`, and of an `apiKey` scheme with
 * issuers: a token in a field of its own, such as the ID token that Azure's Easy Auth passes on.
 *
 * 1. Find the one token.
 * 2. Remembered? The signature is not checked again, and everything that can change is: the times, whether the issuer
 *    still has the key, revocation. What is remembered belongs to this authenticator alone, so a token that is good
 *    here says nothing about another scheme with other issuers.
 * 3. Otherwise verify it, once for all requests that show the same token at the same moment. Refusals that last are
 *    remembered for 10 s apart from the good tokens, so that bad ones cannot push those out. Outages never are.
 *
 * Opaque tokens go to the introspecting issuer, if there is one. A JWT goes there only if nobody here checks JWTs
 * or that issuer claims its `iss`: tokens of strangers cause no requests.
 */
export function createTokenAuthenticator(settings: TokenAuthenticatorSettings): TokenAuthenticator {
  const { scheme, names, issuers, revoked, now, foreign, capacity = 10_000 } = settings
  const location = foldHeaderName(settings.location)
  const inAuthorization = location.in === 'header' && location.name === 'authorization'
  const method = location.in === 'header' && location.name.startsWith('x-ms-token-') ? 'easy-auth' : 'jwt'
  const find = finderOf(location)
  /** Looks at the characters, which is for tokens that are not known yet: it takes as long as all else about those that are. */
  const legibly = inAuthorization ? checkedBearer : (found: Presented<string>) => found
  const challengeWith = challengerOf(settings.location)

  const jwtIssuers = issuers.filter((issuer) => issuer.kind === 'jwt')
  const asked = onlyOne(issuers.filter((issuer) => issuer.kind === 'introspection'))
  // In `Authorization` an ID token would be a mix-up. In a field of its own it is what the operator asked for.
  const verifier = createJwtVerifier({ issuers: jwtIssuers, now, idTokens: !inAuthorization, method })

  const remembered = new TwoGenerations<Remembered>(capacity)
  const refusals = new TwoGenerations<{ readonly refusal: TokenRefusal; readonly until: number }>(mostRefusals)
  const pending = new Map<string, Promise<Checked>>()

  const seconds = () => Math.floor(now() / 1_000)

  function check(token: string, observe?: Observe): Checked | Promise<Checked> {
    if (asked && jwtIssuers.length === 0) return ask(asked, token, observe)
    const parsed = parseStrictJwt(token)
    if (parsed.outcome === 'malformed') {
      if (looksLikeJwt(token)) return refused(parsed.reason)
      return asked ? ask(asked, token, observe) : refused(parsed.reason === 'parts' ? 'opaque' : parsed.reason)
    }
    if (asked?.issuer !== undefined && parsed.claims['iss'] === asked.issuer) return ask(asked, token, observe)
    return verify(token, parsed, observe)
  }

  async function verify(...[token, parsed, observe]: Parameters<typeof verifier.verifyParsed>): Promise<Checked> {
    const verification = await verifier.verifyParsed(token, parsed, observe)
    if (verification.outcome !== 'verified') return verification
    const { caller, issuer, key, startsAt, endsAt } = verification
    return { outcome: 'good', caller, startsAt, endsAt, signedBy: { issuer, key } }
  }

  async function ask(issuer: IntrospectingIssuer, token: string, observe?: Observe): Promise<Checked> {
    if (!b64token.test(token) || token.length > longestOpaqueToken) return refused('opaque')
    observe?.('form', 'a token only its issuer can read')
    observe?.('issuer', `"${issuer.name}" is asked`)
    const answer = await issuer.introspect(token, method)
    if (answer.outcome !== 'active') return answer
    for (const step of ['signature', 'audience', 'times', 'claims'] as const)
      observe?.(step, 'the issuer says it is active')
    return { outcome: 'good', caller: answer.caller, startsAt: 0, endsAt: answer.endsAt, signedBy: undefined }
  }

  function isGood({ startsAt, endsAt, signedBy }: Remembered): boolean {
    const at = seconds()
    return at < endsAt && at >= startsAt && (signedBy === undefined || signedBy.issuer.keys.holds(signedBy.key))
  }

  function settle(digest: string, checked: Checked): Checked {
    if (checked.outcome === 'good') remembered.set(digest, checked)
    else if (checked.outcome === 'refused' && tokenRefusals[checked.reason].lasting)
      refusals.set(digest, { refusal: checked, until: seconds() + rememberRefusal })
    return checked
  }

  function checkOnce(token: string, digest: string): Checked | Promise<Checked> {
    const running = pending.get(digest)
    if (running) return running
    const checked = check(token)
    if (!(checked instanceof Promise)) return settle(digest, checked)
    const promise = checked
      .then((result) => settle(digest, result))
      .finally(() => {
        pending.delete(digest)
      })
    pending.set(digest, promise)
    return promise
  }

  function conclude(checked: Checked, token: string): Authentication | Promise<Authentication> {
    if (checked.outcome === 'unavailable')
      return { outcome: 'rejected', problem: checked.problem, reason: 'unavailable' }
    if (checked.outcome === 'refused') return rejected(checked)
    const { caller } = checked
    const accepted: Accepted = { outcome: 'accepted', caller, credential: token }
    if (revoked === undefined) return accepted
    try {
      const verdict = revoked(caller)
      if (verdict === false) return accepted
      if (verdict === true) return rejected(refused('revoked'))
      return verdict.then(
        (isRevoked) => (isRevoked ? rejected(refused('revoked')) : accepted),
        (error: unknown) => revocationUnknown(error, accepted),
      )
    } catch (error) {
      return revocationUnknown(error, accepted)
    }
  }

  function malformed(problem: Problem): Authentication {
    return { outcome: 'rejected', problem, reason: 'malformed' }
  }

  function rejected({ reason, claim, found }: TokenRefusal): Authentication {
    const { code, detail } = tokenRefusals[reason]
    const said = [claim, found].filter((text) => text !== undefined).join(' ')
    const field = challengeWith?.({ error: 'invalid_token', error_description: detail })
    const fields: Record<string, string> = field === undefined ? {} : { 'WWW-Authenticate': field }
    const problem = new Problem(code, detail, { fields })
    return { outcome: 'rejected', problem, reason, ...(said !== '' && { found: said.slice(0, longestFound) }) }
  }

  async function explain(token: string): Promise<TokenExplanation> {
    const passed = new Map<VerificationStep, string>()
    const checked = await check(token, (step, found) => passed.set(step, found))
    const concluded = await conclude(checked, token)
    if (concluded.outcome === 'accepted') passed.set('revocation', 'not revoked')
    return explanationOf(passed, checked, concluded)
  }

  return {
    scheme,
    names,
    location,
    explicit: location.in !== 'cookie',
    ...(challengeWith && { challenge: challengeWith() }),

    authenticate: function authenticateToken(head) {
      // 1.
      const found = find(head)
      if (found.outcome === 'absent') return absent
      if (found.outcome === 'malformed') return malformed(found.problem)
      const token = found.value
      if (foreign?.(token)) return absent
      // 2.
      const digest = recall(head.memory, token, digestOf)
      const known = remembered.get(digest)
      if (known !== undefined) {
        if (isGood(known)) return conclude(known, token)
        remembered.delete(digest)
      }
      const before = refusals.get(digest)
      if (before !== undefined && seconds() < before.until) return rejected(before.refusal)
      // 3.
      const legible = legibly(found)
      if (legible.outcome === 'malformed') return malformed(legible.problem)
      const checked = checkOnce(token, digest)
      return checked instanceof Promise ? checked.then((result) => conclude(result, token)) : conclude(checked, token)
    },

    explain,
    explainRequest: async function explainTokenOf(head) {
      const found = legibly(find(head))
      if (found.outcome !== 'presented' || foreign?.(found.value)) return undefined
      return (await explain(found.value)).steps
    },
    ...(jwtIssuers.length > 0 && {
      simulate: function simulateToken(claims: Readonly<Record<string, unknown>>) {
        const judged = verifier.simulate(claims)
        if (judged.outcome === 'refused') return rejected(judged)
        // Nobody has issued it, so whether it is on record is not asked.
        const verdict = revoked?.(judged.caller)
        if (verdict === true) return rejected(refused('revoked'))
        if (verdict instanceof Promise) verdict.catch(() => {})
        return { outcome: 'accepted', caller: judged.caller, credential: '' } satisfies Accepted
      },
    }),
  }
}

function explanationOf(
  passed: ReadonlyMap<VerificationStep, string>,
  checked: Checked,
  concluded: Authentication,
): TokenExplanation {
  const failedAt =
    concluded.outcome === 'rejected'
      ? Object.hasOwn(tokenRefusals, concluded.reason)
        ? tokenRefusals[concluded.reason as keyof typeof tokenRefusals].step
        : verificationSteps.find((step) => !passed.has(step))
      : undefined
  const failed = failedAt === undefined ? verificationSteps.length : verificationSteps.indexOf(failedAt)
  const steps = verificationSteps.map((step, index): ExplainedStep => {
    if (index > failed) return { step, verdict: 'unreached', text: '' }
    if (index < failed) return { step, verdict: 'passed', text: passed.get(step) ?? '' }
    return { step, verdict: 'failed', text: textOfFailure(checked, concluded) }
  })
  if (concluded.outcome === 'accepted') return { outcome: 'accepted', caller: concluded.caller, steps }
  const reason = concluded.outcome === 'rejected' ? concluded.reason : 'absent'
  return { outcome: checked.outcome === 'unavailable' ? 'unavailable' : 'refused', reason, steps }
}

function textOfFailure(checked: Checked, concluded: Authentication): string {
  const detail = concluded.outcome === 'rejected' ? concluded.problem.detail : ''
  if (checked.outcome === 'unavailable') return [detail, causeOf(checked.problem)].filter(Boolean).join(' ')
  if (checked.outcome !== 'refused') return detail
  const { claim, found } = checked
  return [detail, claim && `Claim: ${claim}.`, found && `Found: ${found}.`].filter(Boolean).join(' ')
}

/** Where it was asked and what came of it, for operators. */
function causeOf({ cause }: Problem): string | undefined {
  return cause instanceof Error ? `(${cause.message})` : undefined
}

/** RFC 6750 §2.1. */
const b64token = /^[\w.~+/-]+=*$/
const longestOpaqueToken = 4_096
/** What a token says is the client's text: enough to see what is meant, too little to fill a log. */
const longestFound = 200

function foldHeaderName({ in: where, name }: CredentialLocation): CredentialLocation {
  return { in: where, name: where === 'header' ? name.toLowerCase() : name }
}

/** How to find the token at one kind of place; its characters are not looked at. */
function finderOf({ in: where, name }: CredentialLocation): (head: RequestHead) => Presented<string> {
  if (where === 'query') return (head) => theOnly(queryParameter(head.query, name), where, name)
  if (where === 'cookie') return (head) => theOnly(cookie(head.fields, name), where, name)
  if (name === 'authorization') return (head) => bearerText(head.fields)
  return (head) => theOnly(head.fields.all(name), where, name)
}

function theOnly(values: readonly string[], where: CredentialLocation['in'], name: string): Presented<string> {
  if (values.length === 0) return { outcome: 'absent' }
  if (values.length === 1) return { outcome: 'presented', value: values[0]! }
  const detail = `Send one token: the ${where} "${name}" arrived more than once.`
  return { outcome: 'malformed', problem: new Problem('ambiguous-credentials', detail) }
}

/**
 * A 401 needs a challenge (RFC 9110 §15.5.2), and `Bearer` needs at least one parameter (RFC 6750 §3). Tokens in a place
 * of their own have no registered scheme; they share the gateway's `ApiKey`. Cookies cannot be asked for.
 */
function challengerOf({ in: where, name }: CredentialLocation) {
  if (where === 'cookie') return undefined
  const scheme = where === 'header' && name.toLowerCase() === 'authorization' ? 'Bearer' : 'ApiKey'
  const place = scheme === 'Bearer' ? {} : { in: where, name }
  return function challengeWith(error: { readonly error?: string; readonly error_description?: string } = {}): string {
    return challenge(scheme, { realm: 'sallyport', ...place, ...error })
  }
}

function onlyOne(issuers: readonly IntrospectingIssuer[]): IntrospectingIssuer | undefined {
  if (issuers.length <= 1) return issuers[0]
  const names = issuers.map(({ name }) => `"${name}"`).join(' and ')
  throw new TypeError(`opaque tokens do not say whose they are: ${names} cannot both be asked by one scheme`)
}

function refused(reason: TokenRefusal['reason']): TokenRefusal {
  return { outcome: 'refused', reason }
}

type Accepted = Authentication & { readonly outcome: 'accepted' }

function revocationUnknown(cause: unknown, unconfirmed: Accepted): Authentication {
  const problem =
    cause instanceof Problem
      ? cause
      : new Problem('store-unavailable', 'Whether the token has been revoked cannot be found out right now.', {
          cause,
          fields: { 'Retry-After': '1' },
        })
  return { outcome: 'rejected', problem, reason: 'revocation-unknown', unconfirmed }
}
