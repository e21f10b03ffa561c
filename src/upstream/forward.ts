import type { IncomingMessage, ServerResponse } from 'node:http'
import { Answer } from './answer.ts'
import type { Outcome, Service } from './exchange.ts'
import type { Mirrored } from './mirror.ts'
import { Upload, WholeBody } from './upload.ts'

/**
 * What becomes of the header fields of an answer: takes name, value, name, value, ... as the service sent them and
 * returns what the client shall see, without hop-by-hop fields, `Content-Length` untouched. The array returned is the
 * caller's to keep. Throwing refuses the answer.
 */
export type ResponseFields = (status: number, raw: readonly string[]) => string[]

/** Told of the head of an answer, exactly as received. */
export type Collect = (head: { readonly status: number; readonly fields: readonly string[] }) => Collection | undefined

/** An answer that is taken whole. */
export interface Collection {
  /** Bytes of content; an answer with more is passed on as it comes after all. */
  readonly limit: number
  /** All of it is there: what the client gets. */
  complete(content: Buffer): CollectedAnswer
  /** It is passed on as it comes, or will never be whole. */
  abandon(): void
}

export interface CollectedAnswer {
  readonly status: number
  /** Flat, complete. */
  readonly fields: string[]
  readonly content: Buffer
}

/** A client's request that goes to a service, and whose answer goes to the client. */
export interface Forward extends Mirrored {
  readonly req: IncomingMessage
  readonly res: ServerResponse
  /** Whether the request has content (RFC 9112 §6.3: `Content-Length` above 0, or `Transfer-Encoding`). */
  readonly hasBody: boolean
  /** The content, where somebody has read it already. */
  readonly content?: Buffer | undefined
  /** Bytes of content accepted; more is refused with 413, at once when `Content-Length` tells, else while it streams. */
  readonly bodyLimit?: number | undefined
  /** Whether the client waits for `100 Continue` (RFC 9110 §10.1.1); it is sent when the service takes the body. */
  readonly expectsContinue?: boolean | undefined
  readonly responseFields: ResponseFields
  /** Takes an answer whole before the client gets it; undefined for one that is passed on as it comes. */
  readonly collect?: Collect | undefined
  /** Told once, however it ended, before the promise settles. */
  readonly onOutcome?: ((outcome: Outcome) => void) | undefined
}

/** Bodies of known length up to here are read whole first: a slow client then never holds a connection to a service. */
const readWhole = 65_536

/**
 * Passes one request to a service and the answer to the client; resolves when the client has it.
 *
 * Rejects with a `Problem` when something fails before the answer has begun. What fails later breaks the client's
 * connection visibly and resolves, with `failure` telling who and where.
 */
export function forward(service: Service, request: Forward): Promise<Outcome> {
  return new Promise((resolve, reject) => {
    const answer = new Answer(service, request, resolve, reject)
    if (request.res.destroyed) answer.refuse('client-closed-request')
    else if (request.content) sendContent(service, request, request.content, answer)
    else if (request.hasBody) sendBody(service, request, answer)
    else {
      answer.send(null)
      service.mirror?.copy(request, 0)?.end()
    }
  })
}

function sendContent(service: Service, request: Forward, content: Buffer, answer: Answer): void {
  answer.received = content.length
  answer.send(content)
  const copy = service.mirror?.copy(request, content.length)
  copy?.chunk(content)
  copy?.end()
}

function sendBody(service: Service, request: Forward, answer: Answer): void {
  const { req, res, expectsContinue, bodyLimit = Number.POSITIVE_INFINITY } = request
  const field = req.headers['content-length']
  const length = field === undefined ? undefined : Number(field)
  if (length !== undefined && length > bodyLimit) {
    answer.refuse('body-too-large')
    return
  }
  const { idle } = request.timeouts ?? service.timeouts
  const tooLarge = () => answer.refuse('body-too-large')
  const tooSlow = () => answer.refuse('request-timeout')
  const copy = service.mirror?.copy(request, length)
  if (length !== undefined && length <= readWhole && !expectsContinue) {
    const whole = (content: Buffer) => {
      answer.send(content)
      copy?.chunk(content)
      copy?.end()
    }
    answer.body = new WholeBody(req, idle, service, whole, tooSlow)
    return
  }
  const begin = () => {
    if (expectsContinue) res.writeContinue()
  }
  const upload = new Upload(req, length, bodyLimit, idle, service, { begin, tooLarge, tooSlow, copy })
  answer.body = upload
  answer.send(upload)
}
