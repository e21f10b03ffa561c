import type { JsonObject } from './document.ts'

/**
 * Plain data: what JSON can say, as an acyclic tree in which nothing is shared. Every document is copied into this
 * form before it is read, so that a later change of one place never shows in another, and so that names such as
 * `__proto__` stay names.
 */
export interface PlainLimits {
  /** Objects, lists and values together. */
  readonly nodes: number
  /** Objects and lists inside each other. */
  readonly depth: number
}

/** A document far beyond these is an attack or an accident: GitHub's has 0.3 million nodes, and none we met is deeper than 40 levels. */
export const plainLimits: PlainLimits = { nodes: 3_000_000, depth: 250 }

/** The value cannot be plain data. `message` is a sentence for the operator. */
export class NotPlain extends Error {
  readonly code: 'too-many-nodes' | 'too-deep' | 'cyclic'
  constructor(code: NotPlain['code'], message: string) {
    super(message)
    this.name = 'NotPlain'
    this.code = code
  }
}

/**
 * A deep copy without shared parts. Throws `NotPlain` beyond the limits; what JSON cannot say becomes null. `rename` may
 * give members other names.
 */
export function copyPlain<T>(value: T, limits: PlainLimits = plainLimits, rename?: (name: string) => string): T {
  let nodes = 0
  const open = new Set<object>()

  function copy(item: unknown, depth: number): unknown {
    nodes += 1
    if (nodes > limits.nodes) {
      throw new NotPlain('too-many-nodes', `the document has more than ${limits.nodes} values, aliases counted in full`)
    }
    if (typeof item !== 'object') {
      if (typeof item === 'number') return Number.isFinite(item) ? item : null
      return typeof item === 'string' || typeof item === 'boolean' ? item : null
    }
    if (item === null) return null
    if (open.has(item)) throw new NotPlain('cyclic', 'the document contains itself: an alias points to its own parent')
    if (depth >= limits.depth) {
      throw new NotPlain('too-deep', `the document is nested deeper than ${limits.depth} levels`)
    }
    open.add(item)
    let result: unknown
    if (Array.isArray(item)) {
      // Not `map`, which leaves holes where a list has holes.
      result = Array.from(item, (member) => copy(member, depth + 1))
    } else {
      const object: JsonObject = {}
      for (const key of Object.keys(item)) {
        const member = (item as JsonObject)[key]
        if (member !== undefined) put(object, rename ? rename(key) : key, copy(member, depth + 1))
      }
      result = object
    }
    open.delete(item)
    return result
  }

  return copy(value, 0) as T
}

/** The same limits for a value that nobody else holds and that shares nothing, such as JSON.parse returns: no copy is made. */
export function settlePlain<T>(value: T, limits: PlainLimits = plainLimits): T {
  let nodes = 1

  function settle(holder: object, depth: number): void {
    if (depth >= limits.depth) {
      throw new NotPlain('too-deep', `the document is nested deeper than ${limits.depth} levels`)
    }
    for (const key in holder) {
      nodes += 1
      const member = (holder as JsonObject)[key]
      if (typeof member === 'object' && member !== null) settle(member, depth + 1)
      // 1e999 is JSON, and no number here.
      else if (typeof member === 'number' && !Number.isFinite(member)) put(holder as JsonObject, key, null)
    }
    if (nodes > limits.nodes) {
      throw new NotPlain('too-many-nodes', `the document has more than ${limits.nodes} values, aliases counted in full`)
    }
  }

  if (typeof value === 'object' && value !== null) settle(value, 0)
  return value
}

/** Whether a value is an object with members: neither null nor a list. */
export function isObject(value: unknown): value is JsonObject {
  return typeof value === 'object' && value !== null && !Array.isArray(value)
}

/** The member of that name, never one inherited from a prototype. */
export function own(object: JsonObject, key: string): unknown {
  return Object.hasOwn(object, key) ? object[key] : undefined
}

/** Set a member. `__proto__` becomes an ordinary one, where an assignment would change the object's nature. */
export function put(object: JsonObject, key: string, value: unknown): void {
  if (key === '__proto__')
    Object.defineProperty(object, key, { value, writable: true, enumerable: true, configurable: true })
  else object[key] = value
}

/** The members of an object; none for anything else. */
export function members(value: unknown): readonly (readonly [string, unknown])[] {
  return isObject(value) ? Object.entries(value) : []
}

/** The items of a list; none for anything else. */
export function items(value: unknown): readonly unknown[] {
  return Array.isArray(value) ? value : []
}

/** An object with the same members, some renamed, in the same order. A later member of the same name is dropped. */
export function renameKeys(object: JsonObject, rename: (key: string) => string): JsonObject {
  const result: JsonObject = {}
  for (const [key, value] of Object.entries(object)) {
    const name = rename(key)
    if (!Object.hasOwn(result, name)) put(result, name, value)
  }
  return result
}

/** How many values a value is made of, itself included. */
export function sizeOf(value: unknown): number {
  if (typeof value !== 'object' || value === null) return 1
  return Object.values(value).reduce((sum: number, member) => sum + sizeOf(member), 1)
}
