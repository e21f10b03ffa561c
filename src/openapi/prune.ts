import type { JsonObject } from './document.ts'
import { isObject, members, own, put } from './plain.ts'
import { decodeFragment, fromPointer } from './pointer.ts'
import { createWalk, type Kind, sections } from './walk.ts'

const kinds = new Map(Object.entries(sections).map(([kind, section]) => [section as string, kind as Kind]))

/**
 * The components that paths and webhooks lead to, directly or not. Schemas that only a discriminator names count:
 * its mapping is written out in full by then.
 */
export function prune(document: {
  readonly paths: JsonObject
  readonly webhooks: JsonObject
  readonly components: JsonObject
}): JsonObject {
  const reached = new Map<string, Set<string>>()
  const queue: (readonly [string, string])[] = []
  const met = new Set<unknown>()
  const reach = (reference: unknown) => {
    if (typeof reference !== 'string' || met.has(reference)) return
    met.add(reference)
    const [root, section, name] = fromPointer(decodeFragment(reference.slice(1)))
    if (root !== 'components' || section === undefined || name === undefined) return
    const names = reached.get(section) ?? new Set<string>()
    reached.set(section, names)
    if (names.has(name)) return
    names.add(name)
    queue.push([section, name])
  }
  const walk = createWalk({
    reference: (node) => reach(node.$ref),
    Discriminator(node) {
      for (const [, reference] of members(node.mapping)) reach(reference)
      reach(node['x-default-mapping'])
    },
  })
  walk({ paths: document.paths, webhooks: document.webhooks }, 'Document')
  for (let next = queue.pop(); next; next = queue.pop()) {
    const [section, name] = next
    const kind = kinds.get(section)
    const holder = own(document.components, section)
    if (kind && isObject(holder)) walk(own(holder, name), kind)
  }
  // In the order of the document, not in that of discovery.
  const kept: JsonObject = {}
  for (const [section, holder] of members(document.components)) {
    const names = reached.get(section)
    if (!names) continue
    const part: JsonObject = {}
    for (const [name, component] of members(holder)) if (names.has(name)) put(part, name, component)
    if (Object.keys(part).length > 0) kept[section] = part
  }
  return kept
}
