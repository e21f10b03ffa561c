import { z } from 'zod'
import { duration } from '../values.ts'
import { algorithms, periods } from './limiter.ts'
import { type PartitionName, partitionNames } from './partition.ts'

/** `limits.rate` and `limits.quota` of a service or route, and the same of a plan, in services.json. */

const longestWindow = 86_400_000

const claimOf = /^claim:./

/** Who shares one allowance: one of these names, or a claim. */
function partition(names: readonly string[]) {
  const known = `${names.map((name) => `"${name}"`).join(', ')} or a claim, "claim:tenant"`
  return z
    .string(`counted by ${known}`)
    .refine((by) => names.includes(by) || claimOf.test(by), {
      error: ({ input }) =>
        input === 'claim' || input === 'claim:'
          ? 'the name of the claim is missing: "claim:tenant" counts each value of the claim "tenant"'
          : `"${String(input)}" is nobody to count by; it is ${known}`,
    })
    .transform((by) => by as PartitionName)
    .prefault('caller')
    .meta({ anyOf: [{ enum: [...names] }, { pattern: claimOf.source }] })
}

const whose =
  'Who shares one allowance. "caller": each subject (the default); "key": each API key or token; "organization": each ' +
  'organization; "claim:<name>": each value of a claim'

const by = partition(partitionNames).describe(
  `${whose}; "address": each client address, for IPv6 each /64, counted before anybody is asked who it is; ` +
    '"route": everybody together. Guests are told apart by address.',
)

/** A plan follows its caller through all services, so it is about callers. */
const byCaller = partition(['caller', 'key', 'organization']).describe(`${whose}. Guests are told apart by address.`)

const rateSettings = {
  requests: z
    .int('a number of requests is a whole number')
    .min(1, 'at least one request; leave the limit out to allow any number')
    .max(1_000_000, 'at most 1,000,000 requests')
    .describe('How many requests may come at once. As many come back over the time `per`.'),
  per: duration(longestWindow)
    .refine((milliseconds) => milliseconds % 1_000 === 0, 'a rate is per whole seconds: "1s", "30s", "1m", "1h", "1d"')
    .describe('The time over which `requests` come back: "1s", "1m", "1h", at most "1d".'),
  algorithm: z
    .enum(algorithms)
    .default('token-bucket')
    .describe(
      '"token-bucket" (the default): all at once, then one more every `per` divided by `requests`. ' +
        '"sliding-window": never more than `requests` in any stretch of time as long as `per`.',
    ),
}

const quotaSettings = {
  requests: z
    .int('a number of requests is a whole number')
    .min(1, 'at least one request; leave the quota out to allow any number')
    .max(1_000_000_000, 'at most 1,000,000,000 requests')
    .describe('How many requests there are in each day or month.'),
  per: z
    .enum(periods, 'a quota is per "day" or "month" of the calendar, in UTC; a rate may be per any time')
    .describe('"day" or "month" of the calendar, in UTC.'),
}

const ofRate = 'A limit such as { "requests": 100, "per": "1m", "by": "caller" }.'
const ofQuota = 'A quota such as { "requests": 10000, "per": "month", "by": "organization" }.'

export const rate = z.strictObject({ ...rateSettings, by }).describe(ofRate)
export const quota = z.strictObject({ ...quotaSettings, by }).describe(ofQuota)
export type RateDefinition = z.output<typeof rate>
export type QuotaDefinition = z.output<typeof quota>

/** What of two of the same kind would be the stricter one can be said without counting. */
function distinct(
  list: readonly { readonly by: string; readonly per: string | number }[],
  context: z.core.$RefinementCtx,
): void {
  for (const [index, { by, per }] of list.entries()) {
    if (list.findIndex((other) => other.by === by && other.per === per) === index) continue
    const message = `one by ${by} over the same time stands above; keep the stricter one`
    context.addIssue({ code: 'custom', path: [index], message })
  }
}

export const rates = z
  .array(rate)
  .superRefine(distinct)
  .describe(
    'How often: [{ "requests": 100, "per": "1m", "by": "caller" }]; more is answered with 429. All of them must hold. ' +
      'Those of a route stand instead of those of the service, and [] lifts them.',
  )

export const quotas = z
  .array(quota)
  .superRefine(distinct)
  .describe(
    'How many in a day or month: [{ "requests": 10000, "per": "month", "by": "organization" }]; more is answered with ' +
      '429. Those of a route stand instead of those of the service, and [] lifts them.',
  )

/** `plans` in services.json. */
export const plans = z
  .record(
    z
      .string()
      .regex(/^[a-z][a-z0-9-]{0,62}$/, 'the name of a plan is lower-case letters, digits and "-", such as "gold"')
      .refine(
        (name) => !(partitionNames as readonly string[]).includes(name),
        'this name says by whom a rate is counted; choose another for the plan',
      ),
    z
      .strictObject({
        description: z.string().optional().describe('What the plan is, for readers of services.json.'),
        roles: z
          .array(z.string().min(1))
          .default([])
          .describe('Callers with any of these roles have the plan, unless their API key names another.'),
        default: z
          .boolean()
          .default(false)
          .describe('true: the plan of everybody who has no other, guests included. At most one plan.'),
        rate: z
          .array(z.strictObject({ ...rateSettings, by: byCaller }).describe(ofRate))
          .superRefine(distinct)
          .default([])
          .describe('How often the services may be called, all of them together.'),
        quota: z
          .array(z.strictObject({ ...quotaSettings, by: byCaller }).describe(ofQuota))
          .superRefine(distinct)
          .default([])
          .describe('How many calls there are in a day or month, to all services together.'),
      })
      .describe('Rates and quotas under a name, which API keys and roles refer to.'),
  )
  .superRefine((all, context) => {
    const [first, second] = Object.entries(all).flatMap(([name, { default: chosen }]) => (chosen ? [name] : []))
    if (second === undefined) return
    const message = `"${first}" is the default already; there is room for one`
    context.addIssue({ code: 'custom', path: [second, 'default'], message })
  })
  .default({})
  .describe(
    'Allowances named once and used by API keys (`keys create --plan`) and roles. They hold over all services, beside ' +
      'the limits of each. The plan of the key wins, then the first plan here that names a role of the caller, then the default.',
  )
export type PlanDefinitions = z.output<typeof plans>
