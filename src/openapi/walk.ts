import type { JsonObject } from './document.ts'
import { isObject, own } from './plain.ts'
import { toPointer } from './pointer.ts'

/**
 * What every place of an OpenAPI document is. One table, read by everything that changes or checks a document, so
 * that nothing is ever decided by the name of a key alone: a *property* called `$ref`, `discriminator` or `security`
 * is data of a schema, and whatever stands in an example is data too.
 *
 * OpenAPI 3.1 with JSON Schema 2020-12 (and the words of older drafts), plus the child objects of 3.2, which have to
 * be walked before they are lowered.
 *
 * A field is `text`, `flag`, `texts`, `textMap`, `data` (anything, never looked into), an object of this table, a list
 * of them (`Tag[]`), or a map from names to them (`Schema{}`).
 */
export type Kind =
  | 'Document'
  | 'Info'
  | 'Contact'
  | 'License'
  | 'Server'
  | 'ServerVariable'
  | 'Components'
  | 'Paths'
  | 'PathItem'
  | 'Operation'
  | 'ExternalDocs'
  | 'Parameter'
  | 'RequestBody'
  | 'MediaType'
  | 'Encoding'
  | 'Responses'
  | 'Response'
  | 'Callback'
  | 'Example'
  | 'Link'
  | 'Header'
  | 'Tag'
  | 'Schema'
  | 'Discriminator'
  | 'XML'
  | 'SecurityScheme'
  | 'OAuthFlows'
  | 'OAuthFlow'
  | 'Requirement'

type Value = 'text' | 'flag' | 'texts' | 'textMap' | 'data'
export type FieldType = Value | Kind | `${Kind}[]` | `${Kind}{}`

export interface Shape {
  readonly fields: Readonly<Record<string, FieldType>>
  /** The type of every field not named above; names starting with `x-` are extensions all the same. */
  readonly entries?: FieldType
  /** Whether other names are allowed (JSON Schema) rather than a mistake. */
  readonly open?: true
  /** Fields that belong to OpenAPI 3.2 and must be gone from the published document. */
  readonly later?: readonly string[]
  /** Whether a Reference Object may stand in its place. */
  readonly referable?: true
}

const operations = {
  get: 'Operation',
  put: 'Operation',
  post: 'Operation',
  delete: 'Operation',
  options: 'Operation',
  head: 'Operation',
  patch: 'Operation',
  trace: 'Operation',
} as const satisfies Record<string, FieldType>

/** The methods of a path item, in the order of the specification. */
export const methods = Object.keys(operations) as readonly (keyof typeof operations)[]

/** Whether a field of a path item is one of its operations. */
export const isMethod = (name: string): boolean => Object.hasOwn(operations, name)

const parameterFields = {
  description: 'text',
  required: 'flag',
  deprecated: 'flag',
  style: 'text',
  explode: 'flag',
  schema: 'Schema',
  example: 'data',
  examples: 'Example{}',
  content: 'MediaType{}',
} as const satisfies Record<string, FieldType>

export const shapes: Readonly<Record<Kind, Shape>> = {
  Document: {
    fields: {
      openapi: 'text',
      $self: 'text',
      info: 'Info',
      jsonSchemaDialect: 'text',
      servers: 'Server[]',
      paths: 'Paths',
      webhooks: 'PathItem{}',
      components: 'Components',
      security: 'Requirement[]',
      tags: 'Tag[]',
      externalDocs: 'ExternalDocs',
    },
    later: ['$self'],
  },
  Info: {
    fields: {
      title: 'text',
      summary: 'text',
      description: 'text',
      termsOfService: 'text',
      contact: 'Contact',
      license: 'License',
      version: 'text',
    },
  },
  Contact: { fields: { name: 'text', url: 'text', email: 'text' } },
  License: { fields: { name: 'text', identifier: 'text', url: 'text' } },
  Server: {
    fields: { url: 'text', description: 'text', name: 'text', variables: 'ServerVariable{}' },
    later: ['name'],
  },
  ServerVariable: { fields: { enum: 'texts', default: 'text', description: 'text' } },
  Components: {
    fields: {
      schemas: 'Schema{}',
      responses: 'Response{}',
      parameters: 'Parameter{}',
      examples: 'Example{}',
      requestBodies: 'RequestBody{}',
      headers: 'Header{}',
      securitySchemes: 'SecurityScheme{}',
      links: 'Link{}',
      callbacks: 'Callback{}',
      pathItems: 'PathItem{}',
      mediaTypes: 'MediaType{}',
    },
    later: ['mediaTypes'],
  },
  Paths: { fields: {}, entries: 'PathItem' },
  PathItem: {
    fields: {
      $ref: 'text',
      summary: 'text',
      description: 'text',
      ...operations,
      query: 'Operation',
      additionalOperations: 'Operation{}',
      servers: 'Server[]',
      parameters: 'Parameter[]',
    },
    later: ['query', 'additionalOperations'],
    referable: true,
  },
  Operation: {
    fields: {
      tags: 'texts',
      summary: 'text',
      description: 'text',
      externalDocs: 'ExternalDocs',
      operationId: 'text',
      parameters: 'Parameter[]',
      requestBody: 'RequestBody',
      responses: 'Responses',
      callbacks: 'Callback{}',
      deprecated: 'flag',
      security: 'Requirement[]',
      servers: 'Server[]',
    },
    // The specification allows no reference here; generators and split documents have them all the same.
    referable: true,
  },
  ExternalDocs: { fields: { description: 'text', url: 'text' } },
  Parameter: {
    fields: { name: 'text', in: 'text', ...parameterFields, allowEmptyValue: 'flag', allowReserved: 'flag' },
    referable: true,
  },
  RequestBody: {
    fields: { description: 'text', content: 'MediaType{}', required: 'flag' },
    referable: true,
  },
  MediaType: {
    fields: {
      schema: 'Schema',
      itemSchema: 'Schema',
      example: 'data',
      examples: 'Example{}',
      encoding: 'Encoding{}',
      prefixEncoding: 'Encoding[]',
      itemEncoding: 'Encoding',
    },
    later: ['itemSchema', 'prefixEncoding', 'itemEncoding'],
    // Only since 3.2; lowering replaces these references by what they point to.
    referable: true,
  },
  Encoding: {
    fields: {
      contentType: 'text',
      headers: 'Header{}',
      style: 'text',
      explode: 'flag',
      allowReserved: 'flag',
      encoding: 'Encoding{}',
      prefixEncoding: 'Encoding[]',
      itemEncoding: 'Encoding',
    },
    later: ['encoding', 'prefixEncoding', 'itemEncoding'],
  },
  Responses: { fields: {}, entries: 'Response' },
  Response: {
    fields: {
      summary: 'text',
      description: 'text',
      headers: 'Header{}',
      content: 'MediaType{}',
      links: 'Link{}',
    },
    later: ['summary'],
    referable: true,
  },
  Callback: { fields: {}, entries: 'PathItem', referable: true },
  Example: {
    fields: {
      summary: 'text',
      description: 'text',
      value: 'data',
      externalValue: 'text',
      dataValue: 'data',
      serializedValue: 'text',
    },
    later: ['dataValue', 'serializedValue'],
    referable: true,
  },
  Link: {
    fields: {
      operationRef: 'text',
      operationId: 'text',
      parameters: 'textMap',
      requestBody: 'data',
      description: 'text',
      server: 'Server',
    },
    referable: true,
  },
  Header: { fields: parameterFields, referable: true },
  Tag: {
    fields: {
      name: 'text',
      summary: 'text',
      description: 'text',
      externalDocs: 'ExternalDocs',
      parent: 'text',
      kind: 'text',
    },
    later: ['summary', 'parent', 'kind'],
  },
  Schema: {
    open: true,
    fields: {
      $defs: 'Schema{}',
      definitions: 'Schema{}',
      properties: 'Schema{}',
      patternProperties: 'Schema{}',
      dependentSchemas: 'Schema{}',
      dependencies: 'Schema{}',
      allOf: 'Schema[]',
      anyOf: 'Schema[]',
      oneOf: 'Schema[]',
      prefixItems: 'Schema[]',
      items: 'Schema',
      additionalItems: 'Schema',
      unevaluatedItems: 'Schema',
      contains: 'Schema',
      additionalProperties: 'Schema',
      unevaluatedProperties: 'Schema',
      propertyNames: 'Schema',
      not: 'Schema',
      if: 'Schema',
      // biome-ignore lint/suspicious/noThenProperty: JSON Schema's own keyword; the table is never awaited
      then: 'Schema',
      else: 'Schema',
      contentSchema: 'Schema',
      discriminator: 'Discriminator',
      externalDocs: 'ExternalDocs',
      xml: 'XML',
    },
  },
  Discriminator: {
    fields: { propertyName: 'text', mapping: 'textMap', defaultMapping: 'text' },
    later: ['defaultMapping'],
  },
  XML: {
    fields: {
      name: 'text',
      namespace: 'text',
      prefix: 'text',
      attribute: 'flag',
      wrapped: 'flag',
      nodeType: 'text',
    },
    later: ['nodeType'],
  },
  SecurityScheme: {
    fields: {
      type: 'text',
      description: 'text',
      name: 'text',
      in: 'text',
      scheme: 'text',
      bearerFormat: 'text',
      flows: 'OAuthFlows',
      openIdConnectUrl: 'text',
      oauth2MetadataUrl: 'text',
      deprecated: 'flag',
    },
    later: ['oauth2MetadataUrl', 'deprecated'],
    referable: true,
  },
  OAuthFlows: {
    fields: {
      implicit: 'OAuthFlow',
      password: 'OAuthFlow',
      clientCredentials: 'OAuthFlow',
      authorizationCode: 'OAuthFlow',
      deviceAuthorization: 'OAuthFlow',
    },
    later: ['deviceAuthorization'],
  },
  OAuthFlow: {
    fields: {
      authorizationUrl: 'text',
      deviceAuthorizationUrl: 'text',
      tokenUrl: 'text',
      refreshUrl: 'text',
      scopes: 'textMap',
    },
    later: ['deviceAuthorizationUrl'],
  },
  Requirement: { fields: {}, entries: 'texts' },
}

/** The section of `components` that holds objects of a kind. */
export const sections = {
  Schema: 'schemas',
  Response: 'responses',
  Parameter: 'parameters',
  Example: 'examples',
  RequestBody: 'requestBodies',
  Header: 'headers',
  SecurityScheme: 'securitySchemes',
  Link: 'links',
  Callback: 'callbacks',
  PathItem: 'pathItems',
  MediaType: 'mediaTypes',
} as const satisfies Partial<Record<Kind, string>>

/** Names starting so are extensions, except where names are free: in every `{}` map. */
export const isExtension = (name: string): boolean => name.startsWith('x-')

/** One object of a document and where it stands. */
export interface Place {
  readonly node: JsonObject
  readonly kind: Kind
  /** The object around it; undefined for the one a walk began with. */
  readonly up: Place | undefined
  /** The field of the object around it, or what a walk was told. */
  readonly field: string
  /** The name or index within the field, when the field is a map or a list. */
  readonly key: string | number | undefined
}

export type Visit = (node: JsonObject, place: Place) => void

/**
 * What to do at each kind of object, before its children. `reference` is called instead of the kind for a Reference
 * Object, and in addition to it for the two kinds whose `$ref` may have siblings: Schema and PathItem.
 */
export type Visitor = { readonly [K in Kind]?: Visit } & {
  readonly reference?: Visit
  /** Every object, references included, before anything else. */
  readonly any?: Visit
  /** The kinds that `any` and `reference` are wanted for. Default all of them. */
  readonly of?: readonly Kind[]
}

type Container = 'one' | 'list' | 'map'
interface Child {
  readonly kind: Kind
  readonly container: Container
}

function childOf(type: FieldType): Child | undefined {
  const [, name, suffix] = /^([A-Z]\w*)(\[\]|\{\})?$/.exec(type) ?? []
  if (name === undefined) return undefined
  return { kind: name as Kind, container: suffix === '[]' ? 'list' : suffix === '{}' ? 'map' : 'one' }
}

const children = Object.fromEntries(
  Object.entries(shapes).map(([kind, shape]) => {
    const pairs = Object.entries(shape.fields).map(([name, type]) => [name, childOf(type)] as const)
    return [kind, new Map(pairs)]
  }),
) as unknown as Readonly<Record<Kind, ReadonlyMap<string, Child | undefined>>>

const entries = Object.fromEntries(
  Object.entries(shapes).map(([kind, { entries }]) => [kind, entries && childOf(entries)]),
) as unknown as Readonly<Record<Kind, Child | undefined>>

function childAt(kind: Kind, field: string): Child | undefined {
  if (children[kind].has(field)) return children[kind].get(field)
  return isExtension(field) ? undefined : entries[kind]
}

/** The type of a field of an object; undefined for extensions and unknown names. */
export function fieldType(kind: Kind, field: string): FieldType | undefined {
  const shape = shapes[kind]
  if (Object.hasOwn(shape.fields, field)) return shape.fields[field]
  return isExtension(field) ? undefined : shape.entries
}

/** Whether an object is a Reference Object, or a schema or path item with a reference in it. */
export function isReference(node: JsonObject): node is JsonObject & { $ref: string } {
  return typeof own(node, '$ref') === 'string'
}

/** Which kinds stand below each kind, itself included. */
const below = Object.fromEntries(
  Object.keys(shapes).map((kind) => {
    const found = new Set<Kind>()
    const visit = (at: Kind) => {
      if (found.has(at)) return
      found.add(at)
      for (const child of children[at].values()) if (child) visit(child.kind)
      const entry = entries[at]
      if (entry) visit(entry.kind)
    }
    visit(kind as Kind)
    return [kind, found]
  }),
) as unknown as Readonly<Record<Kind, ReadonlySet<Kind>>>

/** The kinds at or below which a visitor has anything to do: who looks for operations need not see any schema. */
function wantedBy(visitor: Visitor): ReadonlySet<Kind> | undefined {
  const { any, reference, of, ...visits } = visitor
  if ((any || reference) && !of) return undefined
  const kinds = [...(Object.keys(visits) as Kind[]), ...(of ?? [])]
  const wanted = (Object.keys(below) as Kind[]).filter((kind) => kinds.some((one) => below[kind].has(one)))
  return new Set(wanted)
}

/** A kind as one visitor sees it: all that can be looked up once is, because a large document has a million members. */
interface Stop {
  readonly kind: Kind
  readonly visit: Visit | undefined
  readonly referable: boolean
  /** Whether there can be more beside its `$ref`. */
  readonly siblings: boolean
  /** By field; those that hold nothing to visit are there without a stop. */
  readonly fields: ReadonlyMap<string, Leg | undefined>
  readonly entries: Leg | undefined
}

interface Leg {
  readonly stop: Stop
  readonly container: Container
  /** A list may stand in its place: `items` was one of schemas before 2020-12. */
  readonly list: boolean
}

type From = { readonly up?: Place; readonly field?: string; readonly key?: string | number }

/**
 * Visit every object below and including `node`, parents first. A visitor may change the object it is given; the
 * children are read afterwards. What is not an object where one should stand is passed over.
 */
export function walk(node: unknown, kind: Kind, visitor: Visitor, from: From = {}): void {
  createWalk(visitor)(node, kind, from)
}

/** The same for a visitor that visits many things one after the other. */
export function createWalk(visitor: Visitor): (node: unknown, kind: Kind, from?: From) => void {
  const stops = planFor(visitor)
  const { any, reference } = visitor

  function step(
    node: JsonObject,
    stop: Stop,
    up: Place | undefined,
    field: string,
    key: string | number | undefined,
  ): void {
    const place: Place = { node, kind: stop.kind, up, field, key }
    if (any) any(node, place)
    if (stop.referable && isReference(node)) {
      if (reference) reference(node, place)
      if (!stop.siblings) return
    }
    if (stop.visit) stop.visit(node, place)
    for (const name in node) {
      // Most members are texts and flags: what is looked up comes after what is seen.
      const value = node[name]
      if (typeof value !== 'object' || value === null) continue
      const leg = stop.fields.get(name) ?? entryOf(stop, name)
      if (!leg) continue
      if (Array.isArray(value)) {
        if (!leg.list) continue
        for (let index = 0; index < value.length; index += 1) {
          const item: unknown = value[index]
          if (isObject(item)) step(item, leg.stop, place, name, index)
        }
      } else if (leg.container === 'map') {
        for (const entry in value) {
          const item = (value as JsonObject)[entry]
          if (isObject(item)) step(item, leg.stop, place, name, entry)
        }
      } else if (leg.container === 'one') {
        step(value as JsonObject, leg.stop, place, name, undefined)
      }
    }
  }

  return (node, kind, { up, field = '', key } = {}) => {
    if (isObject(node)) step(node, stops[kind], up, field, key)
  }
}

function entryOf({ entries, fields }: Stop, name: string): Leg | undefined {
  return entries && !isExtension(name) && !fields.has(name) ? entries : undefined
}

function planFor(visitor: Visitor): Readonly<Record<Kind, Stop>> {
  const wanted = wantedBy(visitor)
  const stops = {} as Record<Kind, Stop & { fields: Map<string, Leg | undefined>; entries: Leg | undefined }>
  for (const kind of Object.keys(shapes) as Kind[]) {
    const siblings = kind === 'Schema' || kind === 'PathItem'
    const referable = shapes[kind].referable === true || kind === 'Schema'
    stops[kind] = { kind, visit: visitor[kind], referable, siblings, fields: new Map(), entries: undefined }
  }
  const legTo = (kind: Kind, child: Child | undefined): Leg | undefined => {
    if (!child || (wanted && !wanted.has(child.kind))) return undefined
    const { container } = child
    const list = container === 'list' || (container === 'one' && kind === 'Schema')
    return { stop: stops[child.kind], container, list }
  }
  for (const stop of Object.values(stops)) {
    for (const [name, child] of children[stop.kind]) stop.fields.set(name, legTo(stop.kind, child))
    stop.entries = legTo(stop.kind, entries[stop.kind])
  }
  return stops
}

/** The way from where the walk began to a place. */
export function tokensOf(place: Place): readonly string[] {
  const tokens: string[] = []
  for (let at: Place | undefined = place; at?.up; at = at.up) {
    if (at.key !== undefined) tokens.push(String(at.key))
    tokens.push(at.field)
  }
  return tokens.reverse()
}

/** JSON pointer of a place, or of something below it. */
export function pointerOf(place: Place, ...below: readonly (string | number)[]): string {
  return toPointer([...tokensOf(place), ...below])
}

/** Put something else where an object stands. */
export function replace(place: Place, value: unknown): void {
  if (!place.up) throw new TypeError('the place where a walk begins cannot be replaced')
  const holder = place.key === undefined ? place.up.node : place.up.node[place.field]
  const name = place.key ?? place.field
  if (name === '__proto__')
    Object.defineProperty(holder, name, { value, writable: true, enumerable: true, configurable: true })
  else (holder as Record<string | number, unknown>)[name] = value
}

/** What a pointer leads to. `kind` is undefined where the table says nothing: data, extensions, maps and lists. */
export interface Target {
  readonly tokens: readonly string[]
  readonly value: unknown
  readonly kind: Kind | undefined
}

/**
 * Follow a pointer through a document. Where the way leads over a reference, it goes on in what `across` finds for
 * it, and `tokens` is the way that needs no crossing. Undefined when it leads nowhere.
 */
export function follow(
  root: JsonObject,
  tokens: readonly string[],
  across: (reference: string, depth: number) => Target | undefined = () => undefined,
  depth = 0,
): Target | undefined {
  let value: unknown = root
  let type: Child | undefined = { kind: 'Document', container: 'one' }
  let way: string[] = []
  for (const token of tokens) {
    if (isObject(value) && !Object.hasOwn(value, token) && type?.container === 'one' && isReference(value)) {
      const target = across(value.$ref, depth)
      if (!target) return undefined
      value = target.value
      type = target.kind && { kind: target.kind, container: 'one' }
      way = [...target.tokens]
    }
    if (Array.isArray(value)) {
      if (!/^(0|[1-9]\d{0,8})$/.test(token) || Number(token) >= value.length) return undefined
      value = value[Number(token)]
      type = type && { kind: type.kind, container: 'one' }
    } else if (isObject(value)) {
      if (!Object.hasOwn(value, token)) return undefined
      value = value[token]
      if (type?.container === 'map') type = { kind: type.kind, container: 'one' }
      else type = type?.container === 'one' ? childAt(type.kind, token) : undefined
    } else {
      return undefined
    }
    way.push(token)
  }
  const kind = type?.container === 'one' && !Array.isArray(value) ? type.kind : undefined
  return { tokens: way, value, kind }
}

/** Take objects out of the lists, maps and fields they stand in. */
export function removeAll(places: readonly Place[]): void {
  const lists = new Set<unknown[]>()
  const gone = new Set<unknown>()
  for (const { up, field, key, node } of places) {
    if (!up) throw new TypeError('the object a walk begins with cannot be removed')
    const holder = up.node[field]
    if (key === undefined) {
      delete up.node[field]
    } else if (Array.isArray(holder)) {
      lists.add(holder)
      gone.add(node)
    } else if (isObject(holder)) {
      delete holder[key]
    } else {
      // The entries of Paths, Responses and Callback are fields themselves and have no key; nothing else is left.
      throw new TypeError(`nothing to remove at ${field}`)
    }
  }
  for (const list of lists) list.splice(0, list.length, ...list.filter((item) => !gone.has(item)))
}
