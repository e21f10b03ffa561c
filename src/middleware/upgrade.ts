import { createFields } from '../http/fields.ts'
import { Problem } from '../http/problem.ts'
import { isUpgrade, withBearerSubprotocol } from '../http/upgrade.ts'
import type { State, Step } from './state.ts'

/**
 * May this page open a WebSocket? Browsers let every page try, cookies included (RFC 6455 §10.2), and no CORS keeps the
 * answer from it. So whose scripts may call is decided here; only browsers say where a request comes from.
 */
export function upgrade(): Step {
  return function upgrade(ctx, next) {
    if (!isUpgrade(ctx.req)) return next()
    const { state } = ctx
    if (!isWelcome(state)) throw new Problem('cross-site-request', 'Scripts of this origin may not open a WebSocket')
    const { head } = state
    const lines = withBearerSubprotocol(head.fields)
    if (lines !== head.fields.raw) state.head = { ...head, fields: createFields(lines) }
    return next()
  }
}

function isWelcome({ head: { fields, client }, gateway }: State): boolean {
  const origin = fields.get('origin')
  if (origin === undefined) return true
  if (origin === `${client.protocol}://${client.host}`) return true
  // Behind a proxy that is not trusted the gateway does not see that it is reached over TLS.
  return origin === new URL(gateway.publicUrl).origin || gateway.crossOrigin?.allows(origin) === true
}
