import type { State, Step } from './state.ts'

/** Does the document of the service know of what it has just answered? Counted, for `sallyport drift`. */
export function noteUndocumented(): Step {
  return function noteUndocumented(ctx, next) {
    return next().then(() => note(ctx.state))
  }
}

function note({ gateway, route, head, outcome }: State): void {
  if (outcome?.status !== undefined) gateway.drift.note(route.service, head.method, head.path, outcome.status)
}
