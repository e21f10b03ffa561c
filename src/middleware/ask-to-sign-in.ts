import { maySignIn, showsNothing } from '../gateway/sign-in.ts'
import { Problem } from '../http/problem.ts'
import { announce } from './announce.ts'
import type { Step, StepContext } from './state.ts'

/**
 * A person without a session is sent where one begins, instead of being shown a 401: only browsers that open a page, and
 * only where the route takes the session and the request shows nothing else. Scripts get their 401 and decide themselves.
 */
export function askToSignIn(): Step {
  return function askToSignIn(ctx, next) {
    const { gateway, route, head } = ctx.state
    if (!maySignIn(gateway, route, head)) return next()
    return next().catch((error: unknown) => {
      if (!(error instanceof Problem) || error.status !== 401) throw error
      if (!showsNothing(gateway, error, ctx.state.identification)) throw error
      redirect(ctx, error)
    })
  }
}

function redirect(ctx: StepContext, { fields }: Problem): void {
  const cookies = fields['Set-Cookie']
  announce(ctx)
  ctx.status = 302
  ctx.set('Location', `/login?returnTo=${encodeURIComponent(ctx.state.head.target)}`)
  ctx.set('Cache-Control', 'no-store')
  if (cookies !== undefined) ctx.set('Set-Cookie', [cookies].flat())
  ctx.body = null
  ctx.status = 302
}
