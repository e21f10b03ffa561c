import type { Identification } from '../authentication/identify.ts'
import { isCrossSite } from '../http/cross-site.ts'
import { createFields } from '../http/fields.ts'
import { Problem } from '../http/problem.ts'
import type { RequestHead } from '../http/request-head.ts'
import { withBearerSubprotocol } from '../http/upgrade.ts'
import type { Gateway, Route } from './gateway.ts'

type Origins = Pick<Gateway, 'publicUrl' | 'crossOrigin'>

/**
 * What a browser sends in the name of a cookie alone, and changes something, must not come from another site. Who shows
 * a token or a key besides has meant it. Throws `cross-site-request`.
 */
export function refuseForgery(gateway: Origins, route: Route, identification: Identification, head: RequestHead): void {
  const [first] = identification.credentials
  if (first === undefined || (first.in !== 'session' && first.in !== 'cookie')) return
  if (isByCookiesAlone(route, identification)) refuseCrossSite(gateway, head)
}

/** Throws `cross-site-request` for what another site could have sent. */
export function refuseCrossSite({ publicUrl, crossOrigin }: Origins, head: RequestHead): void {
  if (isCrossSite(head, publicUrl, (other) => crossOrigin?.allows(other) === true))
    throw new Problem(
      'cross-site-request',
      'A request that changes something in the name of a cookie came from another site',
    )
}

/** Whether every part of the alternative that decided is a cookie. */
function isByCookiesAlone({ security }: Route, { alternative = -1 }: Identification): boolean {
  const parts = security.alternatives[alternative] ?? []
  return parts.every(({ index }) => !security.authenticators[index]!.explicit)
}

/**
 * The head of a request for a WebSocket, its token put where tokens stand. Throws `cross-site-request` for a page that
 * may not open one: browsers let every page try, cookies included (RFC 6455 §10.2), and no CORS keeps the answer from it.
 */
export function admitUpgrade(gateway: Origins, head: RequestHead): RequestHead {
  if (!isWelcome(gateway, head))
    throw new Problem('cross-site-request', 'Scripts of this origin may not open a WebSocket')
  const lines = withBearerSubprotocol(head.fields)
  return lines === head.fields.raw ? head : { ...head, fields: createFields(lines) }
}

function isWelcome({ publicUrl, crossOrigin }: Origins, { fields, client }: RequestHead): boolean {
  const origin = fields.get('origin')
  if (origin === undefined) return true
  if (origin === `${client.protocol}://${client.host}`) return true
  // Behind a proxy that is not trusted the gateway does not see that it is reached over TLS.
  return origin === new URL(publicUrl).origin || crossOrigin?.allows(origin) === true
}
