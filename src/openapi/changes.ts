import type { Digest } from './digest.ts'
import type { JsonObject } from './document.ts'
import { isObject, items, members, own } from './plain.ts'
import { decodeFragment, fromPointer } from './pointer.ts'
import { follow, isMethod } from './walk.ts'

/** What of a service's document is compared: its operations and what they refer to. */
export type Shape = Pick<Digest['document'], 'paths' | 'components'>

/** Something that a client of the earlier document can trip over. */
export interface Change {
  readonly kind: 'vanished' | 'breaking'
  /** `GET /orders/{id}`, as it was. */
  readonly operation: string
  readonly detail: string
}

/** A service can change in a thousand places; after so many nobody reads on. */
const most = 200
/** Schemas refer to each other without end; so deep, a difference says little. */
const deepest = 12

type Direction = 'request' | 'response'

/**
 * What broke between two documents of one service, both as `digest` makes them: same version, same names.
 *
 * Requests may become looser and answers stricter; the other way round a client that did right before does wrong now.
 * Reported is what is certain from the documents alone: what vanished, what is asked for now and was not, what is not
 * taken any more, what is not promised any more. Not reported is what depends on the client, such as one more value in
 * an `enum` of an answer.
 */
export function changesBetween(before: Shape, after: Shape): readonly Change[] {
  const changes: Change[] = []
  const now = operationsOf(after)
  for (const [place, was] of operationsOf(before)) {
    const is = now.get(place)
    const tell = (kind: Change['kind'], detail: string) => {
      if (changes.length < most) changes.push({ kind, operation: was.name, detail })
    }
    if (is)
      compareOperations(was.operation, is.operation, { before, after, tell: (detail) => tell('breaking', detail) })
    else tell('vanished', 'the operation is not in the document any more')
  }
  return changes
}

interface Operation {
  readonly name: string
  readonly operation: JsonObject
}

/** By method and path, whatever its variables are called. */
function operationsOf({ paths }: Shape): ReadonlyMap<string, Operation> {
  const found = new Map<string, Operation>()
  for (const [path, item] of members(paths)) {
    for (const [method, operation] of members(item)) {
      if (!isMethod(method) || !isObject(operation)) continue
      const place = `${method} ${path.replace(/\{[^}]*\}/g, '{}')}`
      found.set(place, { name: `${method.toUpperCase()} ${path}`, operation })
    }
  }
  return found
}

interface Comparison {
  readonly before: Shape
  readonly after: Shape
  tell(detail: string): void
}

function compareOperations(was: JsonObject, is: JsonObject, comparison: Comparison): void {
  const { before, after, tell } = comparison
  // Parameters. Path variables may be called otherwise; their places are what counts, and those are the same.
  const known = parametersOf(was, before)
  for (const [key, parameter] of parametersOf(is, after)) {
    if (parameter.in === 'path') continue
    const earlier = known.get(key)
    const name = `the ${String(parameter.in)} parameter "${String(parameter.name)}"`
    if (parameter.required === true && earlier?.required !== true) tell(`${name} is required now`)
    if (earlier) compareSchemas(earlier.schema, parameter.schema, { ...comparison, direction: 'request', place: name })
  }
  // Request body.
  const [took, takes] = [resolve(before, was.requestBody), resolve(after, is.requestBody)]
  if (takes?.required === true && took?.required !== true) tell('a request body is required now')
  if (took) compareContents(took.content, takes?.content, { ...comparison, direction: 'request', place: 'the request' })
  // Answers.
  const answers = isObject(is.responses) ? is.responses : {}
  for (const [status, answer] of members(was.responses)) {
    if (!/^2/.test(status)) continue
    const counterpart = own(answers, status) ?? own(answers, '2XX') ?? own(answers, 'default')
    if (counterpart === undefined) {
      tell(`the answer ${status} is not described any more`)
      continue
    }
    const [gave, gives] = [resolve(before, answer), resolve(after, counterpart)]
    const place = `the answer ${status}`
    if (gave) compareContents(gave.content, gives?.content, { ...comparison, direction: 'response', place })
  }
}

function parametersOf(operation: JsonObject, shape: Shape): ReadonlyMap<string, JsonObject> {
  const found = new Map<string, JsonObject>()
  for (const entry of items(operation.parameters)) {
    const parameter = resolve(shape, entry)
    if (!parameter || typeof parameter.name !== 'string') continue
    const name = parameter.in === 'header' ? parameter.name.toLowerCase() : parameter.name
    found.set(`${String(parameter.in)} ${name}`, parameter)
  }
  return found
}

interface Within extends Comparison {
  readonly direction: Direction
  /** In words, for the message. */
  readonly place: string
}

function compareContents(was: unknown, is: unknown, within: Within): void {
  for (const [type, media] of members(was)) {
    const counterpart = isObject(is) ? (own(is, type) ?? own(is, '*/*')) : undefined
    if (counterpart === undefined) within.tell(`${within.place} has the media type ${type} no more`)
    else if (isObject(media) && isObject(counterpart)) compareSchemas(media.schema, counterpart.schema, within)
  }
}

/** Schemas that refer to each other are compared once, wherever they meet again. */
function compareSchemas(was: unknown, is: unknown, within: Within): void {
  const met = new Map<object, Set<object>>()
  const visit = (one: unknown, other: unknown, place: string, depth: number): void => {
    if (depth > deepest) return
    const [before, after] = [resolve(within.before, one), resolve(within.after, other)]
    if (!before || !after) return
    const partners = met.get(before) ?? new Set()
    if (partners.has(after)) return
    met.set(before, partners.add(after))
    compareTypes(before, after, { ...within, place })
    if (within.direction === 'request') compareBounds(before, after, { ...within, place })
    compareProperties(before, after, { ...within, place }, (next, theirs, name) =>
      visit(next, theirs, `${place} › ${name}`, depth + 1),
    )
    if (before.items !== undefined && after.items !== undefined)
      visit(before.items, after.items, `${place} › each`, depth + 1)
    for (const word of ['oneOf', 'anyOf'] as const) compareForms(before[word], after[word], place, depth)
  }
  const compareForms = (before: unknown, after: unknown, place: string, depth: number) => {
    if (!Array.isArray(before) || !Array.isArray(after)) return
    const names = new Map(after.map((form) => [nameOf(form), form]))
    for (const form of before) {
      const name = nameOf(form)
      if (name === undefined) continue
      const counterpart = names.get(name)
      if (counterpart !== undefined) visit(form, counterpart, place, depth + 1)
      else if (within.direction === 'request') within.tell(`${place} does not take the form ${name} any more`)
    }
  }
  visit(was, is, within.place, 0)
}

/** The name of a form that is a component; forms that are written out have none to tell them by. */
function nameOf(form: unknown): string | undefined {
  const reference = isObject(form) ? own(form, '$ref') : undefined
  return typeof reference === 'string' ? reference.slice(reference.lastIndexOf('/') + 1) : undefined
}

function compareTypes(before: JsonObject, after: JsonObject, { direction, place, tell }: Within): void {
  const [were, are] = [typesOf(before), typesOf(after)]
  if (direction === 'request' && are) {
    const gone = were ? [...were].filter((type) => !covers(are, type)) : ['anything']
    if (gone.length > 0) tell(`${place} takes ${[...are].join(' or ')}, where it took ${gone.join(' or ')}`)
  }
  if (direction === 'response' && were) {
    const more = are ? [...are].filter((type) => !covers(were, type)) : ['anything']
    if (more.length > 0) tell(`${place} may be ${more.join(' or ')}, where it was ${[...were].join(' or ')}`)
  }
  const values = valuesOf(after)
  if (direction === 'request' && values) {
    const gone = (valuesOf(before) ?? []).filter((value) => !values.some((one) => same(one, value)))
    if (!valuesOf(before)) tell(`${place} takes certain values only`)
    else if (gone.length > 0)
      tell(`${place} does not take ${gone.map((value) => JSON.stringify(value)).join(', ')} any more`)
  }
}

const covers = (types: ReadonlySet<unknown>, type: unknown) =>
  types.has(type) || (type === 'integer' && types.has('number'))
const same = (one: unknown, other: unknown) => JSON.stringify(one) === JSON.stringify(other)

function typesOf({ type }: JsonObject): ReadonlySet<unknown> | undefined {
  return type === undefined ? undefined : new Set([type].flat())
}

function valuesOf(schema: JsonObject): readonly unknown[] | undefined {
  if (Object.hasOwn(schema, 'const')) return [schema.const]
  return Array.isArray(schema.enum) ? schema.enum : undefined
}

const lower = ['maxLength', 'maximum', 'exclusiveMaximum', 'maxItems', 'maxProperties'] as const
const higher = ['minLength', 'minimum', 'exclusiveMinimum', 'minItems', 'minProperties'] as const

/** What is asked of a value that a client sends may become less, not more. */
function compareBounds(before: JsonObject, after: JsonObject, { place, tell }: Within): void {
  const tighter = (words: readonly string[], isTighter: (was: number, is: number) => boolean) => {
    for (const word of words) {
      const [was, is] = [before[word], after[word]]
      if (typeof is !== 'number') continue
      if (typeof was !== 'number' ? !(word.startsWith('min') && is === 0) : isTighter(was, is))
        tell(`${place} must have ${word} ${is} now`)
    }
  }
  tighter(lower, (was, is) => is < was)
  tighter(higher, (was, is) => is > was)
  if (typeof after.pattern === 'string' && after.pattern !== before.pattern)
    tell(`${place} must match another pattern now`)
}

function compareProperties(
  before: JsonObject,
  after: JsonObject,
  { direction, place, tell, before: earlier, after: later }: Within,
  next: (was: unknown, is: unknown, name: string) => void,
): void {
  const [were, are] = [objectOf(earlier, before), objectOf(later, after)]
  for (const [name, property] of were.properties) {
    const counterpart = are.properties.get(name)
    if (counterpart !== undefined) next(property, counterpart, name)
    else if (direction === 'response') tell(`${place} has no "${name}" any more`)
    else if (are.closed) tell(`${place} takes no "${name}" any more`)
    if (direction === 'response' && counterpart !== undefined && were.required.has(name) && !are.required.has(name))
      tell(`${place} may lack "${name}"`)
  }
  if (direction === 'response') return
  for (const name of are.required) {
    const property = are.properties.get(name)
    const given = resolve(later, property)?.readOnly === true
    if (!were.required.has(name) && !given) tell(`${place} must have "${name}" now`)
  }
}

interface ObjectShape {
  readonly properties: ReadonlyMap<string, unknown>
  readonly required: ReadonlySet<string>
  readonly closed: boolean
}

/** An object with what all of its `allOf` say. */
function objectOf(shape: Shape, schema: JsonObject): ObjectShape {
  const properties = new Map<string, unknown>()
  const required = new Set<string>()
  let closed = false
  const seen = new Set<object>()
  const take = (node: unknown, depth: number) => {
    const one = resolve(shape, node)
    if (!one || seen.has(one) || depth > deepest) return
    seen.add(one)
    for (const [name, property] of members(one.properties)) properties.set(name, property)
    for (const name of items(one.required)) if (typeof name === 'string') required.add(name)
    if (one.additionalProperties === false) closed = true
    for (const part of items(one.allOf)) take(part, depth + 1)
  }
  take(schema, 0)
  return { properties, required, closed }
}

function resolve({ paths, components }: Shape, node: unknown): JsonObject | undefined {
  let at = node
  for (let hops = 0; hops < 16 && isObject(at); hops += 1) {
    const reference = own(at, '$ref')
    if (typeof reference !== 'string') return at
    at = follow({ paths, components }, fromPointer(decodeFragment(reference.slice(1))))?.value
  }
  return undefined
}
