import { InvalidResponse } from '../failure.ts'

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
  /** Whether the connection may carry another request afterwards (RFC 9112 §9.3). */
  readonly persistent: boolean
  /** Seconds for which the service keeps it open meanwhile (`Keep-Alive: timeout=5`); undefined when it does not say. */
  readonly kept: number | undefined
}

/** What is found, in its order. Throwing, and `ResponseParser.stop`, end the parsing there. */
export interface ResponseEvents {
  /** An answer before the answer (RFC 9110 §15.2). */
  interim(status: number, fields: readonly string[]): void
  /** The protocol changes (RFC 9110 §15.2.2): `bytes` from `from` up to `to`, and whatever comes later, are not HTTP. */
  upgrade(fields: readonly string[], bytes: Buffer, from: number, to: number): void
  head(head: ResponseHead): void
  /** Content is `bytes` from `from` up to `to`, which are only lent. */
  data(bytes: Buffer, from: number, to: number): void
  /** All content has come. `more`: and something behind it, which is nobody's. */
  end(more: boolean): void
}

/** Bytes of a head. */
const largestHead = 16_384
/** Field lines of a head. */
const mostLines = 256
/** Bytes that the framing of chunks may take beyond their content, and for each byte of it (RFC 9112 §7.1.1). */
const mostOverhead = 49_152
const overheadPerByte = 6
/** The size of a chunk, before its last digit; more would not be a safe integer. */
const largestStart = 2 ** 48

const [tab, lineFeed, carriageReturn, space, colon, semicolon] = [9, 10, 13, 32, 58, 59]

/** By character: what the name of a field is made of (a token, RFC 9110 §5.6.2), and what its value is (§5.5). */
const inName = new Uint8Array(256)
const inValue = new Uint8Array(256)
/** By character: the value of a hexadecimal digit, 255 for what is none. */
const hexadecimal = new Uint8Array(256)
for (let code = 0; code < 256; code++) {
  const character = String.fromCharCode(code)
  inName[code] = /[0-9A-Za-z!#$%&'*+\-.^_`|~]/.test(character) ? 1 : 0
  inValue[code] = code === tab || (code >= space && code !== 127) ? 1 : 0
  hexadecimal[code] = /[0-9A-Fa-f]/.test(character) ? Number.parseInt(character, 16) : 255
}

const start = 'HTTP/1.'
const end = Buffer.from('\r\n\r\n')

/** Where the reading stands. Content is counted, or chunked, or all that comes; the rest goes by the character. */
type State =
  | 'over'
  | 'head'
  | 'content'
  | 'all-content'
  | 'chunk-size'
  | 'chunk-extension'
  | 'chunk-begins'
  | 'chunk'
  | 'chunk-ended'
  | 'chunk-line-ends'
  | 'trailer'
  | 'trailer-name'
  | 'trailer-value'
  | 'trailer-ends'
  | 'trailers-end'

/**
 * Reads answers of HTTP/1.1 and 1.0 from the bytes of a connection (RFC 9112), one for each request.
 *
 * It takes what the grammar allows and nothing else: no bare CR or LF, no folded line, no space before a colon, one
 * `Content-Length` of digits or one `Transfer-Encoding: chunked` and never both. What two readers could understand in
 * two ways is refused, because behind the gateway somebody reads it again.
 */
export class ResponseParser {
  readonly #events: ResponseEvents
  #state: State = 'over'
  #method = ''
  #upgrade = false
  /** A head that has not come whole yet. */
  #partial: Buffer | undefined
  /** Bytes still to come: of all content, or of this chunk. */
  #left = 0
  /** Whether a digit of the size of this chunk has come. */
  #sized = false
  /** Bytes of a chunked answer so far. */
  #content = 0
  #framing = 0

  constructor(events: ResponseEvents) {
    this.#events = events
  }

  /** A request was sent: read its answer. `upgrade`: whether it asks for another protocol. */
  begin(method: string, upgrade: boolean): void {
    this.#state = 'head'
    this.#method = method
    this.#upgrade = upgrade
  }

  /** Read no further. */
  stop(): void {
    this.#state = 'over'
    this.#partial = undefined
  }

  /** Reads the first `to` bytes; returns how many of them belong to the answer. Throws an `InvalidResponse`. */
  push(bytes: Buffer, to: number): number {
    let at = 0
    while (at < to && this.#state !== 'over') {
      if (this.#state === 'head') at = this.#pushHead(bytes, at, to)
      else if (this.#state === 'content' || this.#state === 'chunk') at = this.#pushContent(bytes, at, to)
      else if (this.#state === 'all-content') {
        this.#events.data(bytes, at, to)
        at = to
      } else at = this.#pushFraming(bytes, at, to)
    }
    return at
  }

  /** The connection has ended in good order. Returns whether that is the end of the answer, too. */
  finish(): boolean {
    if (this.#state !== 'all-content') return false
    this.#end(false)
    return true
  }

  #end(more: boolean): void {
    this.#state = 'over'
    this.#events.end(more)
  }

  // The head

  #pushHead(bytes: Buffer, at: number, to: number): number {
    const before = this.#partial
    if (before === undefined) {
      // Beyond `to` lies what nobody has sent: an end that is found there is none.
      const found = bytes.indexOf(end, at)
      if (found >= 0 && found + 4 <= to) {
        this.#headCame(bytes.toString('latin1', at, found + 4), bytes, found + 4, to)
        return found + 4
      }
    }
    const piece = bytes.subarray(at, to)
    const all = before ? Buffer.concat([before, piece]) : Buffer.from(piece)
    // However small the pieces are, none is looked at twice.
    const found = before ? all.indexOf(end, Math.max(0, before.length - 3)) : -1
    if (found >= 0) {
      this.#partial = undefined
      const after = at + found + 4 - before!.length
      this.#headCame(all.toString('latin1', 0, found + 4), bytes, after, to)
      return after
    }
    if (all.length > largestHead) throw new InvalidResponse(`the head has more than ${largestHead} bytes`)
    // Whoever ends lines otherwise has said everything, and would be waited for.
    for (let i = piece.indexOf(lineFeed); i >= 0; i = piece.indexOf(lineFeed, i + 1)) {
      if ((i > 0 ? piece[i - 1] : before?.at(-1)) !== carriageReturn)
        throw new InvalidResponse('a LF without CR in its head')
    }
    if (!start.startsWith(all.toString('latin1', 0, start.length))) throw new InvalidResponse('it is not HTTP/1')
    this.#partial = all
    return to
  }

  #headCame(text: string, bytes: Buffer, after: number, to: number): void {
    const { status, minor, fields } = readHead(text)
    if (status === 101) {
      if (!this.#upgrade) throw new InvalidResponse('it changes to a protocol that nobody asked for')
      this.#state = 'over'
      this.#events.upgrade(fields, bytes, after, to)
    } else if (status < 200) this.#events.interim(status, fields)
    else this.#begin(delimit(status, minor, fields, this.#method), after < to)
  }

  #begin(head: ResponseHead, more: boolean): void {
    this.#left = head.length ?? 0
    this.#content = this.#framing = 0
    this.#state = head.closeDelimited ? 'all-content' : head.chunked ? 'chunk-size' : 'content'
    this.#sized = false
    this.#events.head(head)
    // Who was told of the head may have had enough.
    if (head.length === 0 && this.#state === 'content') this.#end(more)
  }

  // The content

  #pushContent(bytes: Buffer, at: number, to: number): number {
    const until = Math.min(to, at + this.#left)
    this.#left -= until - at
    this.#content += until - at
    this.#events.data(bytes, at, until)
    if (this.#left === 0) {
      if (this.#state === 'chunk') this.#state = 'chunk-ended'
      else if (this.#state === 'content') this.#end(until < to)
    }
    return until
  }

  /** What stands around chunks (RFC 9112 §7.1), up to content or the end. */
  #pushFraming(bytes: Buffer, from: number, to: number): number {
    let at = from
    do this.#state = this.#after(bytes[at++]!)
    while (at < to && this.#state !== 'chunk' && this.#state !== 'over')
    this.#framing += at - from
    if (this.#framing > mostOverhead + overheadPerByte * this.#content)
      throw new InvalidResponse('the chunks are more framing than content')
    if (this.#state === 'over') this.#end(at < to)
    return at
  }

  /** What comes after a character of the framing. */
  #after(code: number): State {
    switch (this.#state) {
      case 'chunk-size':
        return this.#afterDigit(code)
      case 'chunk-extension':
        if (code === carriageReturn) return 'chunk-begins'
        if (inValue[code] === 1) return 'chunk-extension'
        break
      case 'chunk-begins':
        if (code === lineFeed) return this.#left > 0 ? 'chunk' : 'trailer'
        break
      case 'chunk-ended':
        if (code === carriageReturn) return 'chunk-line-ends'
        break
      case 'chunk-line-ends':
        this.#sized = false
        if (code === lineFeed) return 'chunk-size'
        break
      // Trailers are read, and left out (RFC 9110 §6.5.2, docs/decisions/0019).
      case 'trailer':
        if (code === carriageReturn) return 'trailers-end'
        if (inName[code] === 1) return 'trailer-name'
        break
      case 'trailer-name':
        if (code === colon) return 'trailer-value'
        if (inName[code] === 1) return 'trailer-name'
        break
      case 'trailer-value':
        if (code === carriageReturn) return 'trailer-ends'
        if (inValue[code] === 1) return 'trailer-value'
        break
      case 'trailer-ends':
        if (code === lineFeed) return 'trailer'
        break
      case 'trailers-end':
        if (code === lineFeed) return 'over'
    }
    throw new InvalidResponse(`the framing of its chunks is malformed (${this.#state})`)
  }

  #afterDigit(code: number): State {
    const digit = hexadecimal[code]!
    if (digit < 16 && this.#left < largestStart) {
      this.#left = this.#left * 16 + digit
      this.#sized = true
      return 'chunk-size'
    }
    if (this.#sized && code === semicolon) return 'chunk-extension'
    if (this.#sized && code === carriageReturn) return 'chunk-begins'
    throw new InvalidResponse('the size of a chunk is malformed')
  }
}

/** `text` is all of a head, up to and with its empty line. Field lines as they came, without blanks around the values. */
function readHead(text: string): { readonly status: number; readonly minor: number; readonly fields: string[] } {
  const minor = text.charCodeAt(start.length) - 48
  if (!text.startsWith(start) || (minor !== 0 && minor !== 1)) throw new InvalidResponse('it is not HTTP/1.1 or 1.0')
  const status = text.slice(9, 12)
  const behind = text.charCodeAt(12)
  if (text.charCodeAt(8) !== space || !/^[1-5]\d\d$/.test(status) || (behind !== space && behind !== carriageReturn))
    throw new InvalidResponse('its status line is malformed')
  const fields: string[] = []
  let at = afterLine(text, 12)
  while (text.charCodeAt(at) !== carriageReturn) {
    const name = at
    while (inName[text.charCodeAt(at)] === 1) at += 1
    if (at === name || text.charCodeAt(at) !== colon) throw new InvalidResponse('a field line is malformed')
    const nameEnd = at
    do at += 1
    while (isBlank(text.charCodeAt(at)))
    const value = at
    at = afterLine(text, at)
    let valueEnd = at - 2
    while (valueEnd > value && isBlank(text.charCodeAt(valueEnd - 1))) valueEnd -= 1
    fields.push(text.slice(name, nameEnd), text.slice(value, valueEnd))
  }
  if (at + 2 !== text.length) throw new InvalidResponse('a CR without LF in its head')
  if (text.length > largestHead) throw new InvalidResponse(`its head has more than ${largestHead} bytes`)
  if (fields.length > 2 * mostLines) throw new InvalidResponse(`its head has more than ${mostLines} lines`)
  return { status: Number(status), minor, fields }
}

/** Where the line ends that goes on at `from` with the characters of a value. */
function afterLine(text: string, from: number): number {
  let at = from
  while (inValue[text.charCodeAt(at)] === 1) at += 1
  if (text.charCodeAt(at) !== carriageReturn || text.charCodeAt(at + 1) !== lineFeed)
    throw new InvalidResponse('a control character in its head')
  return at + 2
}

function isBlank(code: number): boolean {
  return code === space || code === tab
}

/** How the content of an answer is delimited (RFC 9112 §6.3), and whether the connection outlives it (§9.3). */
function delimit(status: number, minor: number, fields: readonly string[], method: string): ResponseHead {
  let length: number | undefined
  let chunked = false
  let closes = false
  let stays = minor === 1
  let kept: number | undefined
  for (let i = 0; i < fields.length; i += 2) {
    const name = fields[i]!
    const value = fields[i + 1]!
    // By its length first: nearly every line is of another one.
    if (name.length === 14 && name.toLowerCase() === 'content-length') {
      if (length !== undefined || !/^\d{1,15}$/.test(value))
        throw new InvalidResponse('Content-Length is not one number')
      length = Number(value)
    } else if (name.length === 17 && name.toLowerCase() === 'transfer-encoding') {
      // HTTP/1.0 has none: its framing would be faulty (RFC 9112 §6.1).
      if (chunked || minor === 0 || value.toLowerCase() !== 'chunked')
        throw new InvalidResponse('the transfer coding is not one "chunked"')
      chunked = true
    } else if (name.length === 10) {
      const folded = name.toLowerCase()
      if (folded === 'keep-alive') kept = readTimeout(value)
      else if (folded === 'connection') {
        for (const option of value.toLowerCase().split(',')) {
          closes ||= option.trim() === 'close'
          stays ||= option.trim() === 'keep-alive'
        }
      }
    }
  }
  if (chunked && length !== undefined) throw new InvalidResponse('it has both a length and a transfer coding')
  const closeDelimited = length === undefined && !chunked && !isEmpty(status, method)
  const head = {
    status,
    fields,
    length,
    chunked,
    closeDelimited,
    persistent: stays && !closes && !closeDelimited,
    kept,
  }
  if (isEmpty(status, method)) {
    // Some services send the content all the same, and later than the head: nobody must take it for the next answer.
    const persistent = head.persistent && method !== 'HEAD' && !length && !chunked
    return { ...head, length: 0, chunked: false, persistent }
  }
  // RFC 9110 §15.3.6; what a chunked one brings along is seen when it comes.
  if (status === 205 && length) throw new InvalidResponse('a 205 has no content')
  return head
}

/** Whether an answer has no content whatever it says (RFC 9112 §6.3). */
function isEmpty(status: number, method: string): boolean {
  return method === 'HEAD' || status === 204 || status === 304
}

function readTimeout(value: string): number | undefined {
  const timeout = /(?:^|,)[ \t]*timeout=(\d{1,9})[ \t]*(?:,|$)/i.exec(value)
  return timeout ? Number(timeout[1]) : undefined
}
