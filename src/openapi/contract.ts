import { createRequire } from 'node:module'
import { _, Ajv2020, type KeywordCxt } from 'ajv/dist/2020.js'
import {
  type Contract,
  isJson,
  type MediaForm,
  type ParameterForm,
  type ParameterLocation,
} from '../validation/contract.ts'
import { areUnique, compilePattern, createMeter } from '../validation/vocabulary.ts'
import { dereferenced } from './arrange.ts'
import type { Digest } from './digest.ts'
import type { JsonObject } from './document.ts'
import { copyPlain, isObject, items, members, own, put } from './plain.ts'
import { prune } from './prune.ts'
import { walk } from './walk.ts'

const require = createRequire(import.meta.url)
// CommonJS, whose default export TypeScript cannot see through.
const standaloneCode = (require('ajv/dist/standalone') as typeof import('ajv/dist/standalone/index.js')).default
const addFormats = (require('ajv-formats') as typeof import('ajv-formats')).default

/**
 * What an operation wants of a request, as checks that are ready to run elsewhere: the schemas are worked through here,
 * in the thread of the press, and only the source of the checks leaves it.
 */
export function contractOf({ document, operations }: Digest, index: number): Contract {
  const { published, method } = operations[index]!
  const item = own(document.paths, published) as JsonObject
  const { parameters, requestBody } = item[method.toLowerCase()] as JsonObject
  const path = { [published]: { [method.toLowerCase()]: { parameters, requestBody } } }
  const components = copyPlain(prune({ paths: path, webhooks: {}, components: document.components }))
  const unchecked: string[] = []
  for (const schema of members(components.schemas)) forRequests(schema[1], components)

  const read = items(parameters).flatMap((entry) => {
    const parameter = dereferenced(entry, components)
    return parameter && isLocation(parameter.in) ? [copyPlain(parameter)] : []
  })
  const forms = read.map((parameter) => formOf(parameter, components))
  const body = dereferenced(requestBody, components)
  return {
    parameters: forms,
    parametersCode: parametersCode(read, forms, components, unchecked),
    content: body && {
      required: body.required === true,
      media: members(body.content).map(([range, media]) => mediaOf(range, media, components, unchecked)),
    },
    unchecked,
  }
}

const locations: ReadonlySet<unknown> = new Set<ParameterLocation>(['path', 'query', 'header', 'cookie'])
const isLocation = (value: unknown): value is ParameterLocation => locations.has(value)

/** Whether a client may send JSON under it: by its name, or because it takes everything. */
const takesJson = (range: string): boolean => isJson(range) || range === '*/*' || range === 'application/*'

function mediaOf(range: string, media: unknown, components: JsonObject, unchecked: string[]): MediaForm {
  const essence = range.split(';', 1)[0]!.trim().toLowerCase()
  const schema = isObject(media) ? media.schema : undefined
  if (!takesJson(essence) || schema === undefined) return { range: essence, code: undefined }
  const copy = copyPlain(schema)
  forRequests(copy, components)
  return { range: essence, code: generate(copy, components, false, `the body (${essence})`, unchecked) }
}

/* Parameters */

function formOf(parameter: JsonObject, components: JsonObject): ParameterForm {
  const location = parameter.in as ParameterLocation
  const style =
    typeof parameter.style === 'string'
      ? parameter.style
      : location === 'query' || location === 'cookie'
        ? 'form'
        : 'simple'
  const shape = isObject(parameter.content) ? 'json' : shapeOf(parameter.schema, components)
  return {
    name: String(parameter.name),
    in: location,
    required: location === 'path' || parameter.required === true,
    style,
    explode: typeof parameter.explode === 'boolean' ? parameter.explode : style === 'form',
    shape,
    members: shape === 'members' ? memberNames(parameter.schema, components) : [],
    emptyAllowed: parameter.allowEmptyValue === true,
  }
}

/** How a value is written follows from what its schema lets it be. */
function shapeOf(schema: unknown, components: JsonObject): ParameterForm['shape'] {
  const types = typesOf(schema, components, 0)
  const list = types.has('array')
  const scalar = types.size === 0 || [...types].some((type) => type !== 'array' && type !== 'object')
  if (list) return scalar ? 'text-or-list' : 'list'
  return types.has('object') && !scalar ? 'members' : 'text'
}

const deepest = 8

function typesOf(schema: unknown, components: JsonObject, depth: number): ReadonlySet<string> {
  const node = dereferenced(schema, { ...components })
  const types = new Set<string>()
  if (!node || depth > deepest) return types
  for (const type of typeof node.type === 'string' ? [node.type] : items(node.type)) types.add(String(type))
  if (types.size === 0 && isObject(node.properties)) types.add('object')
  for (const word of ['allOf', 'anyOf', 'oneOf']) {
    for (const branch of items(node[word])) for (const type of typesOf(branch, components, depth + 1)) types.add(type)
  }
  types.delete('null')
  return types
}

function memberNames(schema: unknown, components: JsonObject, depth = 0): readonly string[] {
  const node = dereferenced(schema, components)
  if (!node || depth > deepest) return []
  const names = Object.keys(isObject(node.properties) ? node.properties : {})
  for (const word of ['allOf', 'anyOf', 'oneOf']) {
    for (const branch of items(node[word])) names.push(...memberNames(branch, components, depth + 1))
  }
  return [...new Set(names)]
}

function parametersCode(
  parameters: readonly JsonObject[],
  forms: readonly ParameterForm[],
  components: JsonObject,
  unchecked: string[],
): string | undefined {
  const schemas: Record<ParameterLocation, JsonObject> = { path: {}, query: {}, header: {}, cookie: {} }
  for (const [index, parameter] of parameters.entries()) {
    const form = forms[index]!
    const media = members(parameter.content)[0]?.[1]
    const schema = isObject(media) ? media.schema : parameter.schema
    if (schema !== undefined) put(schemas[form.in], form.name, schema)
  }
  if (Object.values(schemas).every((named) => Object.keys(named).length === 0)) return undefined
  const properties = Object.entries(schemas).map(([location, named]) => [location, { properties: named }])
  const schema: JsonObject = { properties: Object.fromEntries(properties) }
  const own = copyPlain(components)
  forRequests(schema, own)
  for (const node of [schema, ...members(own.schemas).map(([, value]) => value)])
    walk(node, 'Schema', { Schema: forTexts })
  return generate(schema, own, true, 'the parameters', unchecked)
}

/**
 * A text becomes what the first fitting branch takes it for, so of several branches more than one may hold afterwards;
 * values without a type have that of what they may be.
 */
function forTexts(schema: JsonObject): void {
  const { oneOf, ...rest } = schema
  if (Array.isArray(oneOf)) {
    delete schema.oneOf
    if (rest.anyOf === undefined) schema.anyOf = oneOf
    else schema.allOf = [...items(rest.allOf), { anyOf: oneOf }]
  }
  const allowed = Array.isArray(schema.enum) ? schema.enum : Object.hasOwn(schema, 'const') ? [schema.const] : []
  if (schema.type !== undefined || allowed.length === 0) return
  const types = new Set(allowed.map((value) => (value === null ? 'null' : typeof value)))
  if (!types.has('object') && !types.has('string')) schema.type = [...types]
}

/* Schemas */

/** What a response must have and a request must not (`readOnly`) is not missed in a request. */
function forRequests(schema: unknown, components: JsonObject): void {
  walk(schema, 'Schema', {
    Schema(node) {
      if (!Array.isArray(node.required) || !isObject(node.properties)) return
      const { properties } = node
      const isReadOnly = (name: unknown) => dereferencedFlag(own(properties as JsonObject, String(name)), components)
      const required = node.required.filter((name) => !isReadOnly(name))
      if (required.length === 0) delete node.required
      else node.required = required
    },
  })
}

function dereferencedFlag(schema: unknown, components: JsonObject): boolean {
  if (isObject(schema) && schema.readOnly === true) return true
  return dereferenced(schema, components)?.readOnly === true
}

function generate(
  schema: unknown,
  components: JsonObject,
  coerce: boolean,
  subject: string,
  unchecked: string[],
): string | undefined {
  if (typeof schema === 'boolean') return generate(schema ? {} : { not: {} }, components, coerce, subject, unchecked)
  if (!isObject(schema)) return undefined
  const regExp = Object.assign(
    (expression: string) => {
      // Ajv takes two patterns for one when their texts are equal.
      const text = () => expression
      try {
        const pattern = compilePattern(expression)
        return { test: (value: string) => pattern.test(value), toString: text }
      } catch (error) {
        unchecked.push(
          `${subject}: the pattern ${JSON.stringify(expression.slice(0, 100))}: ${(error as Error).message}`,
        )
        return { test: () => true, toString: text }
      }
    },
    { code: 'pattern' },
  )
  const ajv = new Ajv2020({
    strict: false,
    allErrors: true,
    coerceTypes: coerce,
    ownProperties: true,
    validateSchema: false,
    addUsedSchema: false,
    inlineRefs: 20,
    logger: false,
    code: { source: true, regExp: regExp as never },
  })
  addFormats(ajv)
  ajv.removeKeyword('uniqueItems')
  ajv.addKeyword({
    keyword: 'uniqueItems',
    type: 'array',
    schemaType: 'boolean',
    error: { message: 'must not have the same item twice' },
    code(context: KeywordCxt) {
      if (context.schema !== true) return
      const check = context.gen.scopeValue('func', { ref: areUnique, code: _`areUnique` })
      context.fail(_`!${check}(${context.data}, ${meterOf(context)})`)
    },
  })
  ajv.addKeyword({
    keyword: metered,
    before: '$ref',
    code(context: KeywordCxt) {
      const { cost, wide } = context.schema as Cost
      context.gen.code(_`${meterOf(context)}.charge(${context.data}, ${cost}, ${wide})`)
    },
  })
  try {
    for (const [node, kind] of [[schema, 'Schema'] as const, [components, 'Components'] as const])
      walk(node, kind, { Schema: (found) => prepare(found) })
    const code = standaloneCode(ajv, ajv.compile({ ...schema, components }))
    // Ajv writes an `$id` into a comment as it stands, and a comment ends where its text says so.
    if (code.includes('/*# sourceURL=')) throw new Error('a schema has a name of its own')
    return code
  } catch (error) {
    unchecked.push(`${subject}: ${(error as Error).message}`)
    return undefined
  }
}

/* What a check costs */

/** A keyword of our own; what a document says under this name is taken off. */
const metered = 'sallyport:metered'

interface Cost {
  readonly cost: number
  readonly wide: boolean
}

const meterOf = ({ gen }: KeywordCxt) => gen.scopeValue('func', { ref: unlimited, code: _`meter` })

/** Only to compile with: nothing is checked in this thread. */
const unlimited = createMeter()

/** Words after which more than a moment may pass. */
const costly: ReadonlySet<string> = new Set([
  ...[
    '$ref',
    '$dynamicRef',
    '$recursiveRef',
    'allOf',
    'anyOf',
    'oneOf',
    'not',
    'if',
    'dependentSchemas',
    'dependencies',
  ],
  ...['properties', 'patternProperties', 'additionalProperties', 'unevaluatedProperties', 'propertyNames', 'required'],
  ...['items', 'prefixItems', 'contains', 'unevaluatedItems', 'minProperties', 'maxProperties', 'dependentRequired'],
  ...['pattern', 'format', 'minLength', 'maxLength', 'enum', 'const', 'uniqueItems'],
])

const wide: ReadonlySet<string> = new Set([
  ...['patternProperties', 'additionalProperties', 'unevaluatedProperties', 'propertyNames', 'minProperties'],
  ...['maxProperties', 'items', 'contains', 'unevaluatedItems'],
])

function prepare(node: JsonObject): void {
  // Words of Ajv's own: a check that answers later has let the request pass by then.
  delete node.$async
  delete node.$id
  delete node.id
  // The expression for it takes minutes over a long text (ajv-formats 3.0.1).
  if (node.format === 'url') node.format = 'uri'
  delete node[metered]
  const words = Object.keys(node).filter((word) => costly.has(word))
  if (words.length === 0) return
  const sizes = words.map((word) => sizeOf(node[word]))
  const cost = words.length + Math.floor(sizes.reduce((sum, size) => sum + size, 0) / 8)
  node[metered] = { cost, wide: words.some((word) => wide.has(word)) } satisfies Cost
}

function sizeOf(value: unknown): number {
  if (typeof value === 'object' && value !== null)
    return Array.isArray(value) ? value.length : Object.keys(value).length
  return 0
}
