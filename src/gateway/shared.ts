/**
 * Things that outlive a revision of the configuration: connection pools with their health, key sets, document sources.
 *
 * A revision acquires what it needs by a key that spells out the settings. What the next revision acquires by the same
 * key is the same object, with all it has learned; what nobody holds any more is closed.
 */
export class Shared {
  readonly #things = new Map<string, Thing>()

  /** The things of one revision; release them together. */
  scope(): Scope {
    return new Scope(this.#things)
  }
}

interface Thing {
  holders: number
  readonly value: Promise<unknown>
  readonly close: (value: never) => void | Promise<void>
}

export class Scope {
  readonly #things: Map<string, Thing>
  readonly #mine = new Set<string>()

  constructor(things: Map<string, Thing>) {
    this.#things = things
  }

  /** `create` runs only when nobody holds the key; a creation that fails is not kept. */
  async acquire<T>(key: string, create: () => T | Promise<T>, close: (value: T) => void | Promise<void>): Promise<T> {
    let thing = this.#things.get(key)
    if (!thing) {
      thing = { holders: 0, value: Promise.resolve().then(create), close }
      this.#things.set(key, thing)
    }
    if (!this.#mine.has(key)) {
      this.#mine.add(key)
      thing.holders += 1
    }
    try {
      return (await thing.value) as T
    } catch (error) {
      if (this.#things.get(key) === thing) this.#things.delete(key)
      this.#mine.delete(key)
      throw error
    }
  }

  async release(): Promise<void> {
    const closing: unknown[] = []
    for (const key of this.#mine) {
      const thing = this.#things.get(key)!
      thing.holders -= 1
      if (thing.holders > 0) continue
      this.#things.delete(key)
      closing.push(thing.value.then((value) => thing.close(value as never)))
    }
    this.#mine.clear()
    await Promise.all(closing)
  }
}
