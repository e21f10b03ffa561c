import type { TLSSocket } from 'node:tls'
import { memoryOf } from '../http/connection-memory.ts'
import { createFields } from '../http/fields.ts'
import { createGuard } from '../http/guard.ts'
import { canonicalTarget } from '../http/path.ts'
import { Problem } from '../http/problem.ts'
import type { createRequestIds } from '../http/request-id.ts'
import type { Step } from './state.ts'

/**
 * What arrived, guarded and read once: every step below sees this head and never the raw request.
 * Must come before anything asynchronous, because the guard looks at bytes that the parser is about to forget.
 */
export function readHead(
  requestId: ReturnType<typeof createRequestIds>,
  { fields, url }: { readonly fields: number; readonly url: number },
): Step {
  const guard = createGuard({ fields, target: url })
  return function readHead(ctx, next) {
    const { req, state } = ctx
    const lines = createFields(req.rawHeaders)
    const client = state.gateway.readClient(
      req.socket.remoteAddress,
      (req.socket as TLSSocket).encrypted === true,
      lines,
    )
    state.id = requestId(lines, client)
    state.announced = ['X-Request-ID', state.id]

    const refusal = guard(req)
    if (refusal) throw refusal
    const target = canonicalTarget(req.url!, lines.get('host')?.toLowerCase() ?? '')
    if (target instanceof Problem) throw target
    state.head = {
      id: state.id,
      method: req.method!,
      target: target.query === '' ? target.path : `${target.path}?${target.query}`,
      path: target.path,
      query: target.query,
      fields: lines,
      client,
      memory: client.viaTrustedProxy ? undefined : memoryOf(req.socket),
    }
    return next()
  }
}
