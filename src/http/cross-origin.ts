import type { RequestHead } from './request-head.ts'

/**
 * Whose scripts may call, by the CORS protocol (Fetch §3.2). An origin is compared as a whole: no patterns, nothing that
 * looks like it, and never `null`, which is what every sandboxed page and every local file calls itself.
 */
export interface CrossOriginPolicy {
  allows(origin: string | undefined): boolean
  /** Header lines, flat, of every answer; `origin` as the request says it. Never to be changed. */
  answerLines(origin: string | undefined): readonly string[]
  /** Further header fields of the answer to a preflight of an allowed origin; see `preflightOf`. */
  preflightFields(preflight: Preflight): Readonly<Record<string, string>>
}

export interface CrossOriginSettings {
  /** Serialized origins: `https://app.example`. */
  readonly origins: readonly string[]
  /** Names of the services' own header fields that scripts may read. */
  readonly expose: readonly string[]
}

/** What a browser asks before it sends a request that no form could send (Fetch §4.8). */
export interface Preflight {
  /** Names of header fields as the browser lists them; empty when there are none. */
  readonly headers: string
}

/** What a service must not say once the gateway decides: a second word would be another policy. */
export const crossOriginFields = [
  'access-control-allow-origin',
  'access-control-allow-credentials',
  'access-control-allow-methods',
  'access-control-allow-headers',
  'access-control-allow-private-network',
  'access-control-expose-headers',
  'access-control-max-age',
] as const

/** What the gateway itself says in an answer, besides what every script may read. */
const exposed = ['X-Request-ID', 'RateLimit', 'RateLimit-Policy', 'Retry-After', 'WWW-Authenticate']
/** All that are served: a browser then asks once for an address and not once for each method. */
const methods = 'GET, HEAD, POST, PUT, PATCH, DELETE, OPTIONS'
/** Seconds; the longest that every browser heeds. */
const maxAge = '600'
/** Where Origin matters at all it matters for every answer, also for one without it (Fetch §3.2.5). */
const vary = ['Vary', 'Origin'] as const

/** Undefined when no other origin may call: then nothing is said, and services may have policies of their own. */
export function createCrossOriginPolicy({ origins, expose }: CrossOriginSettings): CrossOriginPolicy | undefined {
  if (origins.length === 0) return undefined
  const readable = [...exposed, ...expose].join(', ')
  const lines = new Map(
    origins.map((origin) => [
      origin,
      [
        ...['Access-Control-Allow-Origin', origin, 'Access-Control-Allow-Credentials', 'true'],
        ...['Access-Control-Expose-Headers', readable, ...vary],
      ],
    ]),
  )
  return {
    allows: (origin) => origin !== undefined && lines.has(origin),
    answerLines: (origin) => (origin === undefined ? undefined : lines.get(origin)) ?? vary,
    preflightFields: ({ headers }) => ({
      'Access-Control-Allow-Methods': methods,
      // With credentials a `*` would be a name like any other, so what is asked for is what is granted.
      ...(headers !== '' && { 'Access-Control-Allow-Headers': headers }),
      'Access-Control-Max-Age': maxAge,
    }),
  }
}

/** RFC 9110 §5.6.2, with commas between; a browser sends it sorted and in lower case. */
const names = /^[!#$%&'*+.^`|~0-9A-Za-z-]+(?:, ?[!#$%&'*+.^`|~0-9A-Za-z-]+)*$/
/** A request may have 100 fields; nobody needs a list longer than this. */
const longestNames = 4_096

/**
 * The preflight that a request is, or undefined when it is an ordinary one: OPTIONS is a method that services may offer.
 * A list of names that cannot be one is taken as no list, so that the browser finds none of its names granted.
 */
export function preflightOf({ method, fields }: Pick<RequestHead, 'method' | 'fields'>): Preflight | undefined {
  if (method !== 'OPTIONS' || fields.get('origin') === undefined) return undefined
  if (fields.get('access-control-request-method') === undefined) return undefined
  const headers = fields.get('access-control-request-headers') ?? ''
  return { headers: headers.length <= longestNames && names.test(headers) ? headers : '' }
}
