import pino from 'pino'
import type { Log } from './log.ts'

export interface Logger extends Log {
  flush(): Promise<void>
  /** How many lines could not be written so far. */
  lost(): number
}

/** Characters that wait to be written; what comes on top of that is dropped, so that a reader who stops stops nobody. */
const mostWaiting = 4_194_304
/** How long a full pipe is waited for when the process ends. */
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
  let lost = 0
  let told = 0
  let ending = Number.POSITIVE_INFINITY
  const destination = pino.destination({
    dest: 1,
    sync: false,
    minLength: 4_096,
    periodicFlush: 250,
    maxLength: mostWaiting,
    retryEAGAIN: () => performance.now() < ending,
  })
  const logger = pino(
    {
      level: level && levels.has(level) ? level : 'info',
      base: worker === undefined ? null : { worker },
      timestamp: pino.stdTimeFunctions.isoTime,
      formatters: { level: (label) => ({ level: label }) },
      messageKey: 'message',
      serializers: { err: describeError },
    },
    destination,
  )
  destination.on('drop', () => {
    lost += 1
  })
  // What could not be written stays and is tried again with the next batch.
  destination.on('error', () => {})
  destination.on('drain', () => {
    if (lost === told) return
    const lines = lost - told
    told = lost
    logger.warn({ lines }, 'lines of this log could not be written and are lost')
  })
  // Ahead of pino's own, which writes what is left: without an end to its patience it would wait for ever.
  process.prependOnceListener('exit', () => {
    ending = performance.now() + farewell
  })
  const flushSync = destination.flushSync.bind(destination)
  destination.flushSync = () => {
    try {
      flushSync()
    } catch {
      // Nobody reads it.
    }
  }
  return Object.assign(logger, {
    flush: () => new Promise<void>((resolve) => destination.flush(() => resolve())),
    lost: () => lost,
  })
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
