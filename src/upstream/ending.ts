/** Something that can be ended before its time. */
export interface Endable {
  /** `reason`: a `Problem` becomes the answer. */
  ended(reason: unknown): void
}

/**
 * Ends several things at once, before their time. What an AbortController does, which costs 8 µs with six listeners
 * that come and go, as every composition of three parts has; this costs half of one.
 */
export class Ending {
  readonly #all = new Set<Endable>()
  #over = false
  reason: unknown

  get over(): boolean {
    return this.#over
  }

  /** The first reason counts. */
  end(reason: unknown): void {
    if (this.#over) return
    this.#over = true
    this.reason = reason
    for (const one of this.#all) one.ended(reason)
    this.#all.clear()
  }

  /** Who comes too late looks at `over` first. */
  add(one: Endable): void {
    this.#all.add(one)
  }

  delete(one: Endable): void {
    this.#all.delete(one)
  }
}
