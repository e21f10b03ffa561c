import type { Authenticator } from '../authentication/authenticator.ts'
import type { CredentialWatch } from '../authentication/credential-watch.ts'
import type { SecurityRequirements } from '../authentication/identify.ts'
import type { Sessions } from '../authentication/session.ts'
import type { TokenIssuer } from '../authentication/token-issuer.ts'
import type { AllowPolicy } from '../authorization/allow.ts'
import type { Answers } from '../caching/answers.ts'
import type { CacheDefinition } from '../caching/settings.ts'
import type { Definition, ServiceDefinition } from '../config/schema.ts'
import type { DocsPage } from '../docs/docs-page.ts'
import type { CrossOriginPolicy } from '../http/cross-origin.ts'
import type { ReadClient } from '../http/forwarded.ts'
import type { createRequestFields, createResponseFields } from '../http/intermediary.ts'
import type { createLocationRewriter } from '../http/location.ts'
import type { Issuer as EmbeddedIssuer } from '../issuer/issuer.ts'
import type { JsonObject, SecurityRequirement } from '../openapi/document.ts'
import type { DocumentState } from '../openapi/service-document.ts'
import type { createIdentityWriter } from '../propagation/identity.ts'
import type { Minter } from '../propagation/minter.ts'
import type { Propagator } from '../propagation/propagator.ts'
import type { ConcurrencyLimit } from '../throttling/concurrency.ts'
import type { RateLimits } from '../throttling/rate-limits.ts'
import type { Timeouts } from '../upstream/exchange.ts'
import type { MirrorReport } from '../upstream/mirror.ts'
import type { Upstream } from '../upstream/upstream.ts'
import type { ValidateDefinition } from '../validation/settings.ts'
import type { Composition } from './compositions.ts'
import type { Contracts } from './contracts.ts'
import type { LimitsDescription } from './describe-limits.ts'
import type { Documents } from './documents.ts'
import type { Drift } from './drift.ts'
import type { CopyHead } from './mirrored.ts'
import type { Router } from './router.ts'
import type { Shown } from './shown.ts'

/** What services.json means: compiled once, immutable, swapped whole. */
export interface Gateway {
  readonly definition: Definition
  /** What clients see, without a trailing slash: `http://localhost:8080`. */
  readonly publicUrl: string
  readonly router: Router<Route>
  readonly compositions: Router<Composition>
  readonly services: readonly Service[]
  /** By the name of their scheme. */
  readonly authenticators: ReadonlyMap<string, Authenticator>
  /** Whose tokens are believed, by their name in services.json. */
  readonly issuers: ReadonlyMap<string, TokenIssuer>
  /** What `/me` asks for: any scheme of the gateway. */
  readonly anyScheme: SecurityRequirements
  /** Sessions of browsers, where a scheme declares them. */
  readonly sessions: Sessions | undefined
  /** For connections that outlive their request. */
  readonly credentials: CredentialWatch
  readonly documents: Documents
  /** Where services, their documents and the gateway do not agree. */
  readonly drift: Drift
  /** What documented operations want of requests, for the routes that check. */
  readonly contracts: Contracts
  /** The documents as a caller is shown them. */
  readonly shown: Shown
  /** Answers that are kept, of all services. */
  readonly answers: Answers
  readonly docs: DocsPage
  /** Peels the trusted proxies off. */
  readonly readClient: ReadClient
  /** Whose scripts may call; undefined when only its own may. */
  readonly crossOrigin: CrossOriginPolicy | undefined
  /** The embedded issuer, where there is one. */
  readonly issuer: EmbeddedIssuer | undefined
  /** The gateway's own tokens for services, and the keys they are signed with. */
  readonly minter: Minter
  readiness(): Readiness
  /** Lets go of pools, sources and timers that no newer gateway took over. */
  close(): Promise<void>
}

/** Whether requests would find what they need, service by service. */
export interface Readiness {
  readonly ready: boolean
  /** Whether the document of all services is published; until the first time there are the gateway's own operations. */
  readonly published: boolean
  readonly services: readonly ServiceReport[]
}

export interface ServiceReport {
  readonly name: string
  readonly available: boolean
  readonly targets: ReturnType<Upstream['describe']>
  readonly document: DocumentState
  /** For a guest. */
  readonly limits: LimitsDescription
  /** How its copies fare, where requests are copied. */
  readonly mirror?: MirrorReport
}

export interface Service {
  readonly name: string
  /** Without a trailing slash; empty for a service at the root. */
  readonly prefix: string
  readonly stripPath: boolean
  readonly upstream: Upstream
  /** Puts the gateway's path in place of a target's own address where the service sends clients on. */
  readonly rewriteLocations: ReturnType<typeof createLocationRewriter>
  readonly definition: ServiceDefinition
  /** The field in which its answers say which version it is, in lower case. */
  readonly versionField?: string
  /** Of its own row; routes may have others. */
  readonly limits: Limits
}

export interface Limits {
  /** Bytes. */
  readonly body: number
  readonly rate: RateLimits
  readonly concurrent: ConcurrencyLimit | undefined
}

/** What would refuse, and only counts. */
export interface Shadow {
  /** The names in the requirement arrays. */
  readonly names: boolean
  readonly policies: readonly AllowPolicy[]
  /** The requirement arrays with those names. */
  readonly security: readonly SecurityRequirement[]
}

/** One row of the table of routes: everything that happens to a request, decided ahead of time. */
export interface Route {
  /** `orders` for the service's own row, `orders DELETE /{id}` for an exception. */
  readonly id: string
  readonly service: Service
  /** As written in services.json, method and template below the service; absent for the service's own row. */
  readonly match?: string
  readonly security: SecurityRequirements
  /** What of it refuses anybody, as OpenAPI writes it: what the document says and the route enforces is one object. */
  readonly declaredSecurity: readonly SecurityRequirement[]
  /** All of them must permit. */
  readonly policies: readonly AllowPolicy[]
  /** What they ask for, as the document says it. */
  readonly publishedAllow: JsonObject | undefined
  /** What they and the requirement arrays ask for, in sentences. */
  readonly publishedNeeds: string | undefined
  /** What is only tried (`"enforce": "shadow"`): it refuses nobody, and is no part of the document. */
  readonly shadow?: Shadow
  readonly propagator: Propagator
  /** Names of the service's own schemes whose credentials pass through. */
  readonly upstreamSecurity: readonly string[]
  /** Undefined when the service is not told who calls. */
  readonly writeIdentity: ReturnType<typeof createIdentityWriter> | undefined
  /** Header lines that services.json adds, flat. */
  readonly staticFields: readonly string[]
  /** What of the client's header fields goes on; see `http/intermediary.ts`. */
  readonly requestFields: ReturnType<typeof createRequestFields>
  /** What of the service's header fields comes back. */
  readonly responseFields: ReturnType<typeof createResponseFields>
  /** Query parameters that carry credentials and are taken off. */
  readonly withheldParameters: ReadonlySet<string>
  readonly limits: Limits
  /** Whether and how answers are kept; undefined when they are not. */
  readonly cache: CacheDefinition | undefined
  /** Whether and how requests are held against the service's document; undefined when they are not. */
  readonly validate: ValidateDefinition | undefined
  /** Whether a parameter is the gateway's to send, or to take off: then a client need not send it. */
  covers(location: string, name: string): boolean
  /** Instead of those of the service. */
  readonly timeouts?: Timeouts
  /** Whether a request may be sent twice; as its method says when absent. */
  readonly idempotent?: boolean
  /** What copies of its requests carry, where the service has a mirror. */
  readonly copyHead?: CopyHead
}
