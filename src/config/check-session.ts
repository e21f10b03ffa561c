import type { SecuritySchemeDefinition } from './schema.ts'
import { unknownName } from './suggest.ts'
import { isObject, type Path } from './text.ts'

type Complain = (path: Path, message: string) => void
type ApiKeyScheme = Extract<SecuritySchemeDefinition, { type: 'apiKey' }>
type SessionDefinition = NonNullable<ApiKeyScheme['session']>
type Raw = Readonly<Record<string, unknown>>

/** The client id that the gateway has at its own issuer. */
export const sessionClientId = 'sallyport-session'

/** What a session needs of the scheme around it, of the address of the gateway and of its issuer. */
export function checkSession(
  scheme: ApiKeyScheme,
  session: SessionDefinition,
  path: Path,
  { issuers, gateway }: { readonly issuers: Raw; readonly gateway: Raw },
  complain: Complain,
): void {
  if (scheme.in !== 'cookie') complain([...path, 'in'], 'a session stands in a cookie: "in": "cookie"')
  if (scheme.issuers || scheme.keys || scheme.principal)
    complain([...path, 'session'], 'a scheme is either a session or takes keys, tokens or a principal')
  checkCookie(scheme.name, session.insecure, path, gateway['publicUrl'], complain)
  const issuer = issuers[session.issuer]
  if (!isObject(issuer)) {
    complain([...path, 'session', 'issuer'], unknownName(session.issuer, 'issuer', Object.keys(issuers)))
    return
  }
  if (issuer['type'] === 'embedded') checkEmbedded(session, issuer, [...path, 'session'], complain)
  else checkForeign(session, issuer['type'], [...path, 'session'], complain)
}

function checkCookie(name: string, insecure: boolean, path: Path, publicUrl: unknown, complain: Complain): void {
  if (insecure) {
    if (/^__(?:Host|Secure)-/i.test(name))
      complain([...path, 'name'], 'browsers take this name only with Secure; without it choose one such as "sallyport"')
    return
  }
  if (!name.startsWith('__Host-')) {
    const message = `the name starts with "__Host-", so that no other host can set the cookie: "__Host-${name}"`
    complain([...path, 'name'], message)
  }
  if (typeof publicUrl !== 'string' || !URL.canParse(publicUrl) || keepsSecureCookies(new URL(publicUrl))) return
  complain(
    [...path, 'session'],
    `browsers keep no Secure cookie at ${publicUrl}: put TLS in front and say so in gateway.publicUrl, or set ` +
      '"insecure": true here and a name without "__Host-"',
  )
}

function checkEmbedded(session: SessionDefinition, issuer: Raw, path: Path, complain: Complain): void {
  for (const key of ['clientId', 'clientSecret'] as const) {
    if (session[key] !== undefined) complain([...path, key], 'the embedded issuer knows the gateway; leave this out')
  }
  const { grants, clients } = issuer
  const name = session.issuer
  if (Array.isArray(grants) && !grants.includes('authorization_code'))
    complain([...path, 'issuer'], `people sign in with "authorization_code", which is not a grant of "${name}"`)
  const index = Array.isArray(clients) ? clients.findIndex((client) => client?.id === sessionClientId) : -1
  if (index >= 0) complain(['issuers', name, 'clients', index, 'id'], `"${sessionClientId}" is the gateway itself`)
}

function checkForeign(session: SessionDefinition, type: unknown, path: Path, complain: Complain): void {
  const { issuer, clientId } = session
  if (type !== 'oidc')
    complain(
      [...path, 'issuer'],
      `nobody can sign in at "${issuer}": sessions need an issuer of type "embedded" or "oidc"`,
    )
  else if (clientId === undefined)
    complain([...path, 'clientId'], `who is the gateway to "${issuer}"? Register it there and name its client id`)
}

/** Browsers treat a machine's own names as secure. */
function keepsSecureCookies({ protocol, hostname }: URL): boolean {
  if (protocol === 'https:') return true
  return /^(?:localhost|.+\.localhost|127\..+|\[::1\])$/.test(hostname)
}

/** A principal needs somebody who may write it. */
export function checkPrincipal(scheme: ApiKeyScheme, path: Path, gateway: Raw, complain: Complain): void {
  if (scheme.in !== 'header') complain([...path, 'in'], 'a principal stands in a header field: "in": "header"')
  if (scheme.issuers || scheme.keys)
    complain([...path, 'principal'], 'a scheme with a principal takes neither keys nor tokens')
  const proxies = gateway['trustedProxies']
  if (!Array.isArray(proxies) || proxies.length === 0)
    complain(
      [...path, 'principal'],
      'nobody is believed: name the proxies that write the field in gateway.trustedProxies',
    )
}
