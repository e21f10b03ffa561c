import { createApiKeyAuthenticator } from '../authentication/api-key.ts'
import type { Authenticator } from '../authentication/authenticator.ts'
import { createTokenAuthenticator } from '../authentication/bearer.ts'
import type { Caller } from '../authentication/caller.ts'
import { createClientPrincipalAuthenticator } from '../authentication/client-principal.ts'
import type { FetchJson } from '../authentication/fetch-json.ts'
import { compileSecurity } from '../authentication/identify.ts'
import type { KeyRing } from '../authentication/key-ring.ts'
import type { Sessions } from '../authentication/session.ts'
import { createStaticKeys } from '../authentication/static-keys.ts'
import type { TokenIssuer } from '../authentication/token-issuer.ts'
import { createPolicies, type Policies, type PolicyFailure } from '../authorization/allow.ts'
import { propagators } from '../catalogue.ts'
import { ownPaths, splitMatch } from '../config/check.ts'
import type {
  Definition,
  LimitsDefinition,
  RouteDefinition,
  SecuritySchemeDefinition,
  ServiceDefinition,
} from '../config/schema.ts'
import { crossOriginFields } from '../http/cross-origin.ts'
import { createRequestFields, createResponseFields } from '../http/intermediary.ts'
import { createLocationRewriter } from '../http/location.ts'
import { foldName, isReserved, isWrittenByGateway } from '../http/reserved-fields.ts'
import { build } from '../kind.ts'
import { createIdentityWriter, mappedNames } from '../propagation/identity.ts'
import type { Minter } from '../propagation/minter.ts'
import type { Propagator } from '../propagation/propagator.ts'
import type { ConcurrencyLimit } from '../throttling/concurrency.ts'
import type { Limiters } from '../throttling/limiter.ts'
import { createPlanOf } from '../throttling/plans.ts'
import { createPlans, createRateLimits, type Plans, type RateLimitDefinitions } from '../throttling/rate-limits.ts'
import type { Upstream } from '../upstream/upstream.ts'
import { documentOf } from './documents.ts'
import { enforcementOf, type WrittenAllow, withoutNames } from './enforcement.ts'
import type { Limits, Route, Service } from './gateway.ts'
import { createCopyHead } from './mirrored.ts'
import { publishedAllow, publishedNeeds } from './published-allow.ts'
import { Router } from './router.ts'

/** What compiling routes needs to be handed; everything in it outlives the revision or belongs to it. */
export interface RouteTools {
  readonly issuers: ReadonlyMap<string, TokenIssuer>
  /** The key store, where API keys are looked up after those of services.json. */
  readonly keys: readonly KeyRing[]
  /** Of the scheme that declares them. */
  readonly sessions: Sessions | undefined
  /** Cookies of the gateway itself, which no service sees or sets. */
  readonly cookies: readonly string[]
  readonly revoked: (caller: Caller) => boolean | Promise<boolean>
  /** Whether it is known right now what has been revoked. */
  readonly confirmed: () => boolean | Promise<boolean>
  readonly minter: Minter
  /** How a service's tokens are asked for; by HTTP unless something else is handed in. */
  readonly fetchJson?: FetchJson
  readonly limiters: Limiters
  /** The limit of a service or route that has one in services.json, by the id of its row. */
  readonly concurrency: ReadonlyMap<string, ConcurrencyLimit>
  readonly now: () => number
  /** A condition could not be evaluated, which denied. */
  readonly policyFailed: (failure: PolicyFailure) => void
  /** An API key names a plan that is not there. */
  readonly planUnknown: (plan: string) => void
  upstream(service: ServiceDefinition): Upstream
}

export interface CompiledRoutes {
  readonly router: Router<Route>
  readonly services: readonly Service[]
  readonly authenticators: ReadonlyMap<string, Authenticator>
  /** The row of the table that a documented operation is answered by. */
  routeFor(service: Service, method: string, template: string): Route | undefined
}

/** What a service may be sent that says nothing itself. */
const largestBody = 10 * 1_048_576

/** What stands before every path of a service. */
export function prefixOf({ path }: Pick<ServiceDefinition, 'path'>): string {
  return path === '/' ? '' : path
}

/** Turn the definition into the table of routes. Pure but for what `tools` acquires; throws only for our own defects. */
export function compileRoutes(definition: Definition, tools: RouteTools): CompiledRoutes {
  const authenticators = new Map(
    Object.entries(definition.securitySchemes).map(([name, scheme]) => [name, authenticatorOf(name, scheme, tools)]),
  )
  const common: Common = {
    authenticators,
    crossing: createCrossings(authenticators, tools.cookies, definition.gateway.cors.origins.length > 0),
    // Routes that agree share one, because it keeps the tokens it has got.
    propagator: shared((settings: { readonly type: string }) => build(propagators, settings, tools)),
    confirmed: tools.confirmed,
    policies: createPolicies({
      rolePermissions: definition.roles,
      credentials: [...authenticators.values()].map(({ location }) => location),
      onError: tools.policyFailed,
    }),
  }
  const planOf = createPlanOf(definition.plans, tools.planUnknown)
  const plans = planOf && createPlans(definition.plans, planOf, tools.limiters)
  const limitTools = { ...tools, plans }
  const counted = { rate: [], quota: [], plans: true }
  const unlimited: CompiledLimits = {
    body: largestBody,
    rate: createRateLimits(counted, tools.limiters, plans),
    concurrent: undefined,
    counted,
  }
  const router = new Router<Route>()
  const services = definition.services.map((service): Service => {
    const limits = limitsOf(service.name, service.limits, unlimited, limitTools)
    const { version } = documentOf(service)
    const compiled: Service = {
      name: service.name,
      prefix: prefixOf(service),
      stripPath: service.stripPath,
      upstream: tools.upstream(service),
      rewriteLocations: createLocationRewriter({
        targets: [...service.targets, ...(service.canary?.targets ?? [])].map(({ url }) => url),
        prefix: service.stripPath && service.path !== '/' ? service.path : '',
      }),
      definition: service,
      ...(version !== undefined && { versionField: version.toLowerCase() }),
      limits,
    }
    const own = compileRoute(definition, compiled, undefined, limits, common)
    router.add('*', compiled.prefix || '/', own)
    router.add('*', `${compiled.prefix}/*`, own)
    for (const exception of service.routes) {
      const { method, template } = splitMatch(exception.match)
      const tighter = limitsOf(idOf(service, exception), exception.limits, limits, limitTools)
      router.add(method, compiled.prefix + template, compileRoute(definition, compiled, exception, tighter, common))
    }
    return compiled
  })

  return {
    router,
    services,
    authenticators,
    routeFor(service, method, template) {
      // A parameter of the document stands for any segment: ask with one that no literal equals.
      const path = service.prefix + template.replace(/\{[^}]*\}/g, anySegment)
      if (ownPaths.some((own) => path === own || path.startsWith(`${own}/`))) return undefined
      const route = router.match(method.toUpperCase(), path)?.value
      // A service at the root documents paths that another one answers.
      return route?.service.name === service.name ? route : undefined
    },
  }
}

/** Made once for each different settings. */
function shared<Settings, Product>(make: (settings: Settings) => Product): (settings: Settings) => Product {
  const made = new Map<string, Product>()
  return (settings) => {
    const key = JSON.stringify(settings)
    const known = made.get(key) ?? make(settings)
    made.set(key, known)
    return known
  }
}

/** What all routes of one revision share. */
interface Common {
  readonly authenticators: ReadonlyMap<string, Authenticator>
  readonly crossing: ReturnType<typeof createCrossings>
  readonly policies: Policies
  readonly confirmed: RouteTools['confirmed']
  propagator(settings: { readonly type: string }): Propagator
}

const anySegment = '\u{0}'

function authenticatorOf(name: string, scheme: SecuritySchemeDefinition, tools: RouteTools): Authenticator {
  const { now, revoked } = tools
  if (scheme.type === 'apiKey' && scheme.session) return tools.sessions!.authenticator
  if (scheme.type === 'apiKey' && scheme.principal)
    return createClientPrincipalAuthenticator({ scheme: name, field: scheme.name, revoked })
  if (scheme.type === 'apiKey' && scheme.issuers === undefined) {
    const rings = scheme.keys ? [createStaticKeys(scheme.keys), ...tools.keys] : tools.keys
    return createApiKeyAuthenticator({
      scheme: name,
      location: { in: scheme.in, name: scheme.name },
      rings,
      revoked,
      now,
    })
  }
  const believed = scheme.issuers ?? [...tools.issuers.keys()]
  return createTokenAuthenticator({
    scheme: name,
    names: scheme.type === 'oauth2' || scheme.type === 'openIdConnect' ? 'scopes' : 'roles',
    location: scheme.type === 'apiKey' ? { in: scheme.in, name: scheme.name } : { in: 'header', name: 'authorization' },
    issuers: believed.map((issuer) => tools.issuers.get(issuer)!),
    revoked,
    now,
    foreign: (text) => tools.keys.some((ring) => ring.recognizes(text)),
  })
}

function compileRoute(
  definition: Definition,
  service: Service,
  exception: RouteDefinition | undefined,
  limits: Limits,
  common: Common,
): Route {
  const { authenticators, crossing } = common
  const base = service.definition
  const { security, namesInShadow, allows } = enforcementOf(definition, base, exception)
  const forward = { ...base.forward, ...exception?.forward }
  const propagator = common.propagator(forward.credentials ?? { type: 'passthrough' })
  const identity = forward.identity ?? true
  const headers = { ...base.forward?.headers, ...exception?.forward?.headers }
  const compileAll = (written: readonly WrittenAllow[]) =>
    written.map(({ allow, pointer }) => common.policies.compile(allow, { pointer }))
  const [enforced, tried] = [allows.filter(({ shadow }) => !shadow), allows.filter(({ shadow }) => shadow)]
  const compiled = compileSecurity(security, authenticators, {
    invalidCredentials: exception?.invalidCredentials ?? base.invalidCredentials,
    storeOutage: exception?.storeOutage ?? base.storeOutage,
    confirmed: common.confirmed,
  })
  const owned = [...mappedNames(identity), ...Object.keys(headers), ...(base.deadline ? [base.deadline.header] : [])]
  const unchecked = compiled.public && propagator.unchecked
  const { covers, ...crossed } = crossing(owned, unchecked)
  const checks = exception?.validate ?? base.validate
  const policies = compileAll(enforced)
  const declared = namesInShadow ? withoutNames(security) : security
  const { docs } = definition.gateway
  return {
    id: exception ? idOf(service, exception) : service.name,
    service,
    ...(exception && { match: exception.match }),
    security: compiled,
    declaredSecurity: declared,
    policies,
    ...((namesInShadow || tried.length > 0) && {
      shadow: { names: namesInShadow, policies: compileAll(tried), security },
    }),
    publishedAllow: publishedAllow(
      enforced.map(({ allow }) => allow),
      docs,
    ),
    publishedNeeds: publishedNeeds({ declared, authenticators: compiled.authenticators, policies }, docs),
    propagator,
    upstreamSecurity: forward.upstreamSecurity ?? [],
    writeIdentity: identity === false ? undefined : createIdentityWriter(identity),
    staticFields: Object.entries(headers).flat(),
    ...crossed,
    limits,
    cache: exception && 'cache' in exception ? exception.cache : base.cache,
    validate: checks?.mode === 'off' ? undefined : checks,
    covers,
    ...(exception?.timeouts && { timeouts: { ...base.timeouts, ...definedOnly(exception.timeouts) } }),
    ...(base.mirror && {
      copyHead: createCopyHead(
        base.mirror.credentials,
        [...namesIn('header', authenticators), ...Object.keys(headers)],
        new Set(namesIn('query', authenticators)),
      ),
    }),
    ...(exception?.idempotent !== undefined && { idempotent: exception.idempotent }),
  }
}

/** How a row of the table is called in logs, limits and explanations. */
export function idOf({ name }: { readonly name: string }, { match }: Pick<RouteDefinition, 'match'>): string {
  return `${name} ${match}`
}

/** What is not written is shared with whoever it is inherited from: routes without a rate of their own count together. */
function limitsOf(
  id: string,
  written: LimitsDefinition | undefined,
  inherited: CompiledLimits,
  { limiters, concurrency, plans }: LimitTools,
): CompiledLimits {
  if (!written) return inherited
  const scoped = <Definition>(list: readonly Definition[] | undefined) => list?.map((one) => ({ ...one, scope: id }))
  const counted = {
    rate: scoped(written.rate) ?? inherited.counted.rate,
    quota: scoped(written.quota) ?? inherited.counted.quota,
    plans: written.plans ?? inherited.counted.plans,
  }
  return {
    body: written.body ?? inherited.body,
    rate: createRateLimits(counted, limiters, counted.plans ? plans : undefined),
    concurrent: concurrency.get(id) ?? inherited.concurrent,
    counted,
  }
}

/** With what was written, for those who inherit it. */
interface CompiledLimits extends Limits {
  readonly counted: RateLimitDefinitions & { readonly plans: boolean }
}

interface LimitTools extends Pick<RouteTools, 'limiters' | 'concurrency'> {
  readonly plans: Plans | undefined
}

/**
 * What crosses the gateway. Every credential it knows is taken off, whichever scheme the route asks for, and the
 * propagator adds what may travel; only a public route whose service is shown everything keeps what the client sent.
 * Functions are shared between routes that agree, because each remembers the names it has decided about.
 */
function createCrossings(
  authenticators: ReadonlyMap<string, Authenticator>,
  ownCookies: readonly string[],
  crossOrigin: boolean,
) {
  const [headers, parameters, cookies] = [
    namesIn('header', authenticators),
    new Set(namesIn('query', authenticators)),
    new Set([...ownCookies, ...namesIn('cookie', authenticators)]),
  ]
  const responseFields = createResponseFields({
    cookies,
    owned: ['x-request-id', ...(crossOrigin ? crossOriginFields : [])],
  })
  const nothing: ReadonlySet<string> = new Set()
  const known = new Map<string, ReturnType<typeof createRequestFields>>()

  return function crossing(owned: readonly string[], unchecked: boolean) {
    const key = JSON.stringify([owned, unchecked])
    let requestFields = known.get(key)
    if (!requestFields) {
      requestFields = createRequestFields({
        credentials: unchecked ? [] : headers,
        // The transport announces the body itself (upstream/exchange.ts).
        owned: [...owned, 'content-length'],
        cookies,
      })
      known.set(key, requestFields)
    }
    const taken = unchecked ? [] : [...authenticators.values()].map(({ location }) => location)
    const fields = new Set(
      [...owned, ...taken.flatMap(({ in: place, name }) => (place === 'header' ? [name] : []))].map(foldName),
    )
    return {
      requestFields,
      responseFields,
      withheldParameters: unchecked ? nothing : parameters,
      covers(place: string, name: string) {
        if (place !== 'header') return taken.some((location) => location.in === place && location.name === name)
        const folded = foldName(name)
        return fields.has(folded) || isReserved(folded) || isWrittenByGateway(name)
      },
    }
  }
}

/** The fields, parameters or cookies that carry credentials. */
function namesIn(place: string, authenticators: ReadonlyMap<string, Authenticator>): readonly string[] {
  return [...authenticators.values()].flatMap(({ location }) => (location.in === place ? [location.name] : []))
}

function definedOnly<T extends object>(value: T): { [K in keyof T]-?: Exclude<T[K], undefined> } {
  return Object.fromEntries(Object.entries(value).filter(([, member]) => member !== undefined)) as never
}
