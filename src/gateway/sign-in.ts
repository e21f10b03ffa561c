import { type Identification, IdentificationRefused } from '../authentication/identify.ts'
import { isNavigation } from '../http/cross-site.ts'
import type { Problem } from '../http/problem.ts'
import type { RequestHead } from '../http/request-head.ts'
import type { Gateway, Route } from './gateway.ts'

/** Whether a person could be sent to sign in: a browser that opens a page, where the route takes a session. */
export function maySignIn({ sessions }: Pick<Gateway, 'sessions'>, { security }: Route, head: RequestHead): boolean {
  return sessions !== undefined && security.authenticators.includes(sessions.authenticator) && isNavigation(head)
}

/**
 * Whether signing in would help: nothing but an ended session was shown. One that is refused for another reason would be
 * refused again, and go round for ever.
 */
export function showsNothing(
  { sessions }: Pick<Gateway, 'sessions'>,
  error: Problem,
  identification: Identification | undefined,
): boolean {
  const verdicts = error instanceof IdentificationRefused ? error.verdicts : (identification?.verdicts ?? [])
  return verdicts.every(
    ({ scheme, authentication }) =>
      authentication.outcome === 'absent' ||
      (scheme === sessions?.authenticator.scheme &&
        authentication.outcome === 'rejected' &&
        authentication.reason === 'over'),
  )
}
