import type { JsonObject } from './document.ts'
import { publicUrl } from './links.ts'
import { isObject, items, members, put } from './plain.ts'
import type { Report } from './report.ts'
import {
  type FieldType,
  fieldType,
  isExtension,
  isReference,
  type Kind,
  type Place,
  pointerOf,
  shapes,
  type Visit,
  walk,
} from './walk.ts'

/**
 * Real documents are not clean, and one that is refused helps nobody: what OpenAPI 3.1 does not allow is repaired
 * where there is one right way, and else left out, always with a finding. In place; afterwards every object has only
 * the fields of the table in `walk.ts`, of the right type, and those it must have.
 *
 * Schemas keep every keyword: JSON Schema allows any. `before` is called for each object before it is looked at.
 */
export function tidy(document: JsonObject, report: Report, before: Visit): void {
  const unusable = new Set<unknown>()
  walk(document, 'Document', {
    any(node, place) {
      before(node, place)
      if (shapes[place.kind].referable && isReference(node)) return onlyReference(node)
      // Types first: the rules of a kind rely on them.
      fields(node, place)
      if (rules[place.kind]?.(node, place, report) === false) unusable.add(node)
    },
  })

  // Parents were done before their children turned out to be unusable, or empty.
  walk(document, 'Document', { Operation: withoutEmptyResponses })
  if (unusable.size === 0) return
  walk(document, 'Document', {
    any(node, place) {
      for (const name of Object.keys(node)) prune(node, name, fieldType(place.kind, name))
    },
  })

  function prune(node: JsonObject, name: string, type: FieldType | undefined): void {
    if (type === undefined) return
    const value = node[name]
    if (unusable.has(value)) delete node[name]
    else if (type.endsWith('[]') && Array.isArray(value)) node[name] = value.filter((item) => !unusable.has(item))
    else if (type.endsWith('{}'))
      for (const [key, item] of members(value)) if (unusable.has(item)) delete (value as JsonObject)[key]
  }

  function fields(node: JsonObject, place: Place): void {
    const shape = shapes[place.kind]
    if (shape.referable && Object.hasOwn(node, '$ref')) {
      delete node.$ref
      report.warning('reference-not-text', 'a "$ref" that is not a string was removed', pointerOf(place))
    }
    for (const name of Object.keys(node)) {
      const type = shape.later?.includes(name) ? undefined : fieldType(place.kind, name)
      if (type === undefined) {
        if (shape.open || isExtension(name)) continue
        delete node[name]
        report.info(
          'unknown-field',
          `"${name}" is not a field of a ${place.kind} and was left out`,
          pointerOf(place, name),
        )
        continue
      }
      const fitted = fit(node[name], type, name)
      if (fitted === node[name]) continue
      const what = fitted === undefined ? 'left out' : 'repaired'
      report.warning(
        'wrong-type',
        `"${name}" of a ${place.kind} has the wrong type and was ${what}`,
        pointerOf(place, name),
      )
      if (fitted === undefined) delete node[name]
      else put(node, name, fitted)
    }
  }
}

/** The same value when it fits, a repaired one, or undefined when it cannot be used. */
function fit(value: unknown, type: FieldType, name: string): unknown {
  switch (type) {
    case 'data':
      return value
    case 'text':
      if (typeof value === 'string') return value
      return typeof value === 'number' || typeof value === 'boolean' ? String(value) : undefined
    case 'flag':
      if (value === 'true') return true
      return value === 'false' ? false : typeof value === 'boolean' ? value : undefined
    case 'texts': {
      const list = typeof value === 'string' ? [value] : value
      if (!Array.isArray(list)) return undefined
      return list.every((item) => typeof item === 'string') ? list : list.filter((item) => typeof item === 'string')
    }
    case 'textMap':
      return onlyMembers(allText(value), (member) => typeof member === 'string')
  }
  const schema = type.startsWith('Schema')
  const usable = (item: unknown) => isObject(item) || (schema && typeof item === 'boolean')
  if (type.endsWith('[]')) {
    if (!Array.isArray(value)) return undefined
    return value.every(usable) ? value : value.filter(usable)
  }
  // `dependencies` of older drafts names properties as well as schemas.
  if (type.endsWith('{}')) return onlyMembers(value, (member) => usable(member) || (schema && Array.isArray(member)))
  // It was a list of schemas before 2020-12; the rule for schemas sees to that.
  return usable(value) || (schema && name === 'items' && Array.isArray(value)) ? value : undefined
}

/** Numbers and truth values are text in the making. */
function allText(value: unknown): unknown {
  if (!isObject(value) || Object.values(value).every((member) => typeof member === 'string')) return value
  const texts: JsonObject = {}
  for (const [name, member] of members(value)) {
    put(texts, name, typeof member === 'number' || typeof member === 'boolean' ? String(member) : member)
  }
  return texts
}

function onlyMembers(value: unknown, usable: (member: unknown) => boolean): unknown {
  if (!isObject(value)) return undefined
  if (Object.values(value).every(usable)) return value
  const kept: JsonObject = {}
  for (const [name, member] of members(value)) if (usable(member)) put(kept, name, member)
  return kept
}

/** A Reference Object may say only these beside its `$ref`. */
function onlyReference(node: JsonObject): void {
  for (const name of Object.keys(node)) {
    if (name === '$ref') continue
    if ((name === 'summary' || name === 'description') && typeof node[name] === 'string') continue
    delete node[name]
  }
}

type Rule = (node: JsonObject, place: Place, report: Report) => false | void

const styles: Readonly<Record<string, readonly string[]>> = {
  path: ['matrix', 'label', 'simple'],
  header: ['simple'],
  query: ['form', 'spaceDelimited', 'pipeDelimited', 'deepObject'],
  cookie: ['form'],
}

/** What each kind must be beyond the types of its fields. False: the object cannot be used at all. */
const rules: { readonly [K in Kind]?: Rule } = {
  Parameter(parameter, place, report) {
    const location = parameter.in
    if (typeof parameter.name !== 'string' || typeof location !== 'string' || !Object.hasOwn(styles, location)) {
      const message = `a parameter needs a name and "in": path, query, header or cookie; this one was left out`
      report.warning('unusable-parameter', message, pointerOf(place))
      return false
    }
    if (location === 'path' && parameter.required !== true) {
      parameter.required = true
      report.info('path-parameter-required', `path parameter "${parameter.name}" must be required`, pointerOf(place))
    }
    if (location !== 'query') {
      delete parameter.allowEmptyValue
      delete parameter.allowReserved
    }
    if (Object.hasOwn(parameter, 'style') && !styles[location]!.includes(parameter.style as string)) {
      report.warning(
        'unknown-style',
        `"${parameter.style}" is not a style of a ${location} parameter`,
        pointerOf(place),
      )
      delete parameter.style
    }
    return schemaOrContent(parameter)
  },
  Header(header) {
    if (Object.hasOwn(header, 'style') && header.style !== 'simple') delete header.style
    schemaOrContent(header)
  },
  MediaType: oneWayOfExamples,
  RequestBody(body) {
    body.content ??= {}
  },
  Response(response, place, report) {
    if (typeof response.description === 'string') return
    response.description = ''
    report.info('response-without-description', 'a response must have a description', pointerOf(place))
  },
  Responses(responses, place, report) {
    for (const code of Object.keys(responses)) {
      if (isExtension(code) || code === 'default' || /^[1-5](\d\d|XX)$/.test(code)) continue
      const response = responses[code]
      delete responses[code]
      const range = code.toUpperCase()
      if (/^[1-5]XX$/.test(range) && !Object.hasOwn(responses, range)) {
        responses[range] = response
        report.info('response-range', `"${code}" should be "${range}"`, pointerOf(place))
      } else {
        report.warning('response-code', `"${code}" is not a status code and was left out`, pointerOf(place))
      }
    }
  },
  Example(example) {
    if (Object.hasOwn(example, 'value')) delete example.externalValue
    else if (Object.hasOwn(example, 'externalValue') && publicUrl(example.externalValue) === undefined) {
      delete example.externalValue
    }
  },
  Link(link) {
    delete link.server
    if (Object.hasOwn(link, 'operationId')) delete link.operationRef
    return Object.hasOwn(link, 'operationId') || Object.hasOwn(link, 'operationRef') ? undefined : false
  },
  Encoding(encoding) {
    if (Object.hasOwn(encoding, 'style') && !styles.query!.includes(encoding.style as string)) delete encoding.style
  },
  Tag(tag) {
    return typeof tag.name === 'string' ? undefined : false
  },
  Server(server) {
    return typeof server.url === 'string' ? undefined : false
  },
  ServerVariable(variable) {
    if (typeof variable.default !== 'string') variable.default = ''
    if (items(variable.enum).length === 0) delete variable.enum
  },
  ExternalDocs(docs, place, report) {
    const url = publicUrl(docs.url)
    if (url !== undefined) return
    report.info('link-left-out', 'a link that is not an absolute http or https URL was left out', pointerOf(place))
    return false
  },
  Discriminator(discriminator) {
    if (typeof discriminator.propertyName !== 'string') return false
    if (isObject(discriminator.mapping) && Object.keys(discriminator.mapping).length === 0) delete discriminator.mapping
  },
  Schema(schema) {
    if (Array.isArray(schema.items) && !Object.hasOwn(schema, '$schema')) {
      schema.prefixItems = schema.items
      delete schema.items
      if (Object.hasOwn(schema, 'additionalItems')) schema.items = schema.additionalItems
      delete schema.additionalItems
    }
    // Draft 3 had it at the property; as a boolean it means nothing.
    if (Object.hasOwn(schema, 'required') && !Array.isArray(schema.required)) delete schema.required
    if (Array.isArray(schema.required)) {
      const names = schema.required.filter((name) => typeof name === 'string')
      schema.required = [...new Set(names)]
    }
    if (Object.hasOwn(schema, 'enum') && !Array.isArray(schema.enum)) delete schema.enum
  },
}

function withoutEmptyResponses(operation: JsonObject): void {
  const { responses } = operation
  if (isObject(responses) && Object.keys(responses).every(isExtension)) delete operation.responses
}

function schemaOrContent(node: JsonObject): void {
  if (isObject(node.content) && Object.keys(node.content).length !== 1) {
    const [first] = Object.entries(node.content)
    if (first) node.content = Object.fromEntries([first])
    else delete node.content
  }
  if (Object.hasOwn(node, 'schema')) delete node.content
  else if (!Object.hasOwn(node, 'content')) node.schema = {}
  if (!Object.hasOwn(node, 'content')) {
    oneWayOfExamples(node)
    return
  }
  // Beside `content`, examples belong to the media type.
  const [media] = Object.values(node.content as JsonObject)
  if (isObject(media) && !Object.hasOwn(media, 'example') && !Object.hasOwn(media, 'examples')) {
    for (const name of ['example', 'examples']) if (Object.hasOwn(node, name)) media[name] = node[name]
  }
  for (const name of ['style', 'explode', 'allowReserved', 'example', 'examples']) delete node[name]
}

/** `example` and `examples` exclude each other; nothing of either is lost. */
function oneWayOfExamples(node: JsonObject): void {
  if (!Object.hasOwn(node, 'example') || !isObject(node.examples)) return
  const { example, examples } = node
  delete node.example
  if (!Object.hasOwn(examples, 'example')) node.examples = { example: { value: example }, ...examples }
}
