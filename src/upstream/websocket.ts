import { createHash } from 'node:crypto'
import type { IncomingMessage } from 'node:http'
import { createFields } from '../http/fields.ts'
import { Problem } from '../http/problem.ts'
import { InvalidResponse } from './failure.ts'

/** The parts of the WebSocket protocol (RFC 6455) that somebody in the middle must know. */

const guid = '258EAFA5-E914-47DA-95CA-C5AB0DC85B11'
/** Base64 of 16 bytes (RFC 6455 §4.1). */
const keyForm = /^[A-Za-z0-9+/]{22}==$/

/** Refuses an opening handshake that no server may accept (RFC 6455 §4.2.1). Throws a `Problem`. */
export function checkHandshake({ method, httpVersion, headers }: IncomingMessage): void {
  if (method !== 'GET' || httpVersion !== '1.1') {
    throw new Problem('bad-request', 'A WebSocket begins with a GET request of HTTP/1.1')
  }
  if (headers['content-length'] !== undefined || headers['transfer-encoding'] !== undefined) {
    throw new Problem('bad-request', 'The request that begins a WebSocket has no content')
  }
  if (headers.upgrade?.toLowerCase() !== 'websocket') {
    throw new Problem('bad-request', 'The only protocol a connection can change to is websocket')
  }
  if (headers['sec-websocket-version'] !== '13') {
    throw new Problem('upgrade-required', 'The version of the WebSocket protocol is 13', {
      fields: { 'Sec-WebSocket-Version': '13', Upgrade: 'websocket' },
    })
  }
  if (!keyForm.test(headers['sec-websocket-key'] ?? '')) {
    throw new Problem('bad-request', 'Sec-WebSocket-Key is not the base64 form of 16 bytes')
  }
}

/** Refuses a 101 that does not prove that the service speaks the protocol (RFC 6455 §4.1). */
export function checkAcceptance(fields: readonly string[], key: string): void {
  const expected = createHash('sha1')
    .update(key + guid)
    .digest('base64')
  const head = createFields(fields)
  if (head.get('sec-websocket-accept') !== expected) throw new InvalidResponse('Sec-WebSocket-Accept is wrong')
  if (head.get('upgrade')?.toLowerCase() !== 'websocket') throw new InvalidResponse('changed to another protocol')
}

/** A Close frame (RFC 6455 §5.5.1). `masked`: as a client sends it (§5.3); a mask of zero changes nothing. */
export function closeFrame(code: number, reason: string, masked: boolean): Buffer {
  // A reason is at most 123 bytes, and never ends inside a character.
  const text = Buffer.from(reason)
    .subarray(0, 123)
    .toString()
    .replace(/\uFFFD$/, '')
  const content = Buffer.alloc(2 + Buffer.byteLength(text))
  content.writeUInt16BE(code)
  content.write(text, 2)
  const head = masked ? [0x88, 0x80 | content.length, 0, 0, 0, 0] : [0x88, content.length]
  return Buffer.concat([Buffer.from(head), content])
}

/** Follows the borders of frames in one direction (RFC 6455 §5.2), without looking at what is in them. */
export class FrameBorders {
  /** Bytes of the head of the current frame: so many are known, so many there are. */
  #known = 0
  #head = 2
  #lengthEnds = 2
  /** Content still to come. */
  #left = 0

  /** Whether everything so far was whole frames, so that another may be put in. */
  get between(): boolean {
    return this.#known === 0 && this.#left === 0
  }

  /** Goes on over a chunk, or when `stop` only to the next border. Returns how far it went. */
  advance(chunk: Buffer, stop = false): number {
    let at = 0
    while (at < chunk.length && !(stop && this.between)) {
      if (this.#known === 0 && this.#left > 0) {
        const step = Math.min(this.#left, chunk.length - at)
        this.#left -= step
        at += step
      } else {
        this.#readHead(chunk[at++]!)
      }
    }
    return at
  }

  #readHead(byte: number): void {
    this.#known += 1
    if (this.#known === 2) {
      const length = byte & 0x7f
      this.#lengthEnds = length === 126 ? 4 : length === 127 ? 10 : 2
      this.#head = this.#lengthEnds + (byte & 0x80 ? 4 : 0)
      this.#left = length < 126 ? length : 0
    } else if (this.#known > 2 && this.#known <= this.#lengthEnds) {
      // Beyond 2^53 a length loses its last digits; nobody lives to see the end of such a frame.
      this.#left = this.#left * 256 + byte
    }
    if (this.#known >= 2 && this.#known === this.#head) this.#known = 0
  }
}
