import { promisify } from 'node:util'
import { gunzip, gzip } from 'node:zlib'
import type { Store } from '../store/store.ts'
import type { Tools } from '../tools.ts'
import type { Change } from './changes.ts'
import type { Press, PressDocument } from './press.ts'

/**
 * The document that clients of a service know, against which later ones are compared: the first good one, until an
 * operator accepts another. Kept in the store, so that a change is not forgotten because the gateway was started again.
 */
export interface Baseline {
  /** What broke since, in the document that was looked at last. */
  readonly changes: readonly Change[]
  /** When the baseline was taken, seconds since the epoch; undefined while there is none. */
  readonly since: number | undefined
  /** Compare a document that is in use now. Never rejects. */
  look(document: PressDocument): Promise<void>
  /** From now on compare with this one. */
  accept(document: PressDocument): Promise<void>
}

interface Entry {
  /** What the paths of the document depend on besides the document. */
  readonly place: string
  /** JSON in gzip in base64. */
  readonly shape: string
  readonly at: number
  readonly [name: string]: string | number
}

const collection = 'document-baselines'
const pack = promisify(gzip)
const unpack = promisify(gunzip)
const largest = 200 * 1_048_576

export function createBaseline(
  { service, place }: { readonly service: string; readonly place: string },
  { store, press, log, now }: Tools & { readonly store: Store; readonly press: Press },
): Baseline {
  let changes: readonly Change[] = []
  let since: number | undefined
  let running: Promise<void> = Promise.resolve()

  return {
    get changes() {
      return changes
    },
    get since() {
      return since
    },
    look(document) {
      running = running.then(() => compare(document)).catch(complain)
      return running
    },
    accept(document) {
      const accepting = running.then(() => keep(document))
      running = accepting.catch(complain)
      return accepting
    },
  }

  async function compare(document: PressDocument): Promise<void> {
    const entry = await store.get<Entry>(collection, service)
    if (entry?.value.place !== place) return keep(document)
    const shape = await unpack(Buffer.from(entry.value.shape, 'base64'), { maxOutputLength: largest })
    changes = await press.compare(document, shape)
    since = entry.value.at
  }

  async function keep(document: PressDocument): Promise<void> {
    const shape = (await pack(await press.shape(document))).toString('base64')
    const at = Math.floor(now() / 1_000)
    await store.put(collection, service, { place, shape, at })
    changes = []
    since = at
  }

  function complain(error: unknown): void {
    log.warn({ service, err: error }, 'a document could not be compared with the one before')
  }
}
