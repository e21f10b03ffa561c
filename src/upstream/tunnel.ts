import { type IncomingMessage, ServerResponse } from 'node:http'
import type { Socket } from 'node:net'
import { Problem } from '../http/problem.ts'
import { Answer } from './answer.ts'
import type { Endable } from './ending.ts'
import type { Outcome, Outgoing, Service } from './exchange.ts'
import type { ResponseFields } from './forward.ts'
import { checkAcceptance, checkHandshake, closeFrame, FrameBorders } from './websocket.ts'

/** A WebSocket that a client wants to a service, as Node's `upgrade` event hands it over. */
export interface TunnelRequest extends Omit<Outgoing, 'method' | 'upgrade' | 'repeatable'> {
  readonly req: IncomingMessage
  /** Made by `responseOn`; used when the service answers with anything but 101. */
  readonly res: ServerResponse
  readonly socket: Socket
  /** What the client sent behind its request. */
  readonly head: Buffer
  readonly responseFields: ResponseFields
  /** Told once, when the tunnel has closed or could not be made. */
  readonly onOutcome?: ((outcome: Outcome) => void) | undefined
  /** Told when the tunnel stands. */
  readonly onOpen?: ((tunnel: Tunnel) => void) | undefined
}

/** Time for both ends to close after one has; then both are cut. */
const farewell = 1_000
/** Once an end has finished, how long the other may be silent before it is taken to be gone too. */
const lastWords = 30_000
/** What a client may send before the service has agreed; then it is not read any further. */
const mostEarly = 65_536

/**
 * A response for a request whose connection has left Node's HTTP server: what is written goes out, then the connection
 * closes. So everything that answers requests can answer an upgrade.
 */
export function responseOn(req: IncomingMessage, socket: Socket): ServerResponse {
  const res = new ServerResponse(req)
  res.shouldKeepAlive = false
  res.assignSocket(socket)
  res.on('finish', () => socket.destroySoon())
  return res
}

/**
 * Connects a client with a service by WebSocket: the handshake like any exchange (targets, time limits, retries), then
 * bytes both ways, untouched. Nothing of the client is passed on before the service has agreed. Resolves when the
 * tunnel has closed, or when an answer other than 101 was delivered; rejects with a `Problem` when there is none.
 */
export function tunnel(service: Service, tunnels: Tunnels, request: TunnelRequest): Promise<Outcome> {
  return new Promise((resolve, reject) => {
    // A tunnel may stand for days: what is not named here again is not kept for it.
    const { req, res, socket, head, onOpen, ...outgoing } = request
    const { ending, responseFields } = outgoing
    checkHandshake(req)
    const key = req.headers['sec-websocket-key']!
    const early = new EarlyBytes(socket, head)
    const answer = new Answer(
      service,
      { ...outgoing, req, res, method: 'GET', hasBody: false, upgrade: 'websocket' },
      (outcome) => {
        early.take()
        resolve(outcome)
      },
      (error) => {
        early.take()
        reject(error)
      },
    )
    answer.upgraded = (fields, backend) => {
      checkAcceptance(fields, key)
      const lines = responseFields(101, fields)
      let text = 'HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n'
      for (let i = 0; i < lines.length; i += 2) text += `${lines[i]}: ${lines[i + 1]}\r\n`
      res.detachSocket(socket)
      const open = new Tunnel(socket, backend, () => {
        tunnels.delete(open)
        ending?.delete(expelled)
        answer.received = open.received
        answer.sent = open.sent
        answer.settled(undefined)
      })
      const expelled: Endable = {
        ended: (reason) => open.close(1008, reason instanceof Problem ? reason.detail : 'no longer allowed'),
      }
      ending?.add(expelled)
      socket.write(`${text}\r\n`, 'latin1')
      open.begin(early.take())
      tunnels.add(open, { service: service.name, target: answer.target! })
      onOpen?.(open)
    }
    if (socket.destroyed) answer.refuse('client-closed-request')
    else answer.send(null)
  })
}

/** The tunnels that stand, for whoever must close them: `server.close()` knows nothing of them. */
export class Tunnels {
  readonly #open = new Map<Tunnel, TunnelEnd>()

  get size(): number {
    return this.#open.size
  }

  add(tunnel: Tunnel, end: TunnelEnd): void {
    this.#open.set(tunnel, end)
  }

  delete(tunnel: Tunnel): void {
    this.#open.delete(tunnel)
  }

  /** Close every tunnel, by default because the gateway goes away (RFC 6455 §7.4.1). */
  close(code = 1001, reason = 'the gateway is shutting down'): void {
    for (const tunnel of this.#open.keys()) tunnel.close(code, reason)
  }

  /**
   * Close those that lead to what is not served any more: 1001 when the service is gone, 1012 when only the target is,
   * so that the client comes again (RFC 6455 §7.4.1, and the registry of close codes).
   */
  closeStale(fate: (end: TunnelEnd) => 'stays' | 'service-gone' | 'target-gone'): void {
    for (const [tunnel, end] of this.#open) {
      const verdict = fate(end)
      if (verdict === 'service-gone') tunnel.close(1001, 'the service is gone')
      if (verdict === 'target-gone') tunnel.close(1012, 'this instance of the service is gone; connect again')
    }
  }
}

/** Where a tunnel leads. */
export interface TunnelEnd {
  readonly service: string
  /** URL of the target, as in services.json. */
  readonly target: string
}

/** Keeps what a client sends before its tunnel stands, and notices when it leaves meanwhile. */
class EarlyBytes {
  readonly #socket: Socket
  readonly #chunks: Buffer[] = []
  #bytes = 0

  constructor(socket: Socket, head: Buffer) {
    this.#socket = socket
    if (head.length > 0) this.#onData(head)
    socket.on('data', this.#onData).on('end', this.#onEnd)
  }

  /** All of it; nothing is kept from now on. */
  take(): readonly Buffer[] {
    this.#socket.off('data', this.#onData).off('end', this.#onEnd)
    return this.#chunks.splice(0)
  }

  readonly #onData = (chunk: Buffer) => {
    this.#chunks.push(chunk)
    this.#bytes += chunk.length
    if (this.#bytes > mostEarly) this.#socket.pause()
  }

  readonly #onEnd = () => {
    this.#socket.destroy()
  }
}

/** Two sockets joined: bytes, back-pressure, half-close and end of each are passed to the other. */
export class Tunnel {
  readonly #toBackend: Flow
  readonly #toClient: Flow
  readonly #done: () => void
  #timer: NodeJS.Timeout | undefined
  #open = 2

  constructor(client: Socket, backend: Socket, done: () => void, patience = lastWords) {
    this.#toBackend = new Flow(client, backend)
    this.#toClient = new Flow(backend, client)
    this.#done = done
    for (const { from, to } of [this.#toBackend, this.#toClient]) {
      from.on('end', () => to.setTimeout(patience, () => to.destroy()))
    }
    for (const socket of [client, backend]) {
      socket.setTimeout(0)
      socket.setNoDelay(true)
      socket.setKeepAlive(true, 15_000)
      socket.on('error', () => {})
      socket.on('close', () => this.#closed())
    }
  }

  /** Bytes from the client, and to it. */
  get received(): number {
    return this.#toBackend.bytes
  }

  get sent(): number {
    return this.#toClient.bytes
  }

  begin(early: readonly Buffer[]): void {
    for (const chunk of early) this.#toBackend.pass(chunk)
    this.#toBackend.begin()
    this.#toClient.begin()
  }

  /** Says why to both ends, in a Close frame between two frames, and cuts them within a second. */
  close(code: number, reason: string): void {
    this.#toClient.finish(closeFrame(code, reason, false))
    this.#toBackend.finish(closeFrame(code, reason, true))
    this.#cutSoon()
  }

  #closed(): void {
    this.#open -= 1
    if (this.#open === 0) {
      clearTimeout(this.#timer)
      this.#done()
      return
    }
    // One end is gone: what it said last may still go out, then the other goes too.
    this.#toClient.to.destroySoon()
    this.#toBackend.to.destroySoon()
    this.#cutSoon()
  }

  #cutSoon(): void {
    this.#timer ??= setTimeout(() => {
      this.#toClient.to.destroy()
      this.#toBackend.to.destroy()
    }, farewell).unref()
  }
}

/** One direction of a tunnel. */
class Flow {
  readonly from: Socket
  readonly to: Socket
  readonly #borders = new FrameBorders()
  /** The frame to end with, once one is wanted. */
  #last: Buffer | undefined
  #finished = false
  bytes = 0

  constructor(from: Socket, to: Socket) {
    this.from = from
    this.to = to
  }

  begin(): void {
    this.from.on('data', (chunk: Buffer) => this.pass(chunk))
    this.from.on('end', () => this.to.end())
    this.to.on('drain', () => this.from.resume())
    this.from.resume()
  }

  pass(chunk: Buffer): void {
    if (this.#finished) return
    const end = this.#borders.advance(chunk, this.#last !== undefined)
    this.bytes += end
    if (!this.to.write(end < chunk.length ? chunk.subarray(0, end) : chunk)) this.from.pause()
    this.#finishBetweenFrames()
  }

  /** End with this frame, as soon as the one that is under way is complete. */
  finish(frame: Buffer): void {
    this.#last ??= frame
    this.#finishBetweenFrames()
  }

  #finishBetweenFrames(): void {
    if (this.#finished || this.#last === undefined || !this.#borders.between) return
    this.#finished = true
    if (this.to.writable) this.to.end(this.#last)
    // Read on into nothing: only so is the end of the other side seen.
    this.from.resume()
  }
}
