import { z } from 'zod'
import { defineKind } from '../../kind.ts'
import type { Target } from '../target.ts'
import type { Affinity, Balancer, BalancerTools } from './balancer.ts'
import { fnv, mix } from './digest.ts'

const by = z.union(
  [
    z.enum(['caller', 'client']),
    z.strictObject({ header: z.string().min(1) }),
    z.strictObject({ cookie: z.string().min(1) }),
  ],
  'hash goes by "caller", "client", { "header": "X-Tenant" } or { "cookie": "sid" }',
)

/** What requests have in common that stay together. */
type Key = z.output<typeof by>

/**
 * Requests with the same key go to the same target, and when a target leaves only its own keys move (rendezvous
 * hashing, weighted). Requests without a key are spread by chance.
 */
export const hash = defineKind({
  type: 'hash',
  settings: z.strictObject({
    by: by
      .default('caller')
      .describe(
        'What keeps requests together: "caller" (the subject; for guests the address), "client" (the address), { "header": name } or { "cookie": name }.',
      ),
  }),
  create: (settings, { chance }: BalancerTools): Balancer => {
    const read = reader(settings.by)
    const seeds = new WeakMap<Target, number>()
    const seed = (target: Target) => {
      let value = seeds.get(target)
      if (value === undefined) {
        value = fnv(target.url)
        seeds.set(target, value)
      }
      return value
    }
    return function chooseByKey(candidates, affinity) {
      const key = affinity && read(affinity)
      if (key === undefined) return candidates[Math.floor(chance() * candidates.length)]!
      const digest = fnv(key)
      let chosen = candidates[0]!
      let highest = Number.NEGATIVE_INFINITY
      for (const target of candidates) {
        // The draw of each target lies between 0 and 1; -weight / ln(draw) makes the highest one fall by weight.
        const draw = (mix(digest ^ seed(target)) + 1) / 4_294_967_297
        const score = (-target.weight * target.state.share) / Math.log(draw)
        if (score > highest) {
          highest = score
          chosen = target
        }
      }
      return chosen
    }
  },
})

function reader(key: Key): (affinity: Affinity) => string | undefined {
  if (key === 'caller') return (affinity) => affinity.caller ?? affinity.client
  if (key === 'client') return (affinity) => affinity.client
  if ('header' in key) {
    const name = key.header.toLowerCase()
    return (affinity) => affinity.field(name)
  }
  return (affinity) => cookie(affinity.field('cookie'), key.cookie)
}

/** The value of one cookie of a Cookie field (RFC 6265 §4.2). */
function cookie(field: string | undefined, name: string): string | undefined {
  for (const pair of field?.split(';') ?? []) {
    const equals = pair.indexOf('=')
    if (equals > 0 && pair.slice(0, equals).trim() === name) return pair.slice(equals + 1).trim()
  }
  return undefined
}
