import type { JsonObject } from './document.ts'
import { isObject, items, own, put } from './plain.ts'
import { decodeFragment, fromPointer, toFragment } from './pointer.ts'
import { walk } from './walk.ts'

/**
 * Turn every value of a `discriminator.mapping` into a reference. It may be the name of a schema, a reference or the
 * name of a file; what is a name and a reference at once counts as a name (OpenAPI 3.2 §4.25.3). Entries that lead
 * nowhere go.
 */
export function settleMapping(
  discriminator: JsonObject,
  document: JsonObject,
  settle: (reference: string) => string | undefined,
): void {
  const schemas = schemasOf(document)
  const reference = (meant: unknown): string | undefined => {
    if (typeof meant !== 'string') return undefined
    return settle(Object.hasOwn(schemas, meant) ? schemaReference(meant) : meant)
  }
  const { mapping } = discriminator
  if (isObject(mapping)) {
    for (const [value, meant] of Object.entries(mapping)) {
      const settled = reference(meant)
      if (settled === undefined) delete mapping[value]
      else put(mapping, value, settled)
    }
  }
  if (Object.hasOwn(discriminator, 'defaultMapping')) {
    const settled = reference(discriminator.defaultMapping)
    if (settled === undefined) delete discriminator.defaultMapping
    else discriminator.defaultMapping = settled
  }
}

/**
 * Where no mapping says otherwise, the value that stands for a schema is the schema's name in `components`. The
 * names are about to change, so those values are written down: for each alternative of `oneOf` and `anyOf`, and,
 * where there are none, for each schema that includes this one by `allOf`, directly or not.
 */
export function spellOutImplicitValues(document: JsonObject): void {
  const schemas = schemasOf(document)
  const heirs = heirsOf(schemas)
  const names = new Map(Object.entries(schemas).map(([name, schema]) => [schema, name]))
  walk(document, 'Document', {
    Schema(node) {
      const { discriminator } = node
      if (!isObject(discriminator)) return
      const alternatives = [...items(node.oneOf), ...items(node.anyOf)]
      const implied =
        alternatives.length > 0
          ? alternatives.map((alternative) =>
              isObject(alternative) ? schemaName(own(alternative, '$ref')) : undefined,
            )
          : descendants(names.get(node), heirs)
      const mapping = isObject(discriminator.mapping) ? discriminator.mapping : {}
      const mapped = new Set(Object.values(mapping).map(schemaName))
      for (const name of implied) {
        if (name === undefined || mapped.has(name) || Object.hasOwn(mapping, name)) continue
        put(mapping, name, schemaReference(name))
        discriminator.mapping = mapping
      }
    },
  })
}

/** Which schemas name a schema in their `allOf`. */
function heirsOf(schemas: JsonObject): ReadonlyMap<string, readonly string[]> {
  const heirs = new Map<string, string[]>()
  for (const [name, schema] of Object.entries(schemas)) {
    if (!isObject(schema)) continue
    for (const part of items(schema.allOf)) {
      const parent = isObject(part) ? schemaName(own(part, '$ref')) : undefined
      if (parent === undefined) continue
      const known = heirs.get(parent)
      if (known) known.push(name)
      else heirs.set(parent, [name])
    }
  }
  return heirs
}

function descendants(name: string | undefined, heirs: ReadonlyMap<string, readonly string[]>): readonly string[] {
  const found = new Set<string>()
  const visit = (parent: string) => {
    for (const heir of heirs.get(parent) ?? []) {
      if (found.has(heir) || heir === name) continue
      found.add(heir)
      visit(heir)
    }
  }
  if (name !== undefined) visit(name)
  return [...found]
}

const schemaReference = (name: string): string => toFragment(['components', 'schemas', name])

/** The component that a settled reference names as a whole. */
function schemaName(reference: unknown): string | undefined {
  if (typeof reference !== 'string') return undefined
  const [root, section, name, ...deeper] = fromPointer(decodeFragment(reference.slice(1)))
  return root === 'components' && section === 'schemas' && deeper.length === 0 ? name : undefined
}

function schemasOf(document: JsonObject): JsonObject {
  const components = own(document, 'components')
  const schemas = isObject(components) ? own(components, 'schemas') : undefined
  return isObject(schemas) ? schemas : {}
}
