import { createServer, type IncomingMessage, type Server, type ServerResponse } from 'node:http'
import type { AddressInfo, Socket } from 'node:net'
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
  #draining = false

  private constructor(server: Server, log: Log) {
    this.#server = server
    const handle: Handler = (req, res) => {
      this.#open.add(res)
      // RFC 9112 §9.6: a connection that will be closed after this answer says so.
      if (this.#draining) res.shouldKeepAlive = false
      return this.#handler(req, res)
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

  static async listen({ host, port, variable, upgrades, log }: ListenOptions): Promise<Listener> {
    const server = createServer({ ...serverOptions, ...(!upgrades && { shouldUpgradeCallback: () => false }) })
    server.maxHeadersCount = 0 // the guard counts; Node would drop the rest without a word
    server.requestTimeout = 0 // uploads are watched for silence, not for length (upstream/upload.ts)
    server.keepAliveTimeout = 65_000 // longer than the load balancers in front usually wait
    await new Promise<void>((resolve, reject) => {
      server.once('error', reject)
      server.listen({ host, port, backlog: 1_024 }, () => {
        server.off('error', reject)
        resolve()
      })
    }).catch((cause: NodeJS.ErrnoException) => {
      throw new CannotListen(explain(cause, host, port, variable), { cause })
    })
    return new Listener(server, log)
  }

  get port(): number {
    return (this.#server.address() as AddressInfo).port
  }

  serve(handler: Handler): void {
    this.#handler = handler
  }

  /** Takes no more connections, lets running requests end for at most `grace` milliseconds, then cuts what is left. */
  async close(grace: number): Promise<void> {
    this.#draining = true
    this.#open.closeAfterAnswer()
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

function starting(_req: IncomingMessage, res: ServerResponse): void {
  const problem = new Problem('starting', 'The gateway has just been started; try again in a moment')
  res.writeHead(problem.status, { 'Content-Type': 'application/problem+json', 'Retry-After': '1', Connection: 'close' })
  res.end(JSON.stringify(problem.body('starting')))
}

function explain({ code, message }: NodeJS.ErrnoException, host: string, port: number, variable: string): string {
  if (code === 'EADDRINUSE')
    return `port ${port} on ${host} is taken; set ${variable} to a free one, as in ${variable}=${port + 10}`
  if (code === 'EACCES') return `port ${port} may not be used by this user; set ${variable} to one above 1023`
  if (code === 'EADDRNOTAVAIL' || code === 'ENOTFOUND')
    return `this machine has no address ${host} to listen on; set HOST`
  return `cannot listen on ${host}:${port}: ${message}`
}
