import type { JsonObject } from './document.ts'
import { isObject, own } from './plain.ts'
import { decodeFragment, fromPointer, toPointer } from './pointer.ts'
import { follow, isReference, type Kind, type Place, type Target, tokensOf, walk } from './walk.ts'

/** Where a reference leads, or why it leads nowhere. */
export type Resolution = { readonly target: Target } | { readonly missing: string }

export interface Resolver {
  /** No schema has a base of its own: what leads to a component from one place does so from every other. */
  readonly placeless: boolean
  /**
   * What a reference at a place leads to: the first place it names. A chain of references must end at something,
   * but is not shortened. Nothing outside of the document is ever looked at.
   */
  resolve(reference: string, kind: Kind, place: Place): Resolution
}

/** Base of a document that does not know its own address (RFC 3986 §5.1.4). The name is reserved to stay unused. */
const documentBase = 'http://document.invalid/'
/** References that lead to references; real chains have two links. */
export const longestChain = 64

/**
 * References are URIs: relative to the nearest `$id`, with a fragment that is a JSON pointer or an anchor. Real
 * documents stretch that: pointers that pass through other references, encodings that are half right, schemas pasted
 * in from files of their own whose `#/definitions/A` means themselves. What can have only one meaning is understood.
 *
 * `selves` are names by which the document calls itself, such as its own file name; `names` says whether its schemas
 * have any.
 */
export function createResolver(document: JsonObject, selves: ReadonlySet<string>, names: boolean): Resolver {
  const named = names ? collectNames(document) : { resources: new Map(), bases: new Map(), anchors: new Map() }
  return { placeless: named.resources.size === 0, resolve }

  function resolve(reference: string, kind: Kind, place: Place): Resolution {
    const first = locate(reference, kind, place)
    const seen = new Set<string>()
    let found = first
    while ('target' in found) {
      const { value, tokens } = found.target
      if (kind === 'Schema' && typeof value === 'boolean') return first
      if (!isObject(value)) return { missing: 'it does not lead to an object' }
      const pointer = toPointer(tokens)
      if (value === place.node || seen.has(pointer)) return { missing: 'it leads back to itself' }
      if (!isReference(value)) return first
      seen.add(pointer)
      if (seen.size > longestChain) return { missing: 'it leads over too many references' }
      found = locate(value.$ref, kind, undefined, tokens)
    }
    return found
  }

  /** One step: what this text names, seen from a place or from a way through the document. */
  function locate(reference: string, kind: Kind, place?: Place, way?: readonly string[]): Resolution {
    const hash = reference.indexOf('#')
    const uri = hash < 0 ? reference : reference.slice(0, hash)
    const fragment = hash < 0 ? '' : reference.slice(hash + 1)
    const tokens = place ? tokensOf(place) : (way ?? [])
    const resource = kind === 'Schema' && named.resources.size > 0 ? resourceAround(tokens) : undefined
    if (uri !== '' && !selves.has(uri)) {
      const known = named.resources.get(absolute(uri, resource?.base ?? documentBase))
      return known ? within(known, fragment) : { missing: 'other files and hosts are not read' }
    }
    if (isAnchor(fragment)) return within(resource?.tokens ?? [], fragment)
    if (resource) {
      const inside = within(resource.tokens, fragment)
      if ('target' in inside) return inside
    }
    const target = at([], fragment)
    if (target && target.tokens.length > 0) return { target }
    const schema = kind === 'Schema' && place ? outermostSchema(place) : undefined
    const inside = schema && at(tokensOf(schema), fragment)
    if (inside) return { target: inside }
    const definition = /^\/(?:definitions|\$defs)\/([^/]+)$/.exec(decodeFragment(fragment))?.[1]
    const component = definition && follow(document, ['components', 'schemas', ...fromPointer(`/${definition}`)])
    if (component) return { target: component }
    return { missing: target ? 'it leads to the document as a whole' : 'there is nothing at that place' }
  }

  /** Inside of one schema resource (or the document): an anchor, or a pointer that starts there. */
  function within(tokens: readonly string[], fragment: string): Resolution {
    if (isAnchor(fragment)) {
      const name = decodeFragment(fragment)
      const way = named.anchors.get(anchorKey(tokens, name)) ?? named.anchors.get(anchorKey([], name))
      const target = way && follow(document, way)
      return target ? { target } : { missing: 'there is no such anchor' }
    }
    const target = at(tokens, fragment)
    return target ? { target } : { missing: 'there is nothing at that place' }
  }

  /** A pointer from a place on; read with its percent-encoding taken off, else as it is written. */
  function at(from: readonly string[], fragment: string): Target | undefined {
    const found = follow(document, [...from, ...fromPointer(decodeFragment(fragment))], across)
    if (found || !fragment.includes('%')) return found
    return follow(document, [...from, ...fromPointer(fragment)], across)
  }

  /** A pointer may pass over a reference; references on the way back to it are not passed again. */
  function across(reference: string, depth: number): Target | undefined {
    if (!reference.startsWith('#/') || depth > 16) return undefined
    return follow(document, fromPointer(decodeFragment(reference.slice(1))), across, depth + 1)
  }

  function resourceAround(tokens: readonly string[]): { tokens: readonly string[]; base: string } | undefined {
    for (let length = tokens.length; length > 0; length -= 1) {
      const base = named.bases.get(toPointer(tokens.slice(0, length)))
      if (base !== undefined) return { tokens: tokens.slice(0, length), base }
    }
    return undefined
  }
}

interface Names {
  /** Absolute `$id` to the way there. */
  readonly resources: ReadonlyMap<string, readonly string[]>
  /** Pointer of a schema with `$id` to its absolute form. */
  readonly bases: ReadonlyMap<string, string>
  /** Anchors by resource and name; also by name alone, the first one winning. */
  readonly anchors: ReadonlyMap<string, readonly string[]>
}

function collectNames(document: JsonObject): Names {
  const resources = new Map<string, readonly string[]>()
  const bases = new Map<string, string>()
  const anchors = new Map<string, readonly string[]>()
  walk(document, 'Document', {
    Schema(node, place) {
      const id = own(node, '$id')
      if (typeof id === 'string') {
        const tokens = tokensOf(place)
        const base = absolute(id, baseAbove(place.up))
        bases.set(toPointer(tokens), base)
        if (!resources.has(base)) resources.set(base, tokens)
      }
      for (const keyword of ['$anchor', '$dynamicAnchor']) {
        const name = own(node, keyword)
        if (typeof name !== 'string') continue
        const tokens = tokensOf(place)
        for (const key of [anchorKey(resourceTokens(place), name), anchorKey([], name)]) {
          if (!anchors.has(key)) anchors.set(key, tokens)
        }
      }
    },
  })
  return { resources, bases, anchors }

  function baseAbove(place: Place | undefined): string {
    for (let at = place; at; at = at.up) {
      const base =
        at.kind === 'Schema' && Object.hasOwn(at.node, '$id') ? bases.get(toPointer(tokensOf(at))) : undefined
      if (base !== undefined) return base
    }
    return documentBase
  }
}

function resourceTokens(place: Place): readonly string[] {
  for (let at: Place | undefined = place; at; at = at.up) {
    if (at.kind === 'Schema' && typeof own(at.node, '$id') === 'string') return tokensOf(at)
  }
  return []
}

/** The schema around a place that is in no other schema: a component, or the schema of a body or parameter. */
function outermostSchema(place: Place): Place | undefined {
  let found: Place | undefined
  for (let at: Place | undefined = place; at; at = at.up) if (at.kind === 'Schema') found = at
  return found
}

const isAnchor = (fragment: string): boolean => fragment !== '' && !decodeFragment(fragment).startsWith('/')
const anchorKey = (tokens: readonly string[], name: string): string => `${toPointer(tokens)}#${name}`

/** A URI without its fragment, made absolute. */
function absolute(uri: string, base: string): string {
  if (!URL.canParse(uri, base)) return uri
  const url = new URL(uri, base)
  url.hash = ''
  return url.href
}
