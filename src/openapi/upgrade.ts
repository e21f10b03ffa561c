import type { JsonObject } from './document.ts'
import { resolveExamples } from './examples.ts'
import { straightenHabits } from './habits.ts'
import { lower } from './lower.ts'
import { hasNames, mendReferences, settleReferences } from './references.ts'
import type { Report } from './report.ts'
import { moderniseSchema } from './schema-words.ts'
import { fromSwagger } from './swagger.ts'
import { tidy } from './tidy.ts'
import type { Version } from './version.ts'
import { isReference, type Place, shapes, type Visitor, walk } from './walk.ts'

/**
 * Any supported version becomes OpenAPI 3.1, with every reference settled and every object in order. Works on the
 * document it is given, which must be plain data of its own (`plain.ts`), and returns it or another.
 *
 * `self` is the file name of the document, by which it may refer to itself.
 */
export function upgrade(document: JsonObject, version: Version, report: Report, self?: string): JsonObject {
  const current = version === '2.0' ? fromSwagger(document, report) : document
  if (Object.hasOwn(current, 'x-webhooks') && !Object.hasOwn(current, 'webhooks')) {
    current.webhooks = current['x-webhooks']
    delete current['x-webhooks']
  }
  let named = false
  walk(current, 'Document', {
    any: dropReserved,
    ...straightenHabits(report),
    Schema(node) {
      named ||= hasNames(node)
    },
  })
  settleReferences(current, report, self, named)
  pushDownDialect(current)
  // A walk over a large document is dear, so that one does it all: each object is done before those in it.
  const from = version === '2.0' || version === '3.0' ? '3.0' : '3.1'
  const examples = resolveExamples(current)
  // Words of 3.0 are met in documents that say 3.1, and those of 3.2 in both; nothing else is meant by them.
  const lowered = lower(report)
  delete current.$self
  tidy(current, report, (node, place) => {
    visitAt(examples, node, place)
    if (place.kind === 'Schema') moderniseSchema(node, place, from)
    visitAt(lowered, node, place)
  })
  mendReferences(current, report)
  current.openapi = '3.1.1'
  return current
}

/** Extensions that steer gateways, or that only this one may write: a backend's own can hold internal addresses. */
const reserved = /^x-(?:sallyport|gateway|kong|tyk|apisix|google|amazon-apigateway|azure-apim|upstream)(?:-|$)/i

function dropReserved(node: JsonObject): void {
  for (const name in node) if (name.startsWith('x-') && reserved.test(name)) delete node[name]
}

/** What a walk would have a visitor do there. */
function visitAt(visitor: Visitor, node: JsonObject, place: Place): void {
  const visit = visitor[place.kind]
  if (visit && !(shapes[place.kind].referable && isReference(node))) visit(node, place)
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
