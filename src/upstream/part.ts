import { Exchange, type Outgoing, type Receiver, type Service } from './exchange.ts'
import { type Failure, InvalidResponse, problemOf } from './failure.ts'
import type { ResponseHead } from './http1/response-parser.ts'

/** A request of the gateway's own to a service, whose answer is wanted whole. */
export interface PartRequest extends Outgoing {
  readonly body?: Buffer | undefined
  /** Bytes of content accepted. */
  readonly limit: number
}

export interface Part {
  readonly status: number
  /** Name, value, name, value, ... exactly as received. */
  readonly fields: readonly string[]
  readonly body: Buffer
}

/** An answer that is collected in memory. */
class Collector implements Receiver {
  readonly #limit: number
  readonly #chunks: Buffer[] = []
  #head: ResponseHead | undefined
  readonly settled: (failure: Failure | undefined) => void
  readonly begun = false
  delivered = false
  #bytes = 0

  constructor(limit: number, settled: (failure: Failure | undefined) => void) {
    this.#limit = limit
    this.settled = settled
  }

  get part(): Part {
    const { status, fields } = this.#head!
    return { status, fields, body: this.#chunks.length === 1 ? this.#chunks[0]! : Buffer.concat(this.#chunks) }
  }

  head(head: ResponseHead): void {
    this.#head = head
    if (head.length !== undefined && head.length > this.#limit) throw this.#tooLarge()
  }

  hint(): void {}

  data(chunk: Buffer): boolean {
    this.#bytes += chunk.length
    if (this.#bytes > this.#limit) throw this.#tooLarge()
    this.#chunks.push(chunk)
    return true
  }

  end(): void {
    this.delivered = true
  }

  cut(): void {}

  #tooLarge(): InvalidResponse {
    return new InvalidResponse(`the content is larger than ${this.#limit} bytes`)
  }
}

/** Fetches one answer whole, through the same targets, limits and retries as any request. Rejects with a `Problem`. */
export function fetchPart(service: Service, request: PartRequest): Promise<Part> {
  return new Promise((resolve, reject) => {
    const body = request.body?.length ? request.body : null
    const collector = new Collector(request.limit, (failure) => {
      if (failure) reject(problemOf(failure, service.name))
      else resolve(collector.part)
    })
    new Exchange(service, request, body, collector).begin()
  })
}
