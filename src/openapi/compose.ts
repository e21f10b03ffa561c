import { dereferenced } from './arrange.ts'
import type { JsonObject } from './document.ts'
import { isObject, items, members, own } from './plain.ts'
import type { Part } from './secure.ts'

/** A composition of services.json: which operations of which services are answered together. */
export interface ComposedOperation {
  /** Its key in `paths`. */
  readonly path: string
  /** By the name that their answer has in the answer. */
  readonly parts: Readonly<Record<string, ComposedPart>>
}

export interface ComposedPart {
  readonly service: string
  /** Below the service; `{name}` is a parameter of the composition. */
  readonly path: string
  /** As it is written in services.json, without the question mark. */
  readonly query: string
  readonly optional: boolean
}

/**
 * Describe compositions by what the services say of their parts: the answer is put together from the parts' schemas,
 * and a parameter is what it becomes in a part. What a service does not describe keeps its plain words. `paths` are the
 * operations as the gateway knows them; the result has others in their place, and `paths` stays as it is.
 */
export function describeComposed(
  paths: JsonObject,
  composed: readonly ComposedOperation[],
  services: readonly Part[],
): JsonObject {
  const described: JsonObject = { ...paths }
  for (const { path, parts } of composed) {
    const item = own(paths, path)
    if (!isObject(item) || !isObject(item.get)) continue
    const found = Object.entries(parts).map(([name, part]) => ({ name, part, operation: operationOf(part, services) }))
    const parameters = items(item.get.parameters).map((parameter) => parameterIn(parameter as JsonObject, found))
    const responses = responsesWith(item.get.responses as JsonObject, found)
    described[path] = { ...item, get: { ...item.get, ...(parameters.length > 0 && { parameters }), responses } }
  }
  return described
}

interface Found {
  readonly name: string
  readonly part: ComposedPart
  readonly operation:
    | { readonly node: JsonObject; readonly template: string; readonly components: JsonObject }
    | undefined
}

/** The operation that a part asks for: of those whose template fits, the one with the most literal segments. */
function operationOf({ service, path }: ComposedPart, services: readonly Part[]): Found['operation'] {
  const part = services.find((candidate) => candidate.service === service)
  if (!part) return undefined
  const asked = segmentsOf(path)
  const fitting = part.operations
    .filter(({ method, variant }) => method === 'GET' && !variant)
    .map((operation) => ({ operation, segments: segmentsOf(operation.path) }))
    .filter(
      ({ segments }) =>
        segments.length === asked.length &&
        segments.every((segment, index) => isVariable(segment) || segment === asked[index]),
    )
    .sort((one, other) => literals(other.segments) - literals(one.segments))
  const [first] = fitting
  if (!first) return undefined
  const item = own(part.document.paths, first.operation.published)
  const node = isObject(item) ? item.get : undefined
  return isObject(node) ? { node, template: first.operation.path, components: part.document.components } : undefined
}

const segmentsOf = (path: string) => path.split('/').filter((segment) => segment !== '')
const isVariable = (segment: string) => /^\{[^{}]*\}$/.test(segment)
const literals = (segments: readonly string[]) => segments.filter((segment) => !isVariable(segment)).length

/** A parameter of the composition with what the parts say of the place where it ends up. */
function parameterIn(parameter: JsonObject, found: readonly Found[]): JsonObject {
  for (const { part, operation } of found) {
    if (!operation) continue
    const place = placeOf(String(parameter.name), part, operation.template)
    if (!place) continue
    for (const entry of items(operation.node.parameters)) {
      const theirs = dereferenced(entry, operation.components)
      if (theirs?.in !== place.in || theirs.name !== place.name || !isObject(theirs.schema)) continue
      const { description, schema } = theirs
      return { ...parameter, ...(typeof description === 'string' && { description }), schema }
    }
  }
  return parameter
}

function placeOf(name: string, { path, query }: ComposedPart, template: string) {
  const [asked, segments] = [segmentsOf(path), segmentsOf(template)]
  const index = asked.indexOf(`{${name}}`)
  if (index >= 0 && isVariable(segments[index]!)) return { in: 'path', name: segments[index]!.slice(1, -1) }
  for (const [key, value] of new URLSearchParams(query)) if (value === `{${name}}`) return { in: 'query', name: key }
  return undefined
}

function responsesWith(responses: JsonObject, found: readonly Found[]): JsonObject {
  const whole = structuredClone(responses['200']) as { content: { 'application/json': { schema: JsonObject } } }
  const { schema } = whole.content['application/json']
  const properties = schema.properties as JsonObject
  for (const { name, part, operation } of found) {
    const theirs = operation && answerSchema(operation)
    if (theirs === undefined) continue
    const { description } = properties[name] as JsonObject
    properties[name] = part.optional
      ? { description, anyOf: [theirs, { type: 'null' }] }
      : { description, allOf: [theirs] }
  }
  return { ...responses, 200: whole }
}

/** What the operation answers when all is well, as JSON. */
function answerSchema({ node, components }: NonNullable<Found['operation']>): unknown {
  const responses = isObject(node.responses) ? node.responses : {}
  const answer = dereferenced(own(responses, '200') ?? own(responses, '2XX'), components)
  for (const [type, media] of members(answer?.content))
    if (/^application\/(?:[\w.+-]+\+)?json\b/i.test(type) && isObject(media)) return media.schema
  return undefined
}
