import type { Definition } from '../config/schema.ts'
import { type PartReference, partReferences, splitPartPath } from '../http/part-path.ts'
import { decodeSegment, encodeSegment } from '../http/path.ts'
import type { Service } from './gateway.ts'
import { type Found, Router } from './router.ts'

/** One request in, several out, one JSON back: `compositions` of services.json, compiled. */
export interface Composition {
  /** As written: `GET /dashboard/{userId}`. */
  readonly id: string
  readonly parts: readonly Part[]
}

export interface Part {
  readonly name: string
  /** What stands before its answer in the answer of all: `,"orders":`. */
  readonly opening: Buffer
  readonly service: Service
  /** The composition goes on without it. */
  readonly optional: boolean
  /** Milliseconds, instead of what the service is given. */
  readonly timeout: number | undefined
  /** Parts whose answers this one needs. */
  readonly needs: readonly string[]
  /** The target below the gateway that a caller would ask for by itself. Throws a `Problem` for a value that no path can hold. */
  target(values: PartValues): { readonly path: string; readonly query: string }
}

export interface PartValues {
  /** Parameters of the composition's own path, decoded. */
  readonly params: Readonly<Record<string, string>>
  /** Parsed answers of the parts that this one needs. */
  readonly answers: ReadonlyMap<string, unknown>
}

export function compileCompositions({ compositions }: Definition, services: readonly Service[]): Router<Composition> {
  const router = new Router<Composition>()
  for (const { match, parts } of compositions) {
    const names = new Set(Object.keys(parts))
    const compiled = Object.entries(parts).map(([name, { service, path, optional, timeout }], index): Part => {
      const target = services.find((candidate) => candidate.name === service)!
      return {
        name,
        opening: Buffer.from(`${index === 0 ? '{' : ','}${JSON.stringify(name)}:`),
        service: target,
        optional,
        timeout,
        needs: [...new Set(partReferences(path).flatMap(({ name }) => (names.has(name) ? [name] : [])))],
        target: compileTarget(path, target.prefix, names),
      }
    })
    router.add('GET', match.slice('GET '.length), { id: match, parts: compiled })
  }
  return router
}

/** The values of the composition's own parameters. */
export function compositionParams({ names, segments }: Found<Composition>): Readonly<Record<string, string>> {
  return Object.fromEntries(names.map((name, index) => [name, decodeSegment(segments[index]!)]))
}

function compileTarget(template: string, prefix: string, parts: ReadonlySet<string>): Part['target'] {
  const { path, query } = splitPartPath(template)
  const fill = (text: string, values: PartValues, encode: (value: string) => string) =>
    text.replace(/\{([^}]*)\}/g, (_whole, inside: string) =>
      encode(valueFor(partReferences(`{${inside}}`)[0]!, values, parts)),
    )
  return (values) => {
    const below = fill(path, values, encodeSegment)
    return {
      path: below === '/' ? prefix || '/' : prefix + below,
      query: fill(query, values, encodeURIComponent),
    }
  }
}

function valueFor(
  { name, members }: PartReference,
  { params, answers }: PartValues,
  parts: ReadonlySet<string>,
): string {
  if (!parts.has(name)) return params[name] ?? ''
  let value = answers.get(name)
  for (const member of members) {
    value =
      typeof value === 'object' && value !== null && Object.hasOwn(value, member)
        ? (value as Record<string, unknown>)[member]
        : undefined
  }
  return typeof value === 'string' || typeof value === 'number' || typeof value === 'boolean' ? String(value) : ''
}
