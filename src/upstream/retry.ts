export interface RetrySettings {
  /** Second, third, ... tries of one request at most. */
  readonly attempts: number
  /** Retries per request over time. */
  readonly budget: number
}

/** Retries that may be saved up, and that a service starts with. */
const reserve = 100

/**
 * What a service may spend on retries: every request pays in a share, every retry takes one whole. So an outage of a
 * service costs at most `budget` more load, but a burst of broken connections can be repaired at once.
 */
export class RetryBudget {
  readonly #share: number
  #saved = reserve

  constructor(share: number) {
    this.#share = share
  }

  deposit(): void {
    if (this.#saved < reserve) this.#saved = Math.min(reserve, this.#saved + this.#share)
  }

  withdraw(): boolean {
    if (this.#saved < 1) return false
    this.#saved -= 1
    return true
  }
}

/** Methods that may be sent twice (RFC 9110 §9.2.2). */
export const idempotent: ReadonlySet<string> = new Set(['GET', 'HEAD', 'OPTIONS', 'PUT', 'DELETE', 'TRACE'])
