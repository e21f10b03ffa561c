import type { ServerResponse } from 'node:http'
import type { Socket } from 'node:net'
import { endWith } from '../http/whole.ts'
import { Exchange, type Outcome, type Receiver, type Service } from './exchange.ts'
import { type Failure, problemOf } from './failure.ts'
import type { Collection, Forward } from './forward.ts'
import type { ResponseHead } from './http1/response-parser.ts'
import { discardRest, type Upload, type WholeBody } from './upload.ts'

/** Content up to here is awaited before the head goes out, because it comes in one piece nearly always. */
const onePiece = 65_536

/**
 * The client's side of an exchange: the answer on its way to the client, written straight to the response.
 *
 * The head waits for the first content (or, when the length is unknown, for the end of this turn of the event loop), so
 * that a small answer is one write, and an answer that breaks at once is a clean 502 instead of half a page.
 */
export class Answer implements Receiver {
  readonly #service: Service
  readonly #request: Forward
  readonly #res: ServerResponse
  readonly #started: number
  readonly #resolve: (outcome: Outcome) => void
  readonly #reject: (error: Error) => void
  #exchange: Exchange | undefined
  #status = 0
  #fields: string[] = []
  #length: number | undefined
  /** Content that came in the same turn as the head. */
  #held: Buffer | undefined
  #turnIsOver = false
  /** While the answer is taken whole: who takes it, and what is there. */
  #collection: Collection | undefined
  #collected: Buffer[] = []
  #collectedBytes = 0
  #ended = false
  #listening = false
  #settled = false
  /** The content of the request, once somebody reads it. */
  body: WholeBody | Upload | undefined
  received = 0
  sent = 0
  upgraded: Receiver['upgraded']

  constructor(service: Service, request: Forward, resolve: (outcome: Outcome) => void, reject: (error: Error) => void) {
    this.#service = service
    this.#request = request
    this.#res = request.res
    this.#resolve = resolve
    this.#reject = reject
    this.#started = service.clock()
    this.#res.on('close', () => this.#closed())
  }

  /** Begin the exchange, now that the content of the request can be sent. */
  send(content: Buffer | Upload | null): void {
    if (this.#settled) return
    this.#exchange = new Exchange(this.#service, this.#request, content, this)
    this.#exchange.begin()
  }

  /** The client did something that ends the exchange, before it began or in the middle. */
  refuse(code: 'body-too-large' | 'request-timeout' | 'client-closed-request'): void {
    if (this.#exchange) this.#exchange.fail('client', code)
    else this.settled({ who: 'client', stage: 'request', code })
  }

  settled(failure: Failure | undefined): void {
    if (this.#settled) return
    this.#settled = true
    this.#collection?.abandon()
    // Whoever answers now must not be cut short by what the client is still sending.
    if (failure && this.#request.hasBody) {
      this.body?.destroy()
      discardRest(this.#request.req)
    }
    const exchange = this.#exchange
    exchange?.released()
    const started = this.#started
    const outcome: Outcome = {
      status: exchange?.status,
      received: this.body?.received ?? this.received,
      sent: this.sent,
      target: exchange?.target,
      attempts: exchange?.attempts ?? 0,
      connected: exchange?.connectedAt ? exchange.connectedAt - started : undefined,
      firstByte: exchange?.answeredAt ? exchange.answeredAt - started : undefined,
      total: this.#service.clock() - started,
      failure,
    }
    this.#request.onOutcome?.(outcome)
    if (!failure || this.begun) {
      this.#resolve(outcome)
      return
    }
    this.#reject(problemOf(failure, this.#service.name))
  }

  #closed(): void {
    if (this.#exchange) this.#exchange.closed()
    else this.refuse('client-closed-request')
  }

  /** URL of the target that was asked last. */
  get target(): string | undefined {
    return this.#exchange?.target
  }

  get begun(): boolean {
    return this.#res.headersSent
  }

  /** Whether the client's connection has taken all of it. */
  get delivered(): boolean {
    return this.#ended && this.#res.writableFinished
  }

  head({ status, fields, length }: ResponseHead): void {
    this.#status = status
    this.#length = length
    this.#collection = this.#request.collect?.({ status, fields })
    if (this.#collection && (length ?? 0) > this.#collection.limit) this.#passOn()
    this.#fields = this.#request.responseFields(status, fields)
    if (!this.#collection && (length === undefined || length > onePiece)) process.nextTick(endTurn, this)
  }

  hint(link: readonly string[]): void {
    // An HTTP/1.0 client would take it for the answer (RFC 9110 §15.2).
    if (this.begun || this.#res.req.httpVersion === '1.0') return
    try {
      this.#res.writeEarlyHints({ link: [...link] })
    } catch {
      // Only a hint: what Node finds malformed is left out.
    }
  }

  data(chunk: Buffer): boolean {
    if (this.#collection) return this.#collect(chunk)
    this.sent += chunk.length
    if (!this.begun) {
      if (chunk.length === this.#length) {
        this.#whole(chunk)
        return true
      }
      if (this.#length === undefined && this.#held === undefined && !this.#turnIsOver) {
        this.#held = chunk
        return true
      }
      this.#open()
    }
    return this.#write(chunk)
  }

  end(): void {
    if (this.#ended) return
    if (this.#collection) {
      const { status, fields, content } = this.#collection.complete(Buffer.concat(this.#collected))
      this.#collection = undefined
      this.#status = status
      this.#fields = fields
      this.sent = content.length
      this.#whole(content.length > 0 ? content : undefined)
      return
    }
    if (!this.begun && this.#length === undefined) {
      // All of it came in one turn: now the length is known after all.
      const content = this.#held
      this.#held = undefined
      this.#fields.push('content-length', String(content?.length ?? 0))
      this.#whole(content)
      return
    }
    if (!this.begun) this.#open()
    this.#ended = true
    this.#res.end()
  }

  /** True: there is room for more. An answer that turns out to be too large goes out as far as it has come. */
  #collect(chunk: Buffer): boolean {
    this.#collected.push(chunk)
    this.#collectedBytes += chunk.length
    if (this.#collectedBytes <= this.#collection!.limit) return true
    this.#passOn()
    this.#turnIsOver = true
    const content = Buffer.concat(this.#collected)
    this.#collected = []
    this.sent += content.length
    this.#open()
    return this.#write(content)
  }

  #passOn(): void {
    this.#collection!.abandon()
    this.#collection = undefined
  }

  cut(unread: boolean): void {
    // A response that waits behind another of the same connection has no socket yet.
    const socket = this.#res.socket ?? this.#res.req.socket
    // Without a length and without chunks (HTTP/1.0) an orderly close would be the regular end (RFC 9112 §8). And what
    // nobody reads, megabytes of it, the system would keep for minutes after an orderly close.
    if (unread || (this.#length === undefined && !this.#res.chunkedEncoding)) reset(socket)
    socket.destroy()
  }

  /** The turn in which the head came is over and the content is not. */
  endTurn(): void {
    this.#turnIsOver = true
    // A connection that broke in this very turn has its error on the way: it can still become a clean 502.
    if (this.#settled || this.begun || this.#res.destroyed || this.#exchange!.doomed) return
    try {
      const silent = this.#held === undefined
      this.#open()
      if (silent) this.#res.flushHeaders()
    } catch (error) {
      this.#exchange!.broken(error as Error)
    }
  }

  #open(): void {
    // RFC 9110 §8.6: never in a 204, which some services send all the same.
    if (this.#status === 204) this.#fields = without(this.#fields, 'content-length')
    this.#res.writeHead(this.#status, this.#fields)
    const held = this.#held
    if (held === undefined) return
    this.#held = undefined
    this.#write(held)
  }

  #whole(content: Buffer | undefined): void {
    this.#open()
    this.#ended = true
    endWith(this.#res, content)
  }

  #write(chunk: Buffer): boolean {
    const more = this.#res.write(chunk)
    if (!more && !this.#listening) {
      this.#listening = true
      this.#res.on('drain', () => this.#exchange!.resume())
    }
    return more
  }
}

function endTurn(answer: Answer): void {
  answer.endTurn()
}

function without(fields: readonly string[], name: string): string[] {
  const kept: string[] = []
  for (let i = 0; i < fields.length; i += 2) {
    if (fields[i]!.toLowerCase() !== name) kept.push(fields[i]!, fields[i + 1]!)
  }
  return kept
}

function reset(socket: Socket): void {
  // TLS has no reset of its own; there a connection that ends without close_notify tells the same.
  if (!('encrypted' in socket)) socket.resetAndDestroy()
}
