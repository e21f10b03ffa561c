import { z } from 'zod'
import { defineKind } from '../kind.ts'
import type { Tools } from '../tools.ts'

/** What several gateways on several machines share. */
export const redis = defineKind({
  type: 'redis',
  settings: z.strictObject({
    url: z
      .string()
      .regex(/^rediss?:\/\/\S+$/, 'a Redis URL is "redis://user:password@host:6379/0", or "rediss://…" over TLS')
      .describe('Where Redis is: "redis://user:password@host:6379/0", or "rediss://…" over TLS.'),
    prefix: z
      .string()
      .max(64)
      .default('sallyport:')
      .describe('What the names of all our keys begin with, so that several may share one Redis. Default: sallyport:.'),
    localShare: z
      .number()
      .gt(0, 'a share is above 0 and at most 1; with two gateways 0.5 is right')
      .max(1, 'a share is above 0 and at most 1; with two gateways 0.5 is right')
      .default(1)
      .describe(
        'The part of each rate and quota that one gateway lets through by itself while Redis does not answer: 1 divided ' +
          'by the number of gateways keeps to the limits, 1 (the default) refuses nobody too early.',
      ),
  }),
  // The client is read where one is used; elsewhere it would be twenty megabytes for nothing.
  create: async ({ url, prefix }, tools: Tools) => (await import('./redis.ts')).connectRedisStore(url, prefix, tools),
})
