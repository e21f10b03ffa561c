import { Problem } from './problem.ts'
import type { Fields } from './request-head.ts'

/** Credentials in the Authorization field (RFC 9110 §11.6.2): Bearer (RFC 6750 §2.1) and Basic (RFC 7617), and their challenges. */

/** What a request shows of one kind of credential. */
export type Presented<T> =
  | { readonly outcome: 'absent' }
  | { readonly outcome: 'presented'; readonly value: T }
  /** Something is there that was meant to be the credential; the 400 or 401 to answer. */
  | { readonly outcome: 'malformed'; readonly problem: Problem }

const absent = Object.freeze({ outcome: 'absent' })

/** Longest token that is looked at, in bytes. */
export const longestToken = 8_192

/**
 * The bearer token: the scheme in any case, one or more spaces, a token68 of at most 8,192 bytes (RFC 9110 §11.2).
 * Another scheme is no bearer token; anything that begins like this scheme and is not it, is malformed.
 */
export function bearerToken(fields: Fields): Presented<string> {
  return checkedBearer(bearerText(fields))
}

/** The same, with characters that are not looked at: whoever knows the text already knows that they are good. */
export function bearerText(fields: Fields): Presented<string> {
  const found = credentials(fields, 'bearer')
  if (found.outcome !== 'presented' || found.value.length <= longestToken) return found
  return malformedToken(`The token is longer than ${longestToken} bytes`)
}

/** What `bearerText` has found, as `bearerToken` would say it. */
export function checkedBearer(found: Presented<string>): Presented<string> {
  if (found.outcome !== 'presented' || isToken68(found.value)) return found
  return malformedToken('The Authorization field is not "Bearer", a space and one token')
}

export interface BasicCredentials {
  readonly username: string
  readonly password: string
}

const base64 = /^(?:[A-Za-z0-9+/]{4})*(?:[A-Za-z0-9+/]{2}==|[A-Za-z0-9+/]{3}=)?$/
const control = /\p{Cc}/u
const utf8 = new TextDecoder('utf-8', { fatal: true, ignoreBOM: true })

/** User name and password, as UTF-8 (RFC 7617 §2.1). The password may hold colons, the name may not. */
export function basicCredentials(fields: Fields): Presented<BasicCredentials> {
  const found = credentials(fields, 'basic')
  if (found.outcome !== 'presented') return found
  if (!base64.test(found.value)) return malformedBasic()
  let text: string
  try {
    text = utf8.decode(Buffer.from(found.value, 'base64'))
  } catch {
    return malformedBasic()
  }
  const colon = text.indexOf(':')
  if (colon < 0 || control.test(text)) return malformedBasic()
  return { outcome: 'presented', value: { username: text.slice(0, colon), password: text.slice(colon + 1) } }
}

/**
 * One challenge for WWW-Authenticate (RFC 9110 §11.6.1, RFC 6750 §3): `Bearer realm="orders", error="invalid_token"`.
 * Every value is a quoted-string of the characters that RFC 6750 allows; others are replaced. Undefined ones are left out.
 */
export function challenge(scheme: string, parameters: Readonly<Record<string, string | undefined>> = {}): string {
  const written = Object.entries(parameters).flatMap(([name, value]) =>
    value === undefined ? [] : [`${name}="${value.replace(/["\\]/g, "'").replace(/[^ -~]/g, '?')}"`],
  )
  return written.length === 0 ? scheme : `${scheme} ${written.join(', ')}`
}

/** What follows the scheme and its spaces. `scheme` in lower case. */
function credentials(fields: Fields, scheme: string): Presented<string> {
  const lines = fields.all('authorization')
  const value = lines[0]
  if (value === undefined) return absent
  if (lines.length > 1) {
    const problem = new Problem('ambiguous-credentials', 'There is more than one Authorization field')
    return { outcome: 'malformed', problem }
  }
  if (value.slice(0, scheme.length).toLowerCase() !== scheme) return absent
  let start = scheme.length
  while (value.charCodeAt(start) === 0x20) start++
  // `Bearerabc` is neither this scheme nor a known other one: more likely a mistake than a stranger.
  return { outcome: 'presented', value: start === scheme.length ? '' : value.slice(start) }
}

// RFC 9110 §11.2: 1*( ALPHA / DIGIT / "-" / "." / "_" / "~" / "+" / "/" ) *"="
const token68 = /^[A-Za-z0-9\-._~+/]+=*$/

function isToken68(text: string): boolean {
  return token68.test(text)
}

function malformedToken(detail: string): Presented<never> {
  const field = challenge('Bearer', { error: 'invalid_token', error_description: detail })
  return {
    outcome: 'malformed',
    problem: new Problem('invalid-token', detail, { fields: { 'WWW-Authenticate': field } }),
  }
}

function malformedBasic(): Presented<never> {
  const detail = 'The Authorization field is not "Basic", a space, and user name and password in base64'
  return { outcome: 'malformed', problem: new Problem('bad-request', detail) }
}
