import { settleMapping, spellOutImplicitValues } from './discriminators.ts'
import type { JsonObject } from './document.ts'
import { dropShared, inlineShared } from './inline.ts'
import { copyPlain, isObject, members, own, put, sizeOf } from './plain.ts'
import { decodeFragment, fromPointer, toFragment, toPointer } from './pointer.ts'
import type { Report } from './report.ts'
import { createResolver, longestChain } from './resolver.ts'
import {
  follow,
  isReference,
  type Kind,
  type Place,
  pointerOf,
  removeAll,
  replace,
  sections,
  type Target,
  walk,
} from './walk.ts'

/** Values copied in all for references that lead out of `components`; each of a thousand could lead to half the document. */
const liftLimit = 1_000_000

/**
 * Makes every reference of a document simple and sound, in place:
 *
 * 1. path items and operations that are references become copies, because each use needs its own operation ids;
 * 2. every `$ref`, `discriminator.mapping` value and `operationRef` becomes a JSON pointer from the root of the
 *    document, whatever `$id`, anchor, file name or encoding it was written with; `$id` and `$anchor` then go;
 * 3. what a reference finds outside of `components` (in paths, webhooks, vendor extensions, `#/definitions`) gets a
 *    component of its own, so that it stays right when paths move or are left out;
 * 4. what leads nowhere, to another file or to another host is never followed: the place is left valid and marked;
 * 5. implicit discriminator values, which are component names, are written out, because the names will change.
 *
 * Runs after Swagger 2.0 has become 3.0 and before anything is renamed. `self` is the file name of the document;
 * `named` says whether any of its schemas has a name of its own (`hasNames`).
 */
export function settleReferences(document: JsonObject, report: Report, self: string | undefined, named: boolean): void {
  const selves = new Set([own(document, '$self'), self].filter((name) => typeof name === 'string' && name !== ''))
  const resolver = createResolver(document, selves as Set<string>, named)
  const copies = inlineShared(document, resolver, report) // 1

  const dynamic = named || copies > 0 ? dynamicAnchors(document) : new Set<string>()
  const sound = new Map<Kind, Set<string>>()
  const lifted = new Map<string, string>()
  let copied = 0
  let discriminators = false
  const removals: Place[] = []
  const visitor = {
    reference(node: JsonObject, place: Place) {
      const reference = node.$ref as string
      // Most references are pointers to components, each of them met a hundred times.
      if (sound.get(place.kind)?.has(reference)) return
      const settled = settle(reference, place.kind, place)
      if (settled === reference && resolver.placeless) {
        sound.set(place.kind, (sound.get(place.kind) ?? new Set<string>()).add(reference))
      }
      if (settled !== undefined) node.$ref = settled
      else abandon(node, place, removals)
    },
    Schema: settleSchema,
    Discriminator(node: JsonObject, place: Place) {
      discriminators = true
      settleMapping(node, document, (reference) => settle(reference, 'Schema', place))
    },
    Link: settleLink,
  }
  walk(document, 'Document', visitor) // 2 3 4
  removeAll(removals)
  dropShared(document)
  if (discriminators) spellOutImplicitValues(document) // 5

  /** The reference as a pointer from the root; undefined when it leads nowhere it may lead. */
  function settle(reference: string, kind: Kind, place: Place): string | undefined {
    const found = resolver.resolve(reference, kind, place)
    if ('missing' in found) return complain(reference, place, found.missing)
    const { target } = found
    const [root, section] = target.tokens
    if (target.kind !== undefined && target.kind !== kind) {
      return complain(reference, place, `it leads to a ${target.kind}, and this is the place of a ${kind}`)
    }
    const stays = root === 'components' && section !== 'pathItems' && section !== 'mediaTypes'
    if (stays && target.kind === kind) return toFragment(target.tokens)
    const name = lift(target, kind)
    if (name === undefined) return complain(reference, place, 'too much of the document is referred to from outside')
    return toFragment(['components', sections[kind as keyof typeof sections], name])
  }

  /** The name of a component that is a copy of what was found. */
  function lift(target: Target, kind: Kind): string | undefined {
    const key = `${kind}${toPointer(target.tokens)}`
    const known = lifted.get(key)
    if (known !== undefined) return known
    copied += sizeOf(target.value)
    if (copied > liftLimit) return undefined
    const section = sections[kind as keyof typeof sections]
    document.components = isObject(document.components) ? document.components : {}
    const components = document.components as JsonObject
    components[section] = isObject(components[section]) ? components[section] : {}
    const holder = components[section] as JsonObject
    const wanted = target.tokens.length === 2 ? target.tokens[1]! : target.tokens.join('_')
    let name = wanted
    for (let count = 2; Object.hasOwn(holder, name); count += 1) name = `${wanted}_${count}`
    lifted.set(key, name)
    const copy = copyPlain(target.value)
    put(holder, name, copy)
    const root: Place = { node: document, kind: 'Document', up: undefined, field: '', key: undefined }
    const up: Place = { node: components, kind: 'Components', up: root, field: 'components', key: undefined }
    walk(copy, kind, visitor, { up, field: section, key: name })
    return name
  }

  function settleSchema(node: JsonObject, place: Place): void {
    // With every reference a pointer from the root, names inside of schemas only invite collisions between services.
    if (node.$id !== undefined) delete node.$id
    if (node.$anchor !== undefined) delete node.$anchor
    if (Object.hasOwn(node, '$ref') && typeof node.$ref !== 'string') {
      report.warning('reference-not-text', 'a "$ref" that is not a string was removed', pointerOf(place))
      delete node.$ref
    }
    for (const keyword of ['$dynamicRef', '$recursiveRef']) {
      const reference = own(node, keyword)
      if (reference === undefined) continue
      if (typeof reference === 'string' && dynamic.has(reference.slice(1)) && reference.startsWith('#')) continue
      // Without a dynamic anchor it is an ordinary reference (JSON Schema 2020-12 core §8.2.3.2).
      delete node[keyword]
      const settled = typeof reference === 'string' ? settle(reference, 'Schema', place) : undefined
      if (settled !== undefined && !Object.hasOwn(node, '$ref')) node.$ref = settled
    }
  }

  function settleLink(node: JsonObject, place: Place): void {
    if (typeof node.operationRef !== 'string') return
    const [uri = '', fragment = ''] = node.operationRef.split('#', 2)
    const local = uri === '' || selves.has(uri)
    const tokens = fromPointer(decodeFragment(fragment))
    const target = local && tokens[0] === 'paths' && tokens.length === 3 ? follow(document, tokens) : undefined
    if (target?.kind === 'Operation') {
      node.operationRef = toFragment(tokens)
      return
    }
    const why = local ? 'there is no such operation' : 'it leads to another document'
    report.warning('link-unresolved', `the link to "${node.operationRef}" was left out: ${why}`, pointerOf(place))
    removals.push(place)
  }

  function complain(reference: string, place: Place, why: string): undefined {
    const code = reference.startsWith('#') ? 'unresolved-reference' : 'external-reference'
    report.warning(code, `the reference "${reference}" was left out: ${why}`, pointerOf(place))
  }
}

/**
 * Repairs may have taken out what settled references lead to, or moved what is inside of a schema: leave those places
 * valid as well. In place; afterwards no reference and no discriminator leads nowhere.
 */
export function mendReferences(document: JsonObject, report: Report): void {
  const removals: Place[] = []
  // What once leads somewhere goes on to do so: nothing is removed before the end.
  const sound = new Set<unknown>()
  walk(document, 'Document', {
    reference(node, place) {
      if (ends(node.$ref)) return
      report.warning('unresolved-reference', `"${node.$ref}" leads to what was left out`, pointerOf(place))
      abandon(node, place, removals)
    },
    Discriminator(node) {
      for (const [value, reference] of members(node.mapping)) {
        if (!ends(reference)) delete (node.mapping as JsonObject)[value]
      }
      if (Object.hasOwn(node, 'x-default-mapping') && !ends(node['x-default-mapping'])) delete node['x-default-mapping']
    },
  })
  removeAll(removals)

  /** Whether there is something at the end of a chain of references. Circles were cut before. */
  function ends(reference: unknown): boolean {
    if (sound.has(reference)) return true
    let text = reference
    for (let hops = 0; hops <= longestChain; hops += 1) {
      if (typeof text !== 'string') return false
      const target = follow(document, fromPointer(decodeFragment(text.slice(1))))
      if (!target) return false
      if (!isObject(target.value) || !isReference(target.value)) {
        sound.add(reference)
        return true
      }
      text = target.value.$ref
    }
    return false
  }
}

/** Leave a place valid without what it pointed to. What cannot stay is put on the list. */
function abandon(node: JsonObject, place: Place, removals: Place[]): void {
  const reference = node.$ref as string
  // The text of an external reference may be an internal address.
  const mark = reference.startsWith('#') ? reference : 'external'
  if (place.kind === 'Schema') {
    delete node.$ref
    node['x-sallyport-unresolved'] = mark
  } else if (place.kind === 'Response') {
    replace(place, { description: '', 'x-sallyport-unresolved': mark })
  } else {
    removals.push(place)
  }
}

/** Whether a schema has a name by which references can mean it. */
export const hasNames = ({ $id, $anchor, $dynamicAnchor }: JsonObject): boolean =>
  $id !== undefined || $anchor !== undefined || $dynamicAnchor !== undefined

/** The names that `$dynamicRef` may mean; their schemas keep them. */
function dynamicAnchors(document: JsonObject): ReadonlySet<string> {
  const found = new Set<string>()
  walk(document, 'Document', {
    Schema({ $dynamicAnchor }) {
      if (typeof $dynamicAnchor === 'string') found.add($dynamicAnchor)
    },
  })
  return found
}
