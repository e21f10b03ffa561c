import type { JsonObject } from './document.ts'
import { isObject, items, own, put } from './plain.ts'
import type { Place } from './walk.ts'

/**
 * The words by which Schema Objects of OpenAPI 3.0 differ from JSON Schema 2020-12, turned in place. Documents that
 * say 3.1 and still use them mean them, so they are turned there as well; only what 3.1 allows is left alone then.
 *
 * `nullable`: with a `type` it adds `null`. Beside `$ref`, `allOf`, `anyOf` or `oneOf` it becomes an alternative,
 * which is what its authors mean. Without any of these it has no effect (OpenAPI 3.0.3 §4.7.24.1) and goes. An `enum`
 * without `null` still excludes null, and stays as it is.
 */
export function moderniseSchema(schema: JsonObject, place: Place, from: '3.0' | '3.1'): void {
  if (from === '3.0') {
    ignoreSiblings(schema)
    if (own(schema, 'type') === 'file') {
      schema.type = 'string'
      schema.format = 'binary'
    }
    if (Object.hasOwn(schema, 'example')) {
      const { example } = schema
      delete schema.example
      schema.examples = Array.isArray(schema.examples) ? [example, ...schema.examples] : [example]
    }
  }
  exclusive(schema, 'exclusiveMinimum', 'minimum')
  exclusive(schema, 'exclusiveMaximum', 'maximum')
  if (Object.hasOwn(schema, 'nullable')) nullable(schema, place)
  if (from === '3.0') formats(schema)
  if (Object.hasOwn(schema, 'examples') && !Array.isArray(schema.examples)) {
    const { examples } = schema
    schema.examples = isObject(examples) ? Object.values(examples).map(exampleValue) : [examples]
  }
}

/** What a schema with a `$ref` may say beside it without changing what is valid. */
const annotations = new Set([
  'title',
  'description',
  'default',
  'deprecated',
  'readOnly',
  'writeOnly',
  'example',
  'examples',
  'externalDocs',
  'nullable',
  'xml',
  '$comment',
  'x-nullable',
])
const isAnnotation = (name: string): boolean => annotations.has(name) || name.startsWith('x-')

/**
 * In 3.0 everything beside a `$ref` is ignored; in 3.1 it applies. Descriptions may come to life, constraints that
 * never held may not.
 */
function ignoreSiblings(schema: JsonObject): void {
  if (typeof own(schema, '$ref') !== 'string') return
  for (const name of Object.keys(schema)) if (name !== '$ref' && !isAnnotation(name)) delete schema[name]
}

function exclusive(schema: JsonObject, exclusiveName: string, name: string): void {
  const value = own(schema, exclusiveName)
  if (typeof value !== 'boolean') return
  delete schema[exclusiveName]
  if (!value || typeof own(schema, name) !== 'number') return
  schema[exclusiveName] = schema[name]
  delete schema[name]
}

function nullable(schema: JsonObject, place: Place): void {
  const wanted = schema.nullable === true
  delete schema.nullable
  if (!wanted) return
  if (Object.hasOwn(schema, 'type')) {
    const types = items(schema.type).length > 0 ? items(schema.type) : [schema.type]
    schema.type = types.includes('null') ? schema.type : [...types, 'null']
    return
  }
  for (const name of ['anyOf', 'oneOf'] as const) {
    const alternatives = schema[name]
    if (!Array.isArray(alternatives)) continue
    if (!alternatives.some(isNull)) alternatives.push({ type: 'null' })
    return
  }
  if (typeof own(schema, '$ref') === 'string') {
    const { $ref } = schema
    delete schema.$ref
    schema.anyOf = [{ $ref }, { type: 'null' }]
    return
  }
  if (Array.isArray(schema.allOf)) {
    const { allOf } = schema
    delete schema.allOf
    schema.anyOf = [allOf.length === 1 ? allOf[0] : { allOf }, { type: 'null' }]
    return
  }
  // An alternative that says nothing else is how generators of 3.0 spell "or null".
  const alternative = place.up?.kind === 'Schema' && (place.field === 'anyOf' || place.field === 'oneOf')
  if (alternative && Object.keys(schema).every(isAnnotation)) schema.type = 'null'
}

const isNull = (schema: unknown): boolean =>
  isObject(schema) && (schema.type === 'null' || (schema.nullable === true && Object.keys(schema).every(isAnnotation)))

/** Binary and base64 data (OpenAPI 3.1 §4.8.14.2 and its migration notes). */
function formats(schema: JsonObject): void {
  const types = [...items(schema.type), schema.type]
  if (!types.includes('string')) return
  if (schema.format === 'binary') {
    delete schema.type
    delete schema.format
    if (!Object.hasOwn(schema, 'contentMediaType')) put(schema, 'contentMediaType', 'application/octet-stream')
  } else if (schema.format === 'byte' || schema.format === 'base64') {
    delete schema.format
    if (!Object.hasOwn(schema, 'contentEncoding')) put(schema, 'contentEncoding', 'base64')
  }
}

const exampleValue = (example: unknown): unknown =>
  isObject(example) && Object.hasOwn(example, 'value') ? example.value : example
