import { z } from 'zod'
import { Problem } from '../http/problem.ts'
import { duration } from '../values.ts'
import type { Limiter, Limiters, Standing } from './limiter.ts'
import { type Counted, type PartitionName, partitionBy, partitionNames } from './partition.ts'

const longestWindow = 86_400_000

const unknownPartition = `a rate is counted by ${partitionNames.join(', ')} or "claim:<name>"`

/** One entry of `limits.rate` in services.json. */
export const rate = z
  .strictObject({
    requests: z
      .int('a number of requests is a whole number')
      .min(1, 'at least one request; leave the limit out to allow any number')
      .max(1_000_000, 'at most 1,000,000 requests')
      .describe('How many requests may come at once. As many come back evenly over the time `per`.'),
    per: duration(longestWindow)
      .refine(
        (milliseconds) => milliseconds % 1_000 === 0,
        'a rate is per whole seconds: "1s", "30s", "1m", "1h", "1d"',
      )
      .describe('The time over which `requests` come back: "1s", "1m", "1h", at most "1d".'),
    by: z
      .union(
        [z.enum(partitionNames), z.templateLiteral(['claim:', z.string().min(1)], unknownPartition)],
        unknownPartition,
      )
      .default('caller')
      .describe(
        'Who shares one allowance. "caller": each subject (the default); "address": each client address, for IPv6 each /64, ' +
          'counted before anybody is asked who it is; "key": each API key or token; "organization": each organization; ' +
          '"route": everybody together; "claim:<name>": each value of a claim. Guests are told apart by address.',
      ),
  })
  .describe('A limit such as { "requests": 100, "per": "1m", "by": "caller" }.')

export type RateDefinition = z.output<typeof rate>

/** The outcome of counting one request, with what the client is told about it. */
export type Counting =
  | { readonly outcome: 'allowed'; readonly fields: RateLimitFields }
  /** The 429 to answer; it carries the same fields. */
  | { readonly outcome: 'limited'; readonly problem: Problem }

/** `RateLimit-Policy` and `RateLimit` of draft-ietf-httpapi-ratelimit-headers-11; lists, so that lines may be added up. */
export interface RateLimitFields {
  readonly 'RateLimit-Policy': string
  readonly RateLimit: string
}

export interface RateLimit {
  /** Counts a request against every rate in the order they are written; the first that is used up ends it. */
  count(counted: Counted): Counting | Promise<Counting>
}

/** The rates of one service or route. */
export interface RateLimits {
  /** By address: counted before authentication, which would be work done for a flood. */
  readonly clients: RateLimit | undefined
  /** All others: counted once it is known who calls. */
  readonly callers: RateLimit | undefined
}

/** `name` tells the buckets of services and routes apart: `orders`, `orders DELETE /{id}`. */
export function createRateLimits(name: string, definitions: readonly RateDefinition[], limiters: Limiters): RateLimits {
  const rules = definitions.map((definition) => createRule(name, definition, definitions, limiters))
  return {
    clients: createRateLimit(rules.filter(({ by }) => by === 'address')),
    callers: createRateLimit(rules.filter(({ by }) => by !== 'address')),
  }
}

interface Rule {
  readonly by: PartitionName
  /** What the fields call it, and the beginning of its item in `RateLimit`. */
  readonly name: string
  readonly item: string
  /** The item of `RateLimit-Policy`. */
  readonly policy: string
  readonly allowance: string
  readonly limiter: Limiter
  keyOf(counted: Counted): string
}

function createRule(
  scope: string,
  { requests, per, by }: RateDefinition,
  all: readonly RateDefinition[],
  limiters: Limiters,
): Rule {
  const partition = by as PartitionName
  const seconds = per / 1_000
  const alone = all.filter((other) => other.by === by).length === 1
  const name = alone ? by : `${by}-${seconds}s`
  return {
    by: partition,
    name,
    item: `${quoted(name)};r=`,
    policy: `${quoted(name)};q=${requests};w=${seconds}`,
    allowance: `${requests} request${requests === 1 ? '' : 's'} in ${seconds === 1 ? 'a second' : `${seconds} seconds`}`,
    limiter: limiters.open(`${scope}:${by}`, { requests, window: per }),
    keyOf: partitionBy(partition),
  }
}

function createRateLimit(rules: readonly Rule[]): RateLimit | undefined {
  if (rules.length === 0) return undefined
  const policies = rules.map(({ policy }) => policy).join(', ')

  function conclude(standings: readonly Standing[]): Counting {
    let items = ''
    for (const [index, standing] of standings.entries())
      items += `${index ? ', ' : ''}${itemOf(rules[index]!, standing)}`
    const fields = { 'RateLimit-Policy': policies, RateLimit: items }
    const last = standings[standings.length - 1]!
    if (last.allowed) return { outcome: 'allowed', fields }
    return { outcome: 'limited', problem: tooMany(rules[standings.length - 1]!, last, fields) }
  }

  /** Goes on without waiting as long as limiters answer at once. */
  function countFrom(counted: Counted, standings: Standing[]): Counting | Promise<Counting> {
    while (standings.length < rules.length) {
      const { limiter, keyOf } = rules[standings.length]!
      const standing = limiter.take(keyOf(counted))
      if (standing instanceof Promise) {
        return standing.then((late) => {
          standings.push(late)
          return late.allowed ? countFrom(counted, standings) : conclude(standings)
        })
      }
      standings.push(standing)
      if (!standing.allowed) break
    }
    return conclude(standings)
  }

  return { count: (counted) => countFrom(counted, []) }
}

/** "r" requests may be made within "t" seconds (§4.1): as long as nothing comes back into the bucket. */
function itemOf({ item }: Rule, { remaining, next }: Standing): string {
  return `${item}${remaining};t=${Math.ceil(next / 1_000)}`
}

function tooMany({ name, allowance, by }: Rule, { next }: Standing, fields: RateLimitFields): Problem {
  const seconds = Math.max(1, Math.ceil(next / 1_000))
  const whose = by === 'route' ? 'this operation' : 'you'
  const detail = `More requests than ${whose} may get: ${allowance}. Try again in ${seconds === 1 ? 'a second' : `${seconds} seconds`}.`
  return new Problem('rate-limited', detail, {
    fields: { ...fields, 'Retry-After': String(seconds) },
    // §5.1 names the member.
    members: { 'violated-policies': [name] },
  })
}

/** A String of RFC 9651 §3.3.3. */
function quoted(text: string): string {
  return `"${text.replace(/[^\x20-\x7e]/g, '?').replace(/["\\]/g, '\\$&')}"`
}
