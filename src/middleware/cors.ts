import { preflightOf } from '../http/cross-origin.ts'
import { Problem } from '../http/problem.ts'
import { announce } from './announce.ts'
import type { Step } from './state.ts'

/**
 * Whose scripts may read the answer? Preflights are answered here, before anybody is asked who it is, because browsers
 * send them without credentials. Everything else goes on whatever its origin: browsers keep the answer from the script.
 */
export function cors(): Step {
  return function cors(ctx, next) {
    const { gateway, head, announced } = ctx.state
    const { crossOrigin } = gateway
    if (!crossOrigin) return next()
    const origin = head.fields.get('origin')
    for (const text of crossOrigin.answerLines(origin)) announced.push(text)

    const preflight = preflightOf(head)
    if (!preflight) return next()
    if (!crossOrigin.allows(origin))
      throw new Problem('cross-site-request', 'Scripts of this origin may not call the gateway')
    announce(ctx)
    ctx.set(crossOrigin.preflightFields(preflight))
    ctx.status = 204
  }
}
