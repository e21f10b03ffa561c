import { createHash } from 'node:crypto'
import ipaddr from 'ipaddr.js'
import type { Store } from '../store/store.ts'

/**
 * How many wrong passwords are one too many. The narrow row stops somebody who tries; the wide ones stop whoever tries
 * many names, or comes from many addresses. What a row refuses counts for none after it, so that nobody alone can lock
 * another out.
 */
const rows = [
  {
    name: 'account and address',
    of: (account: string, address: string) => `${account}\n${address}`,
    most: 5,
    seconds: 300,
  },
  { name: 'address', of: (_account: string, address: string) => address, most: 50, seconds: 900 },
  { name: 'account', of: (account: string) => account, most: 30, seconds: 900 },
] as const

const collection = 'issuer.attempts'

/** Counts attempts to sign in, in the store, so that every instance knows. */
export interface Attempts {
  /** Counts this one ahead of its outcome, so that many at once do not slip through together. */
  begin(username: string, address: string): Promise<Attempt>
}

export type Attempt =
  | {
      readonly outcome: 'allowed'
      /** The password was right: forget this one and those that led to it. */
      succeeded(): Promise<void>
    }
  /** `retryAfter` in seconds. */
  | { readonly outcome: 'refused'; readonly retryAfter: number }

export function countAttempts(store: Store, now: () => number): Attempts {
  /** The new count, and when it starts anew. */
  async function add(key: string, change: 1 | -1, seconds: number): Promise<{ count: number; expiresAt: number }> {
    for (;;) {
      const entry = await store.get<number>(collection, key)
      const count = Math.max(0, (entry?.value ?? 0) + change)
      const expiresAt = entry?.expiresAt ?? Math.floor(now() / 1_000) + seconds
      const written = entry
        ? await store.replace(collection, key, entry.revision, count, { expiresAt })
        : await store.create(collection, key, count, { expiresAt })
      if (written) return { count, expiresAt }
    }
  }

  return {
    async begin(username, address) {
      const keys = rows.map(({ name, of }) => hash(`${name}\n${of(username, networkOf(address))}`))
      for (const [index, { most, seconds }] of rows.entries()) {
        const { count, expiresAt } = await add(keys[index]!, 1, seconds)
        if (count > most) return { outcome: 'refused', retryAfter: Math.max(1, Math.ceil(expiresAt - now() / 1_000)) }
      }
      return {
        outcome: 'allowed',
        async succeeded() {
          const [pair, place, account] = keys as [string, string, string]
          await store.delete(collection, pair)
          await store.delete(collection, account)
          // Others behind the same address may be guessing.
          await add(place, -1, rows[1].seconds)
        },
      }
    },
  }
}

/** Whoever has one IPv6 address has 2⁶⁴ of them. */
function networkOf(address: string): string {
  if (!ipaddr.isValid(address)) return address
  const parsed = ipaddr.process(address)
  return parsed instanceof ipaddr.IPv6 ? parsed.parts.slice(0, 4).join(':') : parsed.toString()
}

/** The names are a stranger's: bounded, and not for reading. */
function hash(text: string): string {
  return createHash('sha256').update(text).digest('base64url')
}
