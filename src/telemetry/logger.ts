import { LineWriter } from './line-writer.ts'
import type { Log } from './log.ts'

export interface Logger extends Log {
  flush(): Promise<void>
  /** How many lines could not be written so far. */
  lost(): number
}

/** Characters that wait to be written; what comes on top of that is dropped, so that a reader who stops stops nobody. */
const mostWaiting = 4_194_304
/** Milliseconds that a full pipe is waited for when the process ends. */
const farewell = 500

/**
 * The process's logger: one JSON object a line on standard output, written in batches off the request's path.
 * `LOG_LEVEL` chooses debug, info, warn, error or silent; info when it is something else. `worker` says which of several
 * processes speaks.
 *
 * A pipe that nobody reads and a disk that is full cost lines and nothing else: they are counted, and their number is
 * logged once when lines can be written again.
 */
export function createLogger(level: string | undefined, worker?: number): Logger {
  // A pipe that is full then says so (EAGAIN) instead of holding one of the four threads that work on files.
  void process.stdout.writable
  const writer = new LineWriter({
    descriptor: 1,
    most: mostWaiting,
    onRecovered: (lines) => log.warn({ lines }, 'lines of this log could not be written and are lost'),
  })
  const log = createLines(level, (line) => writer.write(line), worker)
  process.once('exit', () => writer.flushSync(farewell))
  return { ...log, flush: () => writer.flush(), lost: () => writer.lost }
}

const levels = ['debug', 'info', 'warn', 'error', 'silent'] as const

/** The lines of a log, handed to `write` one by one, each with its line feed (docs/decisions/0020). */
export function createLines(level: string | undefined, write: (line: string) => void, worker?: number): Log {
  const chosen = levels.find((name) => name === level) ?? 'info'
  const stamp = createStamp()
  const speaker = worker === undefined ? '' : `,"worker":${worker}`
  const say = (name: keyof Log) => {
    if (levels.indexOf(name) < levels.indexOf(chosen)) return () => {}
    const start = `{"level":"${name}","time":"`
    return function line(facts: object, message: string): void {
      write(`${start}${stamp()}"${speaker}${membersOf(facts)},"message":${JSON.stringify(message)}}\n`)
    }
  }
  return { debug: say('debug'), info: say('info'), warn: say('warn'), error: say('error') }
}

/** RFC 3339 in UTC; made once for all lines of a millisecond. */
function createStamp(): () => string {
  let at = 0
  let text = ''
  return function stamp() {
    const now = Date.now()
    if (now !== at) {
      at = now
      text = new Date(now).toISOString()
    }
    return text
  }
}

/** The facts as members of a line, with a comma before them. */
function membersOf(facts: object): string {
  const { err } = facts as { readonly err?: unknown }
  const members = err === undefined ? facts : { ...facts, err: describeError(err) }
  try {
    // As one text at once, which costs a third of what its members cost one by one.
    const text = JSON.stringify(members)
    if (text?.startsWith('{')) return text === '{}' ? '' : `,${text.slice(1, -1)}`
  } catch {
    // One of them cannot be written.
  }
  return Object.entries(members).map(memberOf).join('')
}

const unwritable = '(unwritable)'

/** One member, which says so when it cannot be written: a line is never an error. */
function memberOf([name, value]: readonly [string, unknown]): string {
  try {
    const text = JSON.stringify(value)
    return text === undefined ? '' : `,${JSON.stringify(name)}:${text}`
  } catch {
    return `,${JSON.stringify(name)}:"${unwritable}"`
  }
}

/** Only what an operator needs: libraries hang requests, options and with them secrets on their errors. */
function describeError(error: unknown, depth = 0): unknown {
  if (!(error instanceof Error)) return textOf(error)
  const { name, message, stack, cause } = error
  const { code } = error as NodeJS.ErrnoException
  return {
    name,
    message,
    ...(code !== undefined && { code }),
    stack,
    ...(cause !== undefined && depth < 4 && { cause: describeError(cause, depth + 1) }),
  }
}

/** Anything can be thrown, also what has no text. */
function textOf(thrown: unknown): string {
  try {
    return String(thrown)
  } catch {
    return unwritable
  }
}
