import { dereferenced } from './arrange.ts'
import type { Digest, DigestOperation } from './digest.ts'
import type { EnforcedSecurity, Finding, JsonObject, Staleness } from './document.ts'
import { forbiddenComponent, gatewayResponses } from './gateway-responses.ts'
import { findLinks, removeLinks } from './link-removal.ts'
import { copyPlain, isObject, items, members, own, put } from './plain.ts'
import { prune } from './prune.ts'
import { createReport } from './report.ts'
import { createUpstreamSchemes, type UpstreamSchemes } from './upstream-security.ts'
import { isMethod } from './walk.ts'

/** One service's part of the published document, secured and complete but for what all parts share. Not to be changed. */
export interface Part {
  readonly service: string
  readonly prefix: string
  readonly document: Digest['document']
  /** Those that the gateway exposes. */
  readonly operations: readonly DigestOperation[]
  readonly about: JsonObject
  readonly stale: Staleness | undefined
  readonly findings: readonly Finding[]
}

/**
 * Say at every operation what the gateway enforces there, and nothing else: the cheap half of the work, done again
 * when routes or policies change.
 *
 * - `security` is what the router enforces, written out even where it equals the default;
 * - where services.json says that a scheme of the service passes through, it is asked for beside the gateway's own;
 * - parameters that carry a credential the gateway consumes are gone, because the scheme covers them;
 * - the gateway's own answers are described, unless the backend describes the status itself;
 * - operations that the gateway does not expose are gone, and with them the components only they used.
 */
export function secure(
  digest: Digest,
  enforced: (method: string, path: string) => EnforcedSecurity | undefined,
  stale?: Staleness,
): Part {
  const report = createReport(digest.service)
  const { components, webhooks } = digest.document
  const upstream = createUpstreamSchemes(digest, report)
  const paths: JsonObject = {}
  const forbidden: JsonObject = {}
  const exposed: DigestOperation[] = []
  const hidden: DigestOperation[] = []
  for (const operation of digest.operations) {
    const security = enforced(operation.method, operation.path)
    if (!security) {
      hidden.push(operation)
      continue
    }
    exposed.push(operation)
    if (security.needs !== undefined) put(forbidden, ...forbiddenComponent(security.needs))
    if (operation.authorization && security.security.length === 0) {
      const { method, published } = operation
      const advice = 'the documentation page cannot send one; give the route security, or put the field into a scheme'
      report.warning(
        'authorization-not-covered',
        `${method} ${published} is public and wants an Authorization field: ${advice}`,
      )
    }
    const source = own(digest.document.paths, operation.published) as JsonObject
    let item = own(paths, operation.published) as JsonObject | undefined
    if (!item) {
      item = Object.fromEntries(Object.entries(source).filter(([name]) => !isMethod(name)))
      put(paths, operation.published, item)
    }
    const method = operation.method.toLowerCase()
    item[method] = secured(source[method] as JsonObject, security, components, upstream)
  }
  if (hidden.length > 0) {
    const some = hidden.slice(0, 3).map(({ method, published }) => `${method} ${published}`)
    const more = hidden.length > 3 ? ` and ${hidden.length - 3} more` : ''
    report.info('not-exposed', `the gateway does not expose ${some.join(', ')}${more}`)
  }
  const responses = { ...(isObject(components.responses) && components.responses), ...forbidden }
  const whole = { paths, webhooks, components: { ...components, responses }, tags: digest.document.tags }
  const document = hidden.length > 0 ? withoutLinksTo(hidden, whole) : whole
  return {
    service: digest.service,
    prefix: digest.prefix,
    document: { ...document, components: withSchemes(prune(document), upstream.published) },
    operations: exposed,
    about: digest.about,
    stale,
    findings: [...digest.findings, ...report.findings],
  }
}

/** The part without some of its operations, and without what only they used. */
export function leaveOut(part: Part, gone: readonly DigestOperation[]): Part {
  const lost = new Set(gone)
  const paths: JsonObject = { ...part.document.paths }
  for (const { published, method } of gone) {
    const { [method.toLowerCase()]: _, ...item } = paths[published] as JsonObject
    if (Object.keys(item).some(isMethod)) paths[published] = item
    else delete paths[published]
  }
  const document = withoutLinksTo(gone, { ...part.document, paths })
  return {
    ...part,
    document: { ...document, components: withSchemes(prune(document), part.document.components.securitySchemes) },
    operations: part.operations.filter((operation) => !lost.has(operation)),
  }
}

/** Nothing refers to a security scheme in a way that pruning sees. */
function withSchemes(components: JsonObject, securitySchemes: unknown): JsonObject {
  return members(securitySchemes).length > 0 ? { ...components, securitySchemes } : components
}

function secured(
  operation: JsonObject,
  enforced: EnforcedSecurity,
  components: JsonObject,
  upstream: UpstreamSchemes,
): JsonObject {
  const { parameters, responses, ...rest } = operation
  const places = [...enforced.consumed, ...upstream.places(enforced)]
  const covered = (entry: unknown): boolean => {
    const parameter = dereferenced(entry, components)
    if (!parameter) return false
    return places.some(({ in: location, name }) => {
      if (location !== parameter.in || typeof parameter.name !== 'string') return false
      return location === 'header' ? name.toLowerCase() === parameter.name.toLowerCase() : name === parameter.name
    })
  }
  const kept = items(parameters).filter((entry) => !covered(entry))
  return {
    ...rest,
    ...forwarded(rest, enforced, upstream.passing(enforced)),
    ...(kept.length > 0 ? { parameters: kept } : {}),
    responses: gatewayResponses(enforced, isObject(responses) ? responses : {}),
    security: upstream.combine(enforced, rest['x-upstream-security']),
    ...(enforced.allow === undefined ? {} : { 'x-sallyport-allow': enforced.allow }),
  }
}

/** How a service gets the credential that it asks for itself, where it does. Clients need not send it. */
const ways: Readonly<Record<string, string>> = {
  passthrough: 'the credential of the caller is passed on to it',
  none: 'no credential is passed on to it',
  'gateway-jwt': 'the gateway sends it a token of its own that names the caller',
  exchange: 'the gateway exchanges the credential of the caller for one that is meant for it',
  'client-credentials': 'the gateway sends it a token of its own, the same for every caller',
  static: 'the gateway sends it a credential that it was given for this service',
}

function forwarded(operation: JsonObject, { forward }: EnforcedSecurity, passing: ReadonlySet<string>): JsonObject {
  const declared = items(operation['x-upstream-security']).filter(isObject)
  // What the client sends itself is in the requirement.
  const names = [...new Set(declared.flatMap((set) => Object.keys(set)))].filter((name) => !passing.has(name))
  if (forward === undefined || names.length === 0) return {}
  const way = Object.hasOwn(ways, forward) ? ways[forward]! : `"${forward}" says what is passed on to it`
  const sentence = `*The service itself asks for ${names.map((name) => `\`${name.replace(/[`\s]+/g, ' ')}\``).join(', ')}; ${way}.*`
  const { description } = operation
  return {
    description: typeof description === 'string' && description !== '' ? `${description}\n\n${sentence}` : sentence,
    'x-sallyport-forward': forward,
  }
}

/** Links to operations that are not there would be dangling. Rare enough to pay with a copy. */
function withoutLinksTo<T extends Digest['document']>(hidden: readonly DigestOperation[], document: T): T {
  const ids = new Set<unknown>(hidden.map(({ operationId }) => operationId))
  const isGone = (link: JsonObject) => ids.has(link.operationId)
  if (findLinks(document, isGone).length === 0) return document
  const copy = copyPlain(document)
  removeLinks(copy, isGone)
  return copy
}
