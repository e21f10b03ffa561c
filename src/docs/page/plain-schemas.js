// Schemas that Swagger UI's resolver need not see.
//
// The resolver makes an object of every member of a schema, walks through these a dozen times and copies them nearly as
// often, in order to put schemas in the place of references: of most schemas that is all there is to do. Here this is
// done for those, once for a document. All others are the resolver's: circular ones, what `allOf` merges, identifiers,
// pointers to elsewhere.

/** The keywords that are made of schemas (JSON Schema 2020-12 §10), and how. */
const keywords = new Map([
  ...['items', 'additionalProperties', 'not', 'if', 'then', 'else', 'contains'].map((name) => [name, 'schema']),
  ...['oneOf', 'anyOf', 'prefixItems'].map((name) => [name, 'list']),
  ...['properties', 'patternProperties', 'dependentSchemas'].map((name) => [name, 'map']),
])

/** With one of these a schema comes to more than is written in it, or it is too rare for a second opinion. */
const unusual = new Set([
  ...['allOf', '$id', '$schema', '$anchor', '$dynamicAnchor', '$dynamicRef', '$vocabulary', '$defs', 'definitions'],
  ...['propertyNames', 'unevaluatedItems', 'unevaluatedProperties', 'contentSchema', '$$ref', '__proto__'],
])

const pointer = /^#\/components\/schemas\/([\w.-]+)$/

/** Half of what the resolver goes through. */
const deepest = 50

/**
 * Takes plain schemas and examples out of the entries of an OpenAPI 3.1 document, which must not change meanwhile, and
 * puts them into what the resolver made of the rest, with what they refer to.
 */
export function createPlainSchemas(document, Im) {
  const schemas = document.components?.schemas ?? {}
  const mark = `x-plain-${crypto.getRandomValues(new Uint32Array(2)).join('-')}`
  /** What was taken out, and what makes it a part of the page's state. */
  const taken = []
  const take = (value, toState) => ({ [mark]: taken.push({ value, toState }) - 1 })

  // 1. Which are plain.

  const isPlain = (schema) => depthOf(schema) <= deepest
  /** How deep the components go, with what they refer to; infinitely where they are not plain. */
  const depths = new Map()

  function depthOf(schema) {
    if (typeof schema === 'boolean') return 0
    if (!isObject(schema)) return Infinity
    let depth = 0
    for (const [name, value] of Object.entries(schema)) {
      depth = Math.max(depth, 1 + depthOfMember(name, value))
      if (depth > deepest) return Infinity
    }
    return depth
  }

  function depthOfMember(name, value) {
    if (name === '$ref') return depthOfComponent(value)
    if (unusual.has(name)) return Infinity
    const kind = keywords.get(name)
    // What looks like a reference in an example or in an extension is none.
    if (!kind) return hasReference(value) ? Infinity : 0
    if (kind === 'schema') return depthOf(value)
    if (kind === 'list' ? !Array.isArray(value) : !isObject(value)) return Infinity
    return Math.max(0, ...Object.values(value).map(depthOf))
  }

  function depthOfComponent(reference) {
    const name = pointer.exec(reference)?.[1]
    // A reference to `true` is no object to which its address can be written.
    if (name === undefined || !Object.hasOwn(schemas, name) || !isObject(schemas[name])) return Infinity
    if (!depths.has(name)) {
      // Who comes by here again meanwhile goes in a circle.
      depths.set(name, Infinity)
      depths.set(name, depthOf(schemas[name]))
    }
    return depths.get(name)
  }

  // 2. Take them out.

  function lightenSchema(schema) {
    if (!isObject(schema) || !Object.values(schema).some((value) => isObject(value) || pointer.test(value)))
      return schema
    if (isPlain(schema)) return take(schema, resolveSchema)
    if (['$ref', 'allOf', '$id', '$schema'].some((name) => Object.hasOwn(schema, name))) return schema
    return Object.fromEntries(Object.entries(schema).map(([name, value]) => [name, lightenMember(name, value)]))
  }

  function lightenMember(name, value) {
    const kind = keywords.get(name)
    if (kind === 'schema') return lightenSchema(value)
    return kind ? each(lightenSchema)(value) : value
  }

  const lightenValue = (value) => (typeof value === 'object' && value !== null ? take(value, toState) : value)
  const lightenExample = (example) => change(example, { value: lightenValue })
  const lightenMedia = (media) =>
    change(media, {
      schema: lightenSchema,
      example: lightenValue,
      examples: each(lightenExample),
      encoding: each((encoding) => change(encoding, { headers: each(lightenParameter) })),
    })
  const lightenBody = (body) => change(body, { content: each(lightenMedia) })
  /** Also a header. The resolver gives its examples to its schema, but only to one that has some. */
  const lightenParameter = (parameter) =>
    change(parameter, {
      ...(parameter?.example === undefined && parameter?.examples === undefined && { schema: lightenSchema }),
      content: each(lightenMedia),
    })
  const lightenResponse = (response) =>
    change(response, { headers: each(lightenParameter), content: each(lightenMedia) })
  const lightenOperation = (operation) =>
    change(operation, {
      parameters: each(lightenParameter),
      requestBody: lightenBody,
      responses: each(lightenResponse),
      callbacks: each(lightenCallback),
    })
  const lightenCallback = (callback) => (callback?.$ref === undefined ? each(lightenPathItem)(callback) : callback)
  const inPathItem = {
    parameters: each(lightenParameter),
    ...Object.fromEntries(
      ['get', 'put', 'post', 'delete', 'options', 'head', 'patch', 'trace'].map((method) => [method, lightenOperation]),
    ),
  }
  const lightenPathItem = (pathItem) => change(pathItem, inPathItem)

  const sections = new Map(
    Object.entries({
      paths: lightenPathItem,
      webhooks: lightenPathItem,
      pathItems: lightenPathItem,
      // Whoever names a plain one is plain as well, or wants it whole.
      schemas: (schema) => (isPlain(schema) ? schema : lightenSchema(schema)),
      parameters: lightenParameter,
      headers: lightenParameter,
      requestBodies: lightenBody,
      responses: lightenResponse,
      examples: lightenExample,
      callbacks: lightenCallback,
    }),
  )

  // 3. Put them into what the resolver made of the rest. Members stand in the order in which it leaves them.

  const toMap = (object, toPart) =>
    Im.OrderedMap(Object.entries(object).map(([name, part]) => [name, toPart(part, name)]))

  function toState(value) {
    if (Array.isArray(value)) return Im.List(value.map(toState))
    return isObject(value) ? toMap(value, toState) : value
  }

  function resolveSchema(schema, address) {
    if (!isObject(schema)) return schema
    const { $ref, ...rest } = schema
    const own = toMap(rest, (value, name) => resolveMember(name, value, address))
    if ($ref === undefined) return own
    const whole = resolveComponent($ref, address)
      .filterNot((_value, name) => own.has(name))
      .concat(own)
    return whole.has('$$ref') ? whole : whole.set('$$ref', address + $ref)
  }

  function resolveMember(name, value, address) {
    const resolve = (schema) => resolveSchema(schema, address)
    const kind = keywords.get(name)
    if (kind === 'schema') return resolve(value)
    if (kind === 'list') return Im.List(value.map(resolve))
    return kind === 'map' ? toMap(value, resolve) : toState(value)
  }

  const resolved = new Map()
  function resolveComponent(reference, address) {
    const id = address + reference
    if (!resolved.has(id)) resolved.set(id, resolveSchema(schemas[pointer.exec(reference)[1]], address))
    return resolved.get(id)
  }

  return {
    /** An entry of a section without what is plain in it. */
    lighten: (section, entry) => sections.get(section)?.(entry) ?? entry,
    /** What the resolver made of lightened entries, as a part of the page's state; `address` is the document's. */
    restore: function restore(value, address) {
      if (Array.isArray(value)) return Im.List(value.map((part) => restore(part, address)))
      if (!isObject(value)) return value
      if (!Object.hasOwn(value, mark)) return toMap(value, (part) => restore(part, address))
      const { value: original, toState: toPart } = taken[value[mark]]
      return toPart(original, address)
    },
  }
}

/** A copy of an object with some of its members changed. What is a reference, or no object, stays as it is. */
function change(value, changes) {
  if (!isObject(value) || value.$ref !== undefined) return value
  return Object.fromEntries(
    Object.entries(value).map(([name, member]) => [
      name,
      Object.hasOwn(changes, name) ? changes[name](member) : member,
    ]),
  )
}

function each(changeMember) {
  return (value) => {
    if (Array.isArray(value)) return value.map((member) => changeMember(member))
    if (!isObject(value)) return value
    return Object.fromEntries(Object.entries(value).map(([name, member]) => [name, changeMember(member)]))
  }
}

const hasReference = (value) =>
  typeof value === 'object' &&
  value !== null &&
  Object.entries(value).some(([name, part]) => name === '$ref' || hasReference(part))

const isObject = (value) => typeof value === 'object' && value !== null && !Array.isArray(value)
