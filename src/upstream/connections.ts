import type { LookupFunction, Socket } from 'node:net'
import { buildConnector, Client } from 'undici'

/** Somebody who waits for a connection. */
export interface Waiter {
  connected(connection: Connection): void
}

/** Largest head of an answer, in bytes. */
const largestHead = 16_384

/**
 * The connections to one target: a stack of idle ones, the last used on top.
 *
 * undici's own Pool looks for a free client with a scan and cannot say which socket a request went out on; with one
 * Client per connection the next one is a `pop`, a second attempt gets a socket that never carried anything, and a
 * request that is given up while connecting takes its socket with it.
 */
export class Connections {
  readonly #origin: string
  readonly #most: number
  readonly #idle: Connection[] = []
  readonly #all = new Set<Connection>()
  readonly #waiting = new Set<Waiter>()
  readonly #transport: buildConnector.BuildOptions
  readonly #connector: buildConnector.connector
  #halfOpen: buildConnector.connector | undefined
  #closing = false

  /** `most`: connections open at a time; who comes later waits. */
  constructor(origin: string, most: number, lookup?: LookupFunction) {
    this.#origin = origin
    this.#most = most
    this.#transport = { allowH2: false, timeout: 0, keepAliveInitialDelay: 15_000, ...(lookup && { lookup }) }
    this.#connector = buildConnector(this.#transport)
  }

  get size(): number {
    return this.#all.size
  }

  get idle(): number {
    return this.#idle.length
  }

  /**
   * An idle connection, or a new one that connects when the first request is dispatched; undefined when there are too
   * many: then `waiter` is called as soon as one is free. `fresh`: never one that was used before.
   */
  take(waiter: Waiter, fresh = false): Connection | undefined {
    const connection = fresh ? undefined : this.#idle.pop()
    if (connection) return connection
    if (this.#all.size < this.#most) return this.#open()
    this.#waiting.add(waiter)
    return undefined
  }

  /** A connection that will not come back, for a protocol in which either end may finish before the other. */
  dedicated(): Connection {
    this.#halfOpen ??= buildConnector({ ...this.#transport, allowHalfOpen: true })
    return new Connection(this, this.#origin, this.#halfOpen)
  }

  /** Stop waiting. */
  leave(waiter: Waiter): void {
    this.#waiting.delete(waiter)
  }

  /** Called by a connection whose answer has ended; it may be dispatched to again at once. */
  released(connection: Connection): void {
    if (this.#closing || !this.#all.has(connection)) connection.drop()
    else if (this.#waiting.size === 0) this.#idle.push(connection)
    else this.#hand(connection)
  }

  /** Called by a connection that was closed: there is a place for who waits longest. */
  dropped(connection: Connection): void {
    if (this.#all.delete(connection) && this.#waiting.size > 0) this.#hand(this.#open())
  }

  /** Called by a connection whose socket went away; if it was idle it is of no use, if busy that is its user's affair. */
  disconnected(connection: Connection): void {
    const place = this.#idle.lastIndexOf(connection)
    if (place < 0) return
    this.#idle.splice(place, 1)
    connection.drop()
  }

  /** Close the idle connections now and the busy ones as they come back. */
  close(): void {
    this.#closing = true
    for (const connection of this.#idle.splice(0)) connection.drop()
  }

  #open(): Connection {
    const connection = new Connection(this, this.#origin, this.#connector)
    this.#all.add(connection)
    return connection
  }

  #hand(connection: Connection): void {
    const [next] = this.#waiting
    this.#waiting.delete(next!)
    // Not at once: undici may still be inside the parser that saw the end of the previous answer.
    setImmediate(() => next!.connected(connection))
  }
}

/** One connection to a target: an undici client, and the socket it currently speaks through. */
export class Connection {
  readonly owner: Connections
  readonly client: Client
  readonly #encrypted: boolean
  #socket: Socket | undefined

  constructor(owner: Connections, origin: string, connector: buildConnector.connector) {
    this.owner = owner
    this.#encrypted = origin.startsWith('https:')
    this.client = new Client(origin, {
      // The types say that a connector returns nothing; it returns the socket, and who gives up while connecting needs it.
      connect: (options, callback) => {
        this.#socket = connector(options, callback) as unknown as Socket
      },
      allowH2: false,
      pipelining: 1,
      keepAliveTimeout: 4_000,
      keepAliveMaxTimeout: 60_000,
      maxHeaderSize: largestHead,
      // All waiting is watched by `Watch`.
      headersTimeout: 0,
      bodyTimeout: 0,
    })
    this.client.on('disconnect', () => owner.disconnected(this))
  }

  get gone(): boolean {
    return this.#socket?.destroyed ?? false
  }

  /** Whether the socket ended with an error, such as a reset. */
  get errored(): boolean {
    return this.#socket?.errored != null
  }

  /** Bytes that have come in; 0 over TLS, where only those of the records are counted. */
  get bytesRead(): number {
    return this.#encrypted ? 0 : (this.#socket?.bytesRead ?? 0)
  }

  /** Hand it back for the next request. */
  release(): void {
    this.owner.released(this)
  }

  /** Let go of a socket that has changed its protocol. */
  detach(): void {
    this.#socket = undefined
    this.drop()
  }

  /** Close it, whatever it is doing. */
  drop(): void {
    if (this.client.destroyed) return
    this.client.destroy(null, () => {})
    this.#socket?.destroy()
    this.owner.dropped(this)
  }
}
