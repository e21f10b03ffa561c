import { z } from 'zod'
import { size } from '../values.ts'

const modes = ['off', 'shadow', 'enforce'] as const

const largest = 256 * 1_024

const detailed = z.strictObject({
  mode: z.enum(modes).describe('"shadow" lets every request pass and counts what "enforce" would refuse.'),
  body: size()
    .refine((bytes) => bytes <= 10 * 1_048_576, 'bodies of at most 10mb are read whole to be checked')
    .default(largest)
    .describe('The largest JSON body that is read whole and checked. Default: 256kb.'),
  unchecked: z
    .enum(['pass', 'refuse'])
    .optional()
    .describe(
      'What happens to a request that cannot be checked, because its body is larger or coded (Content-Encoding), or ' +
        'because the document of the service is not there yet: "pass" (the default) lets it through and counts it.',
    ),
})

/** `validate` of a service or a route. */
export const validate = z
  .union([z.enum(modes).transform((mode) => detailed.parse({ mode })), detailed], {
    error: (issue) =>
      typeof issue.input === 'object' ? undefined : 'validate is "off", "shadow" or "enforce", or { "mode": … }',
  })
  .describe(
    'Whether parameters and JSON bodies must fit the service\'s own document: "off" (the default), "shadow" (count only) ' +
      'or "enforce" (400 with every mistake).',
  )

export type ValidateDefinition = z.output<typeof validate>
