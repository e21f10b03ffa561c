import { dereferenced } from './arrange.ts'
import type { JsonObject } from './document.ts'
import { variablesOf } from './paths.ts'
import { isObject, items, members, own } from './plain.ts'
import { decodeFragment, fromPointer } from './pointer.ts'
import { fieldType, follow, isExtension, isReference, pointerOf, sections, shapes, walk } from './walk.ts'

/** Something that must not be in a published document. */
export interface Fault {
  /** JSON pointer into the checked document. */
  readonly pointer: string
  readonly message: string
}

const componentName = /^[A-Za-z0-9._-]+$/
/** Schema keywords of 3.0 that mean nothing, or something else, in 3.1. */
const outdated = new Set(['nullable', 'x-nullable'])

/**
 * The last look before a document is published: what it says must hold together. Nothing that was read or made is
 * trusted to have come out right; an empty answer is what makes it fit to print.
 */
export function check(document: JsonObject): readonly Fault[] {
  const faults: Fault[] = []
  const ids = new Map<string, string>()
  const links: { id: string; pointer: string }[] = []
  const components = isObject(document.components) ? document.components : {}
  const schemes = isObject(components.securitySchemes) ? components.securitySchemes : {}

  const fault = (pointer: string, message: string) => faults.push({ pointer, message })
  const ends = new Map<string, string | undefined>()
  const leads = (reference: unknown, kind: string): boolean => {
    if (typeof reference !== 'string' || !reference.startsWith('#/')) return false
    if (!ends.has(reference))
      ends.set(reference, follow(document, fromPointer(decodeFragment(reference.slice(1))))?.kind)
    return ends.get(reference) === kind
  }

  if (typeof document.openapi !== 'string' || !document.openapi.startsWith('3.1.')) fault('', 'it is not OpenAPI 3.1')
  for (const section of Object.values(sections)) {
    for (const [name] of members(components[section])) {
      if (!componentName.test(name)) fault(`/components/${section}`, `"${name}" cannot be the name of a component`)
    }
  }
  for (const [key] of members(document.paths)) {
    if (!key.startsWith('/') && !isExtension(key)) fault('/paths', `the path "${key}" does not begin with a slash`)
  }

  walk(document, 'Document', {
    any(node, place) {
      const { kind } = place
      const { later, open, referable } = shapes[kind]
      if (referable && isReference(node)) return
      for (const name of Object.keys(node)) {
        const known = fieldType(kind, name) !== undefined && !later?.includes(name)
        if (!known && !open && !isExtension(name))
          fault(pointerOf(place, name), `"${name}" is not a field of a ${kind}`)
      }
    },
    reference(node, place) {
      if (!leads(node.$ref, place.kind)) fault(pointerOf(place), `"${node.$ref}" leads to no ${place.kind}`)
    },
    Schema(node, place) {
      for (const name of outdated)
        if (Object.hasOwn(node, name)) fault(pointerOf(place), `"${name}" is not a word of 3.1`)
      for (const name of ['exclusiveMinimum', 'exclusiveMaximum']) {
        if (typeof own(node, name) === 'boolean') fault(pointerOf(place), `"${name}" must be a number in 3.1`)
      }
    },
    Discriminator(node, place) {
      for (const [value, reference] of members(node.mapping)) {
        if (!leads(reference, 'Schema')) fault(pointerOf(place), `the value "${value}" leads to no schema`)
      }
    },
    Operation(node, place) {
      const { operationId } = node
      if (typeof operationId !== 'string') return void fault(pointerOf(place), 'the operation has no operationId')
      const other = ids.get(operationId)
      if (other !== undefined) fault(pointerOf(place), `the operationId "${operationId}" is also that of ${other}`)
      ids.set(operationId, pointerOf(place))
      for (const requirement of items(node.security)) {
        for (const [scheme] of members(requirement)) {
          if (!Object.hasOwn(schemes, scheme)) fault(pointerOf(place), `the security scheme "${scheme}" is not defined`)
        }
      }
      if (place.up?.up?.kind !== 'Paths') return
      if (!Array.isArray(node.security)) fault(pointerOf(place), 'the operation does not say which security it has')
      const named = new Set(
        items(node.parameters).map((entry) => {
          const parameter = dereferenced(entry, components)
          return parameter?.in === 'path' ? parameter.name : undefined
        }),
      )
      for (const variable of variablesOf(place.up.field)) {
        if (!named.has(variable)) fault(pointerOf(place), `the path variable "${variable}" is not declared`)
      }
    },
    Link(node, place) {
      links.push({ id: String(node.operationId), pointer: pointerOf(place) })
    },
  })
  for (const { id, pointer } of links) if (!ids.has(id)) fault(pointer, `the link leads to no operation: "${id}"`)
  return faults
}
