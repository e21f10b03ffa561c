import { isUtf8 } from 'node:buffer'
import { withoutSecrets } from '../http/query.ts'

/** What the gateway asks an issuer for: a key set, its metadata, or whether a token is active. */
export interface JsonRequest {
  /** Absolute URL with `http:` or `https:`. */
  readonly url: string
  /** Sent as `application/x-www-form-urlencoded` by POST; without it the request is a GET. */
  readonly form?: Readonly<Record<string, string>>
  readonly headers?: Readonly<Record<string, string>>
  /** Milliseconds for everything from the name look-up to the last byte; 3,000 by default. */
  readonly timeout?: number
}

/** The parsed JSON of a 200 answer. Rejects with `FetchFailed` for everything else. */
export type FetchJson = (request: JsonRequest) => Promise<unknown>

/** The issuer gave no usable answer. For the log, never for a caller: the message names addresses. */
export class FetchFailed extends Error {
  /** The status of the answer, when it was the status that was wrong. */
  readonly status: number | undefined

  constructor(url: string, complaint: string, options: ErrorOptions & { readonly status?: number } = {}) {
    super(`${withoutSecrets(url)}: ${complaint}`, options)
    this.name = 'FetchFailed'
    this.status = options.status
  }
}

const longestAnswer = 1_048_576
const jsonType = /^application\/(?:[\w.+-]+\+)?json\s*(?:;|$)/i

/**
 * Ask once, believe little: no redirects (they would choose whom we trust), no retries (the caller decides when to ask
 * again), 3 s, 1 MiB counted as it arrives, JSON only. No compression is asked for and none accepted, so that a small
 * answer cannot become a large one.
 */
export const fetchJson: FetchJson = async function fetchJson({ url, form, headers, timeout = 3_000 }) {
  const fail: Fail = (complaint, cause, status) =>
    new FetchFailed(url, complaint, { cause, ...(status !== undefined && { status }) })
  // Read with the first request: who asks nobody needs none of it.
  const { default: got } = await import('got')
  const stream = got.stream(url, {
    method: form ? 'POST' : 'GET',
    ...(form && { form }),
    headers: { accept: 'application/json', 'accept-encoding': 'identity', 'user-agent': 'sallyport', ...headers },
    decompress: false,
    followRedirect: false,
    throwHttpErrors: false,
    retry: { limit: 0 },
    // One deadline for head and body alike: an issuer that drips a byte a second must not hold us.
    signal: AbortSignal.timeout(timeout),
  })
  const chunks: Buffer[] = []
  try {
    let length = 0
    let judged = false
    for await (const chunk of stream) {
      if (!judged) {
        complainAboutHead(stream.response!, fail)
        judged = true
      }
      length += (chunk as Buffer).length
      if (length > longestAnswer) throw fail(`the answer is longer than ${longestAnswer} bytes`)
      chunks.push(chunk as Buffer)
    }
    if (!judged) complainAboutHead(stream.response!, fail)
  } catch (error) {
    if (error instanceof FetchFailed) throw error
    throw fail(`no answer: ${(error as Error).message}`, error)
  } finally {
    stream.destroy()
  }
  const bytes = Buffer.concat(chunks)
  if (!isUtf8(bytes)) throw fail('the answer is not UTF-8')
  try {
    return JSON.parse(bytes.toString('utf8')) as unknown
  } catch {
    // The parser's error quotes the answer, and the answers of token endpoints are secrets.
    throw fail('the answer is not JSON')
  }
}

interface AnswerHead {
  readonly statusCode: number
  readonly headers: Readonly<Record<string, string | string[] | undefined>>
}

type Fail = (complaint: string, cause?: unknown, status?: number) => FetchFailed

function complainAboutHead({ statusCode, headers }: AnswerHead, fail: Fail): void {
  if (statusCode !== 200) throw fail(`status ${statusCode} where 200 was expected`, undefined, statusCode)
  const { 'content-type': type, 'content-encoding': encoding } = headers
  if (!jsonType.test(String(type))) throw fail(`media type ${type} where JSON was expected`)
  if (encoding !== undefined && encoding !== 'identity') throw fail(`content coding ${encoding} was not asked for`)
}
