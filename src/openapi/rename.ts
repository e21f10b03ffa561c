import type { JsonObject } from './document.ts'
import { removeLinks } from './link-removal.ts'
import { componentText, distinct } from './names.ts'
import { isObject, items, members, own, put, renameKeys } from './plain.ts'
import { decodeFragment, fromPointer, toFragment } from './pointer.ts'
import type { Report } from './report.ts'
import { type Place, pointerOf, walk } from './walk.ts'

export interface Renaming {
  readonly service: string
  /** New ids by operation. */
  readonly operationIds: ReadonlyMap<JsonObject, string>
  /** New ids by the one that was written; of repeated ones the first. */
  readonly idsByOldId: ReadonlyMap<string, string>
  readonly tags: ReadonlyMap<string, string>
  /** The new id of the operation at a path key of the document; undefined when it is not published. */
  readonly idAt: (path: string, method: string) => string | undefined
}

/**
 * Give every name of a settled document (`references.ts`) its place in the service's own namespace, in place:
 * components, operation ids, tags, dynamic anchors, webhooks, and whatever refers to any of them.
 */
export function rename(document: JsonObject, renaming: Renaming, report: Report): void {
  const { service } = renaming
  removeLinks(document, (link, place) => isLost(link, place, renaming, report))
  const names = componentNames(document, service)

  const known = new Map<unknown, string>()
  const renamed = (reference: unknown): string => {
    const before = known.get(reference)
    if (before !== undefined) return before
    const [root = '', section = '', name = '', ...deeper] = fromPointer(decodeFragment(String(reference).slice(1)))
    const text = toFragment([root, section, names.get(section)!.get(name)!, ...deeper])
    known.set(reference, text)
    return text
  }

  walk(document, 'Document', {
    reference(node) {
      node.$ref = renamed(node.$ref)
    },
    Schema(node) {
      // Without a prefix, the anchors of two services would be one.
      if (typeof node.$dynamicAnchor === 'string') node.$dynamicAnchor = `${service}_${node.$dynamicAnchor}`
      if (typeof node.$dynamicRef === 'string') node.$dynamicRef = `#${service}_${node.$dynamicRef.slice(1)}`
    },
    Discriminator(node) {
      for (const [value, reference] of members(node.mapping)) put(node.mapping as JsonObject, value, renamed(reference))
      const byDefault = 'x-default-mapping'
      if (Object.hasOwn(node, byDefault)) node[byDefault] = renamed(node[byDefault])
    },
    Link(node) {
      // By its id an operation is found wherever it is published.
      node.operationId = targetOf(node, renaming)
      delete node.operationRef
    },
    Operation(node) {
      const id = renaming.operationIds.get(node)
      if (id === undefined) delete node.operationId
      else node.operationId = id
      const tags = new Set(items(node.tags).map((tag) => renaming.tags.get(tag as string) ?? service))
      node.tags = tags.size === 0 ? [service] : [...tags]
    },
  })

  const { components } = document
  if (isObject(components)) {
    for (const [section, map] of names) {
      components[section] = renameKeys(components[section] as JsonObject, (name) => map.get(name)!)
    }
  }
  if (isObject(document.webhooks)) {
    const map = distinct(Object.keys(document.webhooks), componentText)
    document.webhooks = renameKeys(document.webhooks, (name) => `${service}_${map.get(name)}`)
  }
}

function isLost(link: JsonObject, place: Place, renaming: Renaming, report: Report): boolean {
  if (targetOf(link, renaming) !== undefined) return false
  const named = JSON.stringify(link.operationId ?? link.operationRef)
  report.warning('link-unresolved', `a link was left out: there is no operation ${named}`, pointerOf(place))
  return true
}

/** The new id of the operation that a link names by its id or by its place. */
function targetOf(link: JsonObject, { idsByOldId, idAt }: Renaming): string | undefined {
  if (typeof link.operationId === 'string') return idsByOldId.get(link.operationId)
  const [, path = '', method = ''] = fromPointer(decodeFragment(String(link.operationRef).slice(1)))
  return idAt(path, method)
}

/** New names by section and old name. */
function componentNames(document: JsonObject, service: string): ReadonlyMap<string, ReadonlyMap<string, string>> {
  const names = new Map<string, ReadonlyMap<string, string>>()
  const { components } = document
  if (!isObject(components)) return names
  for (const section of Object.keys(components)) {
    const holder = own(components, section)
    if (!isObject(holder) || section.startsWith('x-')) continue
    const texts = distinct(Object.keys(holder), componentText)
    names.set(section, new Map([...texts].map(([name, text]) => [name, `${service}_${text}`])))
  }
  return names
}
