import { type Denial, isDecided, type Ruling, refusalOf, rule } from '../gateway/decide.ts'
import type { ReadResources } from '../gateway/resources.ts'
import type { Problem } from '../http/problem.ts'
import type { State, Step } from './state.ts'

export interface AuthorizeTools {
  /** Milliseconds since the epoch. */
  readonly now: () => number
  readonly resources: ReadResources
  /** Hears of each request that is let through although what is only tried would have refused it. */
  readonly tried: (state: State, denial: Denial, refusal: Problem) => void
}

/** May they? What the requirement array names and every `allow` must hold; 403 says which row did not. */
export function authorize({ now, resources, tried }: AuthorizeTools): Step {
  return function authorize(ctx, next) {
    const { state } = ctx
    if (isDecided(state)) return next()
    const ruling = rule(state, now(), (need) => resources(state, need))
    if (ruling instanceof Promise) {
      return ruling.then((late) => {
        conclude(state, late)
        return next()
      })
    }
    conclude(state, ruling)
    return next()
  }

  function conclude(state: State, { decision, shadow, resources }: Ruling): void {
    const { route, identification } = state
    if (resources) state.resources = resources
    if (decision.verdict === 'deny') throw refusalOf(decision, route, identification)
    if (shadow) tried(state, shadow, refusalOf(shadow, route, identification))
  }
}
