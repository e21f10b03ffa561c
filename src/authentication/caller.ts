/**
 * The authenticated party, in the words of RFC 7519, RFC 8693 and RFC 9068.
 * Frozen: one object serves every request that shows the same credential.
 */
export interface Caller {
  readonly subject: string
  /** Who vouches for the subject: a token's `iss`, or the name of the scheme for keys. */
  readonly issuer: string
  readonly clientId?: string
  readonly name?: string
  readonly email?: string
  readonly organization?: string
  readonly roles: readonly string[]
  readonly permissions: readonly string[]
  readonly scopes: readonly string[]
  /** The plan that its API key names (`plans` in services.json). */
  readonly plan?: string
  /** Everything the credential says, for policies: token claims, or the key's record without its digest. */
  readonly claims: Readonly<Record<string, unknown>>
  /** How the caller proved itself; published to backends as `Auth-Method`. */
  readonly method: 'jwt' | 'introspection' | 'api-key' | 'session' | 'easy-auth' | 'none'
  /** `Bearer`, `ApiKey`, `Cookie`; published as `Token-Type`. */
  readonly tokenType?: string
  /** When the credential ends, seconds since the epoch. */
  readonly expiresAt?: number
  /** Token id (`jti`) or key id: what revocation names. */
  readonly tokenId?: string
  /** The refresh-token family (grant) the token belongs to, when the issuer says so. */
  readonly family?: string
  /** When the token was issued, seconds since the epoch. */
  readonly issuedAt?: number
}

/** Who calls where `{}` or a public route lets anybody in. */
export const guest: Caller = Object.freeze({
  subject: 'anonymous',
  issuer: '',
  roles: Object.freeze(['guest']),
  permissions: Object.freeze([]),
  scopes: Object.freeze([]),
  claims: Object.freeze({}),
  method: 'none',
})
