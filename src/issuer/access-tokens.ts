import { createLocalJWKSet, errors, type JWTPayload, jwtVerify } from 'jose'
import type { SigningKeys } from './signing-keys.ts'
import type { Subjects } from './subjects.ts'

/** Of a token that this issuer has signed; RFC 9068 §2.2 and ours. */
export interface AccessTokenClaims extends JWTPayload {
  readonly sub: string
  readonly jti: string
  readonly exp: number
  readonly iat: number
  readonly client_id: string
  readonly aud: string
  readonly scope?: string
  /** The grant, that is the login, that the token came from. */
  readonly fam?: string
  /** Who acts for the subject (RFC 8693 §4.1). */
  readonly act?: { readonly sub: string }
}

/** The part of the gateway's revocations that an issuer needs; `Revocations` fits. */
export interface Denylist {
  revoke(
    revocation: ({ readonly tokenId: string } | { readonly family: string }) & {
      readonly issuer: string
      /** Seconds since the epoch. */
      readonly until: number
    },
  ): Promise<void>
  isRevoked(credential: {
    readonly issuer: string
    readonly tokenId?: string | undefined
    readonly family?: string | undefined
    readonly subject?: string | undefined
    /** Seconds since the epoch. */
    readonly issuedAt?: number | undefined
  }): boolean
}

/** The gateway's record of issued tokens; `IssuedTokens` fits. */
export interface TokenRecord {
  /** `until` in seconds since the epoch. */
  record(token: { readonly issuer: string; readonly tokenId: string; readonly until: number }): Promise<void>
  isOnRecord(token: { readonly issuer: string; readonly tokenId: string }): boolean | Promise<boolean>
}

/** Reads the access tokens that this issuer has signed itself. */
export interface AccessTokens {
  /** Undefined for everything that is not a living token of ours whose subject may still act. */
  read(token: string): Promise<AccessTokenClaims | undefined>
}

const algorithms = ['RS256', 'ES256']

export function createAccessTokens(
  issuer: string,
  keys: SigningKeys,
  subjects: Subjects,
  denylist: Denylist,
  record: TokenRecord | undefined,
  now: () => number,
): AccessTokens {
  return {
    async read(token) {
      let claims: AccessTokenClaims
      try {
        const verified = await jwtVerify<AccessTokenClaims>(token, createLocalJWKSet({ keys: [...keys.keys()] }), {
          issuer,
          algorithms,
          typ: 'at+jwt',
          requiredClaims: ['sub', 'jti', 'exp', 'iat', 'client_id', 'aud'],
          currentDate: new Date(now()),
        })
        claims = verified.payload
      } catch (error) {
        if (error instanceof errors.JOSEError) return undefined
        throw error
      }
      const { jti: tokenId, fam: family, sub: subject, iat: issuedAt } = claims
      if (denylist.isRevoked({ issuer, tokenId, family, subject, issuedAt })) return undefined
      if (record && !(await record.isOnRecord({ issuer, tokenId }))) return undefined
      return subjects.find(subject) ? claims : undefined
    },
  }
}

/** Whether a text is a JWS, whoever has signed it: such are tokens of ours, or nobody's here. */
export function isStructured(token: string): boolean {
  return /^[\w-]+\.[\w-]+\.[\w-]*$/.test(token)
}
