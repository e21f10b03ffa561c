import { z } from 'zod'
import { defineKind } from '../../kind.ts'
import type { Target } from '../target.ts'
import type { Balancer } from './balancer.ts'

/** In turn, by weight, as evenly spread as can be: nginx's smooth weighted round robin. */
export const roundRobin = defineKind({
  type: 'round-robin',
  settings: z.strictObject({}),
  create: (): Balancer => {
    const credit = new WeakMap<Target, number>()
    return function takeTurns(candidates) {
      let total = 0
      let most = Number.NEGATIVE_INFINITY
      let chosen = candidates[0]!
      for (const target of candidates) {
        const weight = target.weight * target.state.share
        const saved = (credit.get(target) ?? 0) + weight
        credit.set(target, saved)
        total += weight
        if (saved > most) {
          most = saved
          chosen = target
        }
      }
      credit.set(chosen, most - total)
      return chosen
    }
  },
})
