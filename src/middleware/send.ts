import type { StepContext } from './state.ts'

/** Bytes made once and sent many times. */
export interface Representation {
  /** The value of `Content-Type`. */
  readonly type: string
  readonly body: Buffer
  /** The same in the content codings of RFC 9110 §8.4.1. */
  readonly gzip?: Buffer | undefined
  readonly brotli?: Buffer | undefined
  /** Quoted, weak where the coding does not change it (RFC 9110 §8.8.3). */
  readonly etag: string
  readonly cacheControl: string
}

/** Answer GET and HEAD with a representation: the best coding the client takes, 304 when it has it already (RFC 9110 §13.1.2). */
export function send(ctx: StepContext, representation: Representation): void {
  const { type, body, gzip, brotli, etag, cacheControl } = representation
  ctx.set('ETag', etag)
  ctx.set('Cache-Control', cacheControl)
  ctx.set('X-Content-Type-Options', 'nosniff')
  if (gzip || brotli) ctx.vary('Accept-Encoding')
  if (isKnown(ctx.get('If-None-Match'), etag)) {
    ctx.status = 304
    return
  }
  ctx.status = 200
  // One by one: asked for all at once, Koa takes the client's order, and every browser names gzip first.
  const coding = brotli && ctx.acceptsEncodings('br') ? 'br' : gzip && ctx.acceptsEncodings('gzip') ? 'gzip' : undefined
  const coded = coding === 'br' ? brotli : coding === 'gzip' ? gzip : undefined
  if (coding) ctx.set('Content-Encoding', coding)
  ctx.set('Content-Type', type)
  ctx.body = coded ?? body
}

/** Weak comparison (RFC 9110 §8.8.3.2). Koa's own `fresh` takes a client's `Cache-Control: no-cache` for "send it again". */
function isKnown(field: string, etag: string): boolean {
  const opaque = (tag: string) => tag.trim().replace(/^W\//, '')
  return field === '*' || field.split(',').some((tag) => opaque(tag) === opaque(etag))
}
