import { z } from 'zod'
import { defineKind } from '../kind.ts'
import type { Propagator } from './propagator.ts'
import { createTokenClient, type TokenClientTools, tokenClientSettings } from './token-client.ts'

/**
 * The service gets the gateway's own token (RFC 6749 §4.4), the same for every caller: who calls is said by the identity
 * fields alone.
 */
export const clientCredentials = defineKind({
  type: 'client-credentials',
  settings: z.strictObject(tokenClientSettings),
  create(settings, tools: TokenClientTools): Propagator {
    const authorization = createTokenClient(settings, tools)
    return {
      mode: 'client-credentials',
      unchecked: false,
      fields: ({ service }) =>
        authorization(service, { grant_type: 'client_credentials', audience: settings.audience ?? service }),
      preview: () => ['Authorization', 'Bearer granted'],
    }
  },
})
