import type { JsonObject } from './document.ts'
import { operationKey } from './operation-key.ts'
import { isObject, items, members, own } from './plain.ts'
import { prune } from './prune.ts'
import { assemble, assembleOne, type OwnPart, type PublishSettings } from './publish.ts'
import { leaveOut, type Part } from './secure.ts'
import { isMethod } from './walk.ts'

/** Which operations of a publication somebody is shown, each as `operationKey` writes it. */
export interface Selection {
  /** By service; one that is not there shows nothing. */
  readonly services: ReadonlyMap<string, ReadonlySet<string>>
  /** The gateway's own. */
  readonly own: ReadonlySet<string>
}

/** The one document, in either format, or the part of one service. */
export type DocumentName = 'json' | 'yaml' | { readonly service: string }

/**
 * A publication without the operations that are not selected, and without what only they used: components, links, tags,
 * and whole services. Security schemes stay, because who sees nothing yet must be able to sign in.
 */
export function view(parts: readonly Part[], settings: PublishSettings, selection: Selection): JsonObject {
  const seen = parts
    .map((part) => selected(part, selection.services.get(part.service)))
    .filter(({ operations }) => operations.length > 0)
  return assemble(seen, settings, settings.own && selectedOwn(settings.own, selection.own))
}

/** The same of one service; undefined when there is none of this name. */
export function viewOne(
  parts: readonly Part[],
  settings: PublishSettings,
  service: string,
  selection: Selection,
): JsonObject | undefined {
  const part = parts.find((candidate) => candidate.service === service)
  if (!part) return undefined
  const seen = selected(part, selection.services.get(service))
  return assembleOne(seen.operations.length > 0 ? seen : nothingOf(part), settings)
}

function selected(part: Part, shown: ReadonlySet<string> = new Set()): Part {
  const gone = part.operations.filter((operation) => !shown.has(operationKey(operation)))
  if (gone.length === 0) return part
  const left = leaveOut(part, gone)
  const [first, ...tags] = left.document.tags
  return { ...left, document: { ...left.document, tags: [first!, ...used(tags, left.document.paths)] } }
}

/** Not even what the service says of itself. */
function nothingOf({ service, prefix, findings }: Part): Part {
  const document = { paths: {}, webhooks: {}, components: {}, tags: [{ name: service }] }
  return { service, prefix, document, operations: [], about: {}, stale: undefined, findings }
}

function selectedOwn({ paths: all, components, tags, ...rest }: OwnPart, shown: ReadonlySet<string>): OwnPart {
  const paths: JsonObject = {}
  for (const [path, item] of members(all)) {
    const kept = members(item).filter(
      ([name]) => !isMethod(name) || shown.has(operationKey({ method: name.toUpperCase(), published: path })),
    )
    if (kept.some(([name]) => isMethod(name))) paths[path] = Object.fromEntries(kept)
  }
  return { ...rest, paths, components: prune({ paths, webhooks: {}, components }), tags: used(tags, paths) }
}

function used(tags: readonly JsonObject[], paths: JsonObject): readonly JsonObject[] {
  const names = new Set<unknown>()
  for (const [, item] of members(paths)) {
    for (const [, operation] of members(item))
      if (isObject(operation)) for (const name of items(own(operation, 'tags'))) names.add(name)
  }
  return tags.filter(({ name }) => names.has(name))
}
