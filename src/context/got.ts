import http, { type ClientRequest } from 'node:http'
import https from 'node:https'
import { inspect } from 'node:util'
import got, { type Got, type RequestFunction } from 'got'
import type { Carrier } from './outbound.ts'

/**
 * A `got` instance with the context of the request that surrounds it, for trusted origins. `extend` it like any other.
 *
 * The fields join where got hands over to `node:http`, below got's own options: those hang on every error and response
 * that got makes, and whoever logs one would log the token.
 */
export function createGot(carrier: Carrier): Got {
  const requestWithContext: RequestFunction = (url, options, callback) => {
    const carried = carrier.trusts(url) ? carrier.fields() : {}
    const own = options.headers as Readonly<Record<string, string>>
    const joining = Object.entries(carried).filter(([name]) => own[name.toLowerCase()] === undefined)
    const { request } = url.protocol === 'https:' ? https : http
    const native = { ...options, headers: { ...own, ...Object.fromEntries(joining) } } as https.RequestOptions
    return conceal(request(url, native, callback as Parameters<typeof request>[2]))
  }

  return got.extend({
    request: requestWithContext,
    handlers: [
      (options, next) => {
        // A cache sits above the place where the fields join: it would answer one caller with what another may see.
        if (options.cache)
          throw new TypeError(
            'context.got carries the caller along and cannot share a cache; use got itself for what all callers may see',
          )
        return next(options)
      },
    ],
    hooks: {
      beforeRedirect: [
        function stayWithinTrust(options, response) {
          const from = new URL(response.url)
          const to = options.url as URL
          const elsewhere = !carrier.trusts(to)
          // Once a chain has left the trusted origins nobody knows who wrote its next address: the context never joins it again.
          if (options.request === requestWithContext && (elsewhere || !carrier.trusts(from)))
            options.request = undefined
          if (elsewhere && to.origin !== from.origin) for (const name of carrier.names) delete options.headers[name]
        },
      ],
    },
  })
}

/** Node keeps the head of a request, token included, in plain sight of `console.log(response)`. */
function conceal(request: ClientRequest): ClientRequest {
  const summary = `ClientRequest ${request.method} ${request.protocol}//${request.host}`
  for (const name of [inspect.custom, 'toJSON']) Object.defineProperty(request, name, { value: () => summary })
  return request
}
