import type { EventEmitter } from 'node:events'

/** What can be swapped as a whole and closed when nobody uses it any more. */
interface Closable {
  close(): Promise<void> | void
}

/**
 * The gateway that answers now. A request keeps the revision it started with; the last one out closes it.
 */
export class Live<T extends Closable> {
  #current: Lease<T>

  constructor(gateway: T) {
    this.#current = new Lease(gateway)
  }

  get current(): T {
    return this.#current.gateway
  }

  /** Borrow the current gateway until `response` closes: the body still streams after the chain has returned. */
  lease(response: EventEmitter): T {
    return this.#current.until(response)
  }

  swap(next: T): void {
    const previous = this.#current
    this.#current = new Lease(next)
    previous.retire()
  }
}

class Lease<T extends Closable> {
  readonly gateway: T
  #borrowers = 0
  #retired = false
  readonly #giveBack = () => {
    this.#borrowers -= 1
    this.#closeWhenIdle()
  }

  constructor(gateway: T) {
    this.gateway = gateway
  }

  until(response: EventEmitter): T {
    this.#borrowers += 1
    response.on('close', this.#giveBack)
    return this.gateway
  }

  retire(): void {
    this.#retired = true
    this.#closeWhenIdle()
  }

  #closeWhenIdle(): void {
    if (this.#retired && this.#borrowers === 0) void this.gateway.close()
  }
}
