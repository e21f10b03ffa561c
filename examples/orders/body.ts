import { createHash } from 'node:crypto'
import { text } from 'node:stream/consumers'
import { ReadableStream } from 'node:stream/web'
import type { Context } from 'koa'
import type { Attachment } from './order-book.ts'

const longestJson = 100 * 1024
const largestUpload = 5 * 1024 * 1024

export async function readJson(ctx: Context, ...types: string[]): Promise<unknown> {
  if (!ctx.is(...types)) ctx.throw(415, `Send ${types.join(' or ')}.`)
  const body = await text(chunks(ctx, longestJson))
  try {
    return JSON.parse(body)
  } catch {
    return ctx.throw(400, 'The body is not JSON.')
  }
}

/** Raw bytes are digested as they come; a form is held whole while it is taken apart. */
export async function readUpload(ctx: Context): Promise<Attachment> {
  switch (ctx.is('multipart/form-data', 'application/octet-stream')) {
    case 'application/octet-stream':
      return digest({ name: 'unnamed', type: 'application/octet-stream' }, chunks(ctx, largestUpload))
    case 'multipart/form-data': {
      const file = (await readForm(ctx)).get('file')
      if (!(file instanceof File)) return ctx.throw(400, 'The form has no file with the name "file".')
      return digest({ name: file.name, type: file.type }, file.stream())
    }
    default:
      return ctx.throw(415, 'Send multipart/form-data or application/octet-stream.')
  }
}

async function readForm(ctx: Context): Promise<FormData> {
  // Whatever goes wrong while the form is read comes out as one TypeError: remember what it was.
  let tooLarge: unknown
  async function* body() {
    try {
      yield* chunks(ctx, largestUpload)
    } catch (error) {
      tooLarge = error
      throw error
    }
  }
  try {
    const headers = { 'Content-Type': ctx.get('Content-Type') }
    return await new Response(ReadableStream.from(body()), { headers }).formData()
  } catch {
    throw tooLarge ?? ctx.throw(400, 'The form cannot be read.')
  }
}

async function digest(
  { name, type }: Pick<Attachment, 'name' | 'type'>,
  bytes: AsyncIterable<Uint8Array>,
): Promise<Attachment> {
  const sum = createHash('sha256')
  let size = 0
  for await (const chunk of bytes) {
    sum.update(chunk)
    size += chunk.length
  }
  return { name, type, size, sha256: sum.digest('hex') }
}

/** The body, piece by piece, up to `limit` bytes; more is 413. */
async function* chunks(ctx: Context, limit: number): AsyncGenerator<Buffer> {
  let size = 0
  // A request that is destroyed cannot be answered: leave it whole when the loop ends early.
  for await (const chunk of ctx.req.iterator({ destroyOnReturn: false })) {
    size += chunk.length
    if (size > limit) {
      ctx.set('Connection', 'close')
      ctx.throw(413, `At most ${limit} bytes.`)
    }
    yield chunk
  }
}
