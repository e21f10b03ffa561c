import { type ParseArgsConfig, parseArgs } from 'node:util'
import { suggest } from '../config/suggest.ts'

/** What a command may use of the world, handed in so that tests can look over its shoulder. */
export interface Terminal {
  readonly environment: Readonly<Record<string, string | undefined>>
  out(text: string): void
  err(text: string): void
  /** Asks for a secret without showing it, or reads the first line when nobody sits there. Absent where there is no input. */
  readSecret?(prompt: string): Promise<string>
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
  /** What may follow, one line each, for `--help`. */
  readonly details?: readonly string[]
  run(words: readonly string[], options: CommonOptions, terminal: Terminal): Promise<ExitCode>
}

/** The options of one command, by `node:util`; whatever is wrong with them is a `UsageError`. */
export function parseOptions<const Options extends NonNullable<ParseArgsConfig['options']>>(
  words: readonly string[],
  options: Options,
) {
  try {
    return parseArgs({ args: [...words], options, allowPositionals: true, strict: true })
  } catch (error) {
    const { code, message } = error as NodeJS.ErrnoException
    const unknown = code === 'ERR_PARSE_ARGS_UNKNOWN_OPTION' ? /'(--?[^'\s]+)/.exec(message)?.[1] : undefined
    if (unknown === undefined) throw new UsageError(message)
    const meant = suggest(unknown.replace(/^-+/, ''), Object.keys(options))
    throw new UsageError(`there is no option ${unknown}${meant ? `; did you mean --${meant}?` : ''}`)
  }
}

/** The command was called wrongly; the message says how to call it. */
export class UsageError extends Error {
  constructor(message: string) {
    super(message)
    this.name = 'UsageError'
  }
}
