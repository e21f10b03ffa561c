import { z } from 'zod'
import { defineKind } from '../kind.ts'
import type { Propagator } from './propagator.ts'

/**
 * The service gets the credentials that the gateway accepted, in the header fields where they came, byte for byte.
 *
 * Credentials in the query or in a cookie do not travel: a URL ends up in logs, and the gateway's cookie is its own.
 * A session that made the caller travels as the access token it stands for, and then alone in `Authorization`.
 */
export const passthrough = defineKind({
  type: 'passthrough',
  settings: z.strictObject({}),
  create(): Propagator {
    return {
      mode: 'passthrough',
      unchecked: true,
      fields({ credentials, head }) {
        const lines: string[] = []
        const [first] = credentials
        const bySession = first?.in === 'session'
        if (bySession) lines.push('Authorization', `Bearer ${first.text}`)
        for (const { in: place, name } of credentials) {
          if (bySession && name.toLowerCase() === 'authorization') continue
          const value = place === 'header' ? head.fields.get(name.toLowerCase()) : undefined
          if (value !== undefined) lines.push(name, value)
        }
        return lines
      },
    }
  },
})
