import type { IncomingMessage } from 'node:http'
import { Problem } from '../http/problem.ts'
import type { BodySink, BodySource } from './http1/request-writer.ts'
import type { Copy } from './mirror.ts'
import type { Watch, Watched } from './watch.ts'

/** Bytes per second that a request body must bring on average, after a grace of five seconds. */
const slowest = 500
const grace = 5_000

/** How much of an unread body is still taken after the answer, and for how long, before the connection is cut. */
const lingerBytes = 1_048_576
const lingerTime = 2_000

/** How fast a body comes in, leaving out the time in which nobody asked for it. */
class Meter {
  readonly #clock: () => number
  #started = 0
  #heard = 0
  #paused = 0
  received = 0
  /** Since when nobody asks for more; 0 while somebody does. */
  pausedAt = 0

  constructor(clock: () => number) {
    this.#clock = clock
  }

  get started(): boolean {
    return this.#started > 0
  }

  start(): void {
    this.#started = this.#heard = this.#clock()
  }

  take(bytes: number): void {
    this.received += bytes
    this.#heard = this.#clock()
  }

  pause(): void {
    this.pausedAt = this.#clock()
  }

  resume(): void {
    if (this.pausedAt === 0) return
    this.#heard = this.#clock()
    this.#paused += this.#heard - this.pausedAt
    this.pausedAt = 0
  }

  /** Whether the client keeps us waiting for too long: silent for `idle` milliseconds, or a trickle. */
  tooSlow(now: number, idle: number): boolean {
    if (this.#started === 0 || this.pausedAt > 0) return false
    if (now - this.#heard > idle) return true
    const reading = now - this.#started - this.#paused - grace
    return reading > 0 && this.received < (reading / 1_000) * slowest
  }
}

/** What happens to a request body that is not good. */
interface BodyEvents {
  /** More bytes came than are accepted. */
  readonly tooLarge: () => void
  /** It comes too slowly, or has stopped. */
  readonly tooSlow: () => void
  /** Sees all of it pass by. */
  readonly copy?: Copy | undefined
}

interface BodyTools {
  readonly watch: Watch
  readonly clock: () => number
}

/** A small request body of known length, read whole before the service is bothered. */
export class WholeBody implements Watched {
  readonly #req: IncomingMessage
  readonly #meter: Meter
  readonly #watch: Watch
  readonly #idle: number
  readonly #done: (body: Buffer) => void
  readonly #tooSlow: () => void
  readonly #chunks: Buffer[] = []
  place = -1

  constructor(req: IncomingMessage, idle: number, tools: BodyTools, done: (body: Buffer) => void, tooSlow: () => void) {
    this.#req = req
    this.#done = done
    this.#meter = new Meter(tools.clock)
    this.#watch = tools.watch
    this.#idle = idle
    this.#tooSlow = tooSlow
    this.#meter.start()
    this.#watch.add(this)
    req.on('data', this.#onData).on('end', this.#onEnd)
  }

  get received(): number {
    return this.#meter.received
  }

  check(now: number): void {
    if (this.#meter.tooSlow(now, this.#idle)) this.#tooSlow()
  }

  /** Nobody waits for it any more. */
  destroy(): void {
    this.#watch.delete(this)
    this.#req.off('data', this.#onData).off('end', this.#onEnd)
  }

  readonly #onData = (chunk: Buffer) => {
    this.#meter.take(chunk.length)
    this.#chunks.push(chunk)
  }

  readonly #onEnd = () => {
    this.#watch.delete(this)
    this.#done(this.#chunks.length === 1 ? this.#chunks[0]! : Buffer.concat(this.#chunks))
  }
}

/** A request body of any length, read whole up to a limit before anything else happens to the request. */
class ContentReader implements Watched {
  readonly #req: IncomingMessage
  readonly #meter: Meter
  readonly #watch: Watch
  readonly #limit: number
  readonly #idle: number
  readonly #resolve: (content: Buffer | undefined) => void
  readonly #reject: (problem: Problem) => void
  readonly #chunks: Buffer[] = []
  place = -1

  constructor(
    req: IncomingMessage,
    { limit, idle }: ContentLimits,
    tools: BodyTools,
    resolve: (content: Buffer | undefined) => void,
    reject: (problem: Problem) => void,
  ) {
    this.#req = req
    this.#meter = new Meter(tools.clock)
    this.#watch = tools.watch
    this.#limit = limit
    this.#idle = idle
    this.#resolve = resolve
    this.#reject = reject
    this.#meter.start()
    this.#watch.add(this)
    req.on('data', this.#onData).once('end', this.#onEnd).once('close', this.#onClose)
    req.resume()
  }

  check(now: number): void {
    if (!this.#meter.tooSlow(now, this.#idle)) return
    this.#leave()
    this.#reject(new Problem('request-timeout', 'The request body did not arrive in time'))
  }

  readonly #onData = (chunk: Buffer) => {
    this.#meter.take(chunk.length)
    this.#chunks.push(chunk)
    if (this.#meter.received <= this.#limit) return
    this.#leave()
    // Whoever reads next begins at the beginning.
    this.#req.pause()
    this.#req.unshift(Buffer.concat(this.#chunks))
    this.#resolve(undefined)
  }

  readonly #onEnd = () => {
    this.#leave()
    this.#resolve(Buffer.concat(this.#chunks))
  }

  readonly #onClose = () => {
    this.#leave()
    this.#reject(new Problem('client-closed-request', 'The client left in the middle of its body'))
  }

  #leave(): void {
    this.#watch.delete(this)
    this.#req.off('data', this.#onData).off('end', this.#onEnd).off('close', this.#onClose)
  }
}

export interface ContentLimits {
  /** Bytes. */
  readonly limit: number
  /** Milliseconds of silence that are waited for. */
  readonly idle: number
}

/**
 * Reads the content of a request whole. Resolves with undefined when it has more than `limit` bytes: then it can be read
 * once more from its beginning. Rejects with a `Problem` when the client is too slow or leaves.
 */
export function readContent(
  req: IncomingMessage,
  limits: ContentLimits,
  tools: BodyTools,
): Promise<Buffer | undefined> {
  return new Promise((resolve, reject) => new ContentReader(req, limits, tools, resolve, reject))
}

/**
 * A request body on its way to a service. It begins to read when it begins to be sent: a request that finds no
 * connection is still whole.
 */
export class Upload implements BodySource, Watched {
  /** Bytes announced by `Content-Length`; undefined when chunked. */
  readonly length: number | undefined
  readonly #req: IncomingMessage
  readonly #meter: Meter
  readonly #watch: Watch
  readonly #limit: number
  readonly #idle: number
  readonly #events: BodyEvents & { readonly begin: () => void }
  #sink: BodySink | undefined
  #destroyed = false
  place = -1

  /** `limit` in bytes, `idle` in milliseconds; `begin` is called before the first byte is asked for. */
  constructor(
    req: IncomingMessage,
    length: number | undefined,
    limit: number,
    idle: number,
    tools: BodyTools,
    events: BodyEvents & { readonly begin: () => void },
  ) {
    this.#req = req
    this.length = length
    this.#meter = new Meter(tools.clock)
    this.#watch = tools.watch
    this.#limit = limit
    this.#idle = idle
    this.#events = events
  }

  get received(): number {
    return this.#meter.received
  }

  /** Whether bytes were asked for: then it cannot be sent a second time. */
  get started(): boolean {
    return this.#meter.started
  }

  /** Since when the service takes nothing of what lies ready; 0 while it does. */
  get stalledSince(): number {
    return this.#meter.pausedAt
  }

  check(now: number): void {
    if (this.#meter.tooSlow(now, this.#idle)) this.#events.tooSlow()
  }

  flow(sink: BodySink): void {
    if (this.#destroyed) return
    this.#sink = sink
    this.#meter.start()
    this.#watch.add(this)
    this.#req.on('data', this.#onData).on('end', this.#onEnd)
    this.#events.begin()
    this.#req.resume()
  }

  resume(): void {
    if (this.#destroyed) return
    this.#meter.resume()
    this.#req.resume()
  }

  /** What is left of it runs into nothing. */
  destroy(): void {
    if (this.#destroyed) return
    this.#destroyed = true
    this.#watch.delete(this)
    this.#req.off('data', this.#onData).off('end', this.#onEnd)
    if (this.started) discardRest(this.#req)
  }

  readonly #onData = (chunk: Buffer) => {
    this.#meter.take(chunk.length)
    if (this.#meter.received > this.#limit) {
      this.#events.tooLarge()
      return
    }
    const more = this.#sink!.write(chunk)
    this.#events.copy?.chunk(chunk)
    if (more || this.#destroyed) return
    this.#meter.pause()
    this.#req.pause()
  }

  readonly #onEnd = () => {
    this.#watch.delete(this)
    this.#sink!.end()
    this.#events.copy?.end()
  }
}

/**
 * Let what is left of a body run into nothing, so that the client reads our answer instead of a reset; cut the
 * connection when that goes on for too long.
 */
export function discardRest(req: IncomingMessage): void {
  if (req.readableEnded || req.destroyed || req.listenerCount('data') > 0) return
  let left = lingerBytes
  const cut = () => req.socket.destroy()
  const timer = setTimeout(cut, lingerTime).unref()
  req.on('data', (chunk: Buffer) => {
    left -= chunk.length
    if (left < 0) cut()
  })
  req.once('close', () => clearTimeout(timer))
  req.resume()
}
