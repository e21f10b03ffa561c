import type { ConnectionMemory } from '../http/connection-memory.ts'

/** What the holder of a key may do and be, wherever the key is written down. */
export interface KeyHolder {
  /** Public name of the key: what logs show and revocation names. Never the secret. */
  readonly id: string
  readonly subject: string
  readonly name?: string
  readonly organization?: string
  readonly roles: readonly string[]
  readonly permissions: readonly string[]
  readonly scopes: readonly string[]
  /** A name under `plans` in services.json; the plan of the holder's roles when there is none. */
  readonly plan?: string
  /** Networks the key may be used from, such as `10.0.0.0/8`; everywhere when empty. */
  readonly cidrs: readonly string[]
  /** Seconds since the epoch. */
  readonly notBefore?: number
  /** Seconds since the epoch from which on the key is another one than those that were revoked with its subject. */
  readonly issuedAt?: number
  /** Seconds since the epoch; the key is refused from then on. */
  readonly expires?: number
}

export type KeyVerdict =
  /** `used` is called for each call that the key lets in; one that comes from a wrong network does not use it. */
  | { readonly outcome: 'known'; readonly holder: KeyHolder; readonly used?: () => void }
  /** `reason` names the first check that failed: `malformed`, `checksum`, `unknown`, `secret`, `revoked`. */
  | { readonly outcome: 'refused'; readonly reason: string }

/** Keys that can be asked whose a text is: those of services.json, or those of the key store. Rejects only when the store is out. */
export interface KeyRing {
  /** Whether the text has the form of this ring's keys; false when they have none in common. */
  recognizes(text: string): boolean
  /** `memory`: of the connection that said it. */
  find(text: string, memory?: ConnectionMemory): KeyVerdict | Promise<KeyVerdict>
}
