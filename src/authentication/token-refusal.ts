import type { ProblemCode } from '../http/problem.ts'
import type { MalformedReason } from './strict-jwt.ts'
import type { ClaimReason } from './token-profile.ts'

/** The steps of a verification, in the order in which they are taken. */
export const verificationSteps = [
  'form',
  'issuer',
  'algorithm',
  'type',
  'key',
  'signature',
  'audience',
  'times',
  'claims',
  'revocation',
] as const

export type VerificationStep = (typeof verificationSteps)[number]

/** One step of a verification as an operator reads it. */
export interface ExplainedStep {
  readonly step: VerificationStep
  readonly verdict: 'passed' | 'failed' | 'unreached'
  readonly text: string
}

/** Why a token is refused: one word for metrics, explanations and `Authentication.reason`. */
export type TokenReason =
  | MalformedReason
  | ClaimReason
  | 'opaque'
  | 'issuer'
  | 'algorithm'
  | 'type'
  | 'key'
  | 'signature'
  | 'engines-disagree'
  | 'inactive'
  | 'revoked'

/** A token was refused. `claim` and `found` are for explanations; `found` is the token's own text, never shown to callers. */
export interface TokenRefusal {
  readonly outcome: 'refused'
  readonly reason: TokenReason
  readonly claim?: string
  readonly found?: string
}

interface RefusalDefinition {
  readonly step: VerificationStep
  readonly code: Extract<ProblemCode, 'invalid-token' | 'token-expired'>
  /** For the caller. Printable ASCII without quotes: it becomes an `error_description` (RFC 6750 §3). */
  readonly detail: string
  /**
   * Whether the same token will be refused again for the same reason during the next seconds whatever happens
   * meanwhile, and finding out costs more than remembering it.
   */
  readonly lasting: boolean
}

const invalid = (step: VerificationStep, detail: string, lasting = false): RefusalDefinition => ({
  step,
  code: 'invalid-token',
  detail,
  lasting,
})

export const tokenRefusals = {
  size: invalid('form', 'The token is longer than 8192 characters.'),
  parts: invalid('form', 'The token is not a signed JWT: it has not three parts.'),
  encrypted: invalid('form', 'The token is encrypted; only signed tokens are accepted.'),
  unsigned: invalid('form', 'The token has no signature.'),
  encoding: invalid('form', 'The token is not canonical base64url.'),
  'utf-8': invalid('form', 'The token is not UTF-8.'),
  json: invalid('form', 'Header and claims of the token are not one JSON object each.'),
  'duplicate-member': invalid('form', 'A member stands twice in the token.'),
  nesting: invalid('form', 'The token is nested too deeply.'),
  'header-parameter': invalid('form', 'The header of the token holds a parameter that is not accepted.'),
  opaque: invalid('form', 'The token is not a JWT, and no issuer here takes others.'),
  issuer: invalid('issuer', 'The issuer of the token is not accepted here.'),
  algorithm: invalid('algorithm', 'The algorithm of the token is not accepted from its issuer.'),
  type: invalid('type', 'The type of the token is not accepted from its issuer.'),
  key: invalid('key', 'The issuer has no key of this name for this algorithm.'),
  signature: invalid('signature', 'The signature of the token does not hold.', true),
  'engines-disagree': invalid('signature', 'The token could not be verified.'),
  audience: invalid('audience', 'The token was issued for another audience.', true),
  expired: { step: 'times', code: 'token-expired', detail: 'The token has expired.', lasting: true },
  'not-yet-valid': invalid('times', 'The token is not valid yet.'),
  'issued-in-future': invalid('times', 'The token was issued in the future.'),
  lifetime: invalid('times', 'The lifetime of the token is longer than accepted here.', true),
  'missing-claim': invalid('claims', 'A claim that the token must have is missing.', true),
  'malformed-claim': invalid('claims', 'A claim of the token has a form that it must not have.', true),
  'id-token': invalid('claims', 'This is an ID token; send the access token instead.', true),
  'proof-of-possession': invalid(
    'claims',
    'The token is bound to a key of its holder, which cannot be proved here.',
    true,
  ),
  inactive: invalid('signature', 'The issuer says that the token is not active.', true),
  revoked: invalid(
    'revocation',
    'The token has been revoked, is not on record as issued, or its subject is not active.',
  ),
} as const satisfies Record<TokenReason, RefusalDefinition>
