import { connect as connectTcp, isIP, type LookupFunction, type Socket } from 'node:net'
import { connect as connectTls } from 'node:tls'
import { ConnectionClosed } from '../failure.ts'
import { BodyWriter, requestHead, type WireRequest, writeWhole } from './request-writer.ts'
import { type ResponseEvents, type ResponseHead, ResponseParser } from './response-parser.ts'

/** Where a connection leads. */
export interface Address {
  readonly encrypted: boolean
  /** A name or an address, the latter without brackets. */
  readonly host: string
  readonly port: number
  /** What `Host` says (RFC 9110 §7.2). */
  readonly authority: string
  readonly lookup?: LookupFunction | undefined
}

/** Where a URL of `http:` or `https:` leads; `lookup` resolves a name, by default as the system does. */
export function addressOf({ protocol, hostname, port, host }: URL, lookup?: LookupFunction): Address {
  const encrypted = protocol === 'https:'
  return {
    encrypted,
    host: hostname.replace(/^\[|\]$/g, ''),
    port: Number(port) || (encrypted ? 443 : 80),
    authority: host,
    lookup,
  }
}

/** Who sent a request, and gets what comes back. Throwing refuses the answer, and is told of as an error. */
export interface ResponseHandler {
  /** The connection stands, and the request is about to be written. */
  onRequestStart(): void
  /** Content that came piece by piece has been written. */
  onRequestSent(): void
  /** The first byte of an answer came. */
  onResponseStarted(): void
  /** An answer before the answer (RFC 9110 §15.2). */
  onInterim(status: number, fields: readonly string[]): void
  onResponseStart(head: ResponseHead): void
  /** The chunk is the handler's to keep. */
  onResponseData(chunk: Buffer): void
  /** All of it has come. Until the connection is released nobody else uses it. */
  onResponseEnd(): void
  /** The protocol was changed: the connection is no more, and its socket is the handler's, paused. */
  onUpgrade(fields: readonly string[], socket: Socket): void
  /** Nothing will come any more, and the connection is closed. */
  onResponseError(error: Error): void
}

/** Who keeps a connection. */
export interface ConnectionOwner {
  /** It is free. */
  released(connection: Connection): void
  /** It was closed, by whomever. */
  dropped(connection: Connection): void
  /** A session of TLS that the next connection may take up again; undefined when there is none. */
  session: Buffer | undefined
}

/** Seconds for which an idle connection is kept: when the service does not say, at most, and less than it says. */
const idleTime = 4
const longestIdle = 60
const idleMargin = 2

/**
 * Where the bytes of all plain connections land. They are read or copied before anything else can come; memory of its own
 * for every read would be 64 KiB allocated for an answer of one.
 */
const landing = Buffer.allocUnsafeSlow(65_536)

/**
 * One connection of HTTP/1.1 to a target (RFC 9112). Requests go out on it one after the other, each when the answer to
 * the one before has come whole. It connects when the first is sent.
 */
export class Connection implements ResponseEvents {
  readonly owner: ConnectionOwner
  readonly #address: Address
  readonly #dedicated: boolean
  readonly #parser: ResponseParser
  #socket: Socket | undefined
  #ready = false
  #dropped = false
  /** The request under way, who sent it, and its content while it is still being written. */
  #request: WireRequest | undefined
  #handler: ResponseHandler | undefined
  #writer: BodyWriter | undefined
  #answered = false
  #paused = false
  /** Whether what has been read last is nobody else's. */
  #owned = false
  /** Whether it may carry another request when this one is over, and for how many seconds it may wait for it. */
  #reusable = false
  #patience = idleTime
  #idled = 0
  /** Whether it keeps the process alive. */
  #holds = true

  /** `dedicated`: for a protocol in which either end may finish before the other. */
  constructor(owner: ConnectionOwner, address: Address, dedicated = false) {
    this.owner = owner
    this.#address = address
    this.#dedicated = dedicated
    this.#parser = new ResponseParser(this)
  }

  /** Whether it is closed, though nobody may have been told yet. */
  get gone(): boolean {
    return this.#dropped || this.#socket?.destroyed === true
  }

  /** Whether it has carried a request and may carry another. */
  get reusable(): boolean {
    return this.#reusable && !this.gone
  }

  /** Sends a request, when the connection stands. */
  send(request: WireRequest, handler: ResponseHandler): void {
    this.#request = request
    this.#handler = handler
    this.#answered = this.#reusable = false
    if (this.#socket === undefined) this.#connect()
    else if (!this.#holds) this.#hold()
    if (this.#ready) this.#write()
  }

  /** Read no more of the answer for now. What has been read already still comes. */
  pause(): void {
    this.#paused = true
    this.#socket?.pause()
  }

  resume(): void {
    if (!this.#paused) return
    this.#paused = false
    this.#socket?.resume()
  }

  /** Hand it back for the next request. */
  release(): void {
    this.owner.released(this)
  }

  /** Nobody uses it from now on. */
  rest(): void {
    this.#idled = 0
  }

  /** It has been idle for another second: it no longer keeps the process alive. Returns whether it was one too many. */
  grewOld(): boolean {
    this.#idled += 1
    // Not at once: busy connections rest between any two requests.
    this.#holds = false
    this.#socket!.unref()
    return this.#idled > this.#patience
  }

  /** Close it, whatever it is doing; its user is not told. */
  drop(): void {
    if (this.#dropped) return
    this.#dropped = true
    this.#handler = this.#request = undefined
    this.#parser.stop()
    this.#writer?.stop()
    this.#socket?.destroy()
    this.owner.dropped(this)
  }

  #hold(): void {
    this.#holds = true
    this.#socket!.ref()
  }

  // The socket

  #connect(): void {
    const { encrypted, host, port, lookup } = this.#address
    const options = {
      host,
      port,
      noDelay: true,
      keepAlive: true,
      keepAliveInitialDelay: 15_000,
      allowHalfOpen: this.#dedicated,
      ...(lookup && { lookup }),
    }
    if (encrypted) {
      const { session } = this.owner
      const socket = connectTls({
        ...options,
        // Never an address, nor the dot of the root (RFC 6066 §3).
        servername: isIP(host) ? '' : host.replace(/\.$/, ''),
        ALPNProtocols: ['http/1.1'],
        ...(session && { session }),
      })
      socket.on('session', (fresh) => {
        this.owner.session = fresh
      })
      this.#listen(socket.on('data', this.#onData), 'secureConnect')
    } else if (this.#dedicated) this.#listen(connectTcp(options).on('data', this.#onData), 'connect')
    else this.#listen(connectTcp({ ...options, onread: { buffer: landing, callback: this.#onLanding } }), 'connect')
  }

  #listen(socket: Socket, connected: 'connect' | 'secureConnect'): void {
    this.#socket = socket
    socket
      .once(connected, () => {
        this.#ready = true
        if (this.#request) this.#write()
      })
      .on('drain', this.#onDrain)
      .on('end', this.#onEnd)
      .on('error', this.#onError)
      .on('close', this.#onClose)
  }

  readonly #onLanding = (length: number): boolean => {
    this.#owned = false
    this.#received(landing, length)
    return true
  }

  readonly #onData = (chunk: Buffer): void => {
    this.#owned = true
    this.#received(chunk, chunk.length)
  }

  readonly #onDrain = (): void => this.#writer?.resume()

  readonly #onEnd = (): void => {
    if (!this.#parser.finish()) this.#fail(new ConnectionClosed())
  }

  readonly #onError = (error: Error): void => this.#fail(error)

  readonly #onClose = (): void => this.#fail(new ConnectionClosed())

  #fail(error: Error): void {
    const handler = this.#handler
    this.drop()
    handler?.onResponseError(error)
  }

  // The request

  #write(): void {
    const request = this.#request!
    const socket = this.#socket!
    const { method, body, upgrade } = request
    try {
      const head = requestHead(request, this.#address.authority)
      this.#handler!.onRequestStart()
      // Whoever has given up meanwhile has dropped the connection.
      if (this.#dropped) return
      this.#parser.begin(method, upgrade !== undefined)
      if (body === null || Buffer.isBuffer(body)) writeWhole(socket, head, body)
      else {
        this.#writer = new BodyWriter(socket, head, body, (error) => this.#written(error))
        this.#writer.begin()
      }
    } catch (error) {
      this.#fail(error as Error)
    }
  }

  #written(error: Error | undefined): void {
    if (error) {
      this.#fail(error)
      return
    }
    this.#writer = undefined
    this.#handler?.onRequestSent()
  }

  // The answer

  #received(bytes: Buffer, length: number): void {
    const handler = this.#handler
    // What comes while nothing was asked must not become the answer to what is asked next.
    if (handler === undefined) {
      this.drop()
      return
    }
    try {
      if (!this.#answered) handler.onResponseStarted()
      this.#answered = true
      this.#parser.push(bytes, length)
    } catch (error) {
      this.#fail(error as Error)
    }
  }

  interim(status: number, fields: readonly string[]): void {
    this.#handler!.onInterim(status, fields)
  }

  head(head: ResponseHead): void {
    this.#reusable = head.persistent
    this.#patience = head.kept === undefined ? idleTime : Math.min(longestIdle, head.kept - idleMargin)
    this.#handler!.onResponseStart(head)
  }

  data(bytes: Buffer, from: number, to: number): void {
    this.#handler!.onResponseData(this.#owned ? bytes.subarray(from, to) : copyOf(bytes, from, to))
  }

  end(more: boolean): void {
    const handler = this.#handler!
    // Who answers before it has read everything may take the rest for another request.
    const sent = this.#writer === undefined && this.#socket!.writableLength === 0
    this.#reusable &&= !more && sent && !this.#dedicated && this.#patience > 0
    this.#handler = this.#request = undefined
    // The last piece may have been one too many for its reader; the end of the connection must be seen all the same.
    this.resume()
    handler.onResponseEnd()
  }

  upgrade(fields: readonly string[], bytes: Buffer, from: number, to: number): void {
    const socket = this.#socket!
    const handler = this.#handler!
    socket.pause()
    socket.off('data', this.#onData).off('drain', this.#onDrain).off('end', this.#onEnd)
    socket.off('error', this.#onError).off('close', this.#onClose)
    if (from < to) socket.unshift(bytes.subarray(from, to))
    this.#socket = undefined
    this.drop()
    handler.onUpgrade(fields, socket)
  }
}

function copyOf(bytes: Buffer, from: number, to: number): Buffer {
  const copy = Buffer.allocUnsafe(to - from)
  bytes.copy(copy, 0, from, to)
  return copy
}
