import type { LookupFunction } from 'node:net'
import { type Address, addressOf, Connection, type ConnectionOwner } from './http1/connection.ts'

/** Somebody who waits for a connection. */
export interface Waiter {
  connected(connection: Connection): void
}

/** Milliseconds between two looks at the idle connections. */
const second = 1_000

/**
 * The connections to one target: a stack of idle ones, the last used on top.
 *
 * An idle one is handed out at the end of the turn of the event loop in which it is asked for, when everything that has
 * come in meanwhile has been read. So one that the service has just closed is not used, nor one on which it has sent
 * something that nobody asked for: that would be taken for the answer (response queue poisoning).
 */
export class Connections implements ConnectionOwner {
  readonly #address: Address
  readonly #most: number
  readonly #idle: Connection[] = []
  readonly #all = new Set<Connection>()
  /** Who waits for a connection, the longest first. No Set: every request is in it for a moment (see `Watch`). */
  readonly #waiting: Waiter[] = []
  /** Whether they are served when this turn ends. */
  #serving = false
  #timer: NodeJS.Timeout | undefined
  #closing = false
  session: Buffer | undefined

  /** `most`: connections open at a time; who comes later waits. */
  constructor(url: URL, most: number, lookup?: LookupFunction) {
    this.#address = addressOf(url, lookup)
    this.#most = most
  }

  get size(): number {
    return this.#all.size
  }

  get idle(): number {
    return this.#idle.length
  }

  /**
   * A new connection, if one is wanted or no other is idle; undefined when `waiter` is called instead: soon, or when one
   * becomes free. `fresh`: not one that has been idle; what comes back to who waits has just carried an answer.
   */
  take(waiter: Waiter, fresh = false): Connection | undefined {
    const free = this.#idle.length - this.#waiting.length
    if (free > 0 && !fresh) {
      this.#waiting.push(waiter)
      this.#serveSoon()
      return undefined
    }
    if (free > 0 && this.#all.size === this.#most) this.#idle[0]!.drop()
    // Who waits already comes first: to the idle connections, then to the room for new ones.
    if (this.#all.size - Math.min(free, 0) < this.#most) return this.#open()
    this.#waiting.push(waiter)
    return undefined
  }

  /** A connection that will not come back, for a protocol in which either end may finish before the other. */
  dedicated(): Connection {
    return new Connection(this, this.#address, true)
  }

  /** Stop waiting. */
  leave(waiter: Waiter): void {
    // From the end: when they give up together, the last comes first (see `Watch`).
    const place = this.#waiting.lastIndexOf(waiter)
    if (place >= 0) this.#waiting.splice(place, 1)
  }

  /** The turn is over: who waits gets an idle connection or a new one, as long as there are any. */
  serve(): void {
    this.#serving = false
    while (this.#waiting.length > 0) {
      const connection = this.#newestIdle() ?? (this.#all.size < this.#most ? this.#open() : undefined)
      if (connection === undefined) return
      this.#waiting.shift()!.connected(connection)
    }
  }

  released(connection: Connection): void {
    if (this.#closing || !connection.reusable) {
      connection.drop()
      return
    }
    connection.rest()
    this.#idle.push(connection)
    this.#timer ??= setInterval(() => this.#dropOld(), second).unref()
    this.#serveSoon()
  }

  dropped(connection: Connection): void {
    const place = this.#idle.lastIndexOf(connection)
    if (place >= 0) this.#idle.splice(place, 1)
    if (this.#all.delete(connection)) this.#serveSoon()
  }

  /** Close the idle connections now and the busy ones as they come back. */
  close(): void {
    this.#closing = true
    clearInterval(this.#timer)
    for (const connection of this.#idle.splice(0)) connection.drop()
  }

  #newestIdle(): Connection | undefined {
    for (;;) {
      const connection = this.#idle.pop()
      if (connection === undefined || connection.reusable) return connection
      connection.drop()
    }
  }

  #open(): Connection {
    const connection = new Connection(this, this.#address)
    this.#all.add(connection)
    return connection
  }

  #serveSoon(): void {
    if (this.#serving || this.#waiting.length === 0) return
    this.#serving = true
    setImmediate(serve, this)
  }

  #dropOld(): void {
    for (const connection of this.#idle.filter((connection) => connection.grewOld())) connection.drop()
    if (this.#idle.length > 0) return
    clearInterval(this.#timer)
    this.#timer = undefined
  }
}

function serve(connections: Connections): void {
  connections.serve()
}
