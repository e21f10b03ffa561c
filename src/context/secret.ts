import { inspect } from 'node:util'

const concealed = '[secret]'

/**
 * A value that must not be read over anybody's shoulder, such as an access token. However it is printed (a log line,
 * `JSON.stringify`, a template string, `console.log`, a debugger's inspector), it says `[secret]`; `reveal()` is the one way to it.
 */
export class Secret {
  readonly #text: string

  constructor(text: string) {
    this.#text = text
  }

  /** The text itself. Search for this word to find every place that touches a secret. */
  reveal(): string {
    return this.#text
  }

  toString(): string {
    return concealed
  }

  toJSON(): string {
    return concealed
  }

  [inspect.custom](): string {
    return concealed
  }
}
