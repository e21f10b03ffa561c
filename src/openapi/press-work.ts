import { isDeepStrictEqual } from 'node:util'
import type { Contract } from '../validation/contract.ts'
import { createPrinter, type Representation, yamlOf } from './bytes.ts'
import { type Change, changesBetween } from './changes.ts'
import { check, type Fault } from './check.ts'
import { type Digest, type DigestOperation, type DigestSource, digest } from './digest.ts'
import type { EnforcedSecurity, Finding, Staleness } from './document.ts'
import { locateFindings } from './locate.ts'
import type { Mistake } from './parse.ts'
import { assemble, type PublishSettings, publish } from './publish.ts'
import { type LocalFile, readDocument } from './read.ts'
import { type Part, secure } from './secure.ts'
import { type DocumentName, type Selection, view, viewOne } from './view.ts'

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
  /** The handle under which the publication is kept, so that views of it can be printed; absent when none will be. */
  readonly keep?: number
  readonly settings: PublishSettings
  readonly parts: readonly PartOrder[]
}

export interface PartOrder {
  readonly service: string
  readonly handle: number
  /** One for each operation of the answer, in its order. */
  readonly enforced: readonly (EnforcedSecurity | undefined)[]
  readonly stale: Staleness | undefined
}

export interface ViewOrder {
  /** What the publication is kept under. */
  readonly handle: number
  readonly selection: Selection
  readonly of: DocumentName
}

export interface PublishAnswer {
  /** The operations that are shown of each service. */
  readonly shown: ReadonlyMap<string, Shown>
  readonly json: Representation
  readonly yaml: Representation
  readonly byService: ReadonlyMap<string, Representation>
  readonly findings: readonly Finding[]
}

/** Of the operations of a document, by their places in its list. */
export interface Shown {
  readonly indexes: Uint32Array
  /** Those that are published at another path than the document alone would have them. */
  readonly moved: ReadonlyMap<number, string>
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
  const publications = new Map<number, { readonly parts: readonly Part[]; readonly settings: PublishSettings }>()
  const { jsonOf } = createPrinter()
  let printed = new Map<Part, Representation>()
  let printedWith: PublishSettings | undefined
  /** What was found in a part under the same settings. */
  let faults = new WeakMap<Part, readonly Fault[]>()

  return {
    async read(handle: number, { service, bytes, local }: ReadOrder): Promise<ReadAnswer> {
      const read = bytes === undefined ? undefined : await readDocument(bytes, local)
      if (read?.outcome === 'unreadable') return read
      const files = read?.files ?? []
      const made = digest({ ...service, document: read?.document }, 'given')
      // Of a document of several files it is not known in which one a place is.
      const findings = bytes && files.length === 0 ? locateFindings(made.findings, bytes) : made.findings
      held.set(handle, { digest: { ...made, findings } })
      return { outcome: 'read', operations: made.operations, findings, files }
    },

    /** Forget what was read or published under a handle. */
    release(handle: number): void {
      held.delete(handle)
      publications.delete(handle)
    },

    /** What an operation of a document wants of a request, by its place in `operations`. */
    async contract(handle: number, index: number): Promise<Contract> {
      // Read when it is needed: only where requests are validated.
      const { contractOf } = await import('./contract.ts')
      return contractOf(entryOf(handle).digest, index)
    },

    /** What later documents of the service can be compared with. */
    async shape(handle: number): Promise<Uint8Array> {
      const { paths, components } = entryOf(handle).digest.document
      return Buffer.from(JSON.stringify({ paths, components }))
    },

    /** What broke since an earlier `shape`. */
    async compare(handle: number, shape: Uint8Array): Promise<readonly Change[]> {
      return changesBetween(JSON.parse(Buffer.from(shape).toString()), entryOf(handle).digest.document)
    },

    async publish({ settings, parts, keep }: PublishOrder): Promise<PublishAnswer> {
      const made = parts.map(partOf)
      if (!isDeepStrictEqual(settings, printedWith)) {
        printed = new Map()
        faults = new WeakMap()
      }
      printedWith = settings
      const { document, byService: documents, findings, parts: sound } = publish(made, settings, faultsOf)
      if (keep !== undefined) publications.set(keep, { parts: sound, settings })
      const before = printed
      printed = new Map()
      const byService = new Map<string, Representation>()
      // While other threads pack one, the next is written; not all of them at once, for each takes megabytes.
      const all = jsonOf(document)
      let packing: Promise<unknown> = all
      for (const part of sound) {
        const known = before.get(part)
        const next = known ? Promise.resolve(known) : jsonOf(documents.get(part.service)!)
        await packing
        packing = next.then((bytes) => {
          printed.set(part, bytes)
          byService.set(part.service, bytes)
        })
      }
      await packing
      const json = await all
      const handles = new Map(parts.map(({ service, handle }) => [service, handle]))
      const shown = new Map(
        sound.map(({ service, operations }) => [service, shownOf(entryOf(handles.get(service)!).digest, operations)]),
      )
      return { json, yaml: await yamlOf(document, json), byService, shown, findings }
    },

    /** Undefined when there is no such service. */
    async view({ handle, selection, of }: ViewOrder): Promise<Representation | undefined> {
      const publication = publications.get(handle)
      if (!publication) throw new Error(`nothing was published under ${handle}`)
      const { parts, settings } = publication
      if (typeof of === 'object') {
        const document = viewOne(parts, settings, of.service, selection)
        return document && jsonOf(document)
      }
      const document = view(parts, settings, selection)
      const json = await jsonOf(document)
      return of === 'json' ? json : yamlOf(document, json)
    },
  }

  function faultsOf(part: Part): readonly Fault[] {
    const found = faults.get(part) ?? check(assemble([part], printedWith!))
    faults.set(part, found)
    return found
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

function shownOf(digest: Digest, operations: readonly DigestOperation[]): Shown {
  const places = new Map(digest.operations.map(({ operationId }, index) => [operationId, index]))
  const indexes = Uint32Array.from(operations, ({ operationId }) => places.get(operationId)!)
  const moved = new Map<number, string>()
  for (const { operationId, published } of operations) {
    const index = places.get(operationId)!
    if (digest.operations[index]!.published !== published) moved.set(index, published)
  }
  return { indexes, moved }
}

export type PressWork = ReturnType<typeof createPressWork>
