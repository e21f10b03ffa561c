import { lookup as systemLookup } from 'node:dns'
import { Agent as HttpAgent } from 'node:http'
import { Agent as HttpsAgent } from 'node:https'
import { isIP, type LookupFunction } from 'node:net'
import { withoutSecrets } from '../http/query.ts'
import { reachOf } from '../http/special-use.ts'

export interface FetchOptions {
  /**
   * Hosts that services.json itself names, in lower case, IPv6 without brackets. They may be on this machine or in this
   * network; every other host must be a public one. Default: none.
   */
  readonly trusted?: ReadonlySet<string>
  /** The tag of the copy we have. */
  readonly etag?: string | undefined
  /** Header fields to send along. No redirect is followed, so nobody else gets them. */
  readonly headers?: Readonly<Record<string, string>>
  /** Milliseconds for everything, from the name look-up to the last byte. Default 5,000. */
  readonly timeout?: number
  /** Bytes, counted after decompression. Default 20 MB. */
  readonly limit?: number
  /** How names become addresses. Default: the system's way. */
  readonly lookup?: LookupFunction
  /** Ends the attempt. */
  readonly signal?: AbortSignal
}

export type Fetched =
  | { readonly outcome: 'fetched'; readonly bytes: Buffer; readonly etag: string | undefined }
  | { readonly outcome: 'unchanged' }
  /** `reason` is fit to be published; `detail` is for the log: it may name addresses. */
  | { readonly outcome: 'failed'; readonly kind: FailureKind; readonly reason: string; readonly detail: string }

/** `down`: nobody answers (yet). `refused`: we did not even ask. `answer`: what came is no document. */
export type FailureKind = 'down' | 'refused' | 'answer'

const defaults = { timeout: 5_000, limit: 20 * 1_048_576 } as const

/**
 * Get a document, once, believing nobody: no redirects, because they would choose whom we ask; no retries, because the
 * schedule is the caller's; a limit on time and on bytes after decompression. Addresses are checked after the name was
 * resolved, and the address that was checked is the one that is used.
 */
export async function fetchDocument(url: string, options: FetchOptions = {}): Promise<Fetched> {
  const { timeout = defaults.timeout, limit = defaults.limit, trusted = new Set<string>() } = options
  if (!URL.canParse(url)) return failed('refused', 'its address is not a URL', url)
  const parsed = new URL(url)
  if (parsed.protocol !== 'http:' && parsed.protocol !== 'https:') {
    return failed('refused', 'its address is not an http or https URL', withoutSecrets(url))
  }
  const host = parsed.hostname.replace(/^\[|\]$/g, '').toLowerCase()
  // A literal address is never looked up, so it is checked here.
  if (isIP(host) && !trusted.has(host) && reachOf(host) !== 'public') {
    return failed('refused', notAllowed, `${host} is not a public address, and services.json does not name it`)
  }
  parsed.hash = ''
  // One deadline for head and body alike: a backend that drips a byte a second must not hold us.
  const deadline = AbortSignal.timeout(timeout)
  // Read with the first request: who asks nobody needs none of it.
  const { default: got } = await import('got')
  const stream = got.stream(parsed, {
    dnsLookup: guardedLookup(trusted, options.lookup ?? systemLookup) as never,
    headers: {
      ...options.headers,
      accept: 'application/vnd.oai.openapi+json, application/json, application/yaml, */*;q=0.5',
      'user-agent': 'sallyport',
      ...(options.etag === undefined ? {} : { 'if-none-match': options.etag }),
    },
    followRedirect: false,
    throwHttpErrors: false,
    retry: { limit: 0 },
    // A connection that was kept open would be used again without its address being looked at.
    agent: { http: new HttpAgent({ keepAlive: false }), https: new HttpsAgent({ keepAlive: false }) },
    signal: AbortSignal.any([deadline, ...(options.signal ? [options.signal] : [])]),
  })
  try {
    const chunks: Buffer[] = []
    let size = 0
    let judged: Fetched | undefined
    const judge = () => verdict(stream.response!.statusCode, options.etag !== undefined)
    for await (const chunk of stream) {
      judged ??= judge()
      if (judged) return judged
      size += (chunk as Buffer).length
      if (size > limit) {
        return failed(
          'answer',
          `it is larger than ${Math.floor(limit / 1_048_576)} MB`,
          `${withoutSecrets(url)}: more than ${limit} bytes`,
        )
      }
      chunks.push(chunk as Buffer)
    }
    judged ??= judge()
    if (judged) return judged
    const tag = stream.response!.headers.etag
    return { outcome: 'fetched', bytes: Buffer.concat(chunks, size), etag: typeof tag === 'string' ? tag : undefined }
  } catch (error) {
    if (deadline.aborted) {
      return failed(
        'down',
        `there was no complete answer within ${timeout} ms`,
        `${withoutSecrets(url)}: ${(error as Error).message}`,
      )
    }
    return explain(error as Error & { readonly code?: string }, url)
  } finally {
    stream.destroy()
  }
}

const notAllowed = 'its address is not one that may be asked'

function verdict(status: number, conditional: boolean): Fetched | undefined {
  if (status === 200) return undefined
  if (status === 304 && conditional) return { outcome: 'unchanged' }
  if (status >= 300 && status < 400) {
    return failed('answer', `the answer was a redirect (${status}), which is not followed`, `status ${status}`)
  }
  return failed(status >= 500 ? 'down' : 'answer', `the answer was ${status}`, `status ${status}`)
}

const reasons: Readonly<Record<string, string>> = {
  ECONNREFUSED: 'the connection was refused',
  ECONNRESET: 'the connection was closed before the end',
  ENOTFOUND: 'its name is not known',
  EAI_AGAIN: 'its name could not be looked up',
  EHOSTUNREACH: 'there is no way to it',
  ENETUNREACH: 'there is no way to it',
  ETIMEDOUT: 'the connection took too long',
}

function explain(error: Error & { readonly code?: string }, url: string): Fetched {
  const cause = error.cause as { readonly code?: string } | undefined
  for (const code of [error.code, cause?.code]) {
    if (code === specialUse) return failed('refused', notAllowed, `${withoutSecrets(url)}: ${error.message}`)
    const reason = reasons[code ?? '']
    if (reason !== undefined) return failed('down', reason, `${withoutSecrets(url)}: ${error.message}`)
  }
  return failed('down', 'the answer could not be read', `${withoutSecrets(url)}: ${error.message}`)
}

function failed(kind: FailureKind, reason: string, detail: string): Fetched {
  return { outcome: 'failed', kind, reason, detail }
}

const specialUse = 'ERR_SPECIAL_USE_ADDRESS'

/**
 * Look a name up and refuse addresses it may not stand for. All of its addresses must be fit: one that answers now with
 * a public address and now with a private one is what DNS rebinding looks like. A trusted name may stand for private
 * addresses, never for link-local ones.
 */
function guardedLookup(trusted: ReadonlySet<string>, lookup: LookupFunction): LookupFunction {
  return function guardedLookup(hostname, options, callback) {
    lookup(hostname, { ...options, all: true }, (error, found) => {
      if (error) return callback(error, '')
      const addresses = found as unknown as readonly { address: string; family: number }[]
      const allowed = trusted.has(hostname.toLowerCase()) ? ['public', 'private'] : ['public']
      const unfit = addresses.find(({ address }) => !allowed.includes(reachOf(address)))
      if (unfit || addresses.length === 0) {
        const refusal = new Error(`${hostname} stands for ${unfit?.address ?? 'no address'}, which it may not`)
        return callback(Object.assign(refusal, { code: specialUse }), '')
      }
      if (options.all) return callback(null, addresses as never)
      const [first] = addresses
      return callback(null, first!.address, first!.family)
    })
  }
}
