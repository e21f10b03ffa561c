import { type Json, type Store, StoreUnavailable } from '../store/store.ts'
import type { Tools } from '../tools.ts'
import type { Explanation } from './explanation.ts'

/** Refusals of all gateways that share a store, so that any of them can say why. */
export interface DecisionArchive {
  /** Best effort, and never waited for: a refusal must not wait for the store. */
  keep(id: string, explanation: Explanation): void
  find(id: string): Promise<Explanation | undefined>
  /** In any order; empty while the store does not answer. */
  list(): Promise<readonly LatestDecision[]>
}

/** A refusal in a line of a list. */
export interface LatestDecision {
  readonly id: string
  readonly at: string
  readonly method: string
  readonly path: string
  readonly route?: string | undefined
  readonly status?: number | undefined
  readonly code?: string | undefined
  /** What would have refused it, if it were enforced. */
  readonly shadow?: { readonly status: number; readonly code: string; readonly row?: string | undefined }
}

export interface DecisionArchiveSettings {
  /** How many refusals of this process are in the store at once. */
  readonly capacity?: number
  /** How many are written in a second; of a flood the first are enough. */
  readonly perSecond?: number
}

/** Seconds. What a process that has ended has left behind goes after this. */
const lifetime = 86_400
const [whole, lines] = ['decisions', 'refusals']

export function createDecisionArchive(
  { capacity = 500, perSecond = 50 }: DecisionArchiveSettings,
  { store, now, log }: Tools & { readonly store: Store },
): DecisionArchive {
  const mine: string[] = []
  let second = 0
  let written = 0
  let lost = false

  async function write(id: string, explanation: Explanation): Promise<void> {
    try {
      const options = { expiresAt: Math.ceil(now() / 1_000) + lifetime }
      await store.put(whole, id, explanation as unknown as Json, options)
      await store.put(lines, id, lineOf(id, explanation) as unknown as Json, options)
      mine.push(id)
      if (mine.length > capacity) {
        const oldest = mine.shift()!
        await store.delete(lines, oldest)
        await store.delete(whole, oldest)
      }
      lost = false
    } catch (error) {
      if (!(error instanceof StoreUnavailable)) throw error
      if (!lost) log.warn({ err: error }, 'refusals are kept by each process alone until the store answers again')
      lost = true
    }
  }

  return {
    keep(id, explanation) {
      const current = Math.floor(now() / 1_000)
      if (current !== second) [second, written] = [current, 0]
      if (written >= perSecond) return
      written += 1
      write(id, explanation).catch((error) => log.error({ err: error, id }, 'a refusal could not be kept'))
    },
    async find(id) {
      const entry = await store.get(whole, id)
      return entry?.value as Explanation | undefined
    },
    async list() {
      try {
        const entries = await store.list(lines)
        return entries.map(({ value }) => value as unknown as LatestDecision)
      } catch (error) {
        if (error instanceof StoreUnavailable) return []
        throw error
      }
    },
  }
}

export function lineOf(id: string, { at, request, route, problem, shadow }: Explanation): LatestDecision {
  return {
    id,
    at,
    method: request.method,
    path: request.path,
    route: route?.id,
    status: problem?.status,
    code: problem?.code,
    ...(shadow && { shadow: { status: shadow.status, code: shadow.code, row: shadow.row } }),
  }
}
