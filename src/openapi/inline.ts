import type { JsonObject } from './document.ts'
import { copyPlain, isObject, members, put } from './plain.ts'
import type { Report } from './report.ts'
import type { Resolver } from './resolver.ts'
import { isReference, type Place, pointerOf, removeAll, type Target, walk } from './walk.ts'

/** Path items that refer to each other twice double with every step: what is far beyond real documents is refused. */
const limits = { copies: 5_000, nested: 6 } as const

/**
 * Put copies in the place of references to path items, operations and (3.2) media types. A path item that serves two
 * paths has two sets of operations, each with an id of its own, and operations may not be references at all.
 *
 * The specification leaves open what members beside the `$ref` of a path item mean: here they win over those it
 * points to. Returns how many there were.
 */
export function inlineShared(document: JsonObject, resolver: Resolver, report: Report): number {
  const origins = new Map<object, object>()
  const removals: Place[] = []
  let copies = 0
  const inline = (node: JsonObject, place: Place) => {
    if (place.kind !== 'PathItem' && place.kind !== 'Operation' && place.kind !== 'MediaType') return
    const reference = node.$ref as string
    const found = resolver.resolve(reference, place.kind, place)
    const why = 'missing' in found ? found.missing : refusal(found.target, place)
    if (why === undefined && 'target' in found) {
      origins.set(node, found.target.value as object)
      delete node.$ref
      for (const [name, member] of members(found.target.value)) {
        if (!Object.hasOwn(node, name)) put(node, name, copyPlain(member))
      }
      // A reference to a reference: once more.
      if (isReference(node)) inline(node, place)
      return
    }
    const code = reference.startsWith('#') ? 'unresolved-reference' : 'external-reference'
    report.warning(code, `the reference "${reference}" was left out: ${why}`, pointerOf(place))
    delete node.$ref
    if (place.kind !== 'PathItem') removals.push(place)
  }
  const refusal = (target: Target, place: Place): string | undefined => {
    if (target.kind !== undefined && target.kind !== place.kind) return `it leads to a ${target.kind}`
    copies += 1
    if (copies > limits.copies) return `more than ${limits.copies} path items are references`
    let nested = 0
    for (let at: Place | undefined = place; at; at = at.up) {
      const origin = origins.get(at.node)
      if (at.node === target.value || origin === target.value) return 'it contains itself'
      if (origin) nested += 1
    }
    if (nested > limits.nested) return 'callbacks are nested too deeply'
    return undefined
  }
  walk(document, 'Document', { reference: inline, of: ['PathItem', 'Operation', 'MediaType'] })
  removeAll(removals)
  return copies
}

/** Sections whose every use has become a copy. */
export function dropShared(document: JsonObject): void {
  if (!isObject(document.components)) return
  delete document.components.pathItems
  delete document.components.mediaTypes
}
