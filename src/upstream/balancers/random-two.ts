import { z } from 'zod'
import { defineKind } from '../../kind.ts'
import type { Balancer, BalancerTools } from './balancer.ts'
import { load } from './least-requests.ts'

/** Of two targets taken by chance the less loaded one: as good as the best of all, without the herd running to it. */
export const randomTwo = defineKind({
  type: 'random-two',
  settings: z.strictObject({}),
  create: (_settings, { chance }: BalancerTools): Balancer =>
    function chooseOfTwo(candidates) {
      const first = Math.floor(chance() * candidates.length)
      const step = 1 + Math.floor(chance() * (candidates.length - 1))
      const one = candidates[first]!
      const other = candidates[(first + step) % candidates.length]!
      return load(other) < load(one) ? other : one
    },
})
