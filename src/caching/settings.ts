import { z } from 'zod'
import { duration, size } from '../values.ts'

const detailed = z.strictObject({
  for: duration()
    .optional()
    .describe(
      'How long an answer stays fresh when the service says nothing of it. Default: such answers are not kept.',
    ),
  largest: size().default(1_048_576).describe('The largest answer that is kept. Default: 1mb.'),
})

/** `cache` of a service or a route. */
export const cache = z
  .union([z.literal(false).transform(() => undefined), z.literal(true).transform(() => detailed.parse({})), detailed], {
    error: (issue) => (typeof issue.input === 'object' ? undefined : 'cache is true, false, or { "for": "10s" }'),
  })
  .describe(
    'true: answers to GET are kept and given again as RFC 9111 allows; those to a known caller to that caller alone, ' +
      'unless the service says `public` or `s-maxage`. Default: false.',
  )

/** Milliseconds and bytes. */
export type CacheDefinition = NonNullable<z.output<typeof cache>>

/** `gateway.cache`. */
export const memory = z
  .strictObject({
    memory: size()
      .default(64 * 1_048_576)
      .describe('How much all kept answers may take together. Default: 64mb.'),
  })
  .prefault({})
  .describe('Answers that are kept for routes with `cache`; in the memory of each process.')
