import type { JsonObject } from './document.ts'
import { isObject, own } from './plain.ts'
import type { Report } from './report.ts'
import { type Place, pointerOf, type Visitor } from './walk.ts'

/**
 * What OpenAPI 3.2 added, said in the words of 3.1, for a walk. What 3.1 has no words for is left out with a warning or
 * kept under an `x-` name. Fields listed as `later` in the table of `walk.ts` are gone
 * afterwards, but for the document's own `$self`.
 */
export function lower(report: Report): Visitor {
  return {
    PathItem(item, place) {
      for (const method of [
        'query',
        ...Object.keys(isObject(item.additionalOperations) ? item.additionalOperations : {}),
      ]) {
        const shown = method.slice(0, 20)
        if (method === 'query' && !Object.hasOwn(item, 'query')) continue
        const message = `the ${shown.toUpperCase()} operation was left out: OpenAPI 3.1 cannot describe it`
        report.warning('method-not-described', message, pointerOf(place))
      }
      delete item.query
      delete item.additionalOperations
    },
    Server(server) {
      delete server.name
    },
    MediaType(media) {
      const each = own(media, 'itemSchema')
      if (each !== undefined && !Object.hasOwn(media, 'schema')) media.schema = { type: 'array', items: each }
      lowerEncoding(media)
      delete media.itemSchema
    },
    Encoding: lowerEncoding,
    Response: (response) => toExtension(response, 'summary', 'x-summary'),
    Example(example) {
      if (Object.hasOwn(example, 'dataValue') && !Object.hasOwn(example, 'value')) example.value = example.dataValue
      delete example.dataValue
      toExtension(example, 'serializedValue', 'x-serialized-value')
    },
    Parameter(parameter, place) {
      if (parameter.in !== 'querystring') return
      const message = 'a parameter that is the whole query string was left out: OpenAPI 3.1 cannot describe it'
      report.warning('querystring-parameter', message, pointerOf(place))
    },
    Discriminator: (discriminator) => toExtension(discriminator, 'defaultMapping', 'x-default-mapping'),
    XML: lowerXml,
    Tag(tag) {
      toExtension(tag, 'summary', 'x-displayName')
      toExtension(tag, 'parent', 'x-parent')
      toExtension(tag, 'kind', 'x-kind')
    },
  }
}

/** Encodings by position: those of a form by name are all that 3.1 knows. */
function lowerEncoding(holder: JsonObject, place?: Place): void {
  if (place?.kind === 'Encoding') toExtension(holder, 'encoding', 'x-encoding')
  toExtension(holder, 'prefixEncoding', 'x-prefix-encoding')
  toExtension(holder, 'itemEncoding', 'x-item-encoding')
}

function lowerXml(xml: JsonObject): void {
  if (xml.nodeType === 'attribute') xml.attribute = true
  delete xml.nodeType
}

function toExtension(object: JsonObject, field: string, extension: string): void {
  if (!Object.hasOwn(object, field)) return
  object[extension] = object[field]
  delete object[field]
}
