import { getCompileCacheDir } from 'node:module'
import { dirname } from 'node:path'
import { Worker } from 'node:worker_threads'
import type { Tools } from '../tools.ts'
import type { Contract } from '../validation/contract.ts'
import type { Representation } from './bytes.ts'
import type { Change } from './changes.ts'
import type { DigestOperation } from './digest.ts'
import type { EnforcedSecurity, Finding, Staleness } from './document.ts'
import type { Answer, Order } from './press-thread.ts'
import type { PressWork, PublishAnswer, PublishOrder, ReadAnswer, ReadOrder, Shown, ViewOrder } from './press-work.ts'
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
  /** A publication of no service at all, printed here: to have something while the first one cannot be had. */
  blank(settings: PublishSettings): Promise<Publication>
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
  /** What the gateway enforces at an operation of the document, `index` in its list; undefined where it exposes none. */
  enforced(method: string, path: string, index: number): EnforcedSecurity | undefined
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
  /**
   * Whether to work in a thread, or one that `beginThread` has begun. Default true; a command that prints once is done
   * sooner without.
   */
  readonly thread?: boolean | Worker
  /**
   * Milliseconds of processor that one order may cost before the thread is given up. Default 20,000. The clock does not
   * count: on a busy machine it tells nothing about the order.
   */
  readonly patience?: number
  /** Milliseconds by the clock that a thread may hold an order and use no processor. Default 120,000. */
  readonly stillness?: number
  /** Milliseconds of processor that a thread has used since it began. Default: what the system says. */
  readonly measure?: (thread: Worker) => Promise<number>
  /** Megabytes that the thread may use. Default 1,500. */
  readonly memory?: number
}

/**
 * Begin the thread of a press before there is one: it takes as long to begin as half of everything else is read in. It
 * holds nobody up who wants to end.
 */
export function beginThread(memory: number = defaults.memory): Worker {
  // The file beside this one, compiled or not.
  const file = new URL(import.meta.url.endsWith('.ts') ? './press-thread.ts' : './press-thread.js', import.meta.url)
  // Most of what the work makes is short-lived, and a young generation of the usual size is collected all the time.
  const resourceLimits = { maxOldGenerationSizeMb: memory, maxYoungGenerationSizeMb: Math.min(young, memory / 4) }
  // What Node keeps of the files it has read, it keeps for a thread only when it is told where.
  const kept = getCompileCacheDir()
  const env = { ...process.env, ...(kept !== undefined && { NODE_COMPILE_CACHE: dirname(kept) }) }
  const thread = new Worker(file, { resourceLimits, name: 'openapi', env })
  // Should it fail before somebody listens, that is found when it is taken into use.
  thread.on('error', () => {})
  thread.unref()
  return thread
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
  const here = createInPlace()
  const blanks = new WeakMap<Publication, number>()
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
      const orders = parts.map(({ document, enforced, stale }) => ({
        service: document.service,
        handle: handles.get(document)!,
        stale,
        enforced: document.operations.map(({ method, path }, index) => enforced(method, path, index)),
      }))
      const documents = new Map(parts.map(({ document }) => [document.service, document]))
      const operationsOf = ({ shown }: PublishAnswer) =>
        new Map([...shown].map(([service, list]) => [service, listed(documents.get(service)!, list)]))
      if (!views) {
        const printed = await shop.publish({ settings: publishSettings, parts: orders })
        return { ...printed, operations: operationsOf(printed), release() {} }
      }
      count += 1
      const keep = count
      const printed = await shop.publish({ settings: publishSettings, parts: orders, keep })
      const operations = operationsOf(printed)
      const publication: Publication = { ...printed, operations, release: () => shop.release(keep) }
      handles.set(publication, keep)
      return publication
    },
    async blank(publishSettings) {
      count += 1
      const keep = count
      const printed = await here.publish({ settings: publishSettings, parts: [], keep })
      const publication: Publication = { ...printed, operations: new Map(), release: () => here.release(keep) }
      blanks.set(publication, keep)
      return publication
    },
    async view(publication, selection, of) {
      const blank = blanks.get(publication)
      if (blank !== undefined) return here.view({ handle: blank, selection, of })
      return shop.view({ handle: handles.get(publication)!, selection, of })
    },
    close: () => shop.close(),
  }
}

/** The operations are known on this side: which of them are shown is all that crosses. */
function listed({ operations }: PressDocument, { indexes, moved }: Shown): readonly DigestOperation[] {
  return Array.from(indexes, (index) => {
    const operation = operations[index]!
    const published = moved.get(index)
    return published === undefined ? operation : { ...operation, published }
  })
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

const defaults = { patience: 20_000, stillness: 120_000, memory: 1_500 } as const
/** Megabytes that a thread may use for what it has just made. */
const young = 96
/** How often a thread that is at work is looked at, in milliseconds; and what it uses by being looked at. */
const lookEvery = 500
const trifle = 2
/** A document that could be read once is tried so often again, should the thread be lost with it. */
const mostTries = 3

interface Waiting {
  readonly order: Order
  readonly resolve: (result: never) => void
  readonly reject: (error: unknown) => void
  /** It brings back what a lost thread held. */
  readonly restores?: boolean
  /** Parts that were left out of a publication because the thread was lost with them. */
  missing?: readonly Finding[]
}

/** What a thread was lost with: it is not there, though nobody has released it. */
interface Lost {
  readonly reason: string
  readonly tries: number
}

/**
 * The same through a thread. One order at a time is on its way, so that it is known which one a thread died of. That one
 * fails; a new thread is given everything that the old one had read and still holds of what it had published. What
 * cannot be brought back is left out of what is published, with a finding, and tried again the next time.
 */
function createThreaded(
  {
    patience = defaults.patience,
    stillness = defaults.stillness,
    memory = defaults.memory,
    measure = processorTime,
    thread: begun,
  }: PressSettings,
  { log }: Tools,
): Workshop {
  const queue: Waiting[] = []
  const held = new Map<number, ReadOrder>()
  const kept = new Map<number, PublishOrder>()
  const lost = new Map<number, Lost>()
  let current: Waiting | undefined
  let worker: Worker | undefined
  let timer: NodeJS.Timeout | undefined
  let closed = false
  let ids = 0
  // It takes a moment to begin, and whoever makes a press does something else in between.
  worker = engage(typeof begun === 'object' && isAlive(begun) ? begun : beginThread(memory))

  return {
    async read(handle, order) {
      const answer = await place<ReadAnswer>({ id: nextId(), do: 'read', handle, order }).catch(tooMuch)
      if (answer.outcome === 'read') held.set(handle, order)
      return answer
    },
    release(handle) {
      held.delete(handle)
      kept.delete(handle)
      lost.delete(handle)
      if (!closed) place({ id: nextId(), do: 'release', handle }).catch(() => {})
    },
    contract: (handle, index) => placeFor<Contract>([handle], { id: nextId(), do: 'contract', handle, index }),
    shape: (handle) => placeFor<Uint8Array>([handle], { id: nextId(), do: 'shape', handle }),
    compare: (handle, shape) => placeFor<readonly Change[]>([handle], { id: nextId(), do: 'compare', handle, shape }),
    async publish(order) {
      const handles = order.parts.map(({ handle }) => handle)
      const answer = await placeFor<PublishAnswer>(handles, { id: nextId(), do: 'publish', order })
      const { json, yaml, byService, shown, findings } = answer
      if (order.keep !== undefined) kept.set(order.keep, order)
      const services = [...byService].map(([name, bytes]) => [name, asBuffers(bytes)] as const)
      return { json: asBuffers(json), yaml: asBuffers(yaml), byService: new Map(services), shown, findings }
    },
    async view(order) {
      const printed = await placeFor<Representation | undefined>([order.handle], { id: nextId(), do: 'view', order })
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

  /** An order that needs what was read or published before: what was lost of that is tried again first. */
  function placeFor<T>(handles: readonly number[], order: Order): Promise<T> {
    if (!closed) {
      const again = handles.filter((handle) => (lost.get(handle)?.tries ?? mostTries) < mostTries)
      queue.push(...again.flatMap((handle) => restoring(handle)))
    }
    return place(order)
  }

  function next(): void {
    if (current || closed) return
    current = queue.shift()
    if (!current) {
      worker?.unref()
      return
    }
    worker ??= engage(beginThread(memory))
    worker.ref()
    watch(worker, current)
    worker.postMessage(sendable(current))
  }

  /** What the thread does not have is known only now: it may have been lost while the order waited. */
  function sendable(waiting: Waiting): Order {
    const { order } = waiting
    if (order.do !== 'publish') return order
    const { parts } = order.order
    waiting.missing = parts
      .filter(({ handle }) => lost.has(handle))
      .map(({ handle, service }) => ({
        service,
        severity: 'error',
        code: 'lost',
        message: `the service is left out: its document was read, but not a second time: ${lost.get(handle)!.reason}`,
      }))
    return { ...order, order: { ...order.order, parts: parts.filter(({ handle }) => !lost.has(handle)) } }
  }

  /** Give the thread up when the order has cost too much, or when nothing at all is being done about it. */
  function watch(thread: Worker, waiting: Waiting): void {
    let begin: number | undefined
    let spent = 0
    let movedAt = performance.now()
    const look = () => {
      if (current !== waiting) return
      if (spent > patience) return lose(new Error(`it took longer than ${patience / 1_000} s of processor`))
      if (performance.now() - movedAt > stillness)
        return lose(new Error(`nothing was done about it for ${stillness / 1_000} s`))
      timer = setTimeout(look, Math.min(lookEvery, patience))
      // A thread deep in one function answers late, one that has not begun or has just ended not at all.
      measure(thread).then(note, () => {})
    }
    const note = (total: number) => {
      begin ??= total
      if (total - begin > spent + trifle) movedAt = performance.now()
      spent = Math.max(spent, total - begin)
    }
    look()
  }

  function engage(started: Worker): Worker {
    started.on('message', (answer: Answer) => {
      if (started !== worker || current?.order.id !== answer.id) return
      const { resolve, reject, missing = [] } = current
      clearTimeout(timer)
      current = undefined
      if (answer.outcome === 'failed') reject(answer.error)
      else resolve((missing.length === 0 ? answer.result : withFindings(answer.result, missing)) as never)
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
    // Those of the thread before are all asked for again.
    const others = queue.splice(0).filter(({ restores }) => !restores)
    const handles = [...held.keys(), ...kept.keys()].filter((handle) => !lost.has(handle))
    queue.push(...handles.flatMap((handle) => restoring(handle)), ...others)
    next()
  }

  function restoring(handle: number): readonly Waiting[] {
    const reading = held.get(handle)
    const printing = kept.get(handle)
    const fail = (error: unknown) => {
      if (!held.has(handle) && !kept.has(handle)) return
      const reason = error instanceof Error ? error.message : String(error)
      lost.set(handle, { reason, tries: (lost.get(handle)?.tries ?? 0) + 1 })
    }
    const rest = { reject: fail, restores: true }
    if (reading) {
      const resolve = (answer: ReadAnswer) => {
        if (answer.outcome === 'read') lost.delete(handle)
        else fail(answer.mistake.message)
      }
      return [{ order: { id: nextId(), do: 'read', handle, order: reading }, resolve, ...rest }]
    }
    if (!printing) return []
    const resolve = () => void lost.delete(handle)
    return [{ order: { id: nextId(), do: 'publish', order: printing }, resolve, ...rest }]
  }
}

/** One that has ended has no number any more. */
function isAlive({ threadId }: Worker): boolean {
  return threadId !== -1
}

async function processorTime(thread: Worker): Promise<number> {
  const { user, system } = await thread.cpuUsage()
  return (user + system) / 1_000
}

function withFindings(result: unknown, more: readonly Finding[]): PublishAnswer {
  const answer = result as PublishAnswer
  return { ...answer, findings: [...more, ...answer.findings] }
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
