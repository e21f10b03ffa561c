import type { Carrier } from './outbound.ts'

type Fetch = typeof globalThis.fetch
type Options = NonNullable<Parameters<Fetch>[1]>

const redirectStatuses: ReadonlySet<number> = new Set([301, 302, 303, 307, 308])
const longestChain = 20
// Fetch standard, HTTP-redirect fetch: what describes a dropped body goes with it, what proves the sender stays at its origin.
const bodyFields = ['content-encoding', 'content-language', 'content-length', 'content-location', 'content-type']
const credentialFields = ['authorization', 'proxy-authorization', 'cookie', 'host']

/**
 * The platform's `fetch`, with the context of the request that surrounds it, for trusted origins.
 *
 * Redirects are followed here, by the rules of the Fetch standard. The platform would take `Authorization` off when one
 * leads to another origin, but leave the request id and the caller's name on.
 */
export function createFetch(carrier: Carrier): Fetch {
  return async function fetchWithContext(input, init) {
    const given = input instanceof Request ? input : undefined
    const options: Options = {
      ...(given && { method: given.method, signal: given.signal, redirect: given.redirect }),
      ...init,
    }
    const follow = (options.redirect ?? 'follow') === 'follow'
    const own = new Headers(init?.headers ?? given?.headers)
    let url = new URL(given ? given.url : String(input))
    let method = options.method ?? 'GET'
    let body = options.body
    let trusted = carrier.trusts(url)

    const send = (target: typeof input) =>
      fetch(target, {
        ...options,
        method,
        headers: withContext(own, trusted ? carrier.fields() : {}),
        ...(body !== undefined && { body }),
        ...(follow && { redirect: 'manual' as const }),
      })

    let response = await send(given ?? url)
    for (let redirects = 0; follow && redirectStatuses.has(response.status); redirects++) {
      const location = response.headers.get('location')
      if (location === null) break
      await response.body?.cancel()
      const next = followLocation(location, url.href)
      if (redirects === longestChain) throw new TypeError(`fetch failed: more than ${longestChain} redirects`)

      const { status } = response
      if (
        status === 303 ? method !== 'GET' && method !== 'HEAD' : (status === 301 || status === 302) && method === 'POST'
      ) {
        method = 'GET'
        body = undefined
        delete options.body
        for (const name of bodyFields) own.delete(name)
      } else if (!isReplayable(body ?? given?.body)) {
        throw new TypeError('fetch failed: a redirect asks for the body again, and a stream can be sent only once')
      }
      if (next.origin !== url.origin) {
        const elsewhere = carrier.trusts(next) ? [] : carrier.names
        for (const name of [...credentialFields, ...elsewhere]) own.delete(name)
      }
      // Once a chain has left the trusted origins nobody knows who wrote its next address: the context never joins it again.
      trusted &&= carrier.trusts(next)

      url = next
      response = await send(url)
      Object.defineProperty(response, 'redirected', { value: true })
    }
    return response
  }
}

/** What the caller of `fetch` wrote itself wins. */
function withContext(own: Headers, fields: Readonly<Record<string, string>>): Headers {
  const headers = new Headers(own)
  for (const [name, text] of Object.entries(fields)) if (!headers.has(name)) headers.set(name, text)
  return headers
}

function followLocation(location: string, base: string): URL {
  const url = URL.canParse(location, base) ? new URL(location, base) : undefined
  if (url?.protocol === 'http:' || url?.protocol === 'https:') return url
  throw new TypeError('fetch failed: a redirect leads to an address that is not HTTP')
}

function isReplayable(body: unknown): boolean {
  if (body === undefined || body === null || typeof body === 'string') return true
  if (body instanceof ArrayBuffer || ArrayBuffer.isView(body)) return true
  return body instanceof URLSearchParams || body instanceof FormData || body instanceof Blob
}
