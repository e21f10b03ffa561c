import type { JsonObject } from './document.ts'
import { isObject, put } from './plain.ts'
import type { Report } from './report.ts'
import { fieldType, isExtension, isReference, type Place, pointerOf, type Visitor } from './walk.ts'

/**
 * Habits of Swagger 2.0 and slips of the pen that are common in later documents, where they have one meaning only and
 * would otherwise be lost as unknown fields. For a walk before references are settled, because schemas are found here:
 *
 * - `schema` directly in a response or body is that of `application/json`;
 * - `type`, `items` and so on directly in a parameter or header are its schema;
 * - a parameter "in" the body is the body;
 * - `examples` that are a list, or values without their Example Object.
 */
export function straightenHabits(report: Report): Visitor {
  return {
    Operation: bodyParameters,
    Response: contentOfSchema,
    RequestBody: contentOfSchema,
    Parameter(node, place) {
      schemaOfKeywords(node, place)
      exampleObjects(node, place)
    },
    Header(node, place) {
      schemaOfKeywords(node, place)
      exampleObjects(node, place)
    },
    MediaType: exampleObjects,
  }

  function told(place: Place, what: string): void {
    report.info('old-habit', `${what}; it is shown as what it must mean`, pointerOf(place))
  }

  function contentOfSchema(node: JsonObject, place: Place): void {
    if (!isObject(node.schema) || Object.hasOwn(node, 'content')) return
    node.content = { 'application/json': { schema: node.schema } }
    delete node.schema
    told(place, 'a schema stands beside "content" instead of in it')
  }

  function schemaOfKeywords(node: JsonObject, place: Place): void {
    if (Object.hasOwn(node, 'schema') || Object.hasOwn(node, 'content')) return
    const schema: JsonObject = {}
    for (const name of keywords) {
      if (!Object.hasOwn(node, name)) continue
      put(schema, name, node[name])
      delete node[name]
    }
    if (Object.keys(schema).length === 0) return
    node.schema = schema
    told(place, 'a type stands where a schema should be')
  }

  function bodyParameters(operation: JsonObject, place: Place): void {
    if (!Array.isArray(operation.parameters) || Object.hasOwn(operation, 'requestBody')) return
    const body = operation.parameters.find((one) => isObject(one) && one.in === 'body' && isObject(one.schema))
    if (!isObject(body)) return
    operation.parameters = operation.parameters.filter((one) => one !== body)
    operation.requestBody = {
      ...(body.description === undefined ? {} : { description: body.description }),
      ...(body.required === undefined ? {} : { required: body.required }),
      content: { 'application/json': { schema: body.schema } },
    }
    told(place, 'a parameter is in the body')
  }

  function exampleObjects(node: JsonObject, place: Place): void {
    const { examples } = node
    if (typeof examples !== 'object' || examples === null) return
    const wrapped: JsonObject = {}
    let changed = Array.isArray(examples)
    for (const [name, example] of Object.entries(examples)) {
      const bare = !isExample(example)
      changed ||= bare
      put(wrapped, name, bare ? { value: example } : example)
    }
    if (!changed) return
    node.examples = wrapped
    told(place, 'an example stands where an Example Object should be')
  }
}

/** The keywords by which Swagger 2.0 describes a parameter or header without a schema. */
const keywords = [
  'type',
  'format',
  'items',
  'default',
  'enum',
  'maximum',
  'exclusiveMaximum',
  'minimum',
  'exclusiveMinimum',
  'maxLength',
  'minLength',
  'pattern',
  'maxItems',
  'minItems',
  'uniqueItems',
  'multipleOf',
]

/** An object that has only what an Example Object has; an empty one says nothing else. */
function isExample(value: unknown): boolean {
  if (!isObject(value)) return false
  return (
    isReference(value) ||
    Object.keys(value).every((name) => isExtension(name) || fieldType('Example', name) !== undefined)
  )
}
