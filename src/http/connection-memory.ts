import type { Socket } from 'node:net'

/**
 * What was made of the texts that one connection said last. A client that keeps its connection says the same credential
 * with each request, and to compare 700 characters costs a fifteenth of their SHA-256 (docs/decisions/0024).
 *
 * The texts are secrets of the connection's own client and go with it. The connections of trusted proxies have no
 * memory: several clients share them.
 */
export class ConnectionMemory {
  #last: Made | undefined
  /** A request may show two credentials. */
  #before: Made | undefined

  /** `make(text)`, made anew only for a text that was not among the last two. `make` gives the same for the same text. */
  recall<T>(text: string, make: (text: string) => T): T {
    const last = this.#last
    if (isOf(last, text, make)) return last.made
    const before = this.#before
    if (isOf(before, text, make)) {
      this.#before = last
      this.#last = before
      return before.made
    }
    const made = make(text)
    if (text.length <= longest && text.isWellFormed()) {
      this.#before = last
      this.#last = { text: copyOf(text), make, made }
    }
    return made
  }
}

/** `make(text)`, by the memory of the connection that said the text, where it has one. */
export function recall<T>(memory: ConnectionMemory | undefined, text: string, make: (text: string) => T): T {
  return memory ? memory.recall(text, make) : make(text)
}

interface Made<T = unknown> {
  readonly text: string
  readonly make: (text: string) => T
  readonly made: T
}

/** Characters: connections that wait for their next request stay small. */
const longest = 2_048

function isOf<T>(known: Made | undefined, text: string, make: (text: string) => T): known is Made<T> {
  return known !== undefined && known.make === make && known.text === text
}

/** A slice of a header line would keep the whole line alive. */
function copyOf(text: string): string {
  return Buffer.from(text, 'utf8').toString('utf8')
}

const memory = Symbol('memory')

/** The memory of a connection, which begins with its first request. */
export function memoryOf(socket: Socket & { [memory]?: ConnectionMemory }): ConnectionMemory {
  socket[memory] ??= new ConnectionMemory()
  return socket[memory]
}
