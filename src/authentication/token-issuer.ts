import type { Problem } from '../http/problem.ts'
import type { Caller } from './caller.ts'
import type { IssuerMetadata } from './discovery.ts'
import type { KeySet } from './key-set.ts'
import type { TokenProfile } from './token-profile.ts'
import type { TokenRefusal } from './token-refusal.ts'

/** One entry under `issuers` in services.json, compiled: whose tokens are believed and how they are checked. */
export type TokenIssuer = JwtIssuer | IntrospectingIssuer

/** An issuer whose tokens we can check ourselves. */
export interface JwtIssuer {
  readonly kind: 'jwt'
  /** The name in services.json. */
  readonly name: string
  readonly profile: TokenProfile
  readonly keys: KeySet
  /** What the issuer publishes about itself; rejects with `FetchFailed`. Absent for issuers that publish nothing. */
  metadata?(): Promise<IssuerMetadata>
  /**
   * Fetch its keys now, here and at every gateway on the same store; absent where keys are not fetched. False when they
   * could not be fetched here.
   */
  refreshKeys?(): Promise<boolean>
  /** Stop listening to whatever the keys come from. */
  close?(): void
}

/** An issuer that must be asked about each token (RFC 7662). */
export interface IntrospectingIssuer {
  readonly kind: 'introspection'
  /** The name in services.json. */
  readonly name: string
  /** JWTs of this issuer are asked about as well, instead of being checked here. */
  readonly issuer?: string
  introspect(token: string, method: Caller['method']): Promise<Introspection>
}

export type Introspection =
  /** `endsAt`: seconds since the epoch until which the answer may be relied on. */
  | { readonly outcome: 'active'; readonly caller: Caller; readonly endsAt: number }
  | TokenRefusal
  /** Nobody can say right now: 503, never remembered. */
  | { readonly outcome: 'unavailable'; readonly problem: Problem }
