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
  const fields = decode(raw)
  for (let i = 0; i < fields.length; i += 2) {
    const name = fields[i]!
    const value = fields[i + 1]!
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
  // RFC 9110 §15.3.6: what a chunked one brings along is seen when it comes.
  if (status === 205 && length) throw new InvalidResponse('a 205 has no content')
  return { status, fields, length, chunked, closeDelimited: length === undefined && !chunked }
}

/**
 * Header lines are views of what the socket received, mostly of one piece: then one string is cut from it and the parts
 * from that, which takes a quarter of the time.
 */
function decode(raw: readonly Buffer[]): string[] {
  const first = raw[0]
  const last = raw[raw.length - 1]
  if (!first || !last) return []
  const { buffer, byteOffset: start } = first
  const end = last.byteOffset + last.length
  const whole = last.buffer === buffer && start < end ? Buffer.from(buffer, start, end - start).toString('latin1') : ''
  const parts = new Array<string>(raw.length)
  for (let i = 0; i < raw.length; i++) {
    const part = raw[i]!
    const from = part.byteOffset - start
    const to = from + part.length
    const inside = part.buffer === buffer && from >= 0 && to <= whole.length
    parts[i] = inside ? whole.slice(from, to) : part.toString('latin1')
  }
  return parts
}

/** Whether chunks are a pretext: a flood of chunk extensions (RFC 9112 §7.1.1), which undici reads without a limit. */
export function isFlood(bytesRead: number, content: number): boolean {
  return bytesRead - content > mostOverhead + overheadPerByte * content
}
