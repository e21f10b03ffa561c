/**
 * How often: a token bucket for every key, by the generic cell rate algorithm.
 *
 * A bucket holds `requests` tokens, a call takes one, and they come back evenly, one every `window / requests`. So a
 * caller may spend all of them at once and then goes on at the agreed rate; there is no border between two windows at
 * which twice as much gets through. A bucket is one number: when it will be full again.
 */
export interface Limiter {
  /**
   * Takes one token from the bucket of a key. Never rejects: a shared limiter whose store is out answers from this
   * process alone.
   */
  take(key: string): Standing | Promise<Standing>
}

/** Synchronous limiters, for whoever needs one. */
export interface LocalLimiter extends Limiter {
  take(key: string): Standing
}

/** What a bucket holds when it is full, and in how many milliseconds an empty one is. */
export interface Quota {
  readonly requests: number
  readonly window: number
}

/** How a bucket stands after a call. */
export interface Standing {
  readonly allowed: boolean
  /** Tokens left. */
  readonly remaining: number
  /** Milliseconds until there is one more; 0 when the bucket is full. */
  readonly next: number
}

/** Where buckets are kept. */
export interface Limiters {
  /** The limiter of this name and quota; the same one again as long as somebody holds it, so that a reload forgets nothing. */
  open(name: string, quota: Quota): Limiter
  close(): Promise<void>
}
