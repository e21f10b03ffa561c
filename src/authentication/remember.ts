import { hash } from 'node:crypto'

/**
 * The name under which a token is remembered: its SHA-256, 32 characters. The token itself would be some 700 bytes of
 * living secret for each entry, readable in every heap dump, and no faster as a key: most of the microsecond goes into
 * hashing the fresh text either way, which the memory of a connection spares (`http/connection-memory.ts`). The whole
 * token is digested: a part of it could be kept while the rest is forged.
 */
export function digestOf(token: string): string {
  return hash('sha256', token, 'binary')
}

/**
 * A bounded map for things that may be forgotten at any time. New entries go into the hot half; when it is full it
 * becomes the cold half and the former cold half is forgotten. What is asked for while cold becomes hot again. So
 * whatever is in use stays, no entry needs a timer or a place in a list, and memory is at most `capacity` entries.
 */
export class TwoGenerations<Value> {
  readonly #half: number
  #hot = new Map<string, Value>()
  #cold = new Map<string, Value>()

  constructor(capacity: number) {
    this.#half = Math.max(1, Math.floor(capacity / 2))
  }

  get(key: string): Value | undefined {
    const hot = this.#hot.get(key)
    if (hot !== undefined) return hot
    const cold = this.#cold.get(key)
    if (cold !== undefined) this.set(key, cold)
    return cold
  }

  set(key: string, value: Value): void {
    if (this.#hot.size >= this.#half && !this.#hot.has(key)) {
      this.#cold = this.#hot
      this.#hot = new Map()
    }
    this.#hot.set(key, value)
  }

  delete(key: string): void {
    this.#hot.delete(key)
    this.#cold.delete(key)
  }

  clear(): void {
    this.#hot = new Map()
    this.#cold = new Map()
  }

  /** How many entries are held; one that is in both halves counts twice. */
  get size(): number {
    return this.#hot.size + this.#cold.size
  }
}
