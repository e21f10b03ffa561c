import pino, { type Logger } from 'pino'
import type { Log } from './log.ts'

/**
 * The process's logger: one JSON object a line on standard output, written in batches off the request's path.
 * `LOG_LEVEL` chooses debug, info, warn, error or silent.
 */
export function createLogger(level: string | undefined): Log & { flush(): Promise<void> } {
  const destination = pino.destination({ dest: 1, sync: false, minLength: 4_096, periodicFlush: 250 })
  const logger: Logger = pino(
    {
      level: level && levels.has(level) ? level : 'info',
      base: null,
      timestamp: pino.stdTimeFunctions.isoTime,
      formatters: { level: (label) => ({ level: label }) },
      messageKey: 'message',
      serializers: { err: describeError },
    },
    destination,
  )
  return Object.assign(logger, {
    flush: () => new Promise<void>((resolve) => destination.flush(() => resolve())),
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
