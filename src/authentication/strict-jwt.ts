import { longestToken } from '../http/credentials.ts'
import { parseJson } from '../http/json.ts'

const deepestNesting = 16

/** A token in the JWS Compact Serialization whose two JSON parts can be read in exactly one way. Nothing in it is verified. */
export interface StrictJwt {
  readonly outcome: 'parsed'
  readonly header: JoseHeader
  readonly claims: Readonly<Record<string, unknown>>
  /** Header parameters nobody here knows (RFC 7515 §4.2, §4.3); the issuer's profile says whether they may be ignored. */
  readonly unlisted: readonly string[]
}

export interface JoseHeader {
  readonly alg: string
  readonly kid?: string
  readonly typ?: string
}

export type MalformedReason =
  | 'size'
  | 'parts'
  | 'encrypted'
  | 'encoding'
  | 'utf-8'
  | 'json'
  | 'duplicate-member'
  | 'nesting'
  | 'header-parameter'
  | 'unsigned'

export interface MalformedJwt {
  readonly outcome: 'malformed'
  /** The first rule that the text broke. */
  readonly reason: MalformedReason
}

/**
 * What becomes of a JOSE header parameter. Pointers to keys are never followed and keys inside a token are never
 * believed (RFC 8725 §3.10): the gateway has the keys of its issuers. What changes how the token would have to be
 * read is refused. `crit` names extensions that must be understood, and we understand none (RFC 7515 §4.1.11).
 */
const headerParameters: ReadonlyMap<string, 'read' | 'ignored' | 'refused'> = new Map([
  ['alg', 'read'],
  ['kid', 'read'],
  ['typ', 'read'],
  ['jku', 'ignored'],
  ['x5u', 'ignored'],
  ['x5t', 'ignored'],
  ['x5t#S256', 'ignored'],
  ['jwk', 'refused'],
  ['x5c', 'refused'],
  ['crit', 'refused'],
  ['b64', 'refused'],
  ['cty', 'refused'],
  ['zip', 'refused'],
  ['enc', 'refused'],
  ['epk', 'refused'],
  ['p2c', 'refused'],
])

const alphabet = /^[\w-]*$/

/**
 * The text may hold this character last: a part whose length leaves a remainder of 2 or 3 has 4 or 2 bits that
 * stand for nothing, and they must be zero (RFC 4648 §3.5). Otherwise one token has many spellings.
 */
const lastCharacters = { 2: 'AQgw', 3: 'AEIMQUYcgkosw048' } as const

/** A JWS whose header has been read and whose payload has not. */
export interface StrictJws {
  readonly outcome: 'parsed'
  readonly header: JoseHeader
  readonly unlisted: readonly string[]
  /** Canonical base64url; empty when there is no payload. */
  readonly payload: string
}

/**
 * Read a token as strictly as RFC 7515 §7.1, RFC 7519 §7.2 and RFC 8725 allow, before any key is chosen.
 *
 * jsonwebtoken and jose are more lenient, each in its own way: padding, spaces, equal members, `1e400`, a byte order
 * mark, `crit`. Behind this function there is one spelling of a token and one meaning.
 *
 * 1. At most `longestToken` characters, three parts, canonical base64url.
 * 2. The header holds `alg`, at most `kid` and `typ`, all strings, and nothing that must be refused.
 * 3. Each JSON part is UTF-8, one object, without equal member names, `__proto__`, endless numbers or lone surrogates,
 *    and at most 16 levels deep.
 */
export function parseStrictJwt(token: string): StrictJwt | MalformedJwt {
  const jws = parseStrictJws(token)
  if (jws.outcome === 'malformed') return jws
  // 3.
  const claims = parseObject(jws.payload)
  if (typeof claims === 'string') return malformed(claims)
  return { outcome: 'parsed', header: jws.header, unlisted: jws.unlisted, claims }
}

/** Steps 1 and 2 alone: the payload may be anything. */
export function parseStrictJws(token: string): StrictJws | MalformedJwt {
  // 1.
  if (token.length > longestToken) return malformed('size')
  const parts = token.split('.', 6)
  if (parts.length === 5) return malformed('encrypted')
  if (parts.length !== 3) return malformed('parts')
  const [headerText, payload, signature] = parts as [string, string, string]
  if (signature === '') return malformed('unsigned')
  if (!isCanonical(headerText) || !isCanonical(payload) || !isCanonical(signature)) return malformed('encoding')

  // 2.
  const header = parseObject(headerText)
  if (typeof header === 'string') return malformed(header)
  let unlisted: string[] | undefined
  for (const name of Object.keys(header)) {
    const rule = headerParameters.get(name)
    if (rule === 'refused') return malformed('header-parameter')
    if (rule === undefined) {
      unlisted ??= []
      unlisted.push(name)
    }
  }
  const { alg, kid, typ } = header
  if (typeof alg !== 'string' || !isOptionalString(kid) || !isOptionalString(typ)) return malformed('header-parameter')
  return {
    outcome: 'parsed',
    header: { alg, ...(kid !== undefined && { kid }), ...(typ !== undefined && { typ }) },
    unlisted: unlisted ?? none,
    payload,
  }
}

/** Whether a text means to be a JWS or JWE in compact serialization, however badly, so that it is no opaque token. */
export function looksLikeJwt(token: string): boolean {
  return jwtForm.test(token)
}

// "ey" is how a JSON object begins in base64url.
const jwtForm = /^ey[^.]*\.[^.]*\./

const none: readonly string[] = Object.freeze([])

function malformed(reason: MalformedReason): MalformedJwt {
  return { outcome: 'malformed', reason }
}

function isOptionalString(value: unknown): value is string | undefined {
  return value === undefined || typeof value === 'string'
}

function isCanonical(part: string): boolean {
  const remainder = part.length % 4
  if (remainder === 1 || !alphabet.test(part)) return false
  return remainder === 0 || lastCharacters[remainder as 2 | 3].includes(part.at(-1)!)
}

function parseObject(part: string): Record<string, unknown> | MalformedReason {
  const parsed = parseJson(Buffer.from(part, 'base64url'), deepestNesting)
  if (parsed.outcome === 'malformed') return parsed.reason
  const { value } = parsed
  if (value === null || typeof value !== 'object' || Array.isArray(value)) return 'json'
  return value as Record<string, unknown>
}
