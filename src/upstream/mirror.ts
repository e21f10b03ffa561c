import type { Log } from '../telemetry/log.ts'
import { Exchange, type Outgoing, type Receiver, type Service } from './exchange.ts'
import { type Failure, InvalidResponse } from './failure.ts'

export interface MirrorSettings {
  /** The part of the requests that is copied: above 0, at most 1. */
  readonly share: number
  /** Only these; all when absent. */
  readonly methods?: readonly string[] | undefined
  /** Bytes of content; larger requests are not copied. */
  readonly body: number
}

/** A request that may be copied. */
export interface Mirrored extends Outgoing {
  /** What of its head the copy has; asked for when there is one. */
  readonly copied?: (() => CopiedHead) | undefined
}

export type CopiedHead = Pick<Outgoing, 'fields' | 'target'>

export interface MirrorReport {
  /** Copies that were answered, whatever the answer; that were not; and requests of which none was made. */
  readonly answered: number
  readonly failed: number
  readonly skipped: number
}

/** Copies under way at a time; a mirror that is slower than the service loses copies, nothing else. */
const mostUnderWay = 128
/** Bytes of an answer that are read for the sake of the connection; a longer one is cut off. */
const mostAnswer = 1_048_576

/** Sends copies of requests to a target of its own and forgets the answers. Nothing here can slow or break the original. */
export class Mirror {
  readonly #service: Service
  readonly #settings: MirrorSettings
  readonly #chance: () => number
  readonly #log: Log
  #underWay = 0
  #answered = 0
  #failed = 0
  #skipped = 0

  /** `service` has the one target that copies go to. */
  constructor(service: Service, settings: MirrorSettings, tools: { readonly chance: () => number; readonly log: Log }) {
    this.#service = service
    this.#settings = settings
    this.#chance = tools.chance
    this.#log = tools.log
  }

  describe(): MirrorReport {
    return { answered: this.#answered, failed: this.#failed, skipped: this.#skipped }
  }

  /** The copy of a request whose content is still to come; undefined when it is not copied. `length` as announced. */
  copy(request: Mirrored, length: number | undefined): Copy | undefined {
    const { share, methods, body } = this.#settings
    if (!request.copied || methods?.includes(request.method) === false) return undefined
    if (share < 1 && this.#chance() >= share) return undefined
    if (length !== undefined && length > body) {
      this.#skipped += 1
      return undefined
    }
    return new Copy(body, {
      send: (content) => this.#begin(request, content),
      skip: () => {
        this.#skipped += 1
      },
    })
  }

  #begin(request: Mirrored, content: Buffer | null): void {
    if (this.#underWay >= mostUnderWay) {
      this.#skipped += 1
      return
    }
    this.#underWay += 1
    // After the original, whose turn this is.
    setImmediate(() => this.#send(request, content))
  }

  #send({ method, copied }: Mirrored, content: Buffer | null): void {
    const settled = (failure: Failure | undefined) => {
      this.#underWay -= 1
      if (failure) this.#failed += 1
      else this.#answered += 1
    }
    try {
      const { fields, target } = copied!()
      const request = { method, target, fields: [...fields, 'Sallyport-Mirror', '1'] }
      new Exchange(this.#service, request, content, new Discard(settled)).begin()
    } catch (error) {
      this.#log.error({ err: error }, 'a copy of a request could not be sent')
      settled({ who: 'gateway', stage: 'request', code: 'internal-error', cause: error })
    }
  }
}

/** The content of a request on its way into a copy, as it is seen passing by. */
export class Copy {
  readonly #limit: number
  readonly #then: { send(content: Buffer | null): void; skip(): void }
  #chunks: Buffer[] | undefined = []
  #bytes = 0

  constructor(limit: number, then: { send(content: Buffer | null): void; skip(): void }) {
    this.#limit = limit
    this.#then = then
  }

  chunk(chunk: Buffer): void {
    if (!this.#chunks) return
    this.#bytes += chunk.length
    if (this.#bytes <= this.#limit) {
      this.#chunks.push(chunk)
      return
    }
    this.#chunks = undefined
    this.#then.skip()
  }

  /** All of it has come. A request that breaks off before is not copied. */
  end(): void {
    if (this.#chunks) this.#then.send(this.#bytes === 0 ? null : Buffer.concat(this.#chunks))
    this.#chunks = undefined
  }
}

/** Reads an answer to its end, so that the connection can be used again. */
class Discard implements Receiver {
  readonly begun = false
  readonly settled: (failure: Failure | undefined) => void
  delivered = false
  #bytes = 0

  constructor(settled: (failure: Failure | undefined) => void) {
    this.settled = settled
  }

  head(): void {}

  hint(): void {}

  data(chunk: Buffer): boolean {
    this.#bytes += chunk.length
    if (this.#bytes > mostAnswer) throw new InvalidResponse(`the answer to a copy is larger than ${mostAnswer} bytes`)
    return true
  }

  end(): void {
    this.delivered = true
  }

  cut(): void {}
}
