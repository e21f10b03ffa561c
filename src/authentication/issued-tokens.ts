import { createHash } from 'node:crypto'
import type { Store } from '../store/store.ts'
import { TwoGenerations } from './remember.ts'

/**
 * The tokens on record as issued, for issuers with `"revocation": "allowlist"`: what is not here is not believed, however
 * well it is signed. A record is kept as long as its token can live. Withdrawn is what the revocations list.
 */
export interface IssuedTokens {
  /** Rejects with `StoreUnavailable` when it could not be kept. */
  record(token: IssuedToken): Promise<void>
  /** Rejects with `StoreUnavailable` when nobody can say right now. */
  isOnRecord(token: { readonly issuer: string; readonly tokenId?: string | undefined }): boolean | Promise<boolean>
  close(): void
}

export interface IssuedToken {
  /** `iss`. */
  readonly issuer: string
  /** `jti`. */
  readonly tokenId: string
  /** When it ends, seconds since the epoch. */
  readonly until: number
}

const collection = 'issued-tokens'
/** Tokens that were found here and need not be looked up again. */
const capacity = 50_000

export function openIssuedTokens(store: Store): IssuedTokens {
  const known = new TwoGenerations<true>(capacity)
  let epoch = 0
  // Nothing is announced; but a store that was lost may have come back empty.
  const stop = store.subscribe(
    collection,
    () => {},
    () => {
      epoch += 1
      known.clear()
    },
  )

  async function lookUp(key: string): Promise<boolean> {
    const before = epoch
    const entry = await store.get(collection, key)
    if (entry && epoch === before) known.set(key, true)
    return entry !== undefined
  }

  return {
    async record({ issuer, tokenId, until }) {
      await store.put(collection, keyOf(issuer, tokenId), true, { expiresAt: until })
    },
    isOnRecord({ issuer, tokenId }) {
      if (tokenId === undefined) return false
      const key = keyOf(issuer, tokenId)
      return known.get(key) ?? lookUp(key)
    },
    close: stop,
  }
}

/** The names are those of strangers: bounded, and not for reading. */
function keyOf(issuer: string, tokenId: string): string {
  return createHash('sha256')
    .update(JSON.stringify([issuer, tokenId]))
    .digest('base64url')
}
