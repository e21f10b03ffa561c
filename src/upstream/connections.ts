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
  /** Who gets a connection at the end of this turn, and who waits until there is one for it. */
  #called: Waiter[] = []
  readonly #waiting = new Set<Waiter>()
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
   * becomes free. `fresh`: never one that was used before.
   */
  take(waiter: Waiter, fresh = false): Connection | undefined {
    if (!fresh && this.#idle.length > this.#called.length) {
      this.#call(waiter)
      return undefined
    }
    if (this.#all.size < this.#most) return this.#open()
    this.#waiting.add(waiter)
    return undefined
  }

  /** A connection that will not come back, for a protocol in which either end may finish before the other. */
  dedicated(): Connection {
    return new Connection(this, this.#address, true)
  }

  /** Stop waiting. */
  leave(waiter: Waiter): void {
    this.#waiting.delete(waiter)
    const place = this.#called.indexOf(waiter)
    if (place >= 0) this.#called.splice(place, 1)
  }

  /** The turn is over: everybody who was called gets an idle connection, or a new one when that has gone. */
  handOut(): void {
    const waiters = this.#called
    this.#called = []
    for (const waiter of waiters) {
      const connection = this.#newestIdle() ?? this.take(waiter, true)
      if (connection) waiter.connected(connection)
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
    this.#callNext()
  }

  dropped(connection: Connection): void {
    const place = this.#idle.lastIndexOf(connection)
    if (place >= 0) this.#idle.splice(place, 1)
    if (this.#all.delete(connection)) this.#callNext()
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

  /** There is a place for who waits longest. */
  #callNext(): void {
    if (this.#waiting.size === 0) return
    const [next] = this.#waiting
    this.#waiting.delete(next!)
    this.#call(next!)
  }

  #call(waiter: Waiter): void {
    if (this.#called.push(waiter) === 1) setImmediate(handOut, this)
  }

  #dropOld(): void {
    for (const connection of this.#idle.filter((connection) => connection.grewOld())) connection.drop()
    if (this.#idle.length > 0) return
    clearInterval(this.#timer)
    this.#timer = undefined
  }
}

function handOut(connections: Connections): void {
  connections.handOut()
}
