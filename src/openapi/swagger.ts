import { upgradeFromTwoToThree } from '@scalar/openapi-upgrader/2.0-to-3.0'
import type { JsonObject } from './document.ts'
import { copyPlain, isObject, items, members, own } from './plain.ts'
import { decodeFragment, fromPointer } from './pointer.ts'
import type { Report } from './report.ts'
import { methods } from './walk.ts'

/**
 * Swagger 2.0 becomes OpenAPI 3.0. The conversion itself is a library's; before it, the document is brought into the
 * form that the library reads without loss, because it
 *
 * - leaves references to shared body and form parameters among the parameters: they are put in place here;
 * - gives a body that all operations of a path share only to those written after it: it is handed to each of them;
 * - leaves `schemes` at operations and, without a host, at the root.
 *
 * The input is changed; the result is new.
 */
export function fromSwagger(document: JsonObject, report: Report): JsonObject {
  const shared = own(document, 'parameters')
  for (const [path, item] of members(document.paths)) {
    if (!isObject(item)) {
      delete (document.paths as JsonObject)[path]
      continue
    }
    const common = inPlace(item.parameters, shared)
    const bodies = common.filter(isBody)
    if (Object.hasOwn(item, 'parameters')) item.parameters = common.filter((parameter) => !isBody(parameter))
    for (const method of methods) {
      const operation = own(item, method)
      if (!isObject(operation)) {
        delete item[method]
        continue
      }
      delete operation.schemes
      const parameters = inPlace(operation.parameters, shared)
      const own_ = parameters.filter(isBody)
      operation.parameters = own_.length > 0 || bodies.length === 0 ? parameters : [...parameters, ...copyPlain(bodies)]
    }
  }
  if (isObject(shared)) for (const [name, parameter] of members(shared)) if (isBody(parameter)) delete shared[name]
  const schemes = own(document, 'schemes')
  if (!own(document, 'host')) delete document.schemes
  else if (Array.isArray(schemes) && schemes.length === 0) delete document.schemes
  try {
    return copyPlain(upgradeFromTwoToThree(document as never) as JsonObject)
  } catch (error) {
    // The library throws on what it cannot read, such as a parameter without `in`.
    report.error('not-upgradable', `the document could not be read as Swagger 2.0: ${(error as Error).message}`)
    return { openapi: '3.0.4', info: isObject(document.info) ? document.info : {}, paths: {} }
  }
}

/** The list with references to body and form parameters replaced by what they point to. */
function inPlace(list: unknown, shared: unknown): JsonObject[] {
  return items(list)
    .filter(isObject)
    .map((parameter) => {
      const reference = own(parameter, '$ref')
      const name =
        typeof reference === 'string' ? /^#\/parameters(\/[^/]+)$/.exec(decodeFragment(reference))?.[1] : undefined
      const target = name !== undefined && isObject(shared) ? own(shared, fromPointer(name)[0]!) : undefined
      return isBody(target) ? copyPlain(target) : parameter
    })
    .filter((parameter) => typeof own(parameter, '$ref') === 'string' || typeof own(parameter, 'in') === 'string')
}

function isBody(parameter: unknown): parameter is JsonObject {
  return isObject(parameter) && (parameter.in === 'body' || parameter.in === 'formData')
}
