import type { Definition } from '../config/schema.ts'
import { partReferences, splitPartPath } from '../http/part-path.ts'
import { parameterNames } from '../http/template.ts'
import type { JsonObject, SecurityRequirement } from '../openapi/document.ts'
import { gatewayResponses } from '../openapi/gateway-responses.ts'
import type { OwnPart } from '../openapi/publish.ts'
import type { CompiledRoutes } from './compile.ts'
import type { Route } from './gateway.ts'

const tag = 'compositions'

/** The compositions as operations of the published document. Their security is what their required parts enforce. */
export function describeCompositions(
  { compositions }: Definition,
  compiled: Pick<CompiledRoutes, 'services' | 'routeFor'>,
): OwnPart {
  const paths: JsonObject = {}
  for (const { match, parts } of compositions) {
    const path = match.slice('GET '.length)
    const security = together(requiredRoutes(parts, compiled).map(({ declaredSecurity }) => declaredSecurity))
    paths[path] = {
      get: {
        operationId: idOf(path),
        tags: [tag],
        summary: `${Object.keys(parts).join(', ')} in one answer`,
        parameters: parameterNames(path).map((name) => ({
          name,
          in: 'path',
          required: true,
          schema: { type: 'string' },
        })),
        security,
        responses: gatewayResponses({ security, consumed: [], limited: false }, { 200: answerOf(parts) }),
      },
    }
  }
  if (compositions.length === 0) return { paths: {}, components: {}, tags: [] }
  const composed = compositions.map(({ match, parts }) => ({
    path: match.slice('GET '.length),
    parts: Object.fromEntries(
      Object.entries(parts).map(([name, { service, path, optional }]) => [
        name,
        { service, optional, ...splitPartPath(path) },
      ]),
    ),
  }))
  return {
    paths,
    components: {},
    composed,
    tags: [{ name: tag, description: 'Answers that several services give together.' }],
  }
}

/** The rows that answer the parts which a composition cannot do without. */
export function requiredRoutes(
  parts: Parts,
  { services, routeFor }: Pick<CompiledRoutes, 'services' | 'routeFor'>,
): readonly Route[] {
  return Object.values(parts).flatMap(({ service: name, path, optional }) => {
    const service = services.find((candidate) => candidate.name === name)!
    const template = splitPartPath(path).path.replace(/\{[^}]*\}/g, '{value}')
    const route = optional ? undefined : routeFor(service, 'GET', template)
    return route ? [route] : []
  })
}

type Parts = Definition['compositions'][number]['parts']

function answerOf(parts: Parts): JsonObject {
  const described = Object.entries(parts).map(([name, { service, path, optional }]) => {
    const needed = partReferences(path).filter((reference) => Object.hasOwn(parts, reference.name))
    const after = needed.length > 0 ? `, once ${needed.map((reference) => reference.name).join(' and ')} is known` : ''
    return [
      name,
      { description: `What ${service} answers${after}${optional ? '; null when it could not be had' : ''}.` },
    ]
  })
  const problems = {
    type: 'object',
    description: 'Why an optional part is missing, by its name.',
    additionalProperties: {
      type: 'object',
      properties: { code: { type: 'string' }, status: { type: 'integer' }, detail: { type: 'string' } },
    },
  }
  const optional = Object.values(parts).some((part) => part.optional)
  const properties = { ...Object.fromEntries(described), ...(optional && { $problems: problems }) }
  const schema = { type: 'object', required: Object.keys(parts), properties }
  return { description: 'The parts, by name.', content: { 'application/json': { schema } } }
}

/** Every list must hold: each alternative of one with each of the other, and no set twice. Public lists ask for nothing. */
function together(lists: readonly (readonly SecurityRequirement[])[]): readonly SecurityRequirement[] {
  let all: readonly SecurityRequirement[] = []
  for (const list of new Map(lists.map((list) => [JSON.stringify(list), list])).values()) {
    if (list.length === 0) continue
    all = all.length === 0 ? list : all.flatMap((one) => list.map((other) => joined(one, other)))
  }
  return [...new Map(all.map((set) => [JSON.stringify(set), set])).values()]
}

function joined(one: SecurityRequirement, other: SecurityRequirement): SecurityRequirement {
  const names = new Set([...Object.keys(one), ...Object.keys(other)])
  return Object.fromEntries(
    [...names].map((name) => [name, [...new Set([...(one[name] ?? []), ...(other[name] ?? [])])]]),
  )
}

/** No underscore: it keeps the gateway's own ids apart from every service's. */
function idOf(path: string): string {
  const words = path.split(/[^A-Za-z0-9]+/).filter((word) => word !== '')
  return `compose${words.map((word) => word[0]!.toUpperCase() + word.slice(1)).join('')}`
}
