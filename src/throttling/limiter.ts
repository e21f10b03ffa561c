/**
 * How often: by a token bucket, a sliding window or the calendar, for every key.
 */
export interface Limiter {
  /**
   * Takes one request from the allowance of a key. Never rejects: a shared limiter whose store is out answers from this
   * process alone.
   */
  take(key: string): Standing | Promise<Standing>
  /** How the allowance of a key stands, without taking from it; undefined when that cannot be known right now. Never rejects. */
  look(key: string): Standing | Promise<Standing | undefined>
}

/** Synchronous limiters, for whoever needs one. */
export interface LocalLimiter extends Limiter {
  take(key: string): Standing
  look(key: string): Standing
}

/** How many requests over which time, counted how. */
export type Quota = Rate | CalendarQuota

/**
 * `token-bucket`: a bucket holds `requests` tokens, a call takes one, and they come back evenly, one every
 * `window / requests`. So a caller may spend all of them at once and then goes on at the agreed rate.
 *
 * `sliding-window`: never more than `requests` in any stretch of time as long as the window.
 */
export interface Rate {
  readonly requests: number
  /** Milliseconds. */
  readonly window: number
  readonly algorithm?: Algorithm
}

export const algorithms = ['token-bucket', 'sliding-window'] as const
export type Algorithm = (typeof algorithms)[number]

/** `requests` in each day or month of UTC. */
export interface CalendarQuota {
  readonly requests: number
  readonly period: Period
}

export const periods = ['day', 'month'] as const
export type Period = (typeof periods)[number]

/** How an allowance stands, after a call or before one. */
export interface Standing {
  /** Whether the call was, or would be, let through. */
  readonly allowed: boolean
  /** Requests left. */
  readonly remaining: number
  /** Milliseconds until there are more; 0 when none is used. */
  readonly next: number
}

/** Where requests are counted. */
export interface Limiters {
  /** The limiter of this name and quota; the same one again as long as somebody holds it, so that a reload forgets nothing. */
  open(name: string, quota: Quota): Limiter
  close(): Promise<void>
}
