import type { JsonObject } from './document.ts'
import { findOperations } from './operation-ids.ts'
import { type Mount, placePath, serverAddress, shapeOf, variablesOf } from './paths.ts'
import { copyPlain, isObject, items, members, own, put, renameKeys } from './plain.ts'
import { decodeFragment, fromPointer, toPointer } from './pointer.ts'
import type { Report } from './report.ts'
import { follow, isExtension, methods, walk } from './walk.ts'

/** An operation at the path where clients of the gateway find it. */
export interface Arranged {
  readonly node: JsonObject
  readonly method: string
  /** Its path key in the backend's document. */
  readonly key: string
  readonly published: string
  /** Below the prefix. */
  readonly template: string
  readonly variant: boolean
  /** It had a parameter for the Authorization field. */
  readonly authorization: boolean
}

/**
 * Find the place of every operation of an upgraded document in the gateway, in place: operations get the parameters of
 * their path items, lose `servers`, and have one spelling of each path between them. What cannot be reached through
 * the gateway, or stands where another does, is taken out with a finding.
 */
export function arrange(document: JsonObject, mount: Mount, report: Report): readonly Arranged[] {
  const arranged: Arranged[] = []
  const keyByShape = new Map<string, string>()
  const taken = new Map<string, string>()
  const renamed = new Map<JsonObject, ReadonlyMap<string, string>>()
  const hosts = hostsOf(document.servers)
  const bases = new Map<string, string>()

  /** The base path that counts, with a word about it the first time. */
  function baseOf(path: string): string {
    const known = bases.get(path)
    if (known !== undefined) return known
    // A backend that knows where it is mounted says so; the prefix is not there twice.
    const own = mount.stripPath && path === mount.prefix
    const base = own ? '' : path
    bases.set(path, base)
    const target = mount.targetBasePath.replace(/\/+$/, '')
    if (own && path !== '') {
      const advice = 'if the backend itself serves below it, set "stripPath": false'
      report.info(
        'base-path',
        `the server of the document has the service's own path ${path}, which is taken off; ${advice}`,
      )
    } else if (base !== target && target !== '' && !base.startsWith(`${target}/`) && base !== '') {
      report.warning(
        'base-path',
        `the server of the document has the path ${base}, the targets have ${target}: one of them is wrong`,
      )
    } else if (base !== target && base !== '' && mount.stripPath) {
      const shown = base.slice(target.length)
      report.info(
        'base-path',
        `the document's paths are below ${shown}, which clients must send; put it into the targets to take it off`,
      )
    }
    return base
  }

  for (const [key, item] of members(document.paths)) {
    if (!isObject(item) || isExtension(key)) continue
    for (const method of methods) {
      const operation = own(item, method)
      if (!isObject(operation)) continue
      const place = toPointer(['paths', key, method])
      const leaveOut = (code: string, why: string) => {
        report.warning(code, `${method.toUpperCase()} ${key} was left out: ${why}`, place)
        delete item[method]
      }
      if (operation['x-internal'] === true || item['x-internal'] === true) {
        report.info('internal-operation', `${method.toUpperCase()} ${key} is marked x-internal and is not shown`, place)
        delete item[method]
        continue
      }
      const servers = [operation.servers, item.servers, document.servers].find((list) => items(list).length > 0)
      const address = serverAddress(items(servers)[0])
      const placed = placePath(mount, baseOf(address?.path ?? ''), key)
      if (placed.outcome === 'outside') {
        leaveOut('path-outside', placed.reason)
        continue
      }
      if (placed.repaired) report.info('path-repaired', `the path "${key}" is shown as "${placed.published}"`, place)
      const shape = shapeOf(placed.published)
      const published = keyByShape.get(shape) ?? placed.published
      const slot = `${method} ${published}`
      const other = taken.get(slot)
      if (other !== undefined) {
        leaveOut('path-conflict', `it is the same request as ${method.toUpperCase()} ${other}`)
        continue
      }
      keyByShape.set(shape, published)
      taken.set(slot, key)
      const { parameters, authorization } = parametersOf(item, operation, document, report, place)
      operation.parameters = parameters
      if (published !== placed.published) {
        const map = renameVariables(operation, placed.published, published, document)
        renamed.set(operation, map)
        report.info('path-variable', `${key} is shown as ${published}: both name the same requests`, place)
      }
      if (address?.host !== undefined && hosts.size > 0 && !hosts.has(address.host)) {
        operation['x-sallyport-elsewhere'] = true
        report.warning('other-host', `${method.toUpperCase()} ${key} is declared on another host than the rest`, place)
      }
      declareVariables(operation, published, document, report, place)
      if ((operation.parameters as unknown[]).length === 0) delete operation.parameters
      delete operation.servers
      const { template, variant } = placed
      arranged.push({ node: operation, method, key, published, template, variant, authorization })
    }
    delete item.servers
    delete item.parameters
  }
  delete document.servers
  renameInLinks(document, renamed)
  return arranged
}

function hostsOf(servers: unknown): ReadonlySet<string> {
  const hosts = items(servers).map((server) => serverAddress(server)?.host)
  return new Set(hosts.filter((host) => host !== undefined))
}

/** The object that an entry is or refers to, references followed: a parameter, a request body, a schema. */
export function dereferenced(entry: unknown, components: unknown): JsonObject | undefined {
  let node = entry
  for (let hops = 0; hops < 16 && isObject(node); hops += 1) {
    const reference = own(node, '$ref')
    if (typeof reference !== 'string') return node
    node = follow({ components }, fromPointer(decodeFragment(reference.slice(1))))?.value
  }
  return undefined
}

/** Header fields that a parameter cannot describe: OpenAPI ignores such parameters (3.1 §4.8.12.2), and so does Swagger UI. */
const ignoredFields = new Set(['accept', 'content-type', 'authorization'])

/** What an operation takes, with what its path item says for all; its own word wins for a name and location. */
function parametersOf(
  item: JsonObject,
  operation: JsonObject,
  document: JsonObject,
  report: Report,
  place: string,
): { readonly parameters: unknown[]; readonly authorization: boolean } {
  let authorization = false
  const byIdentity = new Map<string, unknown>()
  const declared = new Set<string>()
  const shared = items(item.parameters)
  const written = items(operation.parameters)
  for (const [index, entry] of [...shared, ...written].entries()) {
    const parameter = dereferenced(entry, document.components)
    // A reference to what was left out is left out with its own finding.
    if (!parameter) continue
    const name = String(parameter.name)
    const field = parameter.in === 'header' ? name.toLowerCase() : undefined
    if (field !== undefined && ignoredFields.has(field)) {
      const message = `the header parameter "${name}" is ignored by OpenAPI and was taken out`
      authorization ||= field === 'authorization'
      if (field === 'authorization') report.warning('authorization-parameter', message, place)
      else report.info('ignored-parameter', message, place)
      continue
    }
    if (field === 'cookie') report.info('cookie-parameter', 'browsers do not send a header parameter "Cookie"', place)
    const identity = `${parameter.in} ${field ?? name}`
    if (index < shared.length) byIdentity.set(identity, copyPlain(entry))
    else if (declared.has(identity)) report.warning('repeated-parameter', `"${name}" is declared twice`, place)
    else byIdentity.set(identity, entry)
    if (index >= shared.length) declared.add(identity)
  }
  return { parameters: [...byIdentity.values()], authorization }
}

/** Every variable of a path is declared once, and nothing else is: generators forget, and leave behind what a path once had. */
function declareVariables(
  operation: JsonObject,
  published: string,
  document: JsonObject,
  report: Report,
  place: string,
): void {
  const undeclared = new Set(variablesOf(published))
  const kept = items(operation.parameters).filter((entry) => {
    const parameter = dereferenced(entry, document.components)
    if (parameter?.in !== 'path' || undeclared.delete(parameter.name as string)) return true
    report.warning(
      'path-parameter-unknown',
      `the path has no variable "${parameter.name}"; the parameter was left out`,
      place,
    )
    return false
  })
  for (const name of undeclared) {
    kept.push({ name, in: 'path', required: true, schema: { type: 'string' } })
    report.info(
      'path-parameter-undeclared',
      `the path variable "${name}" is not declared; it is shown as a string`,
      place,
    )
  }
  operation.parameters = kept
}

/** Call an operation's path variables what the first operation at that path calls them. */
export function renameVariables(
  operation: JsonObject,
  from: string,
  to: string,
  document: JsonObject,
): ReadonlyMap<string, string> {
  const names = variablesOf(to)
  const map = new Map(variablesOf(from).map((name, index) => [name, names[index] ?? name]))
  operation.parameters = items(operation.parameters).map((entry) => {
    const parameter = dereferenced(entry, document.components)
    if (parameter?.in !== 'path' || typeof parameter.name !== 'string') return entry
    return { ...copyPlain(parameter), name: map.get(parameter.name) ?? parameter.name }
  })
  const inText = (text: string) =>
    text.replace(/\$request\.path\.([^\s{}#]+)/g, (whole, name: string) => {
      const other = map.get(name)
      return other === undefined ? whole : `$request.path.${other}`
    })
  walk(operation, 'Operation', {
    Link(link) {
      for (const [name, value] of members(link.parameters)) {
        if (typeof value === 'string') put(link.parameters as JsonObject, name, inText(value))
      }
      if (typeof link.requestBody === 'string') link.requestBody = inText(link.requestBody)
    },
    Operation(node) {
      for (const [name, callback] of members(node.callbacks)) {
        if (isObject(callback)) put(node.callbacks as JsonObject, name, renameKeys(callback, inText))
      }
    },
  })
  return map
}

/** Links name the parameters of the operation they lead to. */
function renameInLinks(document: JsonObject, renamed: ReadonlyMap<JsonObject, ReadonlyMap<string, string>>): void {
  if (renamed.size === 0) return
  const byId = new Map<string, JsonObject>()
  for (const { node } of findOperations(document)) {
    if (typeof node.operationId === 'string' && !byId.has(node.operationId)) byId.set(node.operationId, node)
  }
  walk(document, 'Document', {
    Link(link) {
      const reference =
        typeof link.operationRef === 'string' ? fromPointer(decodeFragment(link.operationRef.slice(1))) : []
      const target =
        link.operationId === undefined ? follow(document, reference)?.value : byId.get(link.operationId as string)
      const map = isObject(target) ? renamed.get(target) : undefined
      if (!map || !isObject(link.parameters)) return
      link.parameters = renameKeys(link.parameters, (name) => {
        const bare = name.startsWith('path.') ? name.slice(5) : name
        const other = map.get(bare)
        return other === undefined ? name : name === bare ? other : `path.${other}`
      })
    },
  })
}
