import { connect, type LookupFunction, type Socket } from 'node:net'
import { reasonOf } from './failure.ts'
import { type Address, addressOf, Connection, type ConnectionOwner, type ResponseHandler } from './http1/connection.ts'
import type { ResponseHead } from './http1/response-parser.ts'

export interface HealthSettings {
  /** Path that answers with a status from 200 to 399 while the target can serve. */
  readonly path: string
  /** Milliseconds between two probes. */
  readonly interval: number
  /** Milliseconds a probe may take. */
  readonly timeout: number
  /** Failed probes in a row that take a target out, and good ones that bring it back. */
  readonly unhealthyAfter: number
  readonly healthyAfter: number
}

/** What asking a target needs. */
export interface HealthTools {
  readonly lookup: LookupFunction
  /** A number from 0 up to 1. */
  readonly chance: () => number
}

/** A probe's answer beyond this is not read. */
const mostContent = 65_536

/** One question to a target. */
class Probe implements ResponseHandler, ConnectionOwner {
  readonly #connection: Connection
  readonly #done: (why: string | undefined) => void
  readonly #timer: NodeJS.Timeout
  #status = 0
  #bytes = 0
  session: Buffer | undefined

  /** `done` is told once: what is wrong, or undefined. `timeout` in milliseconds. */
  constructor(address: Address, path: string, timeout: number, done: (why: string | undefined) => void) {
    this.#done = done
    this.#timer = setTimeout(() => this.#end(`no answer within ${timeout} ms`), timeout).unref()
    this.#connection = new Connection(this, address)
    this.#connection.send({ method: 'GET', path, fields: ['User-Agent', 'sallyport-health'], body: null }, this)
  }

  /** Nobody wants to know any more. */
  cancel(): void {
    clearTimeout(this.#timer)
    this.#connection.drop()
  }

  onResponseStart({ status }: ResponseHead): void {
    this.#status = status
  }

  onResponseData(chunk: Buffer): void {
    this.#bytes += chunk.length
    if (this.#bytes > mostContent) this.onResponseEnd()
  }

  onResponseEnd(): void {
    this.#end(this.#status < 400 ? undefined : `status ${this.#status}`)
  }

  onResponseError(error: Error): void {
    this.#end(reasonOf(error))
  }

  #end(why: string | undefined): void {
    this.cancel()
    this.#done(why)
  }

  onRequestStart(): void {}
  onRequestSent(): void {}
  onResponseStarted(): void {}
  onInterim(): void {}
  onUpgrade(): void {}
  released(): void {}
  dropped(): void {}
}

/**
 * Asks one target at intervals how it is, each time over a connection of its own, so that a target whose connections are
 * all busy is not taken for dead. Counts as healthy until probes say otherwise.
 */
export class Prober {
  readonly #address: Address
  readonly #path: string
  readonly #settings: HealthSettings
  readonly #chance: () => number
  readonly #changed: (why: string | undefined) => void
  #streak = 0
  #timer: NodeJS.Timeout | undefined
  #probe: Probe | undefined
  #stopped = false
  healthy = true

  /** `changed` is told why a target is unhealthy, or undefined when it is healthy again. */
  constructor(url: string, settings: HealthSettings, tools: HealthTools, changed: (why: string | undefined) => void) {
    const parsed = new URL(url)
    this.#address = addressOf(parsed, tools.lookup)
    this.#path = parsed.pathname.replace(/\/$/, '') + settings.path
    this.#settings = settings
    this.#chance = tools.chance
    this.#changed = changed
    this.#ask()
  }

  stop(): void {
    this.#stopped = true
    clearTimeout(this.#timer)
    this.#probe?.cancel()
  }

  #ask(): void {
    const { timeout } = this.#settings
    this.#probe = new Probe(this.#address, this.#path, timeout, (why) => this.#told(why))
  }

  #told(why: string | undefined): void {
    this.#count(why)
    // Spread by a tenth, so that the probes of many gateways do not fall together.
    const pause = this.#settings.interval * (0.95 + 0.1 * this.#chance())
    if (!this.#stopped) this.#timer = setTimeout(() => this.#ask(), pause).unref()
  }

  #count(why: string | undefined): void {
    if ((why === undefined) === this.healthy) {
      this.#streak = 0
      return
    }
    this.#streak += 1
    if (this.#streak < (this.healthy ? this.#settings.unhealthyAfter : this.#settings.healthyAfter)) return
    this.#streak = 0
    this.healthy = !this.healthy
    this.#changed(why)
  }
}

/** Milliseconds between two knocks, and that one may take. */
const betweenKnocks = 500
const longestKnock = 1_000

/**
 * While a target refuses connections, tries whether it accepts one again: nothing is sent. So a target that was
 * restarted is back within a second, and no request has to find out.
 */
export class Knocker {
  readonly #address: Address
  readonly #opened: () => void
  #timer: NodeJS.Timeout | undefined
  #socket: Socket | undefined

  constructor(url: URL, { lookup }: HealthTools, opened: () => void) {
    this.#address = addressOf(url, lookup)
    this.#opened = opened
  }

  start(): void {
    if (this.#timer || this.#socket) return
    this.#timer = setTimeout(() => this.#knock(), betweenKnocks).unref()
  }

  stop(): void {
    clearTimeout(this.#timer)
    this.#timer = undefined
    const socket = this.#socket
    this.#socket = undefined
    socket?.destroy()
  }

  #knock(): void {
    this.#timer = undefined
    const { host, port, lookup } = this.#address
    const socket = connect({ host, port, ...(lookup && { lookup }) })
    this.#socket = socket
    socket.unref()
    socket.setTimeout(longestKnock, () => socket.destroy())
    socket.on('error', () => {})
    socket.on('connect', () => {
      this.stop()
      this.#opened()
    })
    socket.on('close', () => {
      if (this.#socket !== socket) return
      this.#socket = undefined
      this.start()
    })
  }
}
