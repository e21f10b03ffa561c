import type { IncomingMessage } from 'node:http'
import type { Context } from 'koa'
import type { z } from 'zod'
import { expectsContinue } from '../http/expectation.ts'
import { Problem } from '../http/problem.ts'
import { plainly } from '../values.ts'

/** Bytes; a token and its request fit several times. */
const longestBody = 65_536

/** The body of a request, JSON that fits a schema. Throws 400, 413 or 415 with what would be right. */
export async function readJson<Schema extends z.ZodType>(ctx: Context, schema: Schema): Promise<z.output<Schema>> {
  if (!ctx.is('application/json'))
    throw new Problem('unsupported-media-type', 'Send JSON, with Content-Type: application/json')
  if (expectsContinue(ctx.req)) ctx.res.writeContinue()
  const text = (await readBody(ctx.req)).toString('utf8')
  let value: unknown
  try {
    value = JSON.parse(text)
  } catch {
    throw new Problem('bad-request', 'The body is not JSON')
  }
  const parsed = schema.safeParse(value)
  if (parsed.success) return parsed.data
  const mistakes = parsed.error.issues.map((issue) => ({ pointer: pointerOf(issue.path), message: plainly(issue) }))
  throw new Problem('bad-request', mistakes.map(({ pointer, message }) => `${pointer || '/'}: ${message}`).join('; '), {
    members: { mistakes },
  })
}

async function readBody(req: IncomingMessage): Promise<Buffer> {
  const chunks: Buffer[] = []
  let size = 0
  for await (const chunk of req) {
    size += chunk.length
    if (size > longestBody) throw new Problem('body-too-large', `The body may have ${longestBody} bytes`)
    chunks.push(chunk)
  }
  return Buffer.concat(chunks)
}

/** RFC 6901. */
function pointerOf(path: readonly PropertyKey[]): string {
  return path.map((key) => `/${String(key).replaceAll('~', '~0').replaceAll('/', '~1')}`).join('')
}
