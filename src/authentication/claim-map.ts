import { z } from 'zod'
import type { Caller } from './caller.ts'

/**
 * Where the properties of a caller stand among the claims of a token. A path is the name of a claim, names joined by
 * dots (`realm_access.roles`), or a JSON Pointer (RFC 6901) when names themselves hold dots
 * (`/https:~1~1example.com~1roles`; a claim whose whole name holds dots is found by that name as well).
 *
 * Of several paths, single values come from the first that is there; lists are joined in order.
 */
export interface ClaimMap {
  readonly subject: readonly string[]
  readonly clientId: readonly string[]
  readonly name: readonly string[]
  readonly email: readonly string[]
  readonly organization: readonly string[]
  readonly roles: readonly string[]
  readonly permissions: readonly string[]
  readonly scopes: readonly string[]
  readonly family: readonly string[]
}

/** RFC 7519, RFC 8693 §4.2, RFC 9068 §2.2, OpenID Connect Core §5.1, and what the large issuers call their tenant. */
export const defaultClaimMap: ClaimMap = {
  subject: ['sub'],
  clientId: ['client_id', 'azp', 'appid', 'cid'],
  name: ['name', 'preferred_username'],
  email: ['email'],
  organization: ['org', 'organization', 'org_id', 'tid'],
  roles: ['roles'],
  permissions: ['permissions'],
  scopes: ['scope', 'scp'],
  family: [],
}

const path = z.string().min(1, 'a path names at least one claim')
const paths = z.union([path.transform((one) => [one]), z.array(path).min(1, 'name at least one claim')], {
  error: 'the name of a claim, such as "roles" or "realm_access.roles", or a list of them',
})
const single = (subject: string, fallback: readonly string[]) =>
  paths
    .optional()
    .describe(`The claim that holds ${subject}; of a list the first that is there. Default: ${fallback.join(', ')}.`)
const list = (subject: string, fallback: readonly string[]) =>
  paths
    .optional()
    .describe(
      `The claim that holds ${subject}: a list, or a text with spaces or commas between; several claims are joined. Default: ${fallback.join(', ')}.`,
    )

/** `claims` of an issuer in services.json. */
export const claimMapSettings = z
  .strictObject({
    subject: single('who the caller is', defaultClaimMap.subject),
    clientId: single('the client the token was issued to', defaultClaimMap.clientId),
    name: single('the name to show', defaultClaimMap.name),
    email: single('the e-mail address', defaultClaimMap.email),
    organization: single('the organization or tenant', defaultClaimMap.organization),
    roles: list('the roles', defaultClaimMap.roles),
    permissions: list('the permissions', defaultClaimMap.permissions),
    scopes: list('the OAuth scopes', defaultClaimMap.scopes),
  })
  .describe(
    'Where the caller’s properties stand in a token: claim names, or paths with dots such as "realm_access.roles".',
  )

/** The operator's paths over the defaults. */
export function claimMapOf(settings: z.output<typeof claimMapSettings> = {}): ClaimMap {
  const given = Object.entries(settings).filter(([, value]) => value !== undefined)
  return { ...defaultClaimMap, ...Object.fromEntries(given) }
}

/** A claim has a form that it must not have; `claim` is its path. */
export interface MalformedClaim {
  readonly outcome: 'malformed'
  readonly claim: string
}

export interface MappedCaller {
  readonly outcome: 'mapped'
  readonly caller: Pick<Caller, 'subject' | 'roles' | 'permissions' | 'scopes'> &
    Partial<Pick<Caller, 'clientId' | 'name' | 'email' | 'organization' | 'family'>>
}

type Claims = Readonly<Record<string, unknown>>
type ReadClaim = (claims: Claims) => unknown

const longestValue = 1_024
const mostValues = 1_000
// biome-ignore lint/suspicious/noControlCharactersInRegex: these are what a header field must never carry
const control = /[\u0000-\u001f\u007f]/

/**
 * Compile a claim map into the function that reads one token's claims.
 *
 * A value that would decide something is believed only in the form that it must have: a text without control
 * characters, a list of such texts. Another form refuses the token, rather than some of its rights.
 */
export function compileClaimMap(map: ClaimMap): (claims: Claims) => MappedCaller | MalformedClaim {
  const subject = firstOf(map.subject)
  const optional = (['clientId', 'name', 'email', 'organization', 'family'] as const)
    .filter((property) => map[property].length > 0)
    .map((property) => [property, firstOf(map[property])] as const)
  const lists = [
    ['roles', allOf(map.roles, /[ ,]+/)],
    ['permissions', allOf(map.permissions, /[ ,]+/)],
    // RFC 6749 §3.3: spaces and nothing else.
    ['scopes', allOf(map.scopes, / +/)],
  ] as const

  return function mapClaims(claims) {
    const who = subject(claims)
    if (typeof who !== 'string' || who === '') return { outcome: 'malformed', claim: map.subject[0]! }
    const caller: Record<string, unknown> = { subject: who }
    for (const [property, read] of optional) {
      const value = read(claims)
      if (value === undefined) continue
      if (typeof value !== 'string') return value
      caller[property] = value
    }
    for (const [property, read] of lists) {
      const values = read(claims)
      if (!Array.isArray(values)) return values as MalformedClaim
      caller[property] = Object.freeze(values)
    }
    return { outcome: 'mapped', caller: caller as unknown as MappedCaller['caller'] }
  }
}

function firstOf(names: readonly string[]): (claims: Claims) => string | undefined | MalformedClaim {
  const readers = names.map((name) => [name, readerOf(name)] as const)
  return function readFirst(claims) {
    for (const [name, read] of readers) {
      // Some issuers keep an object under a name where others keep a text ("organization"): not the one that was meant.
      const value = read(claims)
      if (typeof value !== 'string') continue
      return isPlainText(value) ? value : { outcome: 'malformed', claim: name }
    }
    return undefined
  }
}

function allOf(names: readonly string[], separator: RegExp): (claims: Claims) => string[] | MalformedClaim {
  const readers = names.map((name) => [name, readerOf(name)] as const)
  return function readAll(claims) {
    const values = new Set<string>()
    for (const [name, read] of readers) {
      const value = read(claims)
      if (value === undefined || value === null) continue
      const elements = typeof value === 'string' ? value.split(separator) : value
      if (!Array.isArray(elements) || elements.length > mostValues || !elements.every(isPlainText))
        return { outcome: 'malformed', claim: name }
      for (const element of elements) if (element !== '') values.add(element)
    }
    return [...values]
  }
}

function isPlainText(value: unknown): value is string {
  return typeof value === 'string' && value.length <= longestValue && !control.test(value)
}

function readerOf(name: string): ReadClaim {
  const segments = name.startsWith('/')
    ? name
        .slice(1)
        .split('/')
        .map((segment) => segment.replaceAll('~1', '/').replaceAll('~0', '~'))
    : name.split('.')
  if (segments.length === 1) return (claims) => own(claims, segments[0]!)
  return function readNested(claims) {
    // Claim names that are URLs hold dots: the whole name is tried before its parts.
    const whole = own(claims, name)
    if (whole !== undefined) return whole
    let value: unknown = claims
    for (const segment of segments) value = own(value, segment)
    return value
  }
}

/** A member the token itself has: `constructor` is none. */
function own(value: unknown, name: string): unknown {
  if (value === null || typeof value !== 'object' || Array.isArray(value) || !Object.hasOwn(value, name))
    return undefined
  return (value as Record<string, unknown>)[name]
}
