import { decide, isDecided, questionOf, refusalOf } from '../gateway/decide.ts'
import type { Step } from './state.ts'

/** May they? What the requirement array names and every `allow` must hold; 403 says which row did not. */
export function authorize(now: () => number): Step {
  return function authorize(ctx, next) {
    const { state } = ctx
    if (isDecided(state)) return next()
    const { route, identification } = state
    const decision = decide(identification, route.policies, questionOf(state, now()))
    if (decision.verdict === 'deny') throw refusalOf(decision, route, identification)
    return next()
  }
}
