import type { Gateway } from '../gateway/gateway.ts'
import type { Live } from '../gateway/live.ts'
import type { Step } from './state.ts'

/** The request keeps the revision it started with, until its answer has ended. */
export function pin(live: Live<Gateway>): Step {
  return function pin(ctx, next) {
    ctx.state.gateway = live.lease(ctx.res)
    return next()
  }
}
