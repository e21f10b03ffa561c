import { createPolicies, InvalidAllow, type Policies } from '../authorization/allow.ts'
import { partReferences } from '../http/part-path.ts'
import { parameterNames, parseTemplate } from '../http/template.ts'
import { writtenNames } from '../propagation/identity.ts'
import { checkPrincipal, checkSession } from './check-session.ts'
import {
  type CompositionDefinition,
  type Definition,
  mostServices,
  parts,
  type SecuritySchemeDefinition,
  type ServiceDefinition,
} from './schema.ts'
import { unknownName } from './suggest.ts'
import { fromPointer, isObject, type Path } from './text.ts'

type Complain = (path: Path, message: string) => void

/** Paths that the gateway answers itself; no service may stand at or below one. */
export const ownPaths = [
  '/docs',
  '/openapi',
  '/openapi.json',
  '/openapi.yaml',
  '/oauth2',
  '/token',
  '/.well-known/gateway',
  '/.well-known/oauth-authorization-server',
  '/login',
  '/logout',
  '/me',
  '/.auth',
  '/livez',
  '/readyz',
] as const

/**
 * What crosses from one part of services.json to another: names that must exist, paths that must not overlap,
 * security that must be said. Works on the raw value, reading each part for itself, so that a broken part hides
 * nothing in the others; `whole` is there when everything fits the schema.
 */
export function check(value: unknown, whole: Definition | undefined, complain: Complain): void {
  if (!isObject(value)) return
  const issuers = isObject(value['issuers']) ? value['issuers'] : {}
  const schemes = isObject(value['securitySchemes']) ? value['securitySchemes'] : {}
  const plans = isObject(value['plans']) ? value['plans'] : {}

  checkIssuers(issuers, complain)
  const gateway = isObject(value['gateway']) ? value['gateway'] : {}
  let session: string | undefined
  for (const [name, raw] of Object.entries(schemes)) {
    const scheme = parts.securityScheme.safeParse(raw)
    if (!scheme.success) continue
    const path: Path = ['securitySchemes', name]
    checkScheme(scheme.data, path, Object.keys(issuers), complain)
    if (scheme.data.type !== 'apiKey') continue
    for (const [index, { plan }] of (scheme.data.keys ?? []).entries()) {
      if (plan !== undefined && !Object.hasOwn(plans, plan))
        complain([...path, 'keys', index, 'plan'], unknownName(plan, 'plan', Object.keys(plans)))
    }
    if (scheme.data.principal) checkPrincipal(scheme.data, path, gateway, complain)
    if (!scheme.data.session) continue
    checkSession(scheme.data, scheme.data.session, path, { issuers, gateway }, complain)
    if (session === undefined) session = name
    else complain([...path, 'session'], `"${session}" has the sessions already; there is room for one scheme`)
  }

  const checkNames = (security: unknown, path: Path) => {
    if (!Array.isArray(security)) return
    for (const [index, alternative] of security.entries()) {
      if (!isObject(alternative)) continue
      for (const scheme of Object.keys(alternative)) {
        if (Object.hasOwn(schemes, scheme)) continue
        complain([...path, index, scheme], unknownName(scheme, 'security scheme', Object.keys(schemes)))
      }
    }
  }
  checkNames(value['security'], ['security'])

  const compile = createPolicies().compile
  const services = Array.isArray(value['services']) ? value['services'] : []
  // The schema has complained; looking at each of them would take minutes.
  if (services.length > mostServices) return
  const names = new Map<string, number>()
  const taken: Taken = { at: new Map(), below: new Map() }
  for (const [index, raw] of services.entries()) {
    if (!isObject(raw)) continue
    const path: Path = ['services', index]
    checkNames(raw['security'], [...path, 'security'])
    if (raw['security'] === undefined && value['security'] === undefined) {
      complain(
        path,
        'no security is given, neither here nor for all services; write "security": [{ "bearer": [] }] for callers with a token, [] if it is public',
      )
    }
    const name = raw['name']
    if (typeof name === 'string') {
      const first = names.get(name)
      if (first === undefined) names.set(name, index)
      else complain([...path, 'name'], `the service /services/${first} has the name "${name}" already`)
    }
    if (Array.isArray(raw['routes'])) {
      for (const [at, route] of raw['routes'].entries()) {
        if (isObject(route)) checkNames(route['security'], [...path, 'routes', at, 'security'])
      }
    }
    const service = parts.service.safeParse(raw)
    checkPolicies(service.success ? service.data : readPolicies(raw), path, compile, complain)
    if (!service.success) continue
    checkPath(service.data, [...path, 'path'], taken, complain)
    checkTargets(service.data, path, value, complain)
    checkRoutes(service.data, [...path, 'routes'], complain)
    checkForward(service.data, path, complain)
    checkUpstreamSecurity(
      service.data,
      isObject(value['securitySchemes']) ? value['securitySchemes'] : {},
      path,
      complain,
    )
    checkShadow(service.data, value['security'], path, complain)
  }
  checkCompositions(value['compositions'], names, taken, complain)
  if (whole) checkAddresses(whole, complain)
}

/** A composition stands beside the services, and asks for what is there. */
function checkCompositions(
  compositions: unknown,
  services: ReadonlyMap<string, number>,
  taken: Taken,
  complain: Complain,
): void {
  if (!Array.isArray(compositions)) return
  const shapes = new Map<string, number>()
  for (const [index, raw] of compositions.entries()) {
    const composition = parts.composition.safeParse(raw)
    if (!composition.success) continue
    const path: Path = ['compositions', index]
    const template = composition.data.match.slice('GET '.length)
    const place = template.toLowerCase()
    const owner = [...ancestorsOf(`${place}/`), place].map((ancestor) => taken.at.get(ancestor)).find((found) => found)
    if (owner)
      complain([...path, 'match'], `every path at or below ${owner.path} belongs to the service "${owner.name}"`)
    const own = ownPaths.find((reserved) => place === reserved || place.startsWith(`${reserved}/`))
    if (own) complain([...path, 'match'], `the gateway itself answers at ${own}; choose another path`)
    const shape = place.replace(/\{[^}]*\}/g, '{}')
    const first = shapes.get(shape)
    if (first === undefined) shapes.set(shape, index)
    else complain([...path, 'match'], `the composition /compositions/${first} answers the same requests; keep one`)
    checkParts(composition.data, parameterNames(template), services, path, complain)
  }
}

function checkParts(
  { parts: written }: CompositionDefinition,
  parameters: readonly string[],
  services: ReadonlyMap<string, number>,
  path: Path,
  complain: Complain,
): void {
  const needs = new Map<string, readonly string[]>()
  for (const [name, part] of Object.entries(written)) {
    const at: Path = [...path, 'parts', name]
    if (!services.has(part.service))
      complain([...at, 'service'], unknownName(part.service, 'service', [...services.keys()]))
    if (parameters.includes(name)) complain(at, `"${name}" is a parameter of the path already; call the part otherwise`)
    const references = partReferences(part.path)
    for (const reference of references) {
      if (parameters.includes(reference.name) && reference.members.length === 0) continue
      if (Object.hasOwn(written, reference.name) && reference.members.length > 0) continue
      const known = [...parameters.map((one) => `{${one}}`), ...Object.keys(written).map((one) => `{${one}.…}`)]
      complain(
        [...at, 'path'],
        `{${[reference.name, ...reference.members].join('.')}} is nothing here; there are ${known.join(', ')}`,
      )
    }
    needs.set(
      name,
      references.map((reference) => reference.name).filter((other) => Object.hasOwn(written, other)),
    )
  }
  const visit = (name: string, trail: readonly string[]): boolean =>
    trail.includes(name) || (needs.get(name) ?? []).some((other) => visit(other, [...trail, name]))
  for (const name of needs.keys()) {
    if (!visit(name, [])) continue
    complain([...path, 'parts', name], 'parts wait for each other in a circle')
    return
  }
}

function checkIssuers(issuers: Record<string, unknown>, complain: Complain): void {
  const known = new Map<string, string>()
  let embedded: string | undefined
  for (const [name, raw] of Object.entries(issuers)) {
    if (!isObject(raw)) continue
    if (raw['type'] === 'embedded') {
      if (embedded === undefined) embedded = name
      else complain(['issuers', name], `"${embedded}" is the embedded issuer already; there is room for one`)
    }
    const issuer = raw['issuer']
    if (typeof issuer !== 'string') continue
    const first = known.get(issuer)
    if (first === undefined) known.set(issuer, name)
    else complain(['issuers', name, 'issuer'], `"${first}" believes this issuer already; put both into one entry`)
  }
}

/** Fields that say how a message is to be read; those with an underscore the guard refuses. */
const framing = /^(?:host|cookie|content-.*|transfer-encoding|connection|upgrade|te|trailer|expect|keep-alive)$/i

function checkScheme(
  scheme: SecuritySchemeDefinition,
  path: Path,
  issuers: readonly string[],
  complain: Complain,
): void {
  for (const [index, name] of (scheme.issuers ?? []).entries()) {
    if (!issuers.includes(name)) complain([...path, 'issuers', index], unknownName(name, 'issuer', issuers))
  }
  if (scheme.type === 'apiKey' && scheme.in === 'header' && (scheme.name.includes('_') || framing.test(scheme.name))) {
    complain(
      [...path, 'name'],
      `a credential cannot stand in "${scheme.name}"; choose a field without "_" of its own, such as "X-API-Key"`,
    )
  }
  if (scheme.type === 'apiKey') {
    if (scheme.issuers && scheme.keys)
      complain([...path, 'keys'], 'a scheme with issuers takes tokens, so it has no keys')
    return
  }
  if (scheme.issuers === undefined && issuers.length === 0)
    complain(path, 'no issuer is declared whose tokens it could check')
}

interface Place {
  readonly path: string
  readonly name: string
}

/** Where services stand, by path in lower case, and what stands somewhere below a path. */
interface Taken {
  readonly at: Map<string, Place>
  readonly below: Map<string, Place>
}

function checkPath(service: ServiceDefinition, path: Path, taken: Taken, complain: Complain): void {
  const mine = service.path
  if (/(^|\/)\.{1,2}(\/|$)/.test(mine)) complain(path, 'a path has no "." and ".." segments')
  const folded = mine.toLowerCase()
  const reserved = ownPaths.find((own) => folded === own || folded.startsWith(`${own}/`))
  if (reserved) complain(path, `the gateway itself answers at ${reserved}; choose another path`)
  const same = taken.at.get(folded)
  if (same) {
    const how = mine === same.path ? 'stands at this path' : `stands at ${same.path}, which differs only by case`
    complain(path, `the service "${same.name}" ${how} already`)
    return
  }
  // "/" is what no other service claims; everything else must stand beside the others.
  const above = ancestorsOf(folded)
  const other = above.map((ancestor) => taken.at.get(ancestor)).find((found) => found) ?? taken.below.get(folded)
  if (other) {
    complain(
      path,
      `overlaps ${other.path} of the service "${other.name}": every request at or below a path belongs to one service`,
    )
  }
  taken.at.set(folded, { path: mine, name: service.name })
  for (const ancestor of above) taken.below.set(ancestor, { path: mine, name: service.name })
}

/** `/a/b/c` → `/a`, `/a/b`. */
function ancestorsOf(path: string): readonly string[] {
  const segments = path.split('/')
  return segments.slice(2).map((_, index) => segments.slice(0, index + 2).join('/'))
}

function checkTargets(
  service: ServiceDefinition,
  path: Path,
  value: Record<string, unknown>,
  complain: Complain,
): void {
  const gateway = isObject(value['gateway']) ? value['gateway'] : {}
  const own = new Set<string>()
  for (const key of ['listen', 'admin'] as const) {
    const address = isObject(gateway[key]) ? gateway[key] : {}
    const port = Number(address['port'] ?? (key === 'listen' ? 8080 : 8081))
    if (port === 0) continue
    const host = String(address['host'] ?? '127.0.0.1')
    const hosts = isLoopback(host) || isAny(host) ? ['127.0.0.1', 'localhost', '[::1]'] : [host]
    for (const name of hosts) own.add(`${name}:${port}`)
  }
  const { targets, canary, mirror } = service
  const places: readonly (readonly [place: Path, url: string])[] = [
    ...targets.map(({ url }, index) => [['targets', index], url] as const),
    ...(canary?.targets ?? []).map(({ url }, index) => [['canary', 'targets', index], url] as const),
    ...(mirror ? [[['mirror', 'url'], mirror.url] as const] : []),
  ]
  for (const [place, text] of places) {
    const url = new URL(text)
    const port = url.port || (url.protocol === 'https:' ? '443' : '80')
    const authority = `${isLoopback(url.hostname) ? '127.0.0.1' : url.hostname}:${port}`
    if (own.has(authority))
      complain([...path, ...place], 'this is the gateway itself; a request would go round for ever')
  }
}

const isLoopback = (host: string) =>
  host === 'localhost' || host.startsWith('127.') || host === '[::1]' || host === '::1'
const isAny = (host: string) => host === '0.0.0.0' || host === '::' || host === '[::]'

function checkRoutes(service: ServiceDefinition, path: Path, complain: Complain): void {
  const shapes = new Map<string, number>()
  for (const [index, { match }] of service.routes.entries()) {
    const at = [...path, index, 'match']
    const { method, template } = splitMatch(match)
    const names = new Set<string>()
    let shape = method
    for (const part of parseTemplate(template)) {
      if (part === 'tail') shape += '/*'
      else if ('name' in part) {
        shape += '/{}'
        if (!/^[A-Za-z_][A-Za-z0-9_]*$/.test(part.name))
          complain(at, `"{${part.name}}" is no parameter; a name is letters, digits and "_"`)
        else if (names.has(part.name)) complain(at, `the parameter {${part.name}} stands here twice`)
        names.add(part.name)
      } else if ('pieces' in part) {
        complain(at, 'a plain segment has no parameter in it; a parameter fills a whole one, "/{id}"')
      } else {
        shape += `/${part.literal.toLowerCase()}`
        if (!/^[A-Za-z0-9._~!$&'()+,;=:@-]+$/.test(part.literal) || part.literal === '.' || part.literal === '..') {
          complain(
            at,
            `"${part.literal}" is not a plain segment; a parameter fills a whole segment, "/{id}", and "*" stands only at the end`,
          )
        }
      }
    }
    const first = shapes.get(shape)
    if (first === undefined) shapes.set(shape, index)
    else complain(at, `matches the same requests as ${service.routes[first]!.match}; keep one`)
  }
}

/** A field of services.json beside one of the same name that says who calls would be two answers to one question. */
function checkForward({ forward, routes }: ServiceDefinition, path: Path, complain: Complain): void {
  const places = [
    { headers: forward?.headers, identity: forward?.identity, at: path },
    ...routes.map((route, index) => ({
      headers: route.forward?.headers,
      identity: route.forward?.identity ?? forward?.identity,
      at: [...path, 'routes', index],
    })),
  ]
  for (const { headers, identity, at } of places) {
    const names = writtenNames(identity ?? true).map((name) => name.toLowerCase())
    for (const name of Object.keys(headers ?? {})) {
      if (names.includes(name.toLowerCase()))
        complain(
          [...at, 'forward', 'headers', name],
          'this field says who calls; leave it out in forward.identity first',
        )
    }
  }
}

/** The service's own schemes are found in its document, and published under names that must be free. */
function checkUpstreamSecurity(
  { name: service, openapi, forward, routes }: ServiceDefinition,
  schemes: Readonly<Record<string, unknown>>,
  path: Path,
  complain: Complain,
): void {
  const places = [
    { names: forward?.upstreamSecurity, at: path },
    ...routes.map((route, index) => ({ names: route.forward?.upstreamSecurity, at: [...path, 'routes', index] })),
  ]
  for (const { names = [], at } of places) {
    for (const [index, name] of names.entries()) {
      const place = [...at, 'forward', 'upstreamSecurity', index]
      if (openapi === false)
        complain(place, 'the service has no document that could define this scheme; give it `openapi`')
      if (names.indexOf(name) < index) complain(place, 'is named twice')
      if (Object.hasOwn(schemes, `${service}_${name}`))
        complain(place, `is published as "${service}_${name}", which securitySchemes has already; rename that one`)
    }
  }
}

/** What is only tried must be something, and trying it must not take away what is enforced. */
function checkShadow(service: ServiceDefinition, root: unknown, path: Path, complain: Complain): void {
  const inherited = service.security ?? parts.security.safeParse(root).data ?? []
  for (const [index, route] of service.routes.entries()) {
    if (route.enforce !== 'shadow') continue
    const at: Path = [...path, 'routes', index]
    if (!route.allow && !namesAnything(route.security ?? [])) {
      complain(
        [...at, 'enforce'],
        'the route writes nothing that could be tried, and what its service asks for stays in force: write an `allow`',
      )
    }
    if (route.security && namesAnything(inherited) && service.enforce !== 'shadow' && !route.override) {
      complain(
        [...at, 'security'],
        'this stands instead of names that are enforced, and in shadow neither would be: write the roles in `allow`, or "override": true if that is meant',
      )
    }
  }
  const written = [service, ...service.routes]
  if (service.enforce === 'shadow' && !namesAnything(inherited) && !written.some(asksForMore))
    complain([...path, 'enforce'], 'nothing here could be tried: who calls is asked for all the same; write an `allow`')
}

function asksForMore({ allow, security }: Pick<ServiceDefinition, 'allow' | 'security'>): boolean {
  return allow !== undefined || namesAnything(security ?? [])
}

/** Whether any alternative asks for more than somebody: for roles or scopes. */
export function namesAnything(security: readonly Readonly<Record<string, readonly string[]>>[]): boolean {
  return security.some((alternative) => Object.values(alternative).some((names) => names.length > 0))
}

/** `GET /{id}` → method and template; a path alone is for every method, written `*`. */
export function splitMatch(match: string): { readonly method: string; readonly template: string } {
  const space = match.indexOf(' ')
  return space < 0
    ? { method: '*', template: match }
    : { method: match.slice(0, space), template: match.slice(space + 1) }
}

/** Expressions are compiled here for their mistakes alone; the routes compile them again with what they share. */
function checkPolicies({ allow, routes }: Policed, path: Path, compile: Policies['compile'], complain: Complain): void {
  const attempt = (allow: ServiceDefinition['allow'], at: Path, params: readonly string[] | undefined) => {
    try {
      compile(allow, params && { params })
    } catch (error) {
      if (!(error instanceof InvalidAllow)) throw error
      for (const { pointer, message } of error.mistakes) complain([...at, ...fromPointer(pointer)], message)
    }
  }
  attempt(allow, [...path, 'allow'], undefined)
  for (const [index, { match, allow }] of routes.entries()) {
    attempt(allow, [...path, 'routes', index, 'allow'], parameterNames(splitMatch(match).template))
  }
}

/** What the policies of a service need of it. */
interface Policed {
  readonly allow?: ServiceDefinition['allow']
  readonly routes: readonly { readonly match: string; readonly allow?: ServiceDefinition['allow'] }[]
}

/** The policies of a service that has mistakes elsewhere, as far as each can be read for itself. */
function readPolicies(raw: Readonly<Record<string, unknown>>): Policed {
  const read = (allow: unknown) => ({ allow: parts.allow.optional().safeParse(allow).data })
  const routes = Array.isArray(raw['routes']) ? raw['routes'] : []
  return {
    ...read(raw['allow']),
    routes: routes.map((route: unknown) =>
      isObject(route) && typeof route['match'] === 'string' && parts.match.safeParse(route['match']).success
        ? { match: route['match'], ...read(route['allow']) }
        : { match: '/' },
    ),
  }
}

function checkAddresses({ gateway }: Definition, complain: Complain): void {
  const { listen, admin, publicUrl } = gateway
  if (listen.port !== 0 && listen.port === admin.port) {
    complain(
      ['gateway', 'admin', 'port'],
      `the gateway listens on port ${listen.port} already; set ADMIN_PORT or gateway.admin.port`,
    )
  }
  if (publicUrl && new URL(publicUrl).pathname !== '/') {
    complain(['gateway', 'publicUrl'], 'the public URL has no path: the gateway stands at the root of its host')
  }
}
