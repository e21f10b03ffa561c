import { check, type Fault } from './check.ts'
import { type ComposedOperation, describeComposed } from './compose.ts'
import { withoutConflicts } from './conflicts.ts'
import { digest } from './digest.ts'
import type { Finding, JsonObject, SecurityRequirement, ServiceSource } from './document.ts'
import { gatewayComponents } from './gateway-responses.ts'
import { isObject, members, own, put } from './plain.ts'
import { createReport } from './report.ts'
import { type Part, secure } from './secure.ts'

export interface PublishSettings {
  readonly info: { readonly title: string; readonly version: string; readonly description?: string }
  /** Where clients find the gateway; the only server of the document. */
  readonly publicUrl: string
  /** OpenAPI Security Scheme Objects by name, without the keys that say how the gateway checks them. */
  readonly securitySchemes: Readonly<Record<string, JsonObject>>
  /** The gateway's default; every operation says its own all the same. */
  readonly security?: readonly SecurityRequirement[]
  /** The gateway's own operations (`own.ts`). */
  readonly own?: OwnPart
}

export interface OwnPart {
  readonly paths: JsonObject
  readonly components: JsonObject
  readonly tags: readonly JsonObject[]
  /** Which of `paths` are compositions, and of what. */
  readonly composed?: readonly ComposedOperation[]
}

export interface Publication {
  /** The one document for everything behind the gateway. */
  readonly document: JsonObject
  /** One for each service, with the same names and the same security schemes. */
  readonly byService: ReadonlyMap<string, JsonObject>
  /** What went into it, in its order. A part that is unchanged is the object that was handed in. */
  readonly parts: readonly Part[]
  readonly findings: readonly Finding[]
}

/** Digest and secure in one go. The input is left as it is; the result can be kept until it changes. */
export function preparePart(source: ServiceSource): Part {
  return secure(digest(source), (method, path) => source.enforced(method, path), source.stale)
}

/**
 * Put the parts together. The result depends on the parts alone, not on their order: services stand in the order of
 * their names, and what stands in a part keeps its order.
 *
 * A part that does not hold together is left out with an error; so is the operation that another service answers.
 * `faultsOf` may remember what it found in a part.
 */
export function publish(
  parts: readonly Part[],
  settings: PublishSettings,
  faultsOf = (part: Part): readonly Fault[] => check(assemble([part], settings)),
): Publication {
  const sorted = [...parts].sort((one, other) => (one.service < other.service ? -1 : 1))
  const findings: Finding[] = []
  const sound: Part[] = []
  for (const part of withoutConflicts(sorted, settings.own?.paths ?? {}, findings)) {
    findings.push(...part.findings)
    const faults = faultsOf(part)
    if (faults.length === 0) {
      sound.push(part)
      continue
    }
    const report = createReport(part.service)
    for (const { pointer, message } of faults)
      report.error('not-published', `the service is left out: ${message}`, pointer)
    findings.push(...report.findings)
    sound.push(withoutOperations(part))
  }
  return {
    document: assemble(sound, settings, settings.own),
    byService: new Map(sound.map((part) => [part.service, assembleOne(part, settings)])),
    parts: sound,
    findings,
  }
}

/** Compositions of what is in this document: what a reader is not shown is not described to them this way either. */
function withCompositions(ownPart: OwnPart, parts: readonly Part[]): OwnPart {
  const { composed = [] } = ownPart
  return composed.length === 0 ? ownPart : { ...ownPart, paths: describeComposed(ownPart.paths, composed, parts) }
}

/** One document of parts that are sound. */
export function assemble(parts: readonly Part[], settings: PublishSettings, ownPart?: OwnPart): JsonObject {
  const paths: JsonObject = {}
  const webhooks: JsonObject = {}
  const components: JsonObject = { ...gatewayComponents(), securitySchemes: { ...settings.securitySchemes } }
  const tags: JsonObject[] = []
  const groups: JsonObject[] = []
  const services: JsonObject = {}
  const take = (from: OwnPart) => {
    merge(paths, from.paths)
    for (const [section, holder] of members(from.components)) {
      const target = isObject(components[section]) ? components[section] : {}
      components[section] = merge(target, holder)
    }
    const names = new Set(tags.map(({ name }) => name))
    const more = from.tags.filter(({ name }) => !names.has(name))
    tags.push(...more)
    return more.map(({ name }) => name)
  }
  if (ownPart) groups.push({ name: 'gateway', tags: take(withCompositions(ownPart, parts)) })
  for (const part of parts) {
    merge(webhooks, part.document.webhooks)
    groups.push({ name: part.service, tags: take({ ...part.document, tags: tagsOf(part) }) })
    services[part.service] = part.stale ? { ...part.about, stale: part.stale } : part.about
  }
  return {
    openapi: '3.1.1',
    info: { ...settings.info },
    servers: [{ url: settings.publicUrl }],
    ...(settings.security ? { security: settings.security } : {}),
    tags,
    paths,
    ...(Object.keys(webhooks).length > 0 ? { webhooks } : {}),
    components,
    'x-tagGroups': groups,
    'x-sallyport-services': services,
  }
}

export function assembleOne(part: Part, settings: PublishSettings): JsonObject {
  const document = assemble([part], settings)
  const { description } = tagsOf(part)[0]!
  document.info = {
    title: `${settings.info.title}: ${part.service}`,
    ...(typeof description === 'string' ? { description } : {}),
    version: settings.info.version,
  }
  return document
}

/** The service's tag says when the part is an old copy, or none. */
function tagsOf(part: Part): readonly JsonObject[] {
  const [first, ...rest] = part.document.tags
  if (!part.stale) return part.document.tags
  const { since: seconds, reason } = part.stale
  const since = seconds === undefined ? undefined : new Date(seconds * 1_000).toISOString()
  const note = since
    ? `**The description of this service is a copy of ${since}**: ${reason}.`
    : `**The description of this service could not be read**: ${reason}.`
  const description = typeof first!.description === 'string' ? `${note}\n\n${first!.description}` : note
  const mark = since ? { since, reason } : { reason }
  return [{ ...first, description, 'x-sallyport-stale': mark }, ...rest]
}

function merge(target: JsonObject, source: unknown): JsonObject {
  for (const [name, value] of members(source)) {
    const there = own(target, name)
    // Two services can have operations of one path; their methods differ by then.
    put(target, name, isObject(there) && isObject(value) ? { ...there, ...value } : value)
  }
  return target
}

function withoutOperations(part: Part): Part {
  const [tag] = part.document.tags
  return { ...part, operations: [], document: { paths: {}, webhooks: {}, components: {}, tags: [tag!] } }
}
