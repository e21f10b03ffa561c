import { IdentificationRefused } from '../authentication/identify.ts'
import { isNavigation } from '../http/cross-site.ts'
import { Problem } from '../http/problem.ts'
import { announce } from './announce.ts'
import type { State, Step, StepContext } from './state.ts'

/**
 * A person without a session is sent where one begins, instead of being shown a 401: only browsers that open a page, and
 * only where the route takes the session and the request shows nothing else. Scripts get their 401 and decide themselves.
 */
export function askToSignIn(): Step {
  return function askToSignIn(ctx, next) {
    const { gateway, route, head } = ctx.state
    const { sessions } = gateway
    if (!sessions || !route.security.authenticators.includes(sessions.authenticator) || !isNavigation(head))
      return next()
    return next().catch((error: unknown) => {
      if (!(error instanceof Problem) || error.status !== 401 || !showsNothing(error, ctx.state)) throw error
      redirect(ctx, error)
    })
  }
}

/** A session that is refused for another reason than its end would be refused again, and go round for ever. */
function showsNothing(error: Problem, { identification, gateway }: State): boolean {
  const verdicts = error instanceof IdentificationRefused ? error.verdicts : (identification?.verdicts ?? [])
  return verdicts.every(
    ({ scheme, authentication }) =>
      authentication.outcome === 'absent' ||
      (scheme === gateway.sessions?.authenticator.scheme &&
        authentication.outcome === 'rejected' &&
        authentication.reason === 'over'),
  )
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
