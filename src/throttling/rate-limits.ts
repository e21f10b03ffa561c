import { type Caller, guest } from '../authentication/caller.ts'
import { Problem } from '../http/problem.ts'
import type { Algorithm, Limiter, Limiters, Period, Quota, Standing } from './limiter.ts'
import { type Counted, type PartitionName, partitionBy } from './partition.ts'
import type { PlanOf } from './plans.ts'
import type { PlanDefinitions, QuotaDefinition, RateDefinition } from './rate.ts'

/** The outcome of counting one request, with what the client is told about it. */
export type Counting =
  | { readonly outcome: 'allowed'; readonly fields: RateLimitFields }
  /** The 429 to answer; it carries the same fields. */
  | { readonly outcome: 'limited'; readonly problem: Problem }
  /** Nothing is counted for this caller. */
  | { readonly outcome: 'uncounted' }

/** `RateLimit-Policy` and `RateLimit` of draft-ietf-httpapi-ratelimit-headers-11; lists, so that lines may be added up. */
export interface RateLimitFields {
  readonly 'RateLimit-Policy': string
  readonly RateLimit: string
}

export interface RateLimit {
  /** Counts a request against every rule in the order they are written; the first that is used up ends it. */
  count(counted: Counted): Counting | Promise<Counting>
  /** What counting would come to, and how each rule stands before it. Counts nothing. */
  look(counted: Counted): Promise<Look>
}

export interface Look {
  readonly rules: readonly RuleStanding[]
  /** The 429 that the request would be answered with. */
  readonly problem?: Problem
}

/** A rule, and what is left of it for one caller; left out when that cannot be known. */
export type RuleStanding = RuleDescription & {
  readonly remaining?: number
  /** Seconds until there are more; 0 when none is used. */
  readonly next?: number
}

/** The rates and quotas of one service or route. */
export interface RateLimits {
  /** By address: counted before authentication, which would be work done for a flood. */
  readonly clients: RateLimit | undefined
  /** All others, plans included: counted once it is known who calls. */
  readonly callers: RateLimit | undefined
  /** What holds for a caller, in the order it is counted. */
  describe(caller?: Caller): RateLimitsDescription
}

export interface RateLimitsDescription {
  /** The plan of the caller, if there is one. */
  readonly plan?: string
  readonly rules: readonly RuleDescription[]
}

export type RuleDescription = {
  /** As `RateLimit-Policy` calls it. */
  readonly name: string
  readonly by: PartitionName
  readonly requests: number
  /** The plan it belongs to; absent when it is of the service or route. */
  readonly plan?: string
} & (
  | { readonly kind: 'rate'; readonly seconds: number; readonly algorithm: Algorithm }
  | { readonly kind: 'quota'; readonly per: Period }
)

/** `scope` tells the counts of services and routes apart, whoever inherits them: `orders`, `orders DELETE /{id}`. */
export type Scoped<Definition> = Definition & { readonly scope: string }

export interface RateLimitDefinitions {
  readonly rate: readonly Scoped<RateDefinition>[]
  readonly quota: readonly Scoped<QuotaDefinition>[]
}

/** The rules of every plan, and who has which. */
export interface Plans {
  readonly planOf: PlanOf
  readonly rules: ReadonlyMap<string, readonly Rule[]>
}

/** Plans hold over all services: their counts have no service in their name. */
export function createPlans(definitions: PlanDefinitions, planOf: PlanOf, limiters: Limiters): Plans {
  const rules = Object.entries(definitions).map(([plan, { rate, quota }]) => {
    const scope = `/plans/${plan}`
    const definition = { rate: rate.map((one) => ({ ...one, scope })), quota: quota.map((one) => ({ ...one, scope })) }
    return [plan, createRules(definition, limiters, plan)] as const
  })
  return { planOf, rules: new Map(rules) }
}

export function createRateLimits(definitions: RateLimitDefinitions, limiters: Limiters, plans?: Plans): RateLimits {
  const rules = createRules(definitions, limiters)
  const before = rules.filter(({ by }) => by === 'address')
  const after = rules.filter(({ by }) => by !== 'address')
  const planned = plans && createPlannedLimit(after, plans)
  return {
    clients: createRateLimit(before),
    callers: planned ?? createRateLimit(after),
    describe(caller = guest) {
      const plan = plans?.planOf(caller)
      const ofPlan = plan === undefined ? [] : plans!.rules.get(plan)!
      return {
        ...(plan !== undefined && { plan }),
        rules: [...before, ...inOrder([...after, ...ofPlan])].map(({ description }) => description),
      }
    },
  }
}

interface Rule {
  readonly by: PartitionName
  readonly description: RuleDescription
  /** The beginning of its item in `RateLimit`. */
  readonly item: string
  /** The item of `RateLimit-Policy`. */
  readonly policy: string
  readonly limiter: Limiter
  keyOf(counted: Counted): string
}

function createRules({ rate, quota }: RateLimitDefinitions, limiters: Limiters, plan?: string): readonly Rule[] {
  const all = [...rate, ...quota]
  const nameOf = (by: string, time: string) => {
    const whose = plan === undefined ? by : by === 'caller' ? plan : `${plan}-${by}`
    return all.filter((other) => other.by === by).length === 1 ? whose : `${whose}-${time}`
  }
  const shared = plan === undefined ? {} : { plan }
  const rules = [
    ...rate.map(({ scope, requests, per, by, algorithm }) => {
      const seconds = per / 1_000
      const name = nameOf(by, `${seconds}s`)
      const description = { name, kind: 'rate', by, requests, seconds, algorithm, ...shared } as const
      return createRule(scope, description, { requests, window: per, algorithm }, limiters)
    }),
    ...quota.map(({ scope, requests, per, by }) => {
      const description = { name: nameOf(by, per), kind: 'quota', by, requests, per, ...shared } as const
      return createRule(scope, description, { requests, period: per }, limiters)
    }),
  ]
  return inOrder(rules)
}

/** A request that a rate refuses takes nothing from a quota, and one that the day refuses nothing from the month. */
function inOrder(rules: readonly Rule[]): readonly Rule[] {
  const rank = ({ description }: Rule) => (description.kind === 'rate' ? 0 : description.per === 'day' ? 1 : 2)
  return rules.toSorted((one, other) => rank(one) - rank(other))
}

function createRule(scope: string, description: RuleDescription, quota: Quota, limiters: Limiters): Rule {
  const { name, by, requests } = description
  // Months differ, so their window is not said; when they end is.
  const window = description.kind === 'rate' ? `;w=${description.seconds}` : description.per === 'day' ? ';w=86400' : ''
  return {
    by,
    description,
    item: `${quoted(name)};r=`,
    policy: `${quoted(name)};q=${requests}${window}`,
    limiter: limiters.open(`${scope}:${by}`, quota),
    keyOf: partitionBy(by),
  }
}

/** One limit for each plan, made ahead of time. */
function createPlannedLimit(rules: readonly Rule[], { planOf, rules: ofPlans }: Plans): RateLimit {
  const withoutPlan = createRateLimit(rules)
  const limits = new Map([...ofPlans].map(([plan, own]) => [plan, createRateLimit(inOrder([...rules, ...own]))]))
  const uncounted: Counting = { outcome: 'uncounted' }
  return {
    count(counted) {
      const plan = planOf(counted.caller ?? guest)
      const limit = plan === undefined ? withoutPlan : limits.get(plan)
      return limit ? limit.count(counted) : uncounted
    },
    async look(counted) {
      const plan = planOf(counted.caller ?? guest)
      const limit = plan === undefined ? withoutPlan : limits.get(plan)
      return limit ? limit.look(counted) : { rules: [] }
    },
  }
}

function createRateLimit(rules: readonly Rule[]): RateLimit | undefined {
  if (rules.length === 0) return undefined
  const policies = rules.map(({ policy }) => policy).join(', ')

  function fieldsOf(standings: readonly (Standing | undefined)[]): RateLimitFields {
    let items = ''
    for (let index = 0; index < standings.length; index++) {
      const standing = standings[index]
      if (standing) items += `${items && ', '}${itemOf(rules[index]!, standing)}`
    }
    return { 'RateLimit-Policy': policies, RateLimit: items }
  }

  function conclude(standings: readonly Standing[]): Counting {
    const fields = fieldsOf(standings)
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

  async function look(counted: Counted): Promise<Look> {
    const standings = await Promise.all(rules.map(async ({ limiter, keyOf }) => limiter.look(keyOf(counted))))
    const described = rules.map(({ description }, index): RuleStanding => {
      const standing = standings[index]
      return {
        ...description,
        ...(standing && { remaining: standing.remaining, next: Math.max(0, secondsOf(standing.next)) }),
      }
    })
    const spent = standings.findIndex((standing) => standing?.allowed === false)
    if (spent < 0) return { rules: described }
    const fields = fieldsOf(standings.slice(0, spent + 1))
    return { rules: described, problem: tooMany(rules[spent]!, standings[spent]!, fields) }
  }

  return { count: (counted) => countFrom(counted, []), look }
}

/** "r" requests may be made within "t" seconds (§4.1): as long as nothing comes back. */
function itemOf({ item }: Rule, { remaining, next }: Standing): string {
  return `${item}${remaining};t=${secondsOf(next)}`
}

function tooMany({ description }: Rule, { next }: Standing, fields: RateLimitFields): Problem {
  const { name, by, requests, plan } = description
  const seconds = Math.max(1, secondsOf(next))
  const options = {
    fields: { ...fields, 'Retry-After': String(seconds) },
    // §5.1 names the member.
    members: { 'violated-policies': [name] },
  }
  const whose = by === 'route' ? 'this operation' : 'you'
  const many = `${requests} request${requests === 1 ? '' : 's'}`
  const where = plan === undefined ? '' : ` by the plan "${plan}"`
  if (description.kind === 'quota') {
    const detail = `More requests than ${whose} may get${where}: ${many} a ${description.per}. The next ${description.per} begins in ${inWords(seconds)}, in UTC.`
    return new Problem('quota-exceeded', detail, options)
  }
  const time = description.seconds === 1 ? 'a second' : `${description.seconds} seconds`
  const detail = `More requests than ${whose} may get${where}: ${many} in ${time}. Try again in ${inWords(seconds)}.`
  return new Problem('rate-limited', detail, options)
}

/** Rounded up, but not for what a floating point makes of a whole number. */
function secondsOf(milliseconds: number): number {
  return Math.ceil((milliseconds - 0.001) / 1_000)
}

function inWords(seconds: number): string {
  return seconds === 1 ? 'a second' : `${seconds} seconds`
}

/** A String of RFC 9651 §3.3.3. */
function quoted(text: string): string {
  return `"${text.replace(/[^\x20-\x7e]/g, '?').replace(/["\\]/g, '\\$&')}"`
}
