import { getPriority, setPriority } from 'node:os'
import { parentPort } from 'node:worker_threads'
import type { Representation } from './bytes.ts'
import { createPressWork, type PublishOrder, type ReadOrder, type ViewOrder } from './press-work.ts'

/** The thread of a press: `press.ts` talks to it, and nobody else. Orders are done one after the other. */

export type Order =
  | { readonly id: number; readonly do: 'read'; readonly handle: number; readonly order: ReadOrder }
  | { readonly id: number; readonly do: 'release'; readonly handle: number }
  | { readonly id: number; readonly do: 'contract'; readonly handle: number; readonly index: number }
  | { readonly id: number; readonly do: 'shape'; readonly handle: number }
  | { readonly id: number; readonly do: 'compare'; readonly handle: number; readonly shape: Uint8Array }
  | { readonly id: number; readonly do: 'publish'; readonly order: PublishOrder }
  | { readonly id: number; readonly do: 'view'; readonly order: ViewOrder }

export type Answer =
  | { readonly id: number; readonly outcome: 'done'; readonly result: unknown }
  | { readonly id: number; readonly outcome: 'failed'; readonly error: unknown }

const port = parentPort!
/** Of the system's scale from -20 to 19 with 0 for everybody: a third of a processor that both want. */
const behind = 5

const work = createPressWork()
let last = Promise.resolve()

port.on('message', (order: Order) => {
  last = last.then(() => carryOut(order))
})

async function carryOut(order: Order): Promise<void> {
  const { id } = order
  try {
    if (order.do === 'read') answer({ id, outcome: 'done', result: await work.read(order.handle, order.order) })
    else if (order.do === 'release') answer({ id, outcome: 'done', result: work.release(order.handle) })
    else if (order.do === 'shape') answer({ id, outcome: 'done', result: await work.shape(order.handle) })
    else if (order.do === 'compare')
      answer({ id, outcome: 'done', result: await work.compare(order.handle, order.shape) })
    else if (order.do === 'contract')
      answer({ id, outcome: 'done', result: await work.contract(order.handle, order.index) })
    else if (order.do === 'view') await view(id, order.order)
    else await publish(id, order.order)
  } catch (error) {
    answer({ id, outcome: 'failed', error })
  }
}

async function publish(id: number, order: PublishOrder): Promise<void> {
  const { json, yaml, byService, shown, findings } = await work.publish(order)
  // What has been sent before is printed from memory the next time: it is copied, never given away.
  const result = {
    json: ownBytes(json),
    yaml: ownBytes(yaml),
    byService: new Map([...byService].map(([name, representation]) => [name, ownBytes(representation)])),
    shown,
    findings,
  }
  const all = [result.json, result.yaml, ...result.byService.values()]
  answer(
    { id, outcome: 'done', result },
    all.flatMap(({ body, gzip, brotli }) => [body, gzip, brotli].map(({ buffer }) => buffer)),
  )
  letRequestsPass()
}

/**
 * The start waits for the first publication. From then on, where there are fewer processors than work, the thread that
 * answers requests goes first. Linux has a priority for each thread, and 0 is the one that asks; elsewhere it would be
 * the process.
 */
function letRequestsPass(): void {
  if (process.platform !== 'linux' || getPriority(0) >= behind) return
  try {
    setPriority(0, behind)
  } catch {
    // A sandbox may forbid it. Then both have the same.
  }
}

async function view(id: number, order: ViewOrder): Promise<void> {
  const printed = await work.view(order)
  const result = printed && ownBytes(printed)
  const bytes = result ? [result.body, result.gzip, result.brotli] : []
  answer(
    { id, outcome: 'done', result },
    bytes.map(({ buffer }) => buffer),
  )
}

/** Bytes in memory of their own, which can be handed to another thread without another copy. */
function ownBytes(representation: Representation) {
  const { body, gzip, brotli } = representation
  return { ...representation, body: new Uint8Array(body), gzip: new Uint8Array(gzip), brotli: new Uint8Array(brotli) }
}

function answer(message: Answer, transfer: readonly ArrayBuffer[] = []): void {
  port.postMessage(message, transfer)
}
