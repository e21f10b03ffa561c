import { identify } from '../authentication/identify.ts'
import type { Step } from './state.ts'

/** Who is calling? 401 when it must be known and is not. */
export function authenticate(): Step {
  return function authenticate(ctx, next) {
    const { route, head } = ctx.state
    const identification = identify(route.security, head)
    if (identification instanceof Promise) {
      return identification.then((late) => {
        ctx.state.identification = late
        return next()
      })
    }
    ctx.state.identification = identification
    return next()
  }
}
