import { hash } from 'node:crypto'
import { z } from 'zod'
import { recall } from '../http/connection-memory.ts'
import type { KeyHolder, KeyRing } from './key-ring.ts'

const names = z.array(z.string().min(1)).default([])

/** A key listed in services.json: for tests and demos, where nothing can be created first. */
export const staticKey = z
  .strictObject({
    sha256: z
      .string()
      .regex(
        /^[0-9a-f]{64}$/i,
        'the SHA-256 digest of the key as 64 hexadecimal digits: printf %s "the key" | sha256sum',
      )
      .describe(
        'SHA-256 digest of the key in hexadecimal. The key itself is never written down; use a long random one.',
      ),
    subject: z.string().min(1).describe('Who the holder of the key is; `User-ID` at the services.'),
    name: z.string().min(1).optional().describe('What the key is for.'),
    organization: z.string().min(1).optional(),
    roles: names.describe('Roles of the holder.'),
    permissions: names.describe('Permissions of the holder.'),
    scopes: names.describe('OAuth scopes of the holder.'),
    plan: z
      .string()
      .min(1)
      .optional()
      .describe('How often the holder may call: a name under `plans`. Default: the plan of its roles.'),
    cidrs: z
      .array(z.union([z.cidrv4(), z.cidrv6()], 'a network such as "10.0.0.0/8" or "2001:db8::/32"'))
      .default([])
      .describe('Networks the key may be used from; everywhere when left out.'),
    expires: z.iso
      .datetime({ offset: true, error: 'a date and time such as "2027-01-31T00:00:00Z"' })
      .transform((text) => Math.floor(Date.parse(text) / 1000))
      .optional()
      .describe('When the key ends, such as "2027-01-31T00:00:00Z"; never when left out.'),
  })
  .describe('One key that this scheme accepts besides those of the key store.')

export type StaticKey = z.output<typeof staticKey>

/** What an `apiKey` scheme may say besides the OpenAPI Security Scheme Object itself. Never published. */
export const apiKeySettings = {
  keys: z
    .array(staticKey)
    .optional()
    .describe('Keys listed here, for tests and demos. Real keys live in the store: `sallyport keys create`.'),
} as const

/** The keys listed under a scheme. They may have any form, so nothing is recognized by its looks. */
export function createStaticKeys(definitions: readonly StaticKey[]): KeyRing {
  const holders = new Map<string, KeyHolder>()
  for (const { sha256, name, organization, plan, expires, ...rest } of definitions) {
    const digest = sha256.toLowerCase()
    holders.set(digest, {
      id: digest.slice(0, 8),
      ...rest,
      ...(name === undefined ? {} : { name }),
      ...(organization === undefined ? {} : { organization }),
      ...(plan === undefined ? {} : { plan }),
      ...(expires === undefined ? {} : { expires }),
    })
  }
  return {
    recognizes: () => false,
    // The look-up is by digest: what time it takes tells others nothing about the text.
    find: function findStaticKey(text, memory) {
      const holder = holders.get(recall(memory, text, digestOf))
      return holder ? { outcome: 'known', holder } : { outcome: 'refused', reason: 'unknown' }
    },
  }
}

function digestOf(text: string): string {
  return hash('sha256', text, 'hex')
}
