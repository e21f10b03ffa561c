import type { Socket } from 'node:net'
import { Problem, type ProblemCode } from '../http/problem.ts'
import type { Affinity } from './balancers/balancer.ts'
import type { Waiter } from './connections.ts'
import { type Deadline, writeDeadline } from './deadline.ts'
import type { Endable, Ending } from './ending.ts'
import { classify, type Failure, InvalidResponse, type Stage, type Who } from './failure.ts'
import type { Connection, ResponseHandler } from './http1/connection.ts'
import type { ResponseHead } from './http1/response-parser.ts'
import type { Mirror } from './mirror.ts'
import { idempotent, type RetryBudget, type RetrySettings } from './retry.ts'
import type { Target } from './target.ts'
import { Upload } from './upload.ts'
import type { Watch, Watched } from './watch.ts'

/** Milliseconds. */
export interface Timeouts {
  /** Until the connection to a target stands, waiting for a free one included. */
  readonly connect: number
  /** From the last byte of the request to the head of the answer. */
  readonly response: number
  /** Between two pieces of a body, in either direction; also how long a client may refuse to read. */
  readonly idle: number
  /** From the beginning until the answer has come whole, second tries included. */
  readonly total?: number | undefined
}

/** A request as it goes to a service. */
export interface Outgoing {
  readonly method: string
  /** Path and query below the target's own path, canonical, sent as these very bytes: `/orders/1?full=1`. */
  readonly target: string
  /**
   * Name, value, name, value, ... complete but for the framing fields (`Host`, `Connection`, `Content-Length`,
   * `Transfer-Encoding`, `Expect`, `TE`), which are set here and must not be in it.
   */
  readonly fields: readonly string[]
  /** What may keep this request with the same target as others. */
  readonly affinity?: Affinity | undefined
  /** Instead of those of the service. */
  readonly timeouts?: Timeouts | undefined
  /** Whether the request may be sent twice; by default as its method says (RFC 9110 §9.2.2). */
  readonly repeatable?: boolean | undefined
  /** Ends the exchange early; a `Problem` as the reason becomes the answer. */
  readonly ending?: Ending | undefined
  /** The protocol the connection shall change to (RFC 9110 §7.8); set by `tunnel`. */
  readonly upgrade?: 'websocket' | undefined
}

/** What was done, for the log and the metrics. */
export interface Outcome {
  /** Status of the service's answer; undefined when there was none. */
  readonly status: number | undefined
  /** Bytes of content taken from the client and handed to it. */
  readonly received: number
  readonly sent: number
  /** URL of the target that was tried last. */
  readonly target: string | undefined
  readonly attempts: number
  /** Milliseconds from the beginning: request being sent, first byte of the answer, all over; undefined if never. */
  readonly connected: number | undefined
  readonly firstByte: number | undefined
  readonly total: number
  readonly failure: Failure | undefined
}

/** Where an answer goes as it arrives. Throwing from `head` or `data` refuses it. */
export interface Receiver {
  /** Whether anything of the answer may have reached its reader: then nothing can be tried again or replaced. */
  readonly begun: boolean
  /** Whether the reader has all of it. */
  readonly delivered: boolean
  head(head: ResponseHead): void
  /** The `Link` fields of a 103 Early Hints (RFC 8297). */
  hint(link: readonly string[]): void
  /** False: no more until `Exchange.resume` is called. */
  data(chunk: Buffer): boolean
  /** All content has come. Trailers are not passed on (RFC 9110 §6.5.2, docs/decisions/0019). */
  end(): void
  /**
   * The rest will never come: make sure that nobody takes what is there for all of it. `unread`: because the reader does
   * not take it.
   */
  cut(unread: boolean): void
  /**
   * The service agreed to change the protocol; the socket is the receiver's from now on, and so is the settling.
   * Throwing refuses it.
   */
  upgraded?: ((fields: readonly string[], socket: Socket) => void) | undefined
  /** Called once and last: all of the answer has been delivered, or why it never will be. */
  settled(failure: Failure | undefined): void
}

/** What an exchange needs of the service it belongs to. */
export interface Service {
  readonly name: string
  readonly timeouts: Timeouts
  /** How it is told how long its answer is waited for; undefined when it is not. */
  readonly deadline?: Deadline | undefined
  /** Where copies of requests go; undefined when none are made. */
  readonly mirror?: Mirror | undefined
  readonly retry: RetrySettings
  readonly budget: RetryBudget
  readonly watch: Watch
  readonly clock: () => number
  /** A target that may serve, not `tried` when there is another; undefined when none may. */
  choose(affinity: Affinity | undefined, tried: Target | undefined): Target | undefined
}

/** Where an exchange stands. `flush`: the service is done, the client still reads. */
type Phase = Stage | 'flush' | 'over'

/** 103 and 102 may come before an answer, but not for ever. */
const mostInterim = 16

/**
 * One request to one service, with everything that can go wrong.
 *
 *  1. A target is chosen and a connection to it taken: a used one, else a new one.
 *  2. The request is sent; its body flows as the service takes it.
 *  3. The head of the answer comes, is checked and handed to the receiver.
 *  4. The content flows as the receiver takes it; then the connection goes back.
 *
 * An attempt that fails before a byte of an answer came is made once more with another target, or on a fresh
 * connection, if the request may be sent twice or was not sent at all. The connection calls it directly: no stream, and
 * no promise but the one for all of it.
 */
export class Exchange implements ResponseHandler, Waiter, Watched, Endable {
  readonly #service: Service
  readonly #request: Outgoing
  readonly #body: Buffer | Upload | null
  readonly #receiver: Receiver
  readonly #timeouts: Timeouts
  #began = 0
  #phase: Phase = 'connect'
  /** When the phase began, or something last moved in it. */
  #since = 0
  #target: Target | undefined
  #connection: Connection | undefined
  /** Whether this attempt came so far that something of the request may have reached the target. */
  #sent = false
  #head: ResponseHead | undefined
  #upgraded = false
  #interim = 0
  #paused = false
  attempts = 0
  place = -1
  /** By the clock: when the request began to be sent, and when the first byte of an answer came; 0 for never. */
  connectedAt = 0
  answeredAt = 0

  constructor(service: Service, request: Outgoing, body: Buffer | Upload | null, receiver: Receiver) {
    this.#service = service
    this.#request = request
    this.#body = body
    this.#receiver = receiver
    this.#timeouts = request.timeouts ?? service.timeouts
  }

  get stage(): Stage {
    return this.#phase === 'flush' || this.#phase === 'over' ? 'body' : this.#phase
  }

  get status(): number | undefined {
    return this.#upgraded ? 101 : this.#head?.status
  }

  get target(): string | undefined {
    return this.#target?.url
  }

  /** Whether the connection is gone though nobody was told yet. */
  get doomed(): boolean {
    return this.#connection?.gone ?? false
  }

  begin(): void {
    const { ending } = this.#request
    if (ending?.over) {
      this.ended(ending.reason)
      return
    }
    ending?.add(this)
    this.#began = this.#service.clock()
    this.#service.watch.add(this)
    this.#service.budget.deposit()
    // Anything else would not stay below the path of the target.
    if (this.#request.target.charCodeAt(0) !== 47) {
      this.fail('client', 'bad-request')
      return
    }
    const target = this.#service.choose(this.#request.affinity, undefined)
    if (target) this.#attempt(target)
    else this.fail('upstream', 'no-healthy-target')
  }

  /** The receiver's end is closed: a success if it has everything, else somebody left. */
  closed(): void {
    if (this.#phase === 'flush' && this.#receiver.delivered) this.#over(undefined)
    else this.fail('client', 'client-closed-request')
  }

  /** Gives up whatever is under way. */
  fail(who: Who, code: ProblemCode, cause?: unknown): void {
    if (this.#phase === 'over') return
    const failure: Failure = { who, stage: this.stage, code, cause }
    const begun = this.#receiver.begun
    this.#abandon()
    this.#over(failure)
    if (begun) this.#receiver.cut(who === 'client')
  }

  // 1. A target and a connection

  #attempt(target: Target): void {
    this.#target = target
    this.#phase = 'connect'
    this.#since = this.#service.clock()
    this.#sent = false
    this.attempts += 1
    target.state.begin()
    const { connections } = target.state
    const connection = this.#request.upgrade ? connections.dedicated() : connections.take(this, this.attempts > 1)
    if (connection) this.connected(connection)
  }

  connected(connection: Connection): void {
    const target = this.#target!
    this.#connection = connection
    const { method, upgrade } = this.#request
    const fields = this.#service.deadline ? this.#withDeadline(this.#service.deadline) : this.#request.fields
    connection.send({ method, path: target.basePath + this.#request.target, fields, body: this.#body, upgrade }, this)
  }

  /** What is left of the whole, or of the wait for the head when that is less. */
  #withDeadline(deadline: Deadline): string[] {
    const { response, total } = this.#timeouts
    const left = total === undefined ? response : Math.min(response, total - (this.#service.clock() - this.#began))
    return [...this.#request.fields, deadline.header, writeDeadline(deadline, left)]
  }

  // 2. The request

  onRequestStart(): void {
    this.#sent = true
    this.#since = this.connectedAt = this.#service.clock()
    this.#phase = this.#body instanceof Upload ? 'request' : 'head'
  }

  onRequestSent(): void {
    if (this.#phase !== 'request') return
    this.#since = this.#service.clock()
    this.#phase = 'head'
  }

  // 3. The head of the answer

  onResponseStarted(): void {
    if (this.answeredAt === 0) this.answeredAt = this.#service.clock()
  }

  onInterim(status: number, fields: readonly string[]): void {
    this.#interim += 1
    if (this.#interim > mostInterim) throw new InvalidResponse(`more than ${mostInterim} interim answers`)
    if (status !== 103) return
    const link: string[] = []
    for (let i = 0; i < fields.length; i += 2) if (fields[i]!.toLowerCase() === 'link') link.push(fields[i + 1]!)
    if (link.length > 0) this.#receiver.hint(link)
  }

  onResponseStart(head: ResponseHead): void {
    this.#head = head
    this.#phase = 'body'
    this.#since = this.#service.clock()
    this.#target!.state.answered(head.status)
    this.#receiver.head(head)
  }

  onUpgrade(fields: readonly string[], socket: Socket): void {
    this.#connection = undefined
    try {
      this.#receiver.upgraded!(fields, socket)
    } catch (error) {
      socket.destroy()
      this.broken(error as Error)
      return
    }
    this.#upgraded = true
    this.#target!.state.answered(101)
    this.#leave()
  }

  /** The socket that was handed over is closed; until then the target counts it as a request under way. */
  released(): void {
    if (this.#upgraded) this.#target!.state.end()
  }

  // 4. The content

  onResponseData(chunk: Buffer): void {
    if (this.#head!.status === 205) throw new InvalidResponse('a 205 has no content')
    this.#since = this.#service.clock()
    if (this.#receiver.data(chunk)) return
    this.#paused = true
    this.#connection?.pause()
  }

  onResponseEnd(): void {
    const connection = this.#connection!
    this.#connection = undefined
    connection.release()
    this.#target!.state.end()
    this.#phase = 'flush'
    this.#since = this.#service.clock()
    try {
      this.#receiver.end()
      if (this.#receiver.delivered) this.#over(undefined)
    } catch (error) {
      this.fail('upstream', classify(error as Error, 'body'), error)
    }
  }

  #checkReader(waited: number): void {
    if (waited <= this.#timeouts.idle) return
    this.fail('client', 'client-closed-request', new Error('the client stopped reading'))
  }

  /** The receiver can take more. */
  resume(): void {
    if (!this.#paused) return
    this.#paused = false
    this.#since = this.#service.clock()
    this.#connection?.resume()
  }

  // What goes wrong

  onResponseError(error: Error): void {
    this.broken(error)
  }

  check(now: number): void {
    const { total } = this.#timeouts
    if (total !== undefined && now - this.#began > total && this.#phase !== 'flush') {
      this.#outOfTime(total)
      return
    }
    const waited = now - this.#since
    switch (this.#phase) {
      case 'connect':
        if (waited > this.#timeouts.connect) this.#tooLate(this.#connection ? 'upstream-timeout' : 'overloaded')
        return
      case 'request': {
        const { stalledSince } = this.#body as Upload
        if (stalledSince > 0 && now - stalledSince > this.#timeouts.response) this.#tooLate('upstream-timeout')
        return
      }
      case 'head':
        if (waited > this.#timeouts.response) this.#tooLate('upstream-timeout')
        return
      case 'body':
        if (this.#paused) this.#checkReader(waited)
        else if (waited > this.#timeouts.idle) this.#tooLate('upstream-timeout')
        return
      case 'flush':
        this.#checkReader(waited)
    }
  }

  /** There is no time for a second try. */
  #outOfTime(total: number): void {
    if (this.#phase === 'connect' || this.#phase === 'head') this.#target?.state.failed('upstream-timeout')
    this.fail('upstream', 'upstream-timeout', new Error(`not done within ${total} ms`))
  }

  ended(reason: unknown): void {
    this.fail('gateway', reason instanceof Problem ? reason.code : 'client-closed-request', reason)
  }

  #tooLate(code: 'upstream-timeout' | 'overloaded'): void {
    this.#tryAgainOr(code, new Error(`waited too long (${this.#phase})`))
  }

  /** The answer, or the way to it, turned out to be broken. */
  broken(error: Error): void {
    this.#tryAgainOr(classify(error, this.stage), error)
  }

  #tryAgainOr(code: ProblemCode, cause: Error): void {
    const target = this.#target!
    const who = code.startsWith('upstream-') ? 'upstream' : 'gateway'
    if (who === 'upstream') target.state.failed(code)
    const next = this.#mayRepeat(code) ? this.#service.choose(this.#request.affinity, target) : undefined
    // Who could not be reached just now is not tried again at once.
    if (next && (this.#sent || next !== target) && this.#service.budget.withdraw()) {
      this.#abandon()
      this.#attempt(next)
    } else {
      this.fail(who, code, cause)
    }
  }

  /** Whether nothing would happen twice that must happen once. */
  #mayRepeat(code: ProblemCode): boolean {
    if (this.attempts > this.#service.retry.attempts || code === 'internal-error' || this.answeredAt > 0) return false
    if (this.#body instanceof Upload && this.#body.started) return false
    if (!this.#sent) return true
    if (code !== 'upstream-disconnected') return false
    return this.#request.repeatable ?? idempotent.has(this.#request.method)
  }

  /** Lets go of the attempt under way, if there is one. */
  #abandon(): void {
    const connection = this.#connection
    const target = this.#target
    if (!target || this.#phase === 'flush') return
    this.#phase = 'over'
    this.#connection = undefined
    if (connection) connection.drop()
    else target.state.connections.leave(this)
    target.state.abandoned()
    target.state.end()
  }

  #over(failure: Failure | undefined): void {
    this.#leave()
    this.#receiver.settled(failure)
  }

  #leave(): void {
    this.#phase = 'over'
    this.#service.watch.delete(this)
    this.#request.ending?.delete(this)
  }
}
