import { challenge } from '../http/credentials.ts'
import { Problem } from '../http/problem.ts'
import { type Authentication, type Authenticator, absent } from './authenticator.ts'
import type { Caller } from './caller.ts'

export interface ClientPrincipalSettings {
  /** The name under `securitySchemes`; also the `issuer` of the callers. */
  readonly scheme: string
  /** The name of the header field, `X-MS-CLIENT-PRINCIPAL`. */
  readonly field: string
  readonly revoked: (caller: Caller) => boolean | Promise<boolean>
}

/** The field's content: what Azure App Service and Container Apps write about who they have authenticated. */
interface Principal {
  readonly auth_typ?: unknown
  /** The types of the claims that hold name and roles. */
  readonly name_typ?: unknown
  readonly role_typ?: unknown
  readonly claims: readonly { readonly typ: string; readonly val: string }[]
}

/** Claims go by the names of tokens or by those that Windows once gave them. */
const claimTypes = {
  subject: [
    'http://schemas.microsoft.com/identity/claims/objectidentifier',
    'oid',
    'http://schemas.xmlsoap.org/ws/2005/05/identity/claims/nameidentifier',
    'sub',
  ],
  email: [
    'http://schemas.xmlsoap.org/ws/2005/05/identity/claims/emailaddress',
    'email',
    'preferred_username',
    'http://schemas.xmlsoap.org/ws/2005/05/identity/claims/upn',
  ],
  organization: ['http://schemas.microsoft.com/identity/claims/tenantid', 'tid'],
  scopes: ['http://schemas.microsoft.com/identity/claims/scope', 'scp'],
} as const

const longest = 32_768
const base64 = /^[A-Za-z0-9+/]+={0,2}$/

/**
 * The authenticator of an `apiKey` scheme with `principal`: Azure Easy Auth has authenticated the caller and says so in
 * a header field, as base64 of a JSON object. It is not signed: whoever can reach the gateway could write it. So it is
 * believed from `gateway.trustedProxies` alone, and refused from everybody else.
 */
export function createClientPrincipalAuthenticator({ scheme, field, revoked }: ClientPrincipalSettings): Authenticator {
  const name = field.toLowerCase()

  function rejected(reason: string, detail: string): Authentication {
    return { outcome: 'rejected', problem: new Problem('invalid-token', detail), reason }
  }

  return {
    scheme,
    names: 'roles',
    location: { in: 'header', name },
    explicit: true,
    challenge: challenge('ApiKey', { realm: 'sallyport', in: 'header', name: field }),
    authenticate: function authenticatePrincipal({ fields, client }) {
      const values = fields.all(name)
      if (values.length === 0) return absent
      if (!client.viaTrustedProxy) return rejected('untrusted', `${field} is believed from trusted proxies only.`)
      if (values.length > 1) return rejected('several', `${field} arrived more than once.`)
      const principal = parse(values[0]!)
      const caller = principal && callerOf(principal, scheme)
      if (!caller) return rejected('malformed', `${field} does not say who the caller is.`)
      const verdict = revoked(caller)
      const conclude = (isRevoked: boolean): Authentication =>
        isRevoked
          ? rejected('revoked', 'The caller has been locked out.')
          : { outcome: 'accepted', caller, credential: values[0]! }
      return verdict instanceof Promise ? verdict.then(conclude) : conclude(verdict)
    },
  }
}

function parse(text: string): Principal | undefined {
  if (text.length > longest || !base64.test(text)) return undefined
  try {
    const value: unknown = JSON.parse(Buffer.from(text, 'base64').toString('utf8'))
    if (value === null || typeof value !== 'object') return undefined
    const { claims } = value as { claims?: unknown }
    if (!Array.isArray(claims)) return undefined
    const sound = claims.every((claim) => typeof claim?.typ === 'string' && typeof claim.val === 'string')
    return sound ? (value as Principal) : undefined
  } catch {
    return undefined
  }
}

function callerOf({ auth_typ, name_typ, role_typ, claims }: Principal, issuer: string): Caller | undefined {
  const all = (type: unknown) => claims.filter(({ typ }) => typ === type).map(({ val }) => val)
  const first = (types: readonly string[]) => types.flatMap(all).find((value) => value !== '')
  const subject = first(claimTypes.subject)
  if (subject === undefined) return undefined
  const [name] = all(name_typ)
  const email = first(claimTypes.email)
  const organization = first(claimTypes.organization)
  return Object.freeze({
    subject,
    issuer,
    ...(name !== undefined && { name }),
    ...(email !== undefined && { email }),
    ...(organization !== undefined && { organization }),
    roles: Object.freeze(all(role_typ)),
    permissions: Object.freeze([]),
    scopes: Object.freeze((first(claimTypes.scopes) ?? '').split(' ').filter((scope) => scope !== '')),
    claims: Object.freeze({ auth_typ, ...grouped(claims) }),
    method: 'easy-auth',
  } satisfies Caller)
}

/** One value as itself, several as a list. No prototype, so that no type finds anything but a claim. */
function grouped(claims: Principal['claims']): Record<string, string | string[]> {
  const found: Record<string, string | string[]> = Object.create(null)
  for (const { typ, val } of claims) {
    const before = found[typ]
    found[typ] = before === undefined ? val : [...[before].flat(), val]
  }
  return found
}
