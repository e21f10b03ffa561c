import type { ServerResponse } from 'node:http'
import { Problem } from '../http/problem.ts'
import type { ConcurrencyLimit } from '../throttling/concurrency.ts'
import type { Step } from './state.ts'

/** Is there room? 503 when too many requests are under way; the place is given back when the answer has ended. */
export function admit(): Step {
  return function admit(ctx, next) {
    const { concurrent } = ctx.state.route.limits
    if (!concurrent) return next()
    const { res } = ctx
    if (res.destroyed) throw left()
    const place = concurrent.take()
    if (!place) return waitFor(concurrent, res).then(next)
    res.on('close', place)
    return next()
  }
}

/** Whoever leaves while waiting leaves the line too. Only who waits pays for the means to say so. */
async function waitFor(concurrent: ConcurrencyLimit, res: ServerResponse): Promise<void> {
  const leaving = new AbortController()
  const leave = () => leaving.abort(left())
  res.on('close', leave)
  const place = await concurrent.acquire(leaving.signal)
  res.off('close', leave)
  // A response that has closed will not say so again.
  if (res.destroyed) {
    place()
    throw left()
  }
  res.on('close', place)
}

function left(): Problem {
  return new Problem('client-closed-request', 'The client left before there was room')
}
