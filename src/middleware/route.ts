import { findRoute } from '../gateway/find-route.ts'
import type { Step } from './state.ts'

/** Which row of the table answers? */
export function route(): Step {
  return function route(ctx, next) {
    const { gateway, head } = ctx.state
    const found = findRoute(gateway, head)
    ctx.state.route = found.value
    ctx.state.found = found
    return next()
  }
}
