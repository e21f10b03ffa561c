import { InvalidResponse } from './failure.ts'

/** Most header field lines an answer may have; undici sets no limit of its own. */
const mostLines = 256

/** Bytes that the head and the framing of an answer may take beyond its content, and for each byte of it. */
const mostOverhead = 49_152
const overheadPerByte = 6

/** The head of an answer as it came, checked. */
export interface ResponseHead {
  readonly status: number
  /** Name, value, name, value, ... exactly as received, as latin1. */
  readonly fields: readonly string[]
  /** Bytes of content that follow: 0 for answers without content, undefined when only their end tells (RFC 9112 §6.3). */
  readonly length: number | undefined
  readonly chunked: boolean
  /** Whether the end of the content is the end of the connection: then a reset is no end (RFC 9112 §8). */
  readonly closeDelimited: boolean
}

/**
 * Reads the head of an answer and refuses what llhttp lets pass: a status that ends no exchange, a transfer coding other
 * than one `chunked`, too many lines (RFC 9112 §6.1). Repeated, signed or hexadecimal Content-Length never gets here.
 */
export function readHead(status: number, raw: readonly Buffer[], method: string): ResponseHead {
  if ((status < 200 && status !== 101) || status > 599)
    throw new InvalidResponse(`status ${status} is not one that ends an exchange`)
  if (raw.length > 2 * mostLines) throw new InvalidResponse(`the head has more than ${mostLines} lines`)
  let length: number | undefined
  let chunked = false
  const fields = new Array<string>(raw.length)
  for (let i = 0; i < raw.length; i += 2) {
    const name = raw[i]!.toString('latin1')
    const value = raw[i + 1]!.toString('latin1')
    fields[i] = name
    fields[i + 1] = value
    // Two lengths are rare enough that the name itself need not be looked at for nearly every line.
    if (name.length === 14 && name.toLowerCase() === 'content-length') length = Number(value)
    else if (name.length === 17 && name.toLowerCase() === 'transfer-encoding') {
      if (chunked || value.toLowerCase() !== 'chunked')
        throw new InvalidResponse('the transfer coding is not one "chunked"')
      chunked = true
    }
  }
  if (method === 'HEAD' || status === 204 || status === 304 || status === 101) {
    return { status, fields, length: 0, chunked: false, closeDelimited: false }
  }
  return { status, fields, length, chunked, closeDelimited: length === undefined && !chunked }
}

/** Whether chunks are a pretext: a flood of chunk extensions (RFC 9112 §7.1.1), which undici reads without a limit. */
export function isFlood(bytesRead: number, content: number): boolean {
  return bytesRead - content > mostOverhead + overheadPerByte * content
}
