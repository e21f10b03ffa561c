import { Worker } from 'node:worker_threads'
import type { Tools } from '../tools.ts'
import type { Contract } from '../validation/contract.ts'
import type { Representation } from './bytes.ts'
import type { Change } from './changes.ts'
import type { DigestOperation } from './digest.ts'
import type { EnforcedSecurity, Finding, ServiceSource, Staleness } from './document.ts'
import type { Answer, Order } from './press-thread.ts'
import type { PressWork, PublishAnswer, PublishOrder, ReadAnswer, ReadOrder, ViewOrder } from './press-work.ts'
import type { PublishSettings } from './publish.ts'
import type { DocumentName, Selection } from './view.ts'

/**
 * Reads the services' documents and prints the published ones, in a thread of its own: a document of eleven megabytes
 * takes a second to work through, and no request shall wait for that. Documents never cross between the threads, only
 * bytes, the list of operations and the table of what is enforced.
 */
export interface Press {
  /**
   * Read a service and its document, if there is one. What is wrong with a document is an outcome, also that it took
   * too long or too much memory.
   */
  read(order: ReadOrder): Promise<PressReading>
  /** What an operation wants of a request, by its place in the `operations` of its document. */
  contract(document: PressDocument, index: number): Promise<Contract>
  /** The operations of a document and what they refer to, for `compare` at a later time. Rejects as `contract` does. */
  shape(document: PressDocument): Promise<Uint8Array>
  /** What broke since an earlier document of the same service. */
  compare(document: PressDocument, shape: Uint8Array): Promise<readonly Change[]>
  /** Print everything that was read into one document and one for each service. `views` keeps what `view` needs. */
  publish(parts: readonly PressPart[], settings: PublishSettings, views?: boolean): Promise<Publication>
  /** A document of a publication with some of its operations only; undefined when there is no such service. */
  view(publication: Publication, selection: Selection, of: DocumentName): Promise<Representation | undefined>
  close(): Promise<void>
}

export type PressReading =
  | {
      readonly outcome: 'read'
      readonly document: PressDocument
      /** Further files that belong to a local document. */
      readonly files: readonly string[]
    }
  | Extract<ReadAnswer, { outcome: 'unreadable' }>

/** A document that the press holds. Hand it back with `release` when nobody needs it any more. */
export interface PressDocument {
  readonly service: string
  readonly operations: readonly DigestOperation[]
  readonly findings: readonly Finding[]
  release(): void
}

export interface PressPart {
  readonly document: PressDocument
  readonly enforced: ServiceSource['enforced']
  readonly stale?: Staleness | undefined
}

export interface Publication {
  readonly json: Representation
  readonly yaml: Representation
  readonly byService: ReadonlyMap<string, Representation>
  /** The operations that are shown of each service. */
  readonly operations: ReadonlyMap<string, readonly DigestOperation[]>
  readonly findings: readonly Finding[]
  /** No view of it is wanted any more. */
  release(): void
}

export interface PressSettings {
  /** Whether to work in a thread. Default true; a command that prints once is done sooner without. */
  readonly thread?: boolean
  /** Milliseconds that one order may take before the thread is given up. Default 20,000. */
  readonly patience?: number
  /** Megabytes that the thread may use. Default 1,500. */
  readonly memory?: number
}

/** Does the work: here, or in a thread. */
interface Workshop {
  read(handle: number, order: ReadOrder): Promise<ReadAnswer>
  release(handle: number): void
  contract(handle: number, index: number): Promise<Contract>
  shape(handle: number): Promise<Uint8Array>
  compare(handle: number, shape: Uint8Array): Promise<readonly Change[]>
  publish(order: PublishOrder): Promise<PublishAnswer>
  view(order: ViewOrder): Promise<Representation | undefined>
  close(): Promise<void>
}

export function createPress(settings: PressSettings, tools: Tools): Press {
  const shop = settings.thread === false ? createInPlace() : createThreaded(settings, tools)
  const handles = new WeakMap<PressDocument | Publication, number>()
  let count = 0
  return {
    async read(order) {
      count += 1
      const handle = count
      const answer = await shop.read(handle, order)
      if (answer.outcome === 'unreadable') return answer
      const { operations, findings, files } = answer
      const release = () => shop.release(handle)
      const document: PressDocument = { service: order.service.name, operations, findings, release }
      handles.set(document, handle)
      return { outcome: 'read', document, files }
    },
    contract: (document, index) => shop.contract(handles.get(document)!, index),
    shape: (document) => shop.shape(handles.get(document)!),
    compare: (document, shape) => shop.compare(handles.get(document)!, shape),
    async publish(parts, publishSettings, views = false) {
      const same = new Map<string, EnforcedSecurity>()
      const orders = parts.map(({ document, enforced, stale }) => ({
        handle: handles.get(document)!,
        stale,
        enforced: document.operations.map(({ method, path }) => shared(same, enforced(method, path))),
      }))
      if (!views) return { ...(await shop.publish({ settings: publishSettings, parts: orders })), release() {} }
      count += 1
      const keep = count
      const printed = await shop.publish({ settings: publishSettings, parts: orders, keep })
      const publication: Publication = { ...printed, release: () => shop.release(keep) }
      handles.set(publication, keep)
      return publication
    },
    async view(publication, selection, of) {
      return shop.view({ handle: handles.get(publication)!, selection, of })
    },
    close: () => shop.close(),
  }
}

/** Thousands of operations have a handful of policies: equal ones cross as one. */
function shared(
  known: Map<string, EnforcedSecurity>,
  enforced: EnforcedSecurity | undefined,
): EnforcedSecurity | undefined {
  if (!enforced) return undefined
  const key = JSON.stringify(enforced)
  const same = known.get(key) ?? enforced
  known.set(key, same)
  return same
}

function createInPlace(): Workshop {
  // Read when it is needed: all that the work takes is the thread's otherwise.
  let work: Promise<PressWork> | undefined
  const begun = () => {
    work ??= import('./press-work.ts').then(({ createPressWork }) => createPressWork())
    return work
  }
  return {
    read: async (handle, order) => (await begun()).read(handle, order),
    release: (handle) => void work?.then((shop) => shop.release(handle)),
    contract: async (handle, index) => (await begun()).contract(handle, index),
    publish: async (order) => (await begun()).publish(order),
    view: async (order) => (await begun()).view(order),
    shape: async (handle) => (await begun()).shape(handle),
    compare: async (handle, shape) => (await begun()).compare(handle, shape),
    close: async () => {},
  }
}

const defaults = { patience: 20_000, memory: 1_500 } as const

interface Waiting {
  readonly order: Order
  readonly resolve: (result: never) => void
  readonly reject: (error: unknown) => void
}

/**
 * The same through a thread. One order at a time is on its way, so that it is known which one a thread died of. That one
 * fails; a new thread is given everything that the old one had read and
 * still holds of what it had published.
 */
function createThreaded(
  { patience = defaults.patience, memory = defaults.memory }: PressSettings,
  { log }: Tools,
): Workshop {
  const queue: Waiting[] = []
  const held = new Map<number, ReadOrder>()
  const kept = new Map<number, PublishOrder>()
  let current: Waiting | undefined
  let worker: Worker | undefined
  let timer: NodeJS.Timeout | undefined
  let closed = false
  let ids = 0

  return {
    async read(handle, order) {
      const answer = await place<ReadAnswer>({ id: nextId(), do: 'read', handle, order }).catch(tooMuch)
      if (answer.outcome === 'read') held.set(handle, order)
      return answer
    },
    release(handle) {
      held.delete(handle)
      kept.delete(handle)
      if (!closed) place({ id: nextId(), do: 'release', handle }).catch(() => {})
    },
    contract: (handle, index) => place<Contract>({ id: nextId(), do: 'contract', handle, index }),
    shape: (handle) => place<Uint8Array>({ id: nextId(), do: 'shape', handle }),
    compare: (handle, shape) => place<readonly Change[]>({ id: nextId(), do: 'compare', handle, shape }),
    async publish(order) {
      const answer = await place<PublishAnswer>({ id: nextId(), do: 'publish', order })
      const { json, yaml, byService, operations, findings } = answer
      if (order.keep !== undefined) kept.set(order.keep, order)
      const services = [...byService].map(([name, bytes]) => [name, asBuffers(bytes)] as const)
      return { json: asBuffers(json), yaml: asBuffers(yaml), byService: new Map(services), operations, findings }
    },
    async view(order) {
      const printed = await place<Representation | undefined>({ id: nextId(), do: 'view', order })
      return printed && asBuffers(printed)
    },
    async close() {
      closed = true
      clearTimeout(timer)
      const gone = new Error('the press is closed')
      for (const { reject } of [...(current ? [current] : []), ...queue.splice(0)]) reject(gone)
      current = undefined
      await worker?.terminate()
    },
  }

  function nextId(): number {
    ids += 1
    return ids
  }

  function place<T>(order: Order): Promise<T> {
    return new Promise<T>((resolve, reject) => {
      if (closed) return reject(new Error('the press is closed'))
      queue.push({ order, resolve, reject })
      next()
    })
  }

  function next(): void {
    if (current || closed) return
    current = queue.shift()
    if (!current) {
      worker?.unref()
      return
    }
    worker ??= start()
    worker.ref()
    timer = setTimeout(() => lose(new Error(`it took longer than ${patience / 1_000} s`)), patience)
    worker.postMessage(current.order)
  }

  function start(): Worker {
    // The file beside this one, compiled or not.
    const thread = new URL(import.meta.url.endsWith('.ts') ? './press-thread.ts' : './press-thread.js', import.meta.url)
    const started = new Worker(thread, { resourceLimits: { maxOldGenerationSizeMb: memory }, name: 'openapi' })
    started.on('message', (answer: Answer) => {
      if (started !== worker || current?.order.id !== answer.id) return
      const { resolve, reject } = current
      clearTimeout(timer)
      current = undefined
      if (answer.outcome === 'done') resolve(answer.result as never)
      else reject(answer.error)
      next()
    })
    started.on('error', (error) => started === worker && lose(error))
    started.on('exit', () => started === worker && lose(new Error('the thread ended')))
    return started
  }

  /** The thread is gone or given up: what it was doing has failed, everything else is done by another. */
  function lose(cause: Error): void {
    clearTimeout(timer)
    const dead = worker
    worker = undefined
    void dead?.terminate()
    const victim = current
    current = undefined
    if (closed) return
    log.error({ err: cause, order: victim?.order.do }, 'the thread that works on OpenAPI documents was lost')
    victim?.reject(cause)
    const again = [...held].map(([handle, order]): Waiting => {
      const restore: Order = { id: nextId(), do: 'read', handle, order }
      return { order: restore, resolve: () => {}, reject: () => held.delete(handle) }
    })
    const printed = [...kept].map(([handle, order]): Waiting => {
      const restore: Order = { id: nextId(), do: 'publish', order }
      return { order: restore, resolve: () => {}, reject: () => kept.delete(handle) }
    })
    queue.unshift(...again, ...printed)
    next()
  }
}

function tooMuch(cause: Error): ReadAnswer {
  const message = `the document could not be worked through: ${cause.message}`
  return { outcome: 'unreadable', mistake: { code: 'too-much', message } }
}

function asBuffers(representation: Representation): Representation {
  const { body, gzip, brotli } = representation
  const wrap = ({ buffer, byteOffset, byteLength }: Uint8Array) =>
    Buffer.from(buffer as ArrayBuffer, byteOffset, byteLength)
  return { ...representation, body: wrap(body), gzip: wrap(gzip), brotli: wrap(brotli) }
}
