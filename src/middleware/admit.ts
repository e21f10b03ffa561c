import type { ServerResponse } from 'node:http'
import { Problem } from '../http/problem.ts'
import type { Release } from '../throttling/concurrency.ts'
import type { Step } from './state.ts'

/** Is there room? 503 when too many requests are under way; the place is given back when the answer has ended. */
export function admit(): Step {
  return function admit(ctx, next) {
    const { concurrent } = ctx.state.route.limits
    if (!concurrent) return next()
    const { res } = ctx
    if (res.destroyed) throw left()
    const leaving = new AbortController()
    res.once('close', () => leaving.abort(left()))
    const place = concurrent.acquire(leaving.signal)
    if (!(place instanceof Promise)) {
      holdUntilClosed(res, place)
      return next()
    }
    return place.then((late) => {
      holdUntilClosed(res, late)
      return next()
    })
  }
}

function holdUntilClosed(res: ServerResponse, release: Release): void {
  if (!res.destroyed) {
    res.once('close', release)
    return
  }
  // A response that has closed will not say so again.
  release()
  throw left()
}

function left(): Problem {
  return new Problem('client-closed-request', 'The client left before there was room')
}
