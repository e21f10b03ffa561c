import { z } from 'zod'
import type { KeyStore } from './key-store.ts'
import type { Revocation, Revocations } from './revocation.ts'

const name = z.string().min(1).max(1_024)
const narrowing = { issuer: name.optional(), until: z.int().min(0).optional() }

/** What `POST /revocations` and `sallyport revocations add` take. */
export const revocationRequest = z.union(
  [
    z.strictObject({ tokenId: name, ...narrowing }),
    z.strictObject({ family: name, ...narrowing }),
    z.strictObject({ subject: name, ...narrowing }),
  ],
  'name one of tokenId, family and subject, and if need be the issuer',
)

export interface Revoked {
  /** Ids of the API keys that ended with their owner. */
  readonly keys: readonly string[]
}

/**
 * Revokes, and ends the API keys of a subject for good: a key has no end of its own that the list could wait for. Where
 * the revocation is narrowed to an issuer, the name is another's than the owner's, and the keys stay.
 */
export async function revoke(
  revocation: Revocation,
  { revocations, keys }: { readonly revocations: Revocations; readonly keys: KeyStore },
): Promise<Revoked> {
  await revocations.revoke(revocation)
  const ends = 'subject' in revocation && revocation.issuer === undefined
  return { keys: ends ? await keys.revokeOwner(revocation.subject) : [] }
}
