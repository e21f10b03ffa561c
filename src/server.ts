import { readFileSync } from 'node:fs'
import { createServer, type IncomingMessage, type Server, type ServerResponse } from 'node:http'
import type { AddressInfo, Socket } from 'node:net'
import type { ListenerLimits } from './config/schema.ts'
import { serverOptions } from './http/guard.ts'
import { Problem } from './http/problem.ts'
import { answerParserError, parserProblem } from './http/refusal.ts'
import type { Log } from './telemetry/log.ts'
import { responseOn } from './upstream/tunnel.ts'

export type Handler = (req: IncomingMessage, res: ServerResponse) => unknown

/** A port cannot be had; the message says which, and how to choose another. */
export class CannotListen extends Error {
  constructor(message: string, options?: ErrorOptions) {
    super(message, options)
    this.name = 'CannotListen'
  }
}

export interface ListenOptions {
  readonly host: string
  /** 0 lets the system choose. */
  readonly port: number
  /** The environment variable that changes the port, for the message when it is taken. */
  readonly variable: string
  /** Whether WebSockets may be opened; otherwise `Upgrade` is ignored (RFC 9110 §7.8). */
  readonly upgrades: boolean
  readonly limits: ListenerLimits
  readonly log: Log
}

/**
 * One listening port. It is bound before anything else is made, because what the gateway says about itself depends on
 * the port it got; until `serve` is called every request is told to come back.
 */
export class Listener {
  readonly #server: Server
  readonly #open = new OpenResponses()
  /** Node neither counts nor closes these any more. */
  readonly #upgraded = new Set<Socket>()
  #handler: Handler = starting
  #leaving = false
  readonly #log: Log
  readonly #most: number
  #connections = 0
  /** Connections beyond the limit: what they ask is answered with 503. */
  readonly #surplus = new WeakSet<Socket>()
  #full = false
  #onSurplus: () => void = () => {}

  private constructor(server: Server, most: number, log: Log) {
    this.#server = server
    this.#most = most
    this.#log = log
    server.on('connection', (socket) => this.#count(socket))
    const handle: Handler = (req, res) => {
      this.#open.add(res)
      // RFC 9112 §9.6: a connection that will be closed after this answer says so.
      if (this.#leaving) res.shouldKeepAlive = false
      return this.#surplus.has(req.socket) ? crowded(req, res) : this.#handler(req, res)
    }
    server.on('request', handle)
    // Otherwise Node says `100 Continue`, or 417, before anybody has looked at the request.
    server.on('checkContinue', handle)
    server.on('checkExpectation', handle)
    server.on('upgrade', (req: IncomingMessage, duplex, head) => {
      // On a server of node:http it is always one.
      const socket = duplex as Socket
      this.#upgraded.add(socket)
      socket.on('close', () => this.#upgraded.delete(socket))
      // Node has let go of the connection: what happens to it is nobody else's to hear, and would end the process.
      socket.on('error', (error) => log.debug({ err: error }, 'a connection broke'))
      // What came behind the request waits for who reads it, and is never taken for another request.
      if (head.length > 0) socket.unshift(head)
      return handle(req, responseOn(req, socket))
    })
    server.on('clientError', (error: Error & { readonly code?: string }, socket) => {
      // A client that went away has nothing to be told, and it is no news.
      if (error.code !== 'ECONNRESET')
        log.info({ problem: parserProblem(error).code, reason: error.code }, 'unreadable request')
      answerParserError(error, socket, 'unread')
    })
    server.on('error', (error) => log.error({ err: error }, 'the listener failed'))
  }

  static async listen({ host, port, variable, upgrades, limits, log }: ListenOptions): Promise<Listener> {
    const server = createServer({
      ...serverOptions,
      maxHeaderSize: limits.head,
      headersTimeout: limits.headTimeout,
      ...(!upgrades && { shouldUpgradeCallback: () => false }),
    })
    server.maxHeadersCount = 0 // the guard counts; Node would drop the rest without a word
    server.requestTimeout = 0 // uploads are watched for silence, not for length (upstream/upload.ts)
    server.keepAliveTimeout = limits.keepAlive
    await new Promise<void>((resolve, reject) => {
      server.once('error', reject)
      server.listen({ host, port, backlog: 1_024 }, () => {
        server.off('error', reject)
        resolve()
      })
    }).catch((cause: NodeJS.ErrnoException) => {
      throw new CannotListen(explain(cause, host, port, variable), { cause })
    })
    return new Listener(server, Math.min(limits.connections, connectionsPossible()), log)
  }

  get port(): number {
    return (this.#server.address() as AddressInfo).port
  }

  /** `onSurplus` is called for every connection beyond the limit. */
  serve(handler: Handler, onSurplus: () => void = () => {}): void {
    this.#handler = handler
    this.#onSurplus = onSurplus
  }

  get connections(): number {
    return this.#connections
  }

  /** How many there may be: what is configured, or what the system has open files for. */
  get mostConnections(): number {
    return this.#most
  }

  /**
   * Beyond the limit the connections that wait for a next request are closed, and new ones are told to come back. There
   * is room to tell a few; who comes on top of those is cut.
   */
  #count(socket: Socket): void {
    this.#connections += 1
    socket.on('close', this.#onClose)
    if (this.#connections <= this.#most) return
    this.#onSurplus()
    if (!this.#full) {
      this.#full = true
      this.#log.warn({ connections: this.#connections }, 'more connections than are taken; further ones get 503')
      this.#server.closeIdleConnections()
    }
    if (this.#connections > this.#most + roomToTell(this.#most)) socket.destroy()
    else this.#surplus.add(socket)
  }

  readonly #onClose = (): void => {
    this.#connections -= 1
    if (!this.#full || this.#connections > this.#most * 0.9) return
    this.#full = false
    this.#log.info({ connections: this.#connections }, 'there is room for connections again')
  }

  /** From now on every answer closes its connection; new ones are still taken, until `close`. */
  leave(): void {
    this.#leaving = true
    this.#open.closeAfterAnswer()
  }

  get leaving(): boolean {
    return this.#leaving
  }

  /** Takes no more connections, lets running requests end for at most `grace` milliseconds, then cuts what is left. */
  async close(grace: number): Promise<void> {
    this.leave()
    const closed = new Promise<void>((resolve) => this.#server.close(() => resolve()))
    const idle = setInterval(() => this.#server.closeIdleConnections(), 50)
    const cut = setTimeout(() => {
      this.#server.closeAllConnections()
      for (const socket of this.#upgraded) socket.destroy()
    }, grace)
    await closed
    clearInterval(idle)
    clearTimeout(cut)
  }
}

/**
 * The responses that have not closed.
 *
 * A list, not a Set: tables that a Set has outgrown keep each other alive across scavenges, and every response that was
 * in them. Then each collection copies what has long been answered.
 */
class OpenResponses {
  readonly #entries: { readonly res: ServerResponse; place: number }[] = []

  add(res: ServerResponse): void {
    const entry = { res, place: this.#entries.length }
    this.#entries.push(entry)
    // `on` everywhere a response's close is awaited: Node tells it once, and `once` costs as much again to take back.
    res.on('close', () => {
      const last = this.#entries.pop()!
      if (last === entry) return
      this.#entries[entry.place] = last
      last.place = entry.place
    })
  }

  /** RFC 9112 §9.6, for those whose head has not been written. */
  closeAfterAnswer(): void {
    for (const { res } of this.#entries) if (!res.headersSent) res.shouldKeepAlive = false
  }
}

const roomToTell = (most: number) => Math.max(8, Math.ceil(most / 8))

/** What is kept for the store, the log and whatever else is open. */
const otherFiles = 64

/** The open files that so many connections need: each is one, and the request on it one more, to its service. */
export function filesFor(connections: number): number {
  return connections * 2 + otherFiles
}

/** A request takes two connections: the client's and the service's. Only Linux says how many open files it allows. */
function connectionsPossible(): number {
  try {
    const files = /^Max open files\s+(\d+)/m.exec(readFileSync('/proc/self/limits', 'utf8'))?.[1]
    return files === undefined ? Number.POSITIVE_INFINITY : Math.max(16, Math.floor((Number(files) - otherFiles) / 2))
  } catch {
    return Number.POSITIVE_INFINITY
  }
}

function starting(_req: IncomingMessage, res: ServerResponse): void {
  answerAway(res, new Problem('starting', 'The gateway has just been started; try again in a moment'))
}

function crowded(_req: IncomingMessage, res: ServerResponse): void {
  answerAway(res, new Problem('overloaded', 'The gateway has as many connections as it takes; try again in a moment'))
}

/** No request is looked at and no connection kept. */
function answerAway(res: ServerResponse, problem: Problem): void {
  const body = JSON.stringify(problem.body('unread'))
  res.writeHead(problem.status, {
    'Content-Type': 'application/problem+json',
    'Content-Length': Buffer.byteLength(body),
    'Retry-After': '1',
    Connection: 'close',
  })
  res.end(body)
}

function explain({ code, message }: NodeJS.ErrnoException, host: string, port: number, variable: string): string {
  if (code === 'EADDRINUSE')
    return `port ${port} on ${host} is taken; set ${variable} to a free one, as in ${variable}=${port + 10}`
  if (code === 'EACCES') return `port ${port} may not be used by this user; set ${variable} to one above 1023`
  if (code === 'EADDRNOTAVAIL' || code === 'ENOTFOUND')
    return `this machine has no address ${host} to listen on; set HOST`
  return `cannot listen on ${host}:${port}: ${message}`
}
