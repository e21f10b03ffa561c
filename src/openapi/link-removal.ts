import type { JsonObject } from './document.ts'
import { isObject } from './plain.ts'
import { decodeFragment, fromPointer } from './pointer.ts'
import { type Place, removeAll, walk } from './walk.ts'

/** Which Link Objects are wanted for something. */
export function findLinks(document: object, wanted: (link: JsonObject, place: Place) => boolean): readonly Place[] {
  const found: Place[] = []
  walk(document, 'Document', {
    Link(link, place) {
      if (wanted(link, place)) found.push(place)
    },
  })
  return found
}

/** Take links out of a document, in place, and with a shared one the references to it, and the references to those. */
export function removeLinks(document: object, gone: (link: JsonObject, place: Place) => boolean): void {
  for (let found = findLinks(document, gone); found.length > 0; found = danglingReferences(document)) removeAll(found)
}

function danglingReferences(document: object): readonly Place[] {
  const { components } = document as { components?: unknown }
  const links = isObject(components) && isObject(components.links) ? components.links : {}
  const found: Place[] = []
  walk(document, 'Document', {
    of: ['Link'],
    reference(node, place) {
      if (place.kind !== 'Link') return
      const [, section, name = ''] = fromPointer(decodeFragment(String(node.$ref).slice(1)))
      if (section === 'links' && !Object.hasOwn(links, name)) found.push(place)
    },
  })
  return found
}
