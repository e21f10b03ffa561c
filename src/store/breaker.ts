/** Five failures within a second and nobody waits any more; after half a second one call may try. */
const threshold = 5
const window = 1_000
const cooldown = 500

/**
 * Runs calls until too many fail, then refuses them at once with an error of `Refusal`. Time is monotonic, so that a
 * clock that is set does not open or close anything.
 */
export function createBreaker(
  Refusal: new (message: string, options?: ErrorOptions) => Error,
  time: () => number = () => performance.now(),
) {
  let failures: number[] = []
  let openUntil: number | undefined
  let probing = false
  let last: unknown

  return async function breaker<T>(call: () => Promise<T>): Promise<T> {
    const open = openUntil !== undefined
    if (open && (probing || time() < openUntil!)) {
      throw new Refusal('not asked again so soon after it failed', { cause: last })
    }
    probing = open
    try {
      const result = await call()
      failures = []
      openUntil = undefined
      return result
    } catch (error) {
      last = error
      const at = time()
      failures = [...failures.filter((earlier) => earlier > at - window), at].slice(-threshold)
      if (open || failures.length >= threshold) openUntil = at + cooldown
      throw error
    } finally {
      if (open) probing = false
    }
  }
}
