import type { Caller } from '../authentication/caller.ts'
import { createCredentialWatch } from '../authentication/credential-watch.ts'
import type { FetchJson } from '../authentication/fetch-json.ts'
import { compileSecurity } from '../authentication/identify.ts'
import type { IssuedTokens } from '../authentication/issued-tokens.ts'
import type { KeyStore } from '../authentication/key-store.ts'
import type { Revocations } from '../authentication/revocation.ts'
import { createAnswers } from '../caching/answers.ts'
import type { Definition } from '../config/schema.ts'
import { createDocsPage, type DocsFiles, type DocsOptions } from '../docs/docs-page.ts'
import { createCrossOriginPolicy } from '../http/cross-origin.ts'
import { createClientReader } from '../http/forwarded.ts'
import type { Issuer as EmbeddedIssuer } from '../issuer/issuer.ts'
import { docsClientId } from '../issuer/settings.ts'
import type { EnforcedSecurity, JsonObject } from '../openapi/document.ts'
import { createOwnPart } from '../openapi/own.ts'
import type { Press } from '../openapi/press.ts'
import type { OwnPart } from '../openapi/publish.ts'
import { createServiceDocument, type ServiceDocument } from '../openapi/service-document.ts'
import { locate } from '../openapi/source.ts'
import type { Minter } from '../propagation/minter.ts'
import { type Store, StoreUnavailable } from '../store/store.ts'
import type { Metrics } from '../telemetry/metrics.ts'
import { type ConcurrencyDefinition, type ConcurrencyLimit, createConcurrencyLimit } from '../throttling/concurrency.ts'
import type { Limiters } from '../throttling/limiter.ts'
import type { Tools } from '../tools.ts'
import type { Upstreams } from '../upstream/upstream.ts'
import { compileRoutes, idOf, prefixOf } from './compile.ts'
import { compileCompositions } from './compositions.ts'
import { createContracts } from './contracts.ts'
import { describeCompositions, requiredRoutes } from './describe-compositions.ts'
import { describeLimits } from './describe-limits.ts'
import { type Documents, documentOf, openDocuments, orderOf } from './documents.ts'
import { createDrift } from './drift.ts'
import type { Gateway, Readiness, Route, Service } from './gateway.ts'
import { acquireIssuers } from './issuers.ts'
import { describeSchemes } from './schemes.ts'
import { openSessions } from './sessions.ts'
import type { Scope, Shared } from './shared.ts'
import { showAll, showByCaller } from './shown.ts'
import { createTraffic, type Traffic } from './traffic.ts'

/** What every revision is made from: opened once by `main.ts`, outliving all of them. */
export interface GatewayTools extends Tools {
  readonly store: Store
  readonly metrics: Metrics
  readonly shared: Shared
  readonly upstreams: Upstreams
  readonly keys: KeyStore
  readonly limiters: Limiters
  readonly minter: Minter
  readonly press: Press
  readonly revocations: Revocations
  readonly issuedTokens: IssuedTokens
  /** Whether the gateway can be reached from this machine only. */
  readonly loopback: boolean
  readonly docsFiles: DocsFiles
  /** Milliseconds that the first publication waits for services that do not answer. Default 1,000. */
  readonly patience?: number
  /** How issuers elsewhere are asked; by HTTP unless something else is handed in. */
  readonly fetchJson?: FetchJson
  /** What clients see, without a trailing slash. */
  readonly publicUrl: string
  /** Where the gateway finds itself: `http://127.0.0.1:8080`. */
  readonly address: string
  /** Folder of services.json. */
  readonly folder: string
}

/**
 * Compile a definition into a gateway that can answer. What the revision before it still uses (connections, key sets,
 * documents) is taken over, not made again. Throws before anything is swapped when something cannot be had.
 */
export async function openGateway(definition: Definition, tools: GatewayTools): Promise<Gateway> {
  const scope = tools.shared.scope()
  const undo: (() => void)[] = []
  // The documents' thread reads while keys are made here and everything else is compiled.
  const reading = acquireSources(definition, tools, scope)
  reading.catch(() => {})
  try {
    const issuers = await acquireIssuers(definition, tools, scope)
    const { believed, embedded } = issuers
    const onRecord = issuersOnRecord(definition, embedded)
    const revoked = (caller: Caller) => {
      if (tools.revocations.isRevoked(caller) || embedded?.isActive(caller) === false) return true
      if (caller.method === 'api-key') return embedded?.isLockedOut(caller.subject) === true
      // Tokens, and sessions for the tokens that they hold; what a trusted proxy says is neither.
      if (caller.tokenType === undefined || !onRecord.has(caller.issuer)) return false
      return unlisted(caller)
    }
    /** Found here lately is not enough: it may have been withdrawn while the store was out. */
    async function unlisted(caller: Caller): Promise<boolean> {
      if (!(await tools.revocations.confirmed()))
        throw new StoreUnavailable('nobody knows what has been revoked since the store went')
      return !(await tools.issuedTokens.isOnRecord(caller)) || tools.revocations.isRevoked(caller)
    }
    const credentials = createCredentialWatch({ now: tools.now, log: tools.log, revoked })
    undo.push(() => credentials.close())
    const sessions = await openSessions(definition, issuers, revoked, tools)
    const compiled = compileRoutes(definition, {
      sessions,
      issuers: believed,
      keys: [tools.keys],
      cookies: [...(embedded?.cookies ?? []), ...(sessions?.cookies ?? [])],
      revoked,
      confirmed: () => tools.revocations.confirmed(),
      limiters: tools.limiters,
      concurrency: await acquireConcurrency(definition, scope),
      minter: tools.minter,
      ...(tools.fetchJson && { fetchJson: tools.fetchJson }),
      now: tools.now,
      policyFailed: ({ pointer, error }) => {
        tools.log.warn({ err: error, pointer }, 'a condition could not be evaluated, so the request was refused')
        tools.metrics.alarm('policy-error', pointer)
      },
      planUnknown(plan) {
        tools.log.warn({ plan }, 'an API key names a plan that services.json does not have')
        // Not the name: keys are made elsewhere, and series only by services.json.
        tools.metrics.alarm('plan-unknown', 'api-key')
      },
      upstream(service) {
        const upstream = tools.upstreams.acquire(service.name, service)
        undo.push(() => upstream.release())
        return upstream
      },
    })
    const anyScheme = [...compiled.authenticators.keys()].map((scheme) => ({ [scheme]: [] }))
    const sources = await reading
    const consumed = [...compiled.authenticators.values()].map(({ location }) => location)
    const own = joinOwn(
      describeCompositions(definition, compiled),
      createOwnPart({
        documents: true,
        health: true,
        keys: true,
        session: sessions !== undefined,
        ...(anyScheme.length > 0 && { me: { security: anyScheme } }),
        ...(embedded && { token: { grants: embedded.metadata.grant_types_supported } }),
      }),
    )
    // Thousands of operations have a handful of routes: they cross to the thread of the documents as those.
    const enforcedAt = once(
      (route: Route): EnforcedSecurity => ({
        security: route.declaredSecurity,
        ...(route.publishedAllow && { allow: route.publishedAllow }),
        ...(route.publishedNeeds !== undefined && { needs: route.publishedNeeds }),
        forward: route.propagator.mode,
        ...(route.upstreamSecurity.length > 0 && { upstream: route.upstreamSecurity }),
        consumed: route.security.public && route.propagator.unchecked ? [] : consumed,
        limited: isLimited(route),
        validated: route.validate?.mode === 'enforce',
      }),
    )
    const enforced = (service: Service, method: string, template: string): EnforcedSecurity | undefined => {
      const route = compiled.routeFor(service, method, template)
      return route && enforcedAt(route)
    }
    const { memory } = definition.gateway.cache
    const answers = await scope.acquire(
      `answers ${memory}`,
      () => createAnswers(memory, tools.now),
      () => {},
    )
    const documents = await openDocuments({
      definition,
      publicUrl: tools.publicUrl,
      services: compiled.services,
      sources,
      press: tools.press,
      own,
      enforced,
      describeSchemes: () => describeSchemes(definition, believed, embedded?.scopes),
      ...(tools.patience !== undefined && { patience: tools.patience }),
      log: tools.log,
      metrics: tools.metrics,
    })
    undo.push(() => documents.close())
    const traffic = await acquireTraffic(compiled.services, tools, scope)

    const docsPage = derived(
      () => documents.schemes,
      (schemes) => createDocsPage(docsOptions(definition, tools.publicUrl, schemes), tools.docsFiles),
    )

    const anySecurity = compileSecurity(anyScheme, compiled.authenticators)
    const published = () => documents.published
    const shown =
      definition.gateway.docs.view === 'all'
        ? showAll(published)
        : showByCaller({
            published,
            press: tools.press,
            compiled,
            own,
            required: new Map(
              definition.compositions.map(({ match, parts }) => [match, requiredRoutes(parts, compiled)]),
            ),
            anyScheme: anySecurity,
            now: tools.now,
          })

    return {
      definition,
      publicUrl: tools.publicUrl,
      router: compiled.router,
      compositions: compileCompositions(definition, compiled.services),
      services: compiled.services,
      authenticators: compiled.authenticators,
      anyScheme: anySecurity,
      sessions,
      credentials,
      documents,
      drift: createDrift({ services: compiled.services, documents, traffic, enforced }),
      answers,
      contracts: createContracts(documents, tools.log),
      shown,
      get docs() {
        return docsPage()
      },
      issuers: believed,
      issuer: embedded,
      readClient: createClientReader(definition.gateway.trustedProxies),
      crossOrigin: createCrossOriginPolicy(definition.gateway.cors),
      minter: tools.minter,
      readiness: () => readinessOf(compiled.services, documents),
      async close() {
        for (const step of undo) step()
        await scope.release()
      },
    }
  } catch (error) {
    for (const step of undo) step()
    // What it still acquires would be nobody's.
    await reading.catch(() => {})
    await scope.release()
    throw error
  }
}

/** `iss` of the issuers whose tokens must be on record. */
function issuersOnRecord({ issuers }: Definition, embedded: EmbeddedIssuer | undefined): ReadonlySet<string> {
  return new Set(
    Object.values(issuers).flatMap((issuer) => {
      if (issuer.type === 'introspection' || issuer.revocation !== 'allowlist') return []
      return issuer.type === 'embedded' ? embedded!.issuer : issuer.issuer
    }),
  )
}

async function acquireSources(
  { services }: Definition,
  tools: GatewayTools,
  scope: Scope,
): Promise<ReadonlyMap<string, ServiceDocument>> {
  const { store, now, log, folder, press } = tools
  const acquired = services.map(async (service): Promise<[string, ServiceDocument]> => {
    const { name, targets, stripPath } = service
    const { from, headers, every } = documentOf(service)
    const urls = targets.map(({ url }) => url)
    const location = from === undefined ? undefined : locate(from, urls, folder)
    const order = orderOf({ name, prefix: prefixOf(service), stripPath, definition: service })
    const source = await scope.acquire(
      `document ${JSON.stringify([order, location, headers, every])}`,
      () =>
        createServiceDocument(
          {
            service: order,
            location,
            headers,
            ...(every !== undefined && { interval: every }),
            trusted: new Set(urls.map((url) => new URL(url).hostname)),
          },
          { store, now, log, press },
        ),
      (source) => source.close(),
    )
    return [name, source]
  })
  // When one fails, the others are waited for: whoever releases the scope must find them in it.
  await Promise.allSettled(acquired)
  return new Map(await Promise.all(acquired))
}

/** What was counted goes on being counted by the next revision. */
async function acquireTraffic(
  services: readonly Service[],
  { now }: GatewayTools,
  scope: Scope,
): Promise<ReadonlyMap<string, Traffic>> {
  const found = new Map<string, Traffic>()
  for (const { name } of services) {
    const counted = await scope.acquire(
      `traffic ${name}`,
      () => createTraffic(now),
      () => {},
    )
    found.set(name, counted)
  }
  return found
}

/** The limits on requests under way, taken over from the revision before: its requests still count. */
async function acquireConcurrency(
  definition: Definition,
  scope: Scope,
): Promise<ReadonlyMap<string, ConcurrencyLimit>> {
  const written = definition.services.flatMap((service): [string, ConcurrencyDefinition | undefined][] => [
    [service.name, service.limits?.concurrent],
    ...service.routes.map((route): [string, ConcurrencyDefinition | undefined] => [
      idOf(service, route),
      route.limits?.concurrent,
    ]),
  ])
  const limits = new Map<string, ConcurrencyLimit>()
  for (const [id, settings] of written) {
    if (!settings) continue
    const key = `concurrency ${JSON.stringify([id, settings])}`
    limits.set(
      id,
      await scope.acquire(
        key,
        () => createConcurrencyLimit(settings),
        () => {},
      ),
    )
  }
  return limits
}

function isLimited({ limits: { rate } }: Route): boolean {
  return rate.clients !== undefined || rate.callers !== undefined
}

function joinOwn(...parts: readonly OwnPart[]): OwnPart {
  return {
    paths: Object.assign({}, ...parts.map(({ paths }) => paths)),
    components: Object.assign({}, ...parts.map(({ components }) => components)),
    tags: parts.flatMap(({ tags }) => tags),
    composed: parts.flatMap(({ composed = [] }) => composed),
  }
}

function docsOptions(
  { gateway, services }: Definition,
  publicUrl: string,
  schemes: Readonly<Record<string, JsonObject>>,
): DocsOptions {
  return {
    title: gateway.docs.title,
    documents: [
      { name: 'All services', url: '/openapi.json' },
      ...services.map(({ name }) => ({ name, url: `/openapi/${name}.json` })),
    ],
    oauth: { clientId: docsClientId, scopes: [] },
    redirectUrl: `${publicUrl}/docs/oauth2-redirect.html`,
    view: gateway.docs.view,
    connectSrc: originsOf(schemes).filter((origin) => origin !== new URL(publicUrl).origin),
  }
}

/** Where the page must be able to send requests for Authorize: the endpoints of issuers elsewhere. */
function originsOf(schemes: Readonly<Record<string, JsonObject>>): readonly string[] {
  const urls = Object.values(schemes).flatMap(({ flows, openIdConnectUrl }) => [
    openIdConnectUrl,
    ...Object.values((flows ?? {}) as Record<string, { tokenUrl?: string }>).map(({ tokenUrl }) => tokenUrl),
  ])
  return [...new Set(urls.flatMap((url) => (URL.canParse(String(url)) ? [new URL(String(url)).origin] : [])))]
}

/** Made once for each. */
function once<Key extends object, Value>(make: (key: Key) => Value): (key: Key) => Value {
  const made = new WeakMap<Key, Value>()
  return (key) => {
    const value = made.get(key) ?? make(key)
    made.set(key, value)
    return value
  }
}

/** A value that follows from another, made again only when that is another. */
function derived<Source, Value>(source: () => Source, make: (source: Source) => Value): () => Value {
  let last: { readonly source: Source; readonly value: Value } | undefined
  return () => {
    const current = source()
    if (last?.source !== current) last = { source: current, value: make(current) }
    return last.value
  }
}

function readinessOf(services: readonly Service[], documents: Documents): Readiness {
  const reports = services.map(({ name, upstream, limits }) => ({
    name,
    available: upstream.available,
    targets: upstream.describe(),
    document: documents.state(name),
    limits: describeLimits(limits),
    ...(upstream.mirror && { mirror: upstream.mirror.describe() }),
  }))
  return { ready: true, published: documents.complete, services: reports }
}
