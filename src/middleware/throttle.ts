import type { Counting } from '../throttling/rate-limits.ts'
import type { Step, StepContext } from './state.ts'

/**
 * How often? 429 when a rate is used up. Stands in the score twice: by address before anybody is asked who it is, so
 * that refused credentials count and a flood is spared the work of refusing it; by everything else when that is known.
 * Every answer from here on says how the rates stand.
 */
export function throttle(who: 'clients' | 'callers'): Step {
  return function throttle(ctx, next) {
    const { route, head, identification } = ctx.state
    const limit = route.limits.rate[who]
    if (!limit) return next()
    const counting = limit.count({
      address: head.client.address,
      route: route.id,
      ...(identification && { caller: identification.caller }),
    })
    if (counting instanceof Promise) {
      return counting.then((late) => {
        conclude(ctx, late)
        return next()
      })
    }
    conclude(ctx, counting)
    return next()
  }
}

function conclude({ state }: StepContext, counting: Counting): void {
  if (counting.outcome === 'uncounted') return
  if (counting.outcome === 'limited') throw counting.problem
  const { fields } = counting
  state.announced.push('RateLimit-Policy', fields['RateLimit-Policy'], 'RateLimit', fields.RateLimit)
}
