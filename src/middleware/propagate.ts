import { type OutboundTools, outboundFields, outboundTarget } from '../gateway/outbound.ts'
import type { Step } from './state.ts'

/** Whom do we name to the service? What it will get, Contract 3, in header lines, and the target. */
export function propagate(tools: OutboundTools): Step {
  return function propagate(ctx, next) {
    const { state } = ctx
    const { route, head, identification } = state
    const lines = outboundFields(state, tools)
    state.fields = lines
    state.uncredentialed = lines.length
    state.target = outboundTarget(state)

    const { caller, credentials } = identification
    const shown = route.propagator.fields({ head, caller, credentials, service: route.service.name })
    if (shown instanceof Promise) {
      return shown.then((late) => {
        for (const text of late) lines.push(text)
        return next()
      })
    }
    for (const text of shown) lines.push(text)
    return next()
  }
}
