import { refuseForgery as refuse } from '../gateway/cross-site.ts'
import type { Step } from './state.ts'

/**
 * Did the page itself want this? A browser sends its cookies whoever made it send the request, so what changes something
 * in the name of a cookie alone must not come from another site.
 */
export function refuseForgery(): Step {
  return function refuseForgery(ctx, next) {
    const { gateway, route, identification, head } = ctx.state
    refuse(gateway, route, identification, head)
    return next()
  }
}
