import type { ConnectionMemory } from './connection-memory.ts'

/**
 * The head of one request as the gateway reads it (RFC 9110 §6): guarded, canonical, without its body.
 * Everything that matches, authenticates, decides or logs reads this, so that all of them see the same bytes.
 */
export interface RequestHead {
  /** The request id: the client's own when it comes from a trusted proxy and is well formed, else a new one. */
  readonly id: string
  readonly method: string
  /** `path` and `query` as they are matched, authorised and sent: `/orders/1?full=1`. */
  readonly target: string
  /** The canonical path: absolute, no dot segments, only unreserved characters decoded (RFC 3986 §6.2.2). */
  readonly path: string
  /** What follows the question mark, untouched; empty when there is none. */
  readonly query: string
  readonly fields: Fields
  readonly client: Client
  /** Of the connection it came on; absent behind a trusted proxy, and for a request that an operator asks about. */
  readonly memory?: ConnectionMemory | undefined
}

/** The header fields of a request, by lower-case name, over the raw list that Node keeps. */
export interface Fields {
  /** Name, value, name, value, ... exactly as received. */
  readonly raw: readonly string[]
  /** The one value of a field; undefined when absent. Several lines are joined with ", " (RFC 9110 §5.3). `name` in lower case. */
  get(name: string): string | undefined
  /** Every line of a field, in order. `name` in lower case. */
  all(name: string): readonly string[]
}

/** The party at the far end, after the trusted proxies have been peeled off (RFC 7239 §7.4, right to left). */
export interface Client {
  /** IP address without brackets or zone. */
  readonly address: string
  readonly protocol: 'http' | 'https'
  /** Host and port the client asked for, lower case: `api.example:8443`. */
  readonly host: string
  /** The address of the TCP peer. */
  readonly peer: string
  /** Whether the peer is one of `gateway.trustedProxies`. */
  readonly viaTrustedProxy: boolean
  /** The trusted proxies between, nearest to the client first and the peer last; absent or empty when the peer is the client. */
  readonly proxies?: readonly string[]
}
