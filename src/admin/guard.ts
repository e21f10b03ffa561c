import { isIP } from 'node:net'
import type { Middleware } from 'koa'
import { Problem } from '../http/problem.ts'

/**
 * The admin port asks nobody who they are: whoever can reach it may use it. What must be kept out are pages of other
 * sites, open in the browser of somebody who can.
 *
 * 1. `Host` is an address, `localhost` or the host of `gateway.admin`: a name that was made to lead here (DNS
 *    rebinding) is neither. `/metrics` is left out, because scrapers call it by whatever name the network gives it.
 * 2. A browser says in Sec-Fetch-Site whose page asks (Fetch Metadata), and in Origin where that page is from.
 *
 * There is no CORS: no other origin may read an answer, and a body must be JSON, which no form can send.
 */
export function guardAdmin(host: string): Middleware {
  const own = host.toLowerCase()
  return function guardAdmin(ctx, next) {
    const asked = ctx.get('Host').toLowerCase()
    // 1.
    if (ctx.path !== '/metrics' && !isOwnName(nameOf(asked), own))
      throw new Problem('misdirected-request', 'Call the admin port by its address, or as localhost')
    // 2.
    const site = ctx.get('Sec-Fetch-Site')
    const origin = ctx.get('Origin').toLowerCase()
    const foreign = origin !== '' && origin !== `http://${asked}` && origin !== `https://${asked}`
    if (foreign || (site !== '' && site !== 'same-origin' && site !== 'none'))
      throw new Problem('cross-site-request', 'Pages of other sites may not use the admin port')
    return next()
  }
}

function isOwnName(name: string, own: string): boolean {
  return name === 'localhost' || name === own || isIP(name) !== 0
}

/** The host without its port, and an IPv6 address without its brackets. */
function nameOf(host: string): string {
  const bracketed = /^\[([^\]]*)\](?::\d*)?$/.exec(host)
  return bracketed ? bracketed[1]! : host.replace(/:\d*$/, '')
}
