import type { Caller } from '../authentication/caller.ts'
import type { PlanDefinitions } from './rate.ts'

/**
 * Which plan a caller has: the one its API key names, else the first in services.json that names one of its roles,
 * else the default; undefined for none. A key may outlive its plan: then it counts as one without.
 */
export type PlanOf = (caller: Caller) => string | undefined

/** Undefined when there are no plans: then nobody is asked. `unknown` is told of plans that keys name in vain. */
export function createPlanOf(definitions: PlanDefinitions, unknown: (plan: string) => void): PlanOf | undefined {
  const plans = Object.entries(definitions)
  if (plans.length === 0) return undefined
  const fallback = plans.find(([, plan]) => plan.default)?.[0]
  // One object stands for every request that shows the same credential.
  const known = new WeakMap<Caller, { readonly plan: string | undefined }>()

  function choose({ plan: named, roles }: Caller): string | undefined {
    if (named !== undefined) {
      if (Object.hasOwn(definitions, named)) return named
      unknown(named)
    }
    return plans.find(([, plan]) => plan.roles.some((role) => roles.includes(role)))?.[0] ?? fallback
  }

  return function planOf(caller) {
    let chosen = known.get(caller)
    if (!chosen) {
      chosen = { plan: choose(caller) }
      known.set(caller, chosen)
    }
    return chosen.plan
  }
}
