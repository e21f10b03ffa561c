/**
 * Why a target is out: it gives no answer (`silent`: unreachable, gone, too late), or answers that a gateway cannot
 * use (`sick`: invalid, 502, 503, 504).
 */
export type Ailment = 'silent' | 'sick'

export interface BreakerSettings {
  /** Failures in a row that open the breaker. */
  readonly failures: number
  /** The part of `sample` requests whose failure opens it, too; undefined when only those in a row do. */
  readonly share?: number | undefined
  /** Milliseconds until an open breaker lets one request try. */
  readonly cooldown: number
  /** Milliseconds until a target that has come back has all of its weight again. */
  readonly slowStart: number
  /** The part of a service's targets that may be out for what they answer. */
  readonly maxEjected: number
}

/** In how many requests a share of failures is looked for. */
const sample = 20

/**
 * The circuit breaker of one target. Closed: requests pass. Open: none does, until the cooldown is over or somebody
 * says that the target can be reached again. Half-open: one request tries; its end decides.
 */
export class Breaker {
  readonly #settings: BreakerSettings
  readonly #clock: () => number
  readonly #changed: (state: BreakerState) => void
  #state: BreakerState = 'closed'
  #failures = 0
  /** Of the sample under way. */
  #ended = 0
  #bad = 0
  #until = 0
  #trying = false
  ailment: Ailment = 'silent'

  constructor(settings: BreakerSettings, clock: () => number, changed: (state: BreakerState) => void) {
    this.#settings = settings
    this.#clock = clock
    this.#changed = changed
  }

  get state(): BreakerState {
    return this.#state
  }

  /** Whether a request may go to this target now. */
  get admits(): boolean {
    if (this.#state === 'closed') return true
    if (this.#state === 'open' && this.#clock() >= this.#until) this.#become('half-open')
    return this.#state === 'half-open' && !this.#trying
  }

  /** A request was sent to the target. */
  begin(): void {
    if (this.#state === 'half-open') this.#trying = true
  }

  succeeded(): void {
    this.#failures = 0
    if (this.#state === 'closed') {
      this.#count(0)
      return
    }
    this.#trying = false
    this.#become('closed')
  }

  failed(ailment: Ailment): void {
    this.#failures += 1
    this.ailment = ailment
    const tried = this.#state === 'half-open'
    if (!tried && (this.#state === 'open' || !this.#tooMany())) return
    this.#trying = false
    this.#until = this.#clock() + this.#settings.cooldown
    this.#become('open')
  }

  /** A request ended without telling anything about the target, such as one that the client gave up. */
  abandoned(): void {
    this.#trying = false
  }

  /** The target can be reached again: the next request may try without waiting for the cooldown. */
  reachable(): void {
    if (this.#state === 'open') this.#become('half-open')
  }

  #tooMany(): boolean {
    const { failures, share } = this.#settings
    this.#count(1)
    return this.#failures >= failures || (share !== undefined && this.#bad >= share * sample)
  }

  #count(bad: 0 | 1): void {
    if (this.#ended === sample) this.#ended = this.#bad = 0
    this.#ended += 1
    this.#bad += bad
  }

  #become(state: BreakerState): void {
    this.#ended = this.#bad = 0
    this.#state = state
    this.#changed(state)
  }
}

export type BreakerState = 'closed' | 'open' | 'half-open'
