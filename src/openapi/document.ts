/** The OpenAPI words that this room and its callers share. Kept loose: backends write what they like. */
export type JsonObject = { [key: string]: unknown }

export type SecurityRequirement = Readonly<Record<string, readonly string[]>>

/** One service's part of the published document: what came in, and what the gateway does with each operation. */
export interface ServiceSource {
  /** `services[].name`: the namespace of its components, operation ids and tags. */
  readonly name: string
  /** `services[].path` without a trailing slash: `/orders`; empty for a service mounted at the root. */
  readonly prefix: string
  /** Whether the backend sees paths without the prefix. When false its document already spells the prefix out. */
  readonly stripPath: boolean
  /** The parsed document, of any supported version; undefined when the service has none or it never could be read. */
  readonly document: JsonObject | undefined
  /** Where the document came from, for messages. */
  readonly origin: string
  /** Base path that the targets' URLs add (`http://host/base`), so that `servers` of the backend can be compared. */
  readonly targetBasePath: string
  /** Documented operations of a service without a document, from its `routes`. Paths below the prefix. */
  readonly routes: readonly { readonly method: string; readonly path: string }[]
  /**
   * What the router enforces for an operation. `path` is the template below the prefix.
   * Undefined when the gateway does not expose it.
   */
  enforced(method: string, path: string): EnforcedSecurity | undefined
  readonly stale?: Staleness
}

/** Why the document is not what the backend says now. `reason` is published: it names no address. */
export interface Staleness {
  /** When the copy in use was good, in seconds since the epoch; absent when there never was one. */
  readonly since?: number
  readonly reason: string
}

export interface EnforcedSecurity {
  /** OpenAPI requirement alternatives, names included; an empty list is public. */
  readonly security: readonly SecurityRequirement[]
  /** The route's `allow` as published: roles, permissions, scopes; expressions only where services.json says so. */
  readonly allow?: JsonObject
  /** What a caller needs, in sentences, for the description of the 403. */
  readonly needs?: string
  /** Locations the gateway consumes and strips for this route: parameters of these names are covered by the scheme. */
  readonly consumed: readonly { readonly in: 'header' | 'query' | 'cookie'; readonly name: string }[]
  /** Names of the service's own schemes whose credentials its clients send themselves (`forward.upstreamSecurity`). */
  readonly upstream?: readonly string[]
  /** What the service gets to see of a credential: the mode of `forward.credentials`. */
  readonly forward?: string
  /** Whether the rate of the operation is limited, so that 429 is described. */
  readonly limited: boolean
  /** Whether requests that do not fit the document are refused, so that 400 is described. */
  readonly validated?: boolean
}

/** Something a person should know about a service's document; never fatal for the others. */
export interface Finding {
  readonly service: string
  readonly severity: 'error' | 'warning' | 'info'
  /** Stable, kebab-case. */
  readonly code: string
  readonly message: string
  /** JSON pointer into the backend's document. */
  readonly pointer?: string
  readonly line?: number
  readonly column?: number
}
