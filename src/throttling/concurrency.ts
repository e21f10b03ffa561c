import { z } from 'zod'
import { Problem } from '../http/problem.ts'
import { duration } from '../values.ts'

const many = z
  .int('a number of requests is a whole number')
  .min(1, 'at least one request at a time')
  .max(1_000_000, 'at most 1,000,000 at a time')

/** `limits.concurrent` in services.json. */
export const concurrent = z
  .union([
    many.transform((limit) => ({ limit })),
    z.strictObject({
      limit: many.describe('How many requests may be under way at once.'),
      queue: z
        .int()
        .min(0)
        .max(1_000_000)
        .optional()
        .describe('How many more may wait for one of them to end. Default: as many again.'),
      wait: duration(60_000).optional().describe('How long they may wait. Default: 50ms.'),
    }),
  ])
  .transform(({ limit, ...rest }): ConcurrencyDefinition => {
    const { queue = limit, wait = 50 } = rest as { queue?: number; wait?: number }
    return { limit, queue, wait }
  })
  .describe('How many requests may be under way at once; the next few wait a moment, all others are answered with 503.')

export interface ConcurrencyDefinition {
  readonly limit: number
  readonly queue: number
  /** Milliseconds. */
  readonly wait: number
}

/** Gives the place back; the second call of the same one does nothing. */
export type Release = () => void

export interface ConcurrencyLimit {
  /** A place, when one is free. */
  take(): Release | undefined
  /**
   * A place, at once when one is free. Otherwise the request waits in line, first come first served, and rejects with
   * a `Problem` (503) when the line is full or the wait too long, and with the signal's reason when the client leaves.
   */
  acquire(signal?: AbortSignal): Release | Promise<Release>
  /** Requests under way, and waiting. */
  readonly active: number
  readonly waiting: number
  readonly definition: ConcurrencyDefinition
}

/** Overload is answered soon: whoever waits for long has given up before it is served. */
export function createConcurrencyLimit(definition: ConcurrencyDefinition): ConcurrencyLimit {
  const { limit, queue, wait } = definition
  let active = 0
  // In order of arrival, and whoever gives up leaves from the middle.
  const line = new Set<(release: Release) => void>()

  function occupy(): Release {
    active += 1
    let held = true
    return function release() {
      if (!held) return
      held = false
      active -= 1
      const [next] = line
      if (next === undefined) return
      line.delete(next)
      next(occupy())
    }
  }

  function standInLine(signal: AbortSignal | undefined): Promise<Release> {
    return new Promise((resolve, reject) => {
      const timer = setTimeout(() => leave(overloaded()), wait)
      const abandon = () => leave(signal?.reason)
      function served(release: Release): void {
        clearTimeout(timer)
        signal?.removeEventListener('abort', abandon)
        resolve(release)
      }
      function leave(reason: unknown): void {
        clearTimeout(timer)
        signal?.removeEventListener('abort', abandon)
        line.delete(served)
        reject(reason)
      }
      line.add(served)
      signal?.addEventListener('abort', abandon)
    })
  }

  const take = () => (active < limit ? occupy() : undefined)

  return {
    definition,
    take,
    acquire(signal) {
      const place = take()
      if (place) return place
      if (signal?.aborted) return Promise.reject(signal.reason)
      if (line.size >= queue) return Promise.reject(overloaded())
      return standInLine(signal)
    },
    get active() {
      return active
    },
    get waiting() {
      return line.size
    },
  }
}

function overloaded(): Problem {
  return new Problem('overloaded', 'Too many requests are under way. Try again in a second.', {
    fields: { 'Retry-After': '1' },
  })
}
