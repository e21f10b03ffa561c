/** Something with time limits: asked on every round, and ends itself when its time is up. */
export interface Watched {
  /** Where the watch finds it; the watch's own, -1 while it is not watched. */
  place: number
  /** `now` is the monotonic clock in milliseconds. */
  check(now: number): void
}

/**
 * One timer for all exchanges: walks its round every `period` milliseconds and asks each charge whether its time is up.
 *
 * A timer of its own per stage of every request would cost more than the stages. The timer lives only while there is
 * somebody to watch, and never keeps the process alive.
 */
export class Watch {
  readonly #clock: () => number
  readonly #period: number
  // An array, not a Set: tables that a Set has outgrown keep each other alive across scavenges, and every request that
  // was in them. That doubled the cost of a request.
  readonly #charges: Watched[] = []
  #timer: NodeJS.Timeout | undefined
  #last = 0
  /** Whether the last round was left out; never two of them. */
  #passedOver = false

  constructor(clock: () => number, period = 50) {
    this.#clock = clock
    this.#period = period
  }

  add(charge: Watched): void {
    if (charge.place >= 0) return
    charge.place = this.#charges.push(charge) - 1
    if (this.#timer) return
    this.#last = this.#clock()
    this.#timer = setInterval(() => this.#round(), this.#period).unref()
  }

  delete(charge: Watched): void {
    const { place } = charge
    if (place < 0) return
    charge.place = -1
    const last = this.#charges.pop()!
    if (last === charge) return
    this.#charges[place] = last
    last.place = place
  }

  #round(): void {
    if (this.#charges.length === 0) {
      clearInterval(this.#timer)
      this.#timer = undefined
      return
    }
    const now = this.#clock()
    const stoodStill = now - this.#last > 4 * this.#period
    this.#last = now
    // What came while the process stood still has not been read yet, and nobody's time is up before it is.
    if (stoodStill && !this.#passedOver) {
      this.#passedOver = true
      return
    }
    this.#passedOver = false
    // Backwards: a charge that leaves is replaced by the last one, which has been asked already.
    for (let i = this.#charges.length - 1; i >= 0; i--) this.#charges[i]?.check(now)
  }
}
