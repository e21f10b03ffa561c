/** Endpoints below the mount point, and the sign-in page's path. */
export const routes = {
  authorization: '/authorize',
  token: '/token',
  revocation: '/revoke',
  introspection: '/introspect',
  jwks: '/jwks',
  end_session: '/end-session',
} as const
export const loginPath = '/login'

/** The issuer's own path for a path of the gateway; undefined for one that is not the issuer's. */
export function createIssuerPaths(issuer: string): (path: string) => string | undefined {
  const base = new URL(issuer).pathname
  const aliases = new Map([
    ['/token', `${base}${routes.token}`],
    // RFC 8414 §3.1 puts the well-known part first.
    [`/.well-known/oauth-authorization-server${base}`, `${base}/.well-known/oauth-authorization-server`],
  ])
  return function issuerPath(path) {
    const own = aliases.get(path) ?? path
    return own === base || own.startsWith(`${base}/`) ? own : undefined
  }
}

/** The prefixes (RFC 6265bis §4.1.3) are for https alone. */
export function cookieNamesOf(publicUrl: string) {
  const secure = publicUrl.startsWith('https:')
  return {
    session: `${secure ? '__Host-' : ''}issuer-session`,
    interaction: `${secure ? '__Secure-' : ''}issuer-interaction`,
    resume: `${secure ? '__Secure-' : ''}issuer-resume`,
  } as const
}
