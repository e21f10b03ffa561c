import { isDeepStrictEqual } from 'node:util'
import type { Contract } from '../validation/contract.ts'
import { jsonOf, type Representation, yamlOf } from './bytes.ts'
import { contractOf } from './contract.ts'
import { type Digest, type DigestOperation, type DigestSource, digest } from './digest.ts'
import type { EnforcedSecurity, Finding, Staleness } from './document.ts'
import type { Mistake } from './parse.ts'
import { type PublishSettings, publish } from './publish.ts'
import { type LocalFile, readDocument } from './read.ts'
import { type Part, secure } from './secure.ts'

/** What a press is asked to read: a service and, where there is one, the bytes of its document. */
export interface ReadOrder {
  readonly service: Omit<DigestSource, 'document'>
  readonly bytes: Uint8Array | undefined
  readonly local?: LocalFile
}

export type ReadAnswer =
  | {
      readonly outcome: 'read'
      readonly operations: readonly DigestOperation[]
      readonly findings: readonly Finding[]
      readonly files: readonly string[]
    }
  | { readonly outcome: 'unreadable'; readonly mistake: Mistake }

export interface PublishOrder {
  readonly settings: PublishSettings
  readonly parts: readonly PartOrder[]
}

export interface PartOrder {
  readonly handle: number
  /** One for each operation of the answer, in its order. */
  readonly enforced: readonly (EnforcedSecurity | undefined)[]
  readonly stale: Staleness | undefined
}

export interface PublishAnswer {
  readonly json: Representation
  readonly yaml: Representation
  readonly byService: ReadonlyMap<string, Representation>
  readonly findings: readonly Finding[]
}

/** What stands in the type cases: digests by handle, and of each the last part that was made of it. */
interface Held {
  readonly digest: Digest
  order?: PartOrder
  part?: Part
}

/**
 * The work of a press, wherever it runs. It keeps what it has read, so that a change of one service costs the reading
 * of one document, and a change of policies costs none.
 */
export function createPressWork() {
  const held = new Map<number, Held>()
  let printed = new Map<Part, Representation>()
  let printedWith: PublishSettings | undefined

  return {
    async read(handle: number, { service, bytes, local }: ReadOrder): Promise<ReadAnswer> {
      const read = bytes === undefined ? undefined : await readDocument(bytes, local)
      if (read?.outcome === 'unreadable') return read
      const made = digest({ ...service, document: read?.document })
      held.set(handle, { digest: made })
      return { outcome: 'read', operations: made.operations, findings: made.findings, files: read?.files ?? [] }
    },

    release(handle: number): void {
      held.delete(handle)
    },

    /** What an operation of a document wants of a request, by its place in `operations`. */
    async contract(handle: number, index: number): Promise<Contract> {
      return contractOf(entryOf(handle).digest, index)
    },

    async publish({ settings, parts }: PublishOrder): Promise<PublishAnswer> {
      const made = parts.map(partOf)
      const { document, byService: documents, findings, parts: sound } = publish(made, settings)
      if (!isDeepStrictEqual(settings, printedWith)) printed = new Map()
      printedWith = settings
      const before = printed
      printed = new Map()
      const byService = new Map<string, Representation>()
      for (const part of sound) {
        const bytes = before.get(part) ?? (await jsonOf(documents.get(part.service)!))
        printed.set(part, bytes)
        byService.set(part.service, bytes)
      }
      const json = await jsonOf(document)
      return { json, yaml: await yamlOf(document, json), byService, findings }
    },
  }

  function entryOf(handle: number): Held {
    const entry = held.get(handle)
    if (!entry) throw new Error(`nothing was read under ${handle}`)
    return entry
  }

  function partOf(order: PartOrder): Part {
    const entry = entryOf(order.handle)
    if (entry.part && isDeepStrictEqual(entry.order, order)) return entry.part
    const { operations } = entry.digest
    const table = new Map(operations.map(({ method, path }, index) => [`${method} ${path}`, order.enforced[index]]))
    entry.order = order
    entry.part = secure(entry.digest, (method, path) => table.get(`${method} ${path}`), order.stale)
    return entry.part
  }
}

export type PressWork = ReturnType<typeof createPressWork>
