/** What a command may use of the world, handed in so that tests can look over its shoulder. */
export interface Terminal {
  readonly environment: Readonly<Record<string, string | undefined>>
  out(text: string): void
  err(text: string): void
}

/** 0: fine. 1: something was found. 2: it was called wrongly. */
export type ExitCode = 0 | 1 | 2

export interface CommonOptions {
  /** Path of services.json. */
  readonly config: string
  /** For machines: one JSON value on standard output. */
  readonly json: boolean
}

export interface Command {
  /** How it is called, after `sallyport `. */
  readonly usage: string
  /** One line for the overview. */
  readonly summary: string
  run(words: readonly string[], options: CommonOptions, terminal: Terminal): Promise<ExitCode>
}

/** The command was called wrongly; the message says how to call it. */
export class UsageError extends Error {
  constructor(message: string) {
    super(message)
    this.name = 'UsageError'
  }
}
