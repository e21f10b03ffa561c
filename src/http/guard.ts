import type { IncomingMessage, ServerOptions } from 'node:http'
import { isName } from './fields.ts'
import { isHost } from './host.ts'
import { longestTarget } from './path.ts'
import { Problem } from './problem.ts'
import { isLooseRequestLine } from './request-line.ts'

/**
 * What Node's parser lets pass and a gateway must not (RFC 9110, RFC 9112): checked on the raw request before anything reads it.
 *
 * 1. The version is 1.0 or 1.1; the parser also takes 0.9, 2.0 and a request line with further spaces (RFC 9112 §2.3, §3).
 * 2. The method is one that is served (RFC 9110 §9.1), the target not too long.
 * 3. There are not too many fields, and none has an underscore: WSGI and CGI servers read `User_ID` as `User-ID`.
 * 4. Of Host there is one that is well formed (RFC 9112 §3.2); HTTP/1.0 may have none.
 * 5. Transfer-Encoding is absent or `chunked`, once, in 1.1 (RFC 9112 §6.1); Content-Length has no leading zero,
 *    which some servers take for octal.
 * 6. There is one Authorization line at most, with one token: Node shows only the first line, a backend may read the last.
 * 7. Expect says `100-continue` or nothing (RFC 9110 §10.1.1).
 *
 * What the parser itself refuses is not repeated here: conflicting lengths, folded lines, bare LF, bad characters.
 */
export interface GuardLimits {
  /** Methods that are served, in capitals. */
  readonly methods: readonly string[]
  /** Most field lines in one request. */
  readonly fields: number
  /** Longest request target of any form, in bytes. */
  readonly target: number
}

export const guardLimits: GuardLimits = {
  methods: ['GET', 'HEAD', 'POST', 'PUT', 'PATCH', 'DELETE', 'OPTIONS'],
  fields: 100,
  target: longestTarget,
}

/**
 * How the server must be made for the guard to hold. With an `upgrade` listener also hand over `checkContinue` and
 * `checkExpectation` to the request handler: else Node says `100 Continue` before anybody has looked at the request.
 */
export const serverOptions = {
  /** A request without Host is refused by the parser, before a request object is made (RFC 9112 §3.2). */
  requireHostHeader: true,
  /** The lenient parser accepts what request smuggling is made of. */
  insecureHTTPParser: false,
  /** Bytes of request line and fields together; more is 431. */
  maxHeaderSize: 16_384,
  /** A head that trickles in is given up after this time; one connection per attacker and 10 s, instead of 60 s. */
  headersTimeout: 10_000,
  /** How often the two timeouts are looked at. The default of 30 s would make them 40 s and 330 s. */
  connectionsCheckingInterval: 1_000,
  /** Repeated fields stay lines of their own: joining them would hide the second one. */
  joinDuplicateHeaders: false,
  /** A request without a body gets no body stream; 15 % less CPU for a GET. */
  optimizeEmptyRequests: true,
  /** Only WebSocket is tunnelled (RFC 6455 §4.1); `Upgrade: h2c` and all others are ignored, as RFC 9110 §7.8 allows. */
  shouldUpgradeCallback: (request) => request.headers.upgrade?.toLowerCase() === 'websocket',
} as const satisfies ServerOptions

export type RawRequest = Pick<IncomingMessage, 'httpVersion' | 'method' | 'url' | 'rawHeaders'> & {
  readonly socket?: IncomingMessage['socket']
}

/** Returns the function that looks at one raw request and returns the `Problem` to answer, or undefined when it may go on. */
export function createGuard(limits: Partial<GuardLimits> = {}) {
  const { methods, fields, target } = { ...guardLimits, ...limits }
  const served = new Set(methods)
  const allow = methods.join(', ')

  /** Connections on which nothing more is believed: the parser goes on to the next request in its buffer before they close. */
  const condemned = new WeakSet<object>()

  return function guard(req: RawRequest): Problem | undefined {
    if (req.socket && condemned.has(req.socket)) {
      return closing('bad-request', 'An earlier request on this connection leaves in doubt where this one begins')
    }
    const problem = inspect(req)
    if (problem?.fields['Connection'] !== undefined && req.socket) condemned.add(req.socket)
    return problem
  }

  function inspect(req: RawRequest): Problem | undefined {
    const { httpVersion, rawHeaders: raw } = req
    const method = req.method ?? ''
    if (httpVersion !== '1.1' && httpVersion !== '1.0') {
      return closing('version-not-supported', `HTTP/${httpVersion} is not served; HTTP/1.1 is`)
    }
    if (!served.has(method)) return refusedMethod(method, allow)
    if ((req.url ?? '').length > target) {
      return closing('target-too-long', `The request target may have ${target} bytes`)
    }
    if (raw.length > fields * 2) return closing('fields-too-large', `A request may have ${fields} header fields`)

    let size = 0
    let hosts = 0
    let codings = 0
    let credentials = 0
    let expectations = 0
    for (let i = 0; i < raw.length; i += 2) {
      const name = raw[i]!
      const value = raw[i + 1]!
      size += name.length + value.length + 4
      if (name.includes('_')) {
        return new Problem(
          'underscore-field',
          'Write header field names with hyphens; some servers cannot tell the two apart',
        )
      }
      // Told apart by their length first, so that nearly every field costs one comparison.
      switch (name.length) {
        case 4:
          if (!isName(name, 'host')) break
          if (++hosts > 1) return closing('bad-request', 'There is more than one Host field')
          if (!isHost(value)) return closing('bad-request', 'The Host field is not a host with an optional port')
          break
        case 6:
          if (!isName(name, 'expect')) break
          if (++expectations > 1 || value.toLowerCase() !== '100-continue') {
            return closing('expectation-failed', 'The only expectation that can be met is 100-continue')
          }
          break
        case 13:
          if (!isName(name, 'authorization')) break
          if (++credentials > 1)
            return new Problem('ambiguous-credentials', 'There is more than one Authorization field')
          if (isBearerList(value)) return new Problem('ambiguous-credentials', 'There is more than one bearer token')
          break
        case 14:
          if (isName(name, 'content-length') && value.length > 1 && value.charCodeAt(0) === 0x30) {
            return closing('bad-request', 'The Content-Length field has leading zeros')
          }
          break
        case 17:
          if (!isName(name, 'transfer-encoding')) break
          if (++codings > 1) return closing('bad-request', 'There is more than one Transfer-Encoding field')
          if (httpVersion === '1.0') return closing('bad-request', 'HTTP/1.0 has no Transfer-Encoding')
          if (value.toLowerCase() !== 'chunked') {
            return closing('method-not-implemented', 'The only transfer coding that is read is chunked')
          }
          break
      }
    }
    if (hosts === 0 && httpVersion === '1.1') return closing('bad-request', 'The Host field is missing')
    if (req.socket && isLooseRequestLine({ method, url: req.url ?? '', socket: req.socket }, size)) {
      return closing('bad-request', 'The request line has more than one space between its words')
    }
    return undefined
  }
}

/** Two lines that somebody has joined: a token has no comma (RFC 6750 §2.1), and which of the two a backend takes is its secret. */
function isBearerList(value: string): boolean {
  return value.includes(',') && value.slice(0, 6).toLowerCase() === 'bearer'
}

/** Nothing more is read from a connection whose framing or sender is in doubt (RFC 9112 §6.3, §9.3). */
function closing(code: Problem['code'], detail: string): Problem {
  return new Problem(code, detail, { fields: { Connection: 'close' } })
}

function refusedMethod(method: string, allow: string): Problem {
  // RFC 9110 §15.5.6, §15.6.2: known and not allowed, or not known at all. TRACE would hand the caller its own credentials back.
  if (method !== 'TRACE' && method !== 'CONNECT') {
    return new Problem('method-not-implemented', `The methods served are ${allow}`)
  }
  return new Problem('method-not-allowed', `The methods served are ${allow}`, { fields: { Allow: allow } })
}
