import type { JsonObject } from './document.ts'
import { operationText, shortHash } from './names.ts'
import { isObject, own } from './plain.ts'
import { isMethod, type Place, walk } from './walk.ts'

/** One operation of a document, wherever it stands. */
export interface Found {
  readonly node: JsonObject
  readonly method: string
  /** What it is about: its path, webhook, or callback with what it belongs to. */
  readonly subject: string
  /** The field of the document it is under: `paths`, `webhooks`, or `components` for shared callbacks. */
  readonly root: string
  /** Its path key, for operations that the gateway serves. */
  readonly path: string | undefined
}

/** Every operation in document order, those of callbacks after the one they belong to. */
export function findOperations(document: JsonObject): readonly Found[] {
  const found: Found[] = []
  walk(document, 'Document', {
    Operation(node, place) {
      const { root, path, subject } = whereabouts(place)
      if (isMethod(place.field)) found.push({ node, method: place.field, subject, root, path })
    },
  })
  return found
}

function whereabouts(place: Place): { root: string; path: string | undefined; subject: string } {
  const words: string[] = []
  let root = ''
  let callback = false
  let path: string | undefined
  for (let at = place.up; at?.up; at = at.up) {
    if (at.kind === 'PathItem') words.unshift(at.key === undefined ? at.field : String(at.key))
    if (at.kind === 'Callback') {
      words.unshift(String(at.key))
      callback = true
    }
    if (at.up.kind === 'Paths') path = at.field
    if (at.up.kind === 'Document') root = at.field
  }
  return { root, path: callback || root !== 'paths' ? undefined : path, subject: words.join(' ') }
}

/**
 * A new id for every operation: the service's name, an underscore and its own id, cleaned, or one made from method and
 * path where it has none. Of several with one id the first keeps it, and the others get method and path behind it:
 * nothing depends on how many operations there are, so that ids stay when operations are added.
 */
export function assignOperationIds(
  service: string,
  operations: readonly Found[],
): { readonly ids: ReadonlyMap<JsonObject, string>; readonly repeated: readonly Found[] } {
  const ids = new Map<JsonObject, string>()
  const taken = new Set<string>()
  const repeated: Found[] = []
  const take = (operation: Found, ...candidates: readonly string[]): boolean => {
    const id = candidates.find((candidate) => !taken.has(candidate))
    if (id === undefined) return false
    taken.add(id)
    ids.set(operation.node, `${service}_${id}`)
    return true
  }
  const written = operations.filter(({ node }) => operationText(idOf(node)) !== '')
  // Ids that need no cleaning first, so that a cleaned one never takes the place of one that was written so.
  for (const operation of written) {
    const id = idOf(operation.node)
    if (operationText(id) !== id) continue
    if (!take(operation, id)) repeated.push(operation)
  }
  for (const operation of written) {
    const id = idOf(operation.node)
    if (!ids.has(operation.node) && operationText(id) !== id && !take(operation, operationText(id)))
      repeated.push(operation)
  }
  for (const operation of operations) {
    if (ids.has(operation.node)) continue
    const { method, subject } = operation
    const place = `${method}_${wordsOf(subject)}`
    const id = operationText(idOf(operation.node))
    const plain = id === '' ? place : `${id}_${place}`
    // Two subjects can have the same words; the hash is of what is written.
    const sure = `${plain}_${shortHash(`${method} ${subject}`)}`
    if (take(operation, plain, sure)) continue
    for (let count = 2; !take(operation, `${sure}_${count}`); ) count += 1
  }
  return { ids, repeated }
}

const idOf = (node: JsonObject): string => {
  const id = isObject(node) ? own(node, 'operationId') : undefined
  return typeof id === 'string' ? id : ''
}

function wordsOf(subject: string): string {
  const words = subject.replace(/[^A-Za-z0-9]+/g, '_').replace(/^_+|_+$/g, '')
  if (words === '') return 'root'
  return words.length > 80 ? `${words.slice(0, 80)}_${shortHash(subject)}` : words
}
