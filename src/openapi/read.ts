import { bundle } from './bundle.ts'
import type { JsonObject } from './document.ts'
import { type Mistake, parse } from './parse.ts'
import { recognise } from './version.ts'

export type Read =
  | { readonly outcome: 'read'; readonly document: JsonObject; readonly files: readonly string[] }
  | { readonly outcome: 'unreadable'; readonly mistake: Mistake }

/** A local document may be split over files; `root` is the folder beyond which none is read. */
export interface LocalFile {
  readonly path: string
  readonly root: string
}

/** From bytes to an OpenAPI document of a version we know. References to other files count for local documents only. */
export async function readDocument(bytes: Uint8Array, local?: LocalFile): Promise<Read> {
  const parsed = parse(bytes)
  if (parsed.outcome === 'unreadable') return parsed
  const recognised = recognise(parsed.document)
  if (recognised.outcome === 'unknown') {
    return { outcome: 'unreadable', mistake: { code: 'unsupported-version', message: recognised.reason } }
  }
  if (local && refersToFiles(parsed.document)) return bundle(local.path, local.root)
  return { outcome: 'read', document: parsed.document, files: [] }
}

function refersToFiles(value: unknown): boolean {
  if (typeof value !== 'object' || value === null) return false
  if (Array.isArray(value)) return value.some(refersToFiles)
  const { $ref } = value as JsonObject
  // Data may look so as well; then bundling changes nothing.
  if (typeof $ref === 'string' && !$ref.startsWith('#')) return true
  return Object.values(value).some(refersToFiles)
}
