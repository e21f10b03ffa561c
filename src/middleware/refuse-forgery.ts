import { isCrossSite } from '../http/cross-site.ts'
import { Problem } from '../http/problem.ts'
import type { State, Step } from './state.ts'

/**
 * Did the page itself want this? A browser sends its cookies whoever made it send the request, so what changes something
 * in the name of a cookie alone must not come from another site. Who shows a token or a key besides has meant it.
 */
export function refuseForgery(): Step {
  return function refuseForgery(ctx, next) {
    const { identification, head } = ctx.state
    const [first] = identification.credentials
    if (first === undefined || (first.in !== 'session' && first.in !== 'cookie')) return next()
    if (isByCookiesAlone(ctx.state)) refuseCrossSite(ctx.state, head)
    return next()
  }
}

/** Throws `cross-site-request` for what another site could have sent. */
export function refuseCrossSite({ gateway }: Pick<State, 'gateway'>, head: State['head']): void {
  const { origin } = new URL(gateway.publicUrl)
  if (isCrossSite(head, origin, (other) => gateway.crossOrigin?.allows(other) === true))
    throw new Problem(
      'cross-site-request',
      'A request that changes something in the name of a cookie came from another site',
    )
}

/** Whether every part of the alternative that decided is a cookie. */
function isByCookiesAlone({ route: { security }, identification }: State): boolean {
  const parts = security.alternatives[identification.alternative ?? -1] ?? []
  return parts.every(({ index }) => !security.authenticators[index]!.explicit)
}
