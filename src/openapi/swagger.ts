import { upgradeFromTwoToThree } from '@scalar/openapi-upgrader/2.0-to-3.0'
import type { JsonObject } from './document.ts'
import { copyPlain, isObject, items, members, own, plainLimits, put } from './plain.ts'
import { decodeFragment, fromPointer } from './pointer.ts'
import type { Report } from './report.ts'
import { createWalk, isMethod, methods } from './walk.ts'

/**
 * Swagger 2.0 becomes OpenAPI 3.0. The conversion itself is a library's; before it, the document is brought into the
 * form that the library reads without loss, because it
 *
 * 1. leaves references to shared body and form parameters among the parameters: they are put in place here;
 * 2. gives a body that all operations of a path share only to those written after it: it is handed to each of them;
 * 3. takes every member of a path item for an operation, extensions too: they wait outside;
 * 4. takes every `$ref` for a reference, also in examples: those in data are hidden from it;
 * 5. leaves `schemes` at operations and, without a host, at the root;
 * 6. gives up on the whole document for one thing of the wrong type: those are taken out.
 *
 * The input is changed; the result is new.
 */
export function fromSwagger(document: JsonObject, report: Report): JsonObject {
  shareOut(document) // 1 2
  const waiting = takeExtensions(document) // 3
  hideReferencesInData(document) // 4
  clean(document) // 6
  if (!own(document, 'host') || items(document.schemes).length === 0) delete document.schemes // 5
  try {
    const upgraded = restoreReferences(upgradeFromTwoToThree(document as never) as JsonObject)
    for (const [path, extensions] of waiting) {
      const item = own(upgraded.paths as JsonObject, path)
      if (isObject(item)) for (const [name, value] of members(extensions)) put(item, name, value)
    }
    return upgraded
  } catch (error) {
    // The library throws on what it cannot read, such as a list where an operation should be.
    report.error('not-upgradable', `the document could not be read as Swagger 2.0: ${(error as Error).message}`)
    return { openapi: '3.0.4', info: isObject(document.info) ? document.info : {}, paths: {} }
  }
}

function clean(document: JsonObject): void {
  const onlyObjects = (map: unknown, usable: (member: JsonObject) => boolean = () => true) => {
    for (const [name, member] of members(map)) {
      if (!isObject(member) || !usable(member)) delete (map as JsonObject)[name]
    }
  }
  onlyObjects(document.securityDefinitions)
  onlyObjects(document.responses)
  onlyObjects(document.parameters, isParameter)
  mediaTypes(document)
  for (const [, item] of members(document.paths)) {
    for (const [, operation] of members(item)) {
      if (!isObject(operation)) continue
      mediaTypes(operation)
      if (isObject(operation.responses)) onlyObjects(operation.responses)
      else delete operation.responses
    }
  }
}

function mediaTypes(holder: JsonObject): void {
  for (const name of ['consumes', 'produces']) {
    if (!Object.hasOwn(holder, name)) continue
    const types = items(holder[name]).filter((type) => typeof type === 'string')
    if (types.length > 0) holder[name] = types
    else delete holder[name]
  }
}

function shareOut(document: JsonObject): void {
  const shared = own(document, 'parameters')
  for (const [, item] of members(document.paths)) {
    if (!isObject(item)) continue
    const common = inPlace(item.parameters, shared)
    const bodies = common.filter(isBody)
    if (Object.hasOwn(item, 'parameters')) item.parameters = common.filter((parameter) => !isBody(parameter))
    for (const method of methods) {
      const operation = own(item, method)
      if (!isObject(operation)) continue
      const parameters = inPlace(operation.parameters, shared)
      operation.parameters = parameters.some(isBody) ? parameters : [...parameters, ...copyPlain(bodies)]
      delete operation.schemes
    }
  }
  for (const [name, parameter] of members(shared)) if (isBody(parameter)) delete (shared as JsonObject)[name]
}

/** A parameter list with references to body and form parameters replaced by what they point to. */
function inPlace(list: unknown, shared: unknown): JsonObject[] {
  return items(list)
    .filter(isObject)
    .map((parameter) => {
      const reference = own(parameter, '$ref')
      if (typeof reference !== 'string' || !isObject(shared)) return parameter
      const name = /^#\/parameters(\/[^/]+)$/.exec(decodeFragment(reference))?.[1]
      const target = name === undefined ? undefined : own(shared, fromPointer(name)[0]!)
      return isBody(target) ? copyPlain(target) : parameter
    })
    .filter(isParameter)
}

function isParameter(one: JsonObject): boolean {
  const location = own(one, 'in')
  return typeof own(one, '$ref') === 'string' || (typeof location === 'string' && location !== '')
}

function isBody(parameter: unknown): parameter is JsonObject {
  return isObject(parameter) && (parameter.in === 'body' || parameter.in === 'formData')
}

/** What stands in path items and is neither an operation nor the parameters, by path. What cannot stand there goes. */
function takeExtensions(document: JsonObject): ReadonlyMap<string, JsonObject> {
  const taken = new Map<string, JsonObject>()
  const { paths } = document
  if (!isObject(paths)) {
    document.paths = {}
    return taken
  }
  for (const [path, item] of members(paths)) {
    if (path.startsWith('x-') || !isObject(item)) {
      delete paths[path]
      continue
    }
    const extensions: JsonObject = {}
    for (const [name, value] of members(item)) {
      if (name === 'parameters' || (isMethod(name) && isObject(value))) continue
      delete item[name]
      if (!isMethod(name)) put(extensions, name, value)
    }
    taken.set(path, extensions)
  }
  return taken
}

/** No text of a document has this in it: JSON may say it, but no author does. */
const hidden = '\u0000$ref'

function hideReferencesInData(document: JsonObject): void {
  const schemas: unknown[] = Object.values(isObject(document.definitions) ? document.definitions : {})
  const data = (holder: JsonObject, ...names: readonly string[]) => {
    for (const name of names) if (Object.hasOwn(holder, name)) holder[name] = hideReferences(holder[name])
  }
  const parameters = (list: unknown) => {
    for (const parameter of items(list)) {
      if (!isObject(parameter)) continue
      data(parameter, 'default', 'enum', 'x-example', 'x-examples')
      schemas.push(parameter.schema)
    }
  }
  const responses = (map: unknown) => {
    for (const [, response] of members(map)) {
      if (!isObject(response)) continue
      data(response, 'examples')
      schemas.push(response.schema)
    }
  }
  parameters(Object.values(isObject(document.parameters) ? document.parameters : {}))
  responses(document.responses)
  for (const [, item] of members(document.paths)) {
    if (!isObject(item)) continue
    parameters(item.parameters)
    for (const operation of Object.values(item)) {
      if (!isObject(operation)) continue
      parameters(operation.parameters)
      responses(operation.responses)
    }
  }
  const walk = createWalk({ Schema: (node) => data(node, 'example', 'default', 'enum') })
  for (const schema of schemas) walk(schema, 'Schema')
}

const hideReferences = <T>(value: T): T => copyPlain(value, plainLimits, (name) => (name === '$ref' ? hidden : name))
const restoreReferences = <T>(value: T): T => copyPlain(value, plainLimits, (name) => (name === hidden ? '$ref' : name))
