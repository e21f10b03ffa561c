import { randomUUID } from 'node:crypto'
import { FieldRefused, type Plugin } from './plugin.ts'

export interface IdentifierOptions {
  /** The header field. Default: `X-Request-ID`, or `X-Correlation-ID`. */
  readonly field?: string
  /** What is well formed. Default: 1 to 128 letters, digits and `. _ ~ : + / = @ -`, nothing that could break a log line apart. */
  readonly form?: RegExp
  /** What happens to an id that is not: a new one takes its place, or the request is answered with 400. Default: `replace`. */
  readonly malformed?: 'replace' | 'refuse'
  /** Ignore what came and always make a new id, for a service that strangers can reach. Default: false. */
  readonly renew?: boolean
  /** Makes new ids. Default: UUID version 4. */
  readonly generate?: () => string
}

/** For `form`: a UUID of any version (RFC 9562 §4). */
export const uuid = /^[\da-f]{8}(?:-[\da-f]{4}){3}-[\da-f]{12}$/i

const wellFormed = /^[\w.~:+/=@-]{1,128}$/

/** One id for everything that a request sets off, here and in every service behind: `X-Request-ID`. Repeated in the answer. */
export function requestId(options: IdentifierOptions = {}): Plugin<string> {
  return identifier('X-Request-ID', options)
}

/** An id that a client chose for a whole conversation of several requests: `X-Correlation-ID`. Repeated in the answer. */
export function correlationId(options: IdentifierOptions = {}): Plugin<string> {
  return identifier('X-Correlation-ID', options)
}

function identifier(standardName: string, options: IdentifierOptions): Plugin<string> {
  const {
    field: name = standardName,
    form = wellFormed,
    malformed = 'replace',
    renew = false,
    generate = randomUUID,
  } = options
  // A pattern with /g or /y remembers where it stopped: the same id would pass only every other time.
  const pattern = new RegExp(form.source, form.flags.replace(/[gy]/g, ''))
  const line = (id: string) => ({ [name]: id })
  return {
    read(fields) {
      const received = renew ? undefined : fields.get(name)
      if (received === undefined) return generate()
      if (pattern.test(received)) return received
      if (malformed === 'refuse') throw new FieldRefused(`The header field ${name} is not well formed.`)
      return generate()
    },
    carry: { names: [name], fields: line },
    answer: line,
  }
}
