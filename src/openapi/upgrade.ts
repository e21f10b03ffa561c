import type { JsonObject } from './document.ts'
import { straightenHabits } from './habits.ts'
import { lower } from './lower.ts'
import { mendReferences, settleReferences } from './references.ts'
import type { Report } from './report.ts'
import { moderniseSchema } from './schema-words.ts'
import { fromSwagger } from './swagger.ts'
import { tidy } from './tidy.ts'
import type { Version } from './version.ts'
import { walk } from './walk.ts'

/**
 * Any supported version becomes OpenAPI 3.1, with every reference settled and every object in order. Works on the
 * document it is given, which must be plain data of its own (`plain.ts`), and returns it or another.
 *
 * `self` is the file name of the document, by which it may refer to itself.
 */
export function upgrade(document: JsonObject, version: Version, report: Report, self?: string): JsonObject {
  const current = version === '2.0' ? fromSwagger(document, report) : document
  dropReserved(current)
  if (Object.hasOwn(current, 'x-webhooks') && !Object.hasOwn(current, 'webhooks')) {
    current.webhooks = current['x-webhooks']
    delete current['x-webhooks']
  }
  straightenHabits(current, report)
  settleReferences(current, report, self)
  const from = version === '2.0' || version === '3.0' ? '3.0' : '3.1'
  walk(current, 'Document', { Schema: (schema, place) => moderniseSchema(schema, place, from) })
  // Its words are met in documents that say 3.1, too; nothing else is meant by them.
  lower(current, report)
  pushDownDialect(current)
  tidy(current, report)
  mendReferences(current, report)
  current.openapi = '3.1.1'
  return current
}

/** Extensions that steer gateways, or that only this one may write: a backend's own can hold internal addresses. */
const reserved = /^x-(?:sallyport|gateway|kong|tyk|apisix|google|amazon-apigateway|azure-apim|upstream)(?:-|$)/i

function dropReserved(document: JsonObject): void {
  walk(document, 'Document', {
    any(node) {
      for (const name of Object.keys(node)) if (reserved.test(name)) delete node[name]
    },
  })
}

const ownDialects = new Set([
  'https://spec.openapis.org/oas/3.1/dialect/base',
  'https://spec.openapis.org/oas/3.2/dialect/base',
  'https://json-schema.org/draft/2020-12/schema',
])

/** A dialect of the whole document is not that of the others: each of its schemas says so itself. */
function pushDownDialect(document: JsonObject): void {
  const dialect = document.jsonSchemaDialect
  delete document.jsonSchemaDialect
  if (typeof dialect !== 'string' || ownDialects.has(dialect.replace(/#$/, ''))) return
  walk(document, 'Document', {
    Schema(schema, place) {
      if (place.up?.kind !== 'Schema' && !Object.hasOwn(schema, '$schema')) schema.$schema = dialect
    },
  })
}
