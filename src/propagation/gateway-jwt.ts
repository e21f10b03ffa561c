import { z } from 'zod'
import type { Caller } from '../authentication/caller.ts'
import { defineKind } from '../kind.ts'
import { duration } from '../values.ts'
import type { Minter } from './minter.ts'
import type { Propagator } from './propagator.ts'

const longest = 60_000
/** A token that is about to end is not handed out again: the service must have time to look at it. */
const margin = 10_000

/**
 * The service gets a token that the gateway made for it alone: `aud` is the service's name, and it lives for a minute.
 * Works alike for tokens, keys, sessions and guests, and the caller's own credential never leaves the gateway.
 */
export const gatewayJwt = defineKind({
  type: 'gateway-jwt',
  settings: z.strictObject({
    lifetime: duration(longest)
      .default(longest)
      .describe('How long a token for a service is good, at most a minute. Default: 60s.'),
  }),
  create({ lifetime }, { minter, now }: { readonly minter: Minter; readonly now: () => number }): Propagator {
    // A remembered credential gives the same caller object, so its tokens can be kept beside it.
    const minted = new WeakMap<Caller, Map<string, { readonly lines: readonly string[]; readonly until: number }>>()
    return {
      mode: 'gateway-jwt',
      unchecked: false,
      fields({ caller, service }) {
        let byService = minted.get(caller)
        if (!byService) {
          byService = new Map()
          minted.set(caller, byService)
        }
        const known = byService.get(service)
        if (known && known.until > now()) return known.lines
        const lines = ['Authorization', `Bearer ${minter.mint(caller, service, lifetime)}`]
        byService.set(service, { lines, until: now() + Math.max(0, lifetime - margin) })
        return lines
      },
    }
  },
})
