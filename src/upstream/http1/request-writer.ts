import type { Socket } from 'node:net'
import { oneString } from '../../http/whole.ts'
import { UnsendableRequest } from '../failure.ts'

/** A request as it goes onto a connection. */
export interface WireRequest {
  readonly method: string
  /** Path and query, sent as these very bytes. */
  readonly path: string
  /** Name, value, name, value, ... without those that frame the content or are about the connection. */
  readonly fields: readonly string[]
  readonly body: Buffer | BodySource | null
  /** The protocol that the connection shall change to (RFC 9110 §7.8). */
  readonly upgrade?: 'websocket' | undefined
}

/** Content that comes piece by piece. */
export interface BodySource {
  /** Bytes; undefined when only its end tells. */
  readonly length: number | undefined
  /** Begin, once. */
  flow(sink: BodySink): void
  /** There is room again. */
  resume(): void
  /** No more is taken, whatever the reason. */
  destroy(): void
}

/** Takes content piece by piece. */
export interface BodySink {
  /** False: no more until `BodySource.resume` is called. */
  write(chunk: Buffer): boolean
  /** That was all. */
  end(): void
}

/** Methods whose requests say that they have no content when they have none (RFC 9110 §8.6). */
const expectsContent: ReadonlySet<string> = new Set(['POST', 'PUT', 'PATCH', 'QUERY', 'PROPFIND', 'PROPPATCH'])

/** Fields that are written here and nowhere else: a second one would make another request of it (RFC 9112 §11.2). */
const framing: ReadonlySet<string> = new Set([
  ...['host', 'connection', 'keep-alive', 'upgrade', 'expect', 'te', 'trailer', 'content-length', 'transfer-encoding'],
])
const framingLengths: ReadonlySet<number> = new Set([...framing].map((name) => name.length))

const token = /^[\w!#$%&'*+\-.^`|~]+$/
const notInPath = /[^\x21-\x7e\x80-\xff]/
/** Characters from which on a value is long. */
const longValue = 200
const notInValue = /[^\t\x20-\x7e\x80-\xff]/

/** Writes a request whose content is there. */
export function writeWhole(socket: Socket, head: string, content: Buffer | null): void {
  if (content === null) socket.write(head, 'latin1')
  else if (content.length <= oneString) socket.write(head + content.toString('latin1'), 'latin1')
  else {
    socket.cork()
    socket.write(head, 'latin1')
    socket.write(content)
    socket.uncork()
  }
}

/**
 * The head of a request of HTTP/1.1 (RFC 9112 §3), up to and with its empty line. Throws an `UnsendableRequest` for what
 * would be another request than was meant.
 */
export function requestHead({ method, path, fields, body, upgrade }: WireRequest, authority: string): string {
  if (!token.test(method)) throw new UnsendableRequest('the method is no token')
  if (notInPath.test(path)) throw new UnsendableRequest('the path has a character that none may have')
  // An answer to HEAD is the last of its connection: some services send content with it.
  const persistence = method === 'HEAD' ? 'close' : 'keep-alive'
  const connection = upgrade ? `Connection: Upgrade\r\nUpgrade: ${upgrade}` : `Connection: ${persistence}`
  let text = `${method} ${path} HTTP/1.1\r\nHost: ${authority}\r\n${connection}\r\n`
  for (let i = 0; i < fields.length; i += 2) {
    const name = fields[i]!
    const value = fields[i + 1]!
    if (!token.test(name) || !isValue(value))
      throw new UnsendableRequest(`the field ${JSON.stringify(name)} has a character that none may have`)
    if (framingLengths.has(name.length) && framing.has(name.toLowerCase()))
      throw new UnsendableRequest(`the field ${name} is not for whoever sends the request to say`)
    text += `${name}: ${value}\r\n`
  }
  if (body !== null && body.length === undefined) return `${text}Transfer-Encoding: chunked\r\n\r\n`
  if (body !== null || expectsContent.has(method)) return `${text}Content-Length: ${body?.length ?? 0}\r\n\r\n`
  return `${text}\r\n`
}

/** Whether it may be the value of a field (RFC 9110 §5.5). */
function isValue(value: string): boolean {
  // A token of ASCII, as most long values are: four searches in native code cost a fifth of the expression. What they
  // let pass are control characters that end nothing.
  if (value.length > longValue && Buffer.byteLength(value) === value.length)
    return !value.includes('\r') && !value.includes('\n') && !value.includes('\0')
  return !notInValue.test(value)
}

/**
 * Writes a request whose content comes piece by piece, framed as its head says (RFC 9112 §6).
 *
 * The head goes out with the first piece: a client that breaks off at once has asked the service nothing. It waits for
 * no longer than a turn, because a service may answer before it has seen any content.
 */
export class BodyWriter implements BodySink {
  readonly #socket: Socket
  readonly #source: BodySource
  readonly #done: (error: Error | undefined) => void
  /** What has to go out before anything else does. */
  #before: string
  #written = 0
  #stopped = false

  /** `done` is told once, when all of it has been written, or why it will not be. */
  constructor(socket: Socket, head: string, source: BodySource, done: (error: Error | undefined) => void) {
    this.#socket = socket
    this.#before = head
    this.#source = source
    this.#done = done
  }

  begin(): void {
    this.#source.flow(this)
    setImmediate(() => {
      if (this.#stopped || this.#written > 0) return
      this.#socket.write(this.#before, 'latin1')
      this.#before = ''
    })
  }

  resume(): void {
    this.#source.resume()
  }

  /** Nothing more is written. */
  stop(): void {
    this.#stopped = true
    this.#source.destroy()
  }

  write(chunk: Buffer): boolean {
    const { length } = this.#source
    this.#written += chunk.length
    if (length !== undefined && this.#written > length) {
      this.#done(new UnsendableRequest('the content is longer than was announced'))
      return false
    }
    const before = length === undefined ? `${this.#before}${chunk.length.toString(16)}\r\n` : this.#before
    this.#before = length === undefined ? '\r\n' : ''
    if (before === '') return this.#socket.write(chunk)
    this.#socket.cork()
    this.#socket.write(before, 'latin1')
    const more = this.#socket.write(chunk)
    this.#socket.uncork()
    return more
  }

  end(): void {
    const { length } = this.#source
    if (length !== undefined && this.#written < length) {
      this.#done(new UnsendableRequest('the content is shorter than was announced'))
      return
    }
    const last = length === undefined ? `${this.#before}0\r\n\r\n` : this.#before
    if (last !== '') this.#socket.write(last, 'latin1')
    this.#before = ''
    this.stop()
    this.#done(undefined)
  }
}
