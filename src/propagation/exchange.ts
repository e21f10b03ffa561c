import { z } from 'zod'
import { digestOf } from '../authentication/remember.ts'
import { defineKind } from '../kind.ts'
import type { Propagator } from './propagator.ts'
import { createTokenClient, type TokenClientTools, tokenClientSettings } from './token-client.ts'

/**
 * The service gets a token that the authorization server made of the caller's, for this service (RFC 8693). What it may
 * do is decided there. Callers without a token, with an API key say, are passed on without one.
 */
export const exchange = defineKind({
  type: 'exchange',
  settings: z.strictObject({
    ...tokenClientSettings,
    subjectTokenType: z
      .enum(['access_token', 'jwt', 'id_token'])
      .default('access_token')
      .describe('What the caller’s token is to the authorization server (RFC 8693 §3). Default: access_token.'),
  }),
  create(settings, tools: TokenClientTools): Propagator {
    const authorization = createTokenClient(settings, tools)
    return {
      mode: 'exchange',
      unchecked: false,
      fields({ credentials, service }) {
        const bearer = credentials.find(({ tokenType }) => tokenType === 'Bearer')
        if (!bearer) return []
        return authorization(`${digestOf(bearer.text)} ${service}`, {
          grant_type: 'urn:ietf:params:oauth:grant-type:token-exchange',
          subject_token: bearer.text,
          subject_token_type: `urn:ietf:params:oauth:token-type:${settings.subjectTokenType}`,
          audience: settings.audience ?? service,
        })
      },
      preview: ({ credentials }) =>
        credentials.some(({ tokenType }) => tokenType === 'Bearer') ? ['Authorization', 'Bearer exchanged'] : [],
    }
  },
})
