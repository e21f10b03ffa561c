import { admitUpgrade } from '../gateway/cross-site.ts'
import { isUpgrade } from '../http/upgrade.ts'
import type { Step } from './state.ts'

/** May this page open a WebSocket? Whose scripts may is decided here; only browsers say where a request comes from. */
export function upgrade(): Step {
  return function upgrade(ctx, next) {
    if (!isUpgrade(ctx.req)) return next()
    const { state } = ctx
    state.head = admitUpgrade(state.gateway, state.head)
    return next()
  }
}
