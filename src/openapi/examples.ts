import type { JsonObject } from './document.ts'
import { copyPlain, isObject, members, own, put, sizeOf } from './plain.ts'
import { decodeFragment, fromPointer } from './pointer.ts'
import type { Visitor } from './walk.ts'

/** Values copied in all. Each use of an example inside of another is a copy, and hostile ones double with every step. */
const copyLimit = 200_000

/**
 * In an example value a `$ref` is data. But authors do write `{ "$ref": "#/components/examples/X" }` there, GitHub
 * more than twenty times, and mean the value of X, which no tool shows. For a walk: those that lead somewhere are
 * replaced by it, in place; every other `$ref` in data stays what it is.
 */
export function resolveExamples(document: JsonObject): Visitor {
  const examples = isObject(document.components) ? document.components.examples : undefined
  if (!isObject(examples)) return {}
  const open = new Set<JsonObject>()
  let copied = 0

  return {
    Example: (node) => resolve(node, 'value'),
    MediaType: (node) => resolve(node, 'example'),
    Parameter: (node) => resolve(node, 'example'),
    Header: (node) => resolve(node, 'example'),
    Schema(node) {
      resolve(node, 'example')
      resolve(node, 'examples')
    },
  }

  function resolve(holder: JsonObject, field: string): void {
    const value = own(holder, field)
    if (typeof value === 'object' && value !== null) holder[field] = resolved(value, 0)
  }

  function resolved(value: unknown, depth: number): unknown {
    if (typeof value !== 'object' || value === null || depth > 200) return value
    if (Array.isArray(value)) {
      for (const [index, item] of value.entries()) value[index] = resolved(item, depth + 1)
      return value
    }
    const example = named(value as JsonObject)
    if (example) {
      if (open.has(example)) return value
      copied += sizeOf(example.value)
      if (copied > copyLimit) return value
      open.add(example)
      const copy = resolved(copyPlain(example.value), depth + 20)
      open.delete(example)
      return copy
    }
    for (const [name, member] of members(value)) {
      if (typeof member === 'object') put(value as JsonObject, name, resolved(member, depth + 1))
    }
    return value
  }

  function named(value: JsonObject): JsonObject | undefined {
    const reference = own(value, '$ref')
    if (typeof reference !== 'string' || Object.keys(value).length !== 1) return undefined
    const name = /^#\/components\/examples(\/[^/]+)$/.exec(decodeFragment(reference))?.[1]
    const example = name === undefined ? undefined : own(examples as JsonObject, fromPointer(name)[0]!)
    return isObject(example) && Object.hasOwn(example, 'value') ? example : undefined
  }
}
