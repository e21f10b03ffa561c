/**
 * Every way a request can end badly, as one table (RFC 9457 problem details).
 *
 * `code` is stable: clients and dashboards may rely on it. `title` says what kind of thing happened,
 * `detail` (given when it is thrown) what happened here. Neither ever holds a token, a stack, or the
 * address of a backend.
 */
interface ProblemDefinition {
  readonly status: number
  readonly title: string
}

export const problems = {
  'bad-request': { status: 400, title: 'The request is malformed' },
  'ambiguous-target': { status: 400, title: 'The request target can be read in more than one way' },
  'ambiguous-credentials': { status: 400, title: 'More than one credential of the same kind was sent' },
  'underscore-field': { status: 400, title: 'Header field names with underscores are refused' },
  'sign-in-refused': { status: 400, title: 'The sign-in was not completed' },
  'invalid-request-content': { status: 400, title: 'The request does not fit the description of the operation' },
  'no-credentials': { status: 401, title: 'Authentication is required' },
  'invalid-token': { status: 401, title: 'The access token is not valid' },
  'token-expired': { status: 401, title: 'The access token has expired' },
  'invalid-api-key': { status: 401, title: 'The API key is not valid' },
  'invalid-session': { status: 401, title: 'The session is not valid' },
  'insufficient-role': { status: 403, title: 'The caller lacks a role' },
  'insufficient-permission': { status: 403, title: 'The caller lacks a permission' },
  'insufficient-scope': { status: 403, title: 'The access token lacks a scope' },
  'policy-denied': { status: 403, title: 'A policy refuses the request' },
  'token-refused': { status: 403, title: 'The caller gets no token for the service' },
  'cross-site-request': { status: 403, title: 'The request comes from another site' },
  'not-found': { status: 404, title: 'Nothing answers at this path' },
  'method-not-allowed': { status: 405, title: 'The method is not offered at this path' },
  conflict: { status: 409, title: 'The thing is in a state that does not allow this' },
  'request-timeout': { status: 408, title: 'The request did not arrive in time' },
  'body-too-large': { status: 413, title: 'The request body is too large' },
  'target-too-long': { status: 414, title: 'The request target is too long' },
  'unsupported-media-type': { status: 415, title: 'The media type of the body is not supported' },
  'expectation-failed': { status: 417, title: 'The expectation cannot be met' },
  'misdirected-request': { status: 421, title: 'This host is not served here' },
  'upgrade-required': { status: 426, title: 'The protocol version is not supported' },
  'rate-limited': { status: 429, title: 'Too many requests' },
  'quota-exceeded': { status: 429, title: 'The quota is used up' },
  'fields-too-large': { status: 431, title: 'The request header section is too large' },
  'client-closed-request': { status: 499, title: 'The client left before the answer' },
  'internal-error': { status: 500, title: 'The gateway failed' },
  'method-not-implemented': { status: 501, title: 'The method or transfer coding is not implemented' },
  'upstream-unreachable': { status: 502, title: 'The service could not be reached' },
  'upstream-invalid-response': { status: 502, title: 'The service gave an answer that is not valid HTTP' },
  'upstream-disconnected': { status: 502, title: 'The service closed the connection before it answered' },
  'resource-unavailable': { status: 502, title: 'What the decision depends on could not be read' },
  'part-failed': { status: 502, title: 'A part of the answer could not be had' },
  'no-healthy-target': { status: 503, title: 'No instance of the service is available' },
  overloaded: { status: 503, title: 'The gateway is at its limit' },
  'issuer-unavailable': { status: 503, title: 'The token cannot be checked right now' },
  'store-unavailable': { status: 503, title: 'The gateway cannot reach its store' },
  starting: { status: 503, title: 'The gateway is not ready' },
  'upstream-timeout': { status: 504, title: 'The service did not answer in time' },
  'version-not-supported': { status: 505, title: 'The HTTP version is not supported' },
  'loop-detected': { status: 508, title: 'The request came back to the gateway that sent it' },
} as const satisfies Record<string, ProblemDefinition>

export type ProblemCode = keyof typeof problems

/** Where the descriptions of the codes are published; `type` is this plus the code. */
export const problemTypeBase = 'urn:sallyport:problem:'

export interface ProblemOptions {
  /** For the log, never for the caller. */
  readonly cause?: unknown
  /** Header fields of the answer, such as `Retry-After` or `WWW-Authenticate`. */
  readonly fields?: Readonly<Record<string, string | readonly string[]>>
  /** Extension members of the problem body (RFC 9457 §3.2). */
  readonly members?: Readonly<Record<string, unknown>>
}

/** Something that happened outside and ends the request. Thrown anywhere, answered in `middleware/problems.ts`. */
export class Problem extends Error {
  readonly code: ProblemCode
  readonly status: number
  readonly title: string
  /** One or two sentences for the caller: what happened and what would be right. */
  readonly detail: string
  readonly fields: Readonly<Record<string, string | readonly string[]>>
  readonly members: Readonly<Record<string, unknown>>

  constructor(code: ProblemCode, detail: string, options: ProblemOptions = {}) {
    super(detail, options.cause === undefined ? undefined : { cause: options.cause })
    this.name = 'Problem'
    this.code = code
    this.status = problems[code].status
    this.title = problems[code].title
    this.detail = detail
    this.fields = options.fields ?? {}
    this.members = options.members ?? {}
  }

  /** The body of an `application/problem+json` answer; `instance` is the request id. */
  body(instance: string): Record<string, unknown> {
    return {
      type: `${problemTypeBase}${this.code}`,
      title: this.title,
      status: this.status,
      code: this.code,
      detail: this.detail,
      instance,
      ...this.members,
    }
  }
}
