/**
 * Lets a few through at a time and a bounded number wait: hashing a password takes memory and one of the four threads
 * that Node shares with everything else.
 */
export interface Turnstile {
  /** Undefined when too many wait already. */
  pass<T>(work: () => Promise<T>): Promise<T> | undefined
}

export function createTurnstile(atOnce: number, waiting: number): Turnstile {
  const queue: (() => void)[] = []
  let inside = 0

  return {
    pass(work) {
      if (inside >= atOnce && queue.length >= waiting) return undefined
      return enter(work)
    },
  }

  async function enter<T>(work: () => Promise<T>): Promise<T> {
    if (inside >= atOnce) await new Promise<void>((resolve) => queue.push(resolve))
    else inside += 1
    try {
      return await work()
    } finally {
      // The place is handed on, so that nobody who comes just now can take it.
      const next = queue.shift()
      if (next) next()
      else inside -= 1
    }
  }
}
