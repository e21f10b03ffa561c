import type { IncomingMessage } from 'node:http'
import { Readable } from 'node:stream'
import type { Context } from 'koa'

/** oidc-provider's own limit. */
const longestForm = 56 * 1_024

export type FormReading =
  | { readonly outcome: 'read'; readonly form: URLSearchParams }
  /** Some other media type; nothing has been read. */
  | { readonly outcome: 'other' }
  | { readonly outcome: 'too-large' }

/** The `application/x-www-form-urlencoded` body of a request. */
export async function readForm(ctx: Context): Promise<FormReading> {
  if (!ctx.is('application/x-www-form-urlencoded')) return { outcome: 'other' }
  if ((ctx.request.length ?? 0) > longestForm) return { outcome: 'too-large' }
  const chunks: Buffer[] = []
  let length = 0
  for await (const chunk of ctx.req as AsyncIterable<Buffer>) {
    length += chunk.length
    if (length > longestForm) return { outcome: 'too-large' }
    chunks.push(chunk)
  }
  return { outcome: 'read', form: new URLSearchParams(Buffer.concat(chunks).toString('utf8')) }
}

/**
 * Lets the rest of the chain read `form` as if it had come like this. oidc-provider reads `ctx.req` itself, and warns
 * when somebody did so before, so it gets a request whose body is still to come. Returns how to put the old one back.
 */
export function replayForm(ctx: Context, form: URLSearchParams): () => void {
  const body = Buffer.from(form.toString())
  const { req } = ctx
  req.headers['content-length'] = String(body.length)
  delete req.headers['transfer-encoding']
  const { headers, rawHeaders, method, url, httpVersion, socket } = req
  const replayed = Readable.from([body], { objectMode: false })
  ctx.req = Object.assign(replayed, {
    headers,
    rawHeaders,
    method,
    url,
    httpVersion,
    socket,
  }) as unknown as IncomingMessage
  return () => {
    ctx.req = req
  }
}
