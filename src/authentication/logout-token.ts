import type { Problem } from '../http/problem.ts'
import { createJwtVerifier } from './jwt.ts'
import type { JwtIssuer } from './token-issuer.ts'

/** The message of an issuer that a sign-in is over: a JWT of its own kind (OpenID Connect Back-Channel Logout 1.0 §2.4). */
export interface LogoutTokens {
  /** Never rejects for what a token says. */
  read(token: string): Promise<LogoutToken | LogoutRefusal | { outcome: 'unavailable'; problem: Problem }>
}

export interface LogoutToken {
  readonly outcome: 'read'
  /** `jti`. */
  readonly messageId: string
  /** Until when it could be sent again, seconds since the epoch. */
  readonly until: number
  /** One sign-in where the issuer names it, else all those of the subject. */
  readonly of: { readonly sid: string } | { readonly subject: string }
}

/** `reason` names the first check that failed. */
export interface LogoutRefusal {
  readonly outcome: 'refused'
  readonly reason: string
}

export interface LogoutTokensSettings {
  readonly issuer: JwtIssuer
  /** Who the gateway is to it: the audience. */
  readonly clientId: string
  /** Milliseconds since the epoch. */
  readonly now: () => number
}

const event = 'http://schemas.openid.net/event/backchannel-logout'

/**
 * §2.6: checked like any token of the issuer (form, signature by one of its keys, `iss`, times), for the client that
 * the gateway is, and then for what makes it a logout token and nothing else. An access or ID token has no `events`; a
 * logout token has no `nonce`.
 */
export function createLogoutTokens({ issuer, clientId, now }: LogoutTokensSettings): LogoutTokens {
  const { profile } = issuer
  const verifier = createJwtVerifier({
    issuers: [
      {
        ...issuer,
        profile: {
          ...profile,
          audiences: [clientId],
          // §2.4 recommends the first; issuers that are older write none of their own.
          types: ['logout+jwt', 'jwt', 'absent'],
          requiredClaims: ['iat', 'jti', 'events'],
          // Whoever it is about, it is not a caller: only that somebody is named matters here.
          claims: { ...profile.claims, subject: ['sub', 'sid'] },
        },
      },
    ],
    now,
    // What Keycloak writes into `typ` of a logout token would count as one.
    idTokens: true,
    method: 'session',
  })

  return {
    async read(token) {
      const verification = await verifier.verify(token)
      if (verification.outcome !== 'verified') {
        if (verification.outcome === 'unavailable') return verification
        return { outcome: 'refused', reason: verification.claim ?? verification.reason }
      }
      const { caller, endsAt } = verification
      const { jti, events, sub, sid } = caller.claims
      if (typeof jti !== 'string' || jti === '') return { outcome: 'refused', reason: 'jti' }
      if (!isObject(events) || !isObject(events[event])) return { outcome: 'refused', reason: 'events' }
      if (Object.hasOwn(caller.claims, 'nonce')) return { outcome: 'refused', reason: 'nonce' }
      const read = { outcome: 'read', messageId: jti, until: Math.ceil(endsAt) } as const
      if (sid !== undefined)
        return typeof sid === 'string' && sid !== '' ? { ...read, of: { sid } } : { outcome: 'refused', reason: 'sid' }
      return typeof sub === 'string' ? { ...read, of: { subject: sub } } : { outcome: 'refused', reason: 'sub' }
    },
  }
}

function isObject(value: unknown): value is Readonly<Record<string, unknown>> {
  return value !== null && typeof value === 'object' && !Array.isArray(value)
}
