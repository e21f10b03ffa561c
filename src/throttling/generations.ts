/**
 * What is known of keys that strangers choose: bounded, and forgotten when it does not matter any more.
 *
 * Keys move from a young to an old generation once in a `lifetime` (milliseconds). What was not used for a whole
 * lifetime means nothing any more, so forgetting the old generation loses nothing; only of more than `capacity` keys
 * within a lifetime some are forgotten early.
 */
export class Generations<T> {
  readonly #lifetime: number
  readonly #half: number
  #young = new Map<string, T>()
  #old = new Map<string, T>()
  #turned: number

  constructor(lifetime: number, now: number, capacity = 20_000) {
    this.#lifetime = lifetime
    this.#half = Math.max(1, Math.floor(capacity / 2))
    this.#turned = now
  }

  get(key: string, now: number): T | undefined {
    if (now - this.#turned >= this.#lifetime || this.#young.size >= this.#half) this.#turn(now)
    return this.#young.get(key) ?? this.#old.get(key)
  }

  set(key: string, value: T): void {
    this.#young.set(key, value)
  }

  *entries(): Iterable<readonly [key: string, value: T]> {
    yield* this.#young
    for (const entry of this.#old) if (!this.#young.has(entry[0])) yield entry
  }

  #turn(now: number): void {
    this.#old = now - this.#turned < 2 * this.#lifetime ? this.#young : new Map()
    this.#young = new Map()
    this.#turned = now
  }
}
