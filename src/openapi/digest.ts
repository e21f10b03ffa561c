import { type Arranged, arrange } from './arrange.ts'
import type { Finding, JsonObject, SecurityRequirement, ServiceSource } from './document.ts'
import { publicUrl } from './links.ts'
import { distinct, tagText } from './names.ts'
import { assignOperationIds, findOperations } from './operation-ids.ts'
import { type Mount, variablesOf } from './paths.ts'
import { copyPlain, isObject, items, members, NotPlain, own, put } from './plain.ts'
import { rename } from './rename.ts'
import { createReport, type Report } from './report.ts'
import { upgrade } from './upgrade.ts'
import { recognise } from './version.ts'
import { isExtension, isMethod } from './walk.ts'

/** What a digest is made from: everything about a service but what the router enforces and how old it is. */
export type DigestSource = Omit<ServiceSource, 'enforced' | 'stale'>

/** A service's document in the gateway's words and under the gateway's names, before security. Not to be changed. */
export interface Digest {
  readonly service: string
  readonly prefix: string
  /** Fields of an OpenAPI 3.1 document, every name in the service's namespace. */
  readonly document: {
    readonly paths: JsonObject
    readonly webhooks: JsonObject
    readonly components: JsonObject
    /** The first is the service's own. */
    readonly tags: readonly JsonObject[]
  }
  readonly operations: readonly DigestOperation[]
  /** What the backend says of itself: title, version, contact, and the security it declares. */
  readonly about: JsonObject
  /** Its security schemes as it wrote them, by its names for them. */
  readonly schemes: JsonObject
  readonly findings: readonly Finding[]
}

export interface DigestOperation {
  /** In upper case. */
  readonly method: string
  /** Template below the prefix, as the router knows it. */
  readonly path: string
  /** The key in `paths`. */
  readonly published: string
  readonly operationId: string
  /** It describes a variant of a path (its key has a query or a fragment), and is no route of its own. */
  readonly variant: boolean
  /** The service asked for an Authorization field by a parameter, which is gone: a scheme must stand for it. */
  readonly authorization: boolean
  /** The security that the service itself declares for it; absent when its document says nothing of security anywhere. */
  readonly claim?: readonly SecurityRequirement[]
}

/**
 * Read a service's document into the gateway's namespace: the costly half of the work, and the half that does not depend
 * on routes and policies. The input is left as it is, unless its document is `given`: one that shares nothing and that
 * nobody else holds (`plain.ts`) may be used up.
 */
export function digest(source: DigestSource, input: 'lent' | 'given' = 'lent'): Digest {
  const report = createReport(source.name)
  const document = source.document === undefined ? fromRoutes(source) : read(source, report, input)
  const schemes = schemesOf(document)
  const about = describe(document, source)
  const arranged = arrange(document, mountOf(source), report)

  const operations = findOperations(document)
  const { ids, repeated } = assignOperationIds(source.name, operations)
  for (const { node, method, subject } of repeated) {
    const message = `operationId "${String(node.operationId)}" is used more than once; ${method.toUpperCase()} ${subject} gets another`
    report.warning('repeated-operation-id', message)
  }
  const idsByOldId = new Map<string, string>()
  for (const { node } of operations) {
    const { operationId } = node
    if (typeof operationId === 'string' && !idsByOldId.has(operationId)) idsByOldId.set(operationId, ids.get(node)!)
  }
  const places = new Map(arranged.map(({ key, method, node }) => [`${method} ${key}`, ids.get(node)]))
  const tags = tagNames(document, source.name)
  const idAt = (path: string, method: string) => places.get(`${method} ${path}`)
  const secured =
    about.securitySchemes !== undefined || arranged.some(({ node }) => node['x-upstream-security'] !== undefined)
  rename(document, { service: source.name, operationIds: ids, idsByOldId, idAt, tags }, report)
  return {
    service: source.name,
    prefix: source.prefix,
    document: {
      paths: pathsOf(document, arranged),
      webhooks: isObject(document.webhooks) ? document.webhooks : {},
      components: isObject(document.components) ? document.components : {},
      tags: [serviceTag(source.name, about), ...tagsOf(document, tags)],
    },
    operations: arranged.map(({ node, method, published, template, variant, authorization }) => ({
      ...claimOf(node['x-upstream-security'], authorization, secured),
      method: method.toUpperCase(),
      path: template,
      published,
      operationId: node.operationId as string,
      variant,
      authorization,
    })),
    about,
    schemes,
    findings: isSwagger(source) ? report.findings.map(inSwagger) : report.findings,
  }
}

/** A document that says nothing of security anywhere says nothing about this operation either. */
function claimOf(declared: unknown, authorization: boolean, secured: boolean): Pick<DigestOperation, 'claim'> {
  const claim = items(declared)
    .filter(isObject)
    .map((set) =>
      Object.fromEntries(members(set).map(([scheme, names]) => [scheme, items(names).filter(isString)] as const)),
    )
  if (claim.length === 0 && authorization) return { claim: [{ Authorization: [] }] }
  return secured ? { claim } : {}
}

const isString = (value: unknown): value is string => typeof value === 'string'

const isSwagger = ({ document }: DigestSource): boolean => document !== undefined && Object.hasOwn(document, 'swagger')

/** A place of the upgraded document in the terms of the original. */
function inSwagger(finding: Finding): Finding {
  if (finding.pointer === undefined) return finding
  const pointer = finding.pointer.replace(/^\/components\/(schemas|responses|parameters)\//, (_, section: string) =>
    section === 'schemas' ? '/definitions/' : `/${section}/`,
  )
  return { ...finding, pointer }
}

/** Routes are written below the prefix, whatever the backend sees of it. */
function mountOf({ document, prefix, stripPath, targetBasePath }: DigestSource): Mount {
  return document === undefined
    ? { prefix, stripPath: true, targetBasePath: '' }
    : { prefix, stripPath, targetBasePath }
}

const nothing = (): JsonObject => ({ openapi: '3.1.1', info: {}, paths: {} })

function read(source: DigestSource, report: Report, input: 'lent' | 'given'): JsonObject {
  const recognised = recognise(source.document!)
  if (recognised.outcome === 'unknown') {
    report.error('unsupported-version', `${source.origin}: ${recognised.reason}`)
    return nothing()
  }
  if (recognised.remark !== undefined) report.warning('version', recognised.remark, '/openapi')
  try {
    const self = source.origin.split(/[/\\]/).at(-1)
    const document = input === 'given' ? source.document! : copyPlain(source.document!)
    return upgrade(document, recognised.version, report, self)
  } catch (error) {
    if (!(error instanceof NotPlain)) throw error
    report.error(error.code, `${source.origin}: ${error.message}`)
    return nothing()
  }
}

/** A service without a document is described by its routes. A trailing `*` becomes a variable. */
function fromRoutes(source: DigestSource): JsonObject {
  const paths: JsonObject = {}
  for (const { method, path } of source.routes) {
    const key = path.replace(/\/\*$/, '/{rest}')
    // The routes are the gateway's: they need no base path of the backend, and nothing is taken off them.
    const item = (own(paths, key) ?? {}) as JsonObject
    const named = method === '*' ? ['get', 'put', 'post', 'delete', 'patch'] : [method.toLowerCase()]
    for (const name of named) {
      if (!isMethod(name)) continue
      const parameters = variablesOf(key).map((variable) => ({
        name: variable,
        in: 'path',
        required: true,
        schema: { type: 'string' },
      }))
      item[name] ??= { parameters, responses: { default: { description: 'The answer of the service.' } } }
    }
    put(paths, key, item)
  }
  return { ...nothing(), paths }
}

/**
 * What the document says of itself and of its security, taken out of it: the gateway's info and the gateway's security
 * stand in the published document. Root security is handed down first, so that each operation keeps its own.
 */
function describe(document: JsonObject, source: DigestSource): JsonObject {
  const about: JsonObject = {}
  const { info } = document
  if (isObject(info)) {
    for (const name of ['title', 'version', 'summary', 'description'] as const)
      if (own(info, name)) about[name] = info[name]
    const terms = publicUrl(info.termsOfService)
    if (terms !== undefined) about.termsOfService = terms
    for (const name of ['contact', 'license'] as const) {
      const party = own(info, name)
      if (!isObject(party)) continue
      const { url, ...rest } = party
      about[name] = publicUrl(url) === undefined ? rest : party
    }
  }
  if (isObject(document.externalDocs)) about.externalDocs = document.externalDocs
  const components = isObject(document.components) ? document.components : {}
  const schemes = summarised(components.securitySchemes)
  if (Object.keys(schemes).length > 0) about.securitySchemes = schemes
  delete components.securitySchemes
  for (const { node, path } of findOperations(document)) {
    const declared = Object.hasOwn(node, 'security') ? node.security : document.security
    delete node.security
    // The service calls the client there: the gateway asks for nothing, and its default shall not seem to apply.
    if (path === undefined) node.security = []
    else if (Array.isArray(declared) && source.document !== undefined) node['x-upstream-security'] = declared
  }
  delete document.security
  return about
}

function schemesOf({ components }: JsonObject): JsonObject {
  const found: JsonObject = {}
  for (const [name, scheme] of members(isObject(components) ? components.securitySchemes : undefined))
    if (isObject(scheme) && typeof scheme.type === 'string') put(found, name, scheme)
  return found
}

/** What kind of credential a backend wants, without the addresses where it says one can be had. */
function summarised(schemes: unknown): JsonObject {
  const summary: JsonObject = {}
  for (const [name, scheme] of members(schemes)) {
    if (!isObject(scheme)) continue
    const { type, in: location, name: field, scheme: http, bearerFormat } = scheme
    const kept = { type, in: location, name: field, scheme: http, bearerFormat }
    const texts = Object.entries(kept).filter(([, value]) => typeof value === 'string')
    if (texts.length > 0) put(summary, name, Object.fromEntries(texts))
  }
  return summary
}

function tagNames(document: JsonObject, service: string): ReadonlyMap<string, string> {
  const names: string[] = []
  for (const tag of items(document.tags)) if (isObject(tag)) names.push(tag.name as string)
  for (const { node } of findOperations(document)) names.push(...(items(node.tags) as string[]))
  return new Map([...distinct(names, tagText)].map(([name, text]) => [name, `${service}:${text}`]))
}

/** The declared tags, and those that operations use without. */
function tagsOf(document: JsonObject, names: ReadonlyMap<string, string>): readonly JsonObject[] {
  const declared = new Map<unknown, JsonObject>()
  for (const tag of items(document.tags)) if (isObject(tag) && !declared.has(tag.name)) declared.set(tag.name, tag)
  return [...names].map(([original, name]) => {
    const { name: _, 'x-parent': parent, ...rest } = declared.get(original) ?? {}
    const above = names.get(parent as string)
    return { name, 'x-displayName': original, ...rest, ...(above === undefined ? {} : { 'x-parent': above }) }
  })
}

function serviceTag(service: string, about: JsonObject): JsonObject {
  const words = [about.title, about.version].filter((word) => typeof word === 'string')
  const description = [words.join(' '), about.summary, about.description].filter(
    (text) => typeof text === 'string' && text !== '',
  )
  const tag: JsonObject = { name: service }
  if (description.length > 0) tag.description = description.join('\n\n')
  if (isObject(about.externalDocs)) tag.externalDocs = about.externalDocs
  return tag
}

/** The operations under their published paths, in the order of the document. */
function pathsOf(document: JsonObject, arranged: readonly Arranged[]): JsonObject {
  const paths: JsonObject = {}
  for (const { key, method, published, node, variant } of arranged) {
    const source = own(document.paths as JsonObject, key) as JsonObject
    let item = own(paths, published) as JsonObject | undefined
    if (!item) {
      item = {}
      for (const [name, value] of members(source)) {
        if (name === 'summary' || name === 'description' || isExtension(name)) put(item, name, value)
      }
      if (variant) item['x-sallyport-variant'] = true
      put(paths, published, item)
    }
    item[method] = node
  }
  return paths
}
