import { z } from 'zod'
import { defineKind } from '../../kind.ts'
import type { Target } from '../target.ts'
import type { Balancer, BalancerTools } from './balancer.ts'

/** Requests under way for each unit of weight, counting the one to come. */
export function load(target: Target): number {
  return (target.state.inFlight + 1) / (target.weight * target.state.share)
}

/** The target with the fewest requests under way for its weight; among equals by chance. */
export const leastRequests = defineKind({
  type: 'least-requests',
  settings: z.strictObject({}),
  create: (_settings, { chance }: BalancerTools): Balancer =>
    function chooseLeastLoaded(candidates) {
      let chosen = candidates[0]!
      let least = load(chosen)
      let equals = 1
      for (let i = 1; i < candidates.length; i++) {
        const target = candidates[i]!
        const its = load(target)
        if (its > least) continue
        equals = its < least ? 1 : equals + 1
        if (equals > 1 && chance() * equals >= 1) continue
        chosen = target
        least = its
      }
      return chosen
    },
})
