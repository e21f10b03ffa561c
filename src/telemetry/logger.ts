import pino from 'pino'
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
 * `LOG_LEVEL` chooses debug, info, warn, error or silent. `worker` says which of several processes speaks.
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
    onRecovered: (lines) => logger.warn({ lines }, 'lines of this log could not be written and are lost'),
  })
  const logger = pino(
    {
      level: level && levels.has(level) ? level : 'info',
      base: worker === undefined ? null : { worker },
      timestamp: createStamp(),
      formatters: { level: (label) => ({ level: label }) },
      messageKey: 'message',
      serializers: { err: describeError },
    },
    writer,
  )
  process.once('exit', () => writer.flushSync(farewell))
  return Object.assign(logger, { flush: () => writer.flush(), lost: () => writer.lost })
}

/** RFC 3339 in UTC, as a member of the line; made once for all lines of a millisecond. */
function createStamp(): () => string {
  let at = 0
  let text = ''
  return function stamp() {
    const now = Date.now()
    if (now !== at) {
      at = now
      text = `,"time":"${new Date(now).toISOString()}"`
    }
    return text
  }
}

const levels = new Set(['debug', 'info', 'warn', 'error', 'silent'])

/** Only what an operator needs: libraries hang requests, options and with them secrets on their errors. */
function describeError(error: unknown, depth = 0): unknown {
  if (!(error instanceof Error)) return String(error)
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
