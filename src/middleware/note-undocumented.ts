import type { Step } from './state.ts'

/** Does the document of the service know of what it has just answered? Counted, for `sallyport drift`. */
export function noteUndocumented(): Step {
  return async function noteUndocumented(ctx, next) {
    await next()
    const { gateway, route, head, outcome } = ctx.state
    if (outcome?.status !== undefined) gateway.drift.note(route.service, head.method, head.path, outcome.status)
  }
}
