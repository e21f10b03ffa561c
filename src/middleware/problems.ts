import type { Context, Middleware } from 'koa'
import { Problem } from '../http/problem.ts'
import type { Log } from '../telemetry/log.ts'
import { announce } from './announce.ts'
import type { State } from './state.ts'

/** Fields that every answer of the gateway itself carries. */
const guarded = { 'X-Content-Type-Options': 'nosniff', 'Cache-Control': 'no-store' } as const

/**
 * Whatever is thrown below becomes an `application/problem+json` answer (RFC 9457). A `Problem` says its own status;
 * anything else is our defect: logged whole, answered as a bare 500. Once the head is out only the connection can tell.
 * `keep` hears of each one before it is answered.
 */
export function answerProblems(log: Log, keep: (state: State, problem: Problem) => void): Middleware<State> {
  return async function problems(ctx, next) {
    try {
      await next()
    } catch (error) {
      // Koa's own error handler would drop every field set so far, so nothing is rethrown while we can still answer.
      if (ctx.res.headersSent || ctx.res.destroyed) {
        if (!(error instanceof Problem) && !isClientGone(ctx, error))
          log.error({ err: error, id: ctx.state.id }, 'failed after the answer had begun')
        ctx.res.destroy()
        ctx.respond = false
        return
      }
      if (!(error instanceof Problem)) log.error({ err: error, id: ctx.state.id }, 'unexpected failure')
      else keep(ctx.state, error)
      answer(ctx, asProblem(error))
    }
    if (ctx.respond !== false && !ctx.res.headersSent && ctx.body === undefined && ctx.status === 404) {
      answer(ctx, new Problem('not-found', 'No service and no endpoint of the gateway answers at this path'))
    }
  }
}

/** A client that left while its body was read is no defect of ours, and must not be able to fill the log with stacks. */
function isClientGone({ req, res }: Context, error: unknown): boolean {
  return !res.headersSent && req.destroyed && (error as NodeJS.ErrnoException | undefined)?.code === 'ECONNRESET'
}

function asProblem(error: unknown): Problem {
  if (error instanceof Problem) return error
  return new Problem('internal-error', 'The gateway failed to handle the request; its log knows more', { cause: error })
}

function answer(ctx: Context & { state: State }, problem: Problem): void {
  const { state, res } = ctx
  state.problem = problem
  // Who meant to answer without Koa has failed before the head was out.
  ctx.respond = true
  for (const name of res.getHeaderNames()) res.removeHeader(name)
  announce(ctx)
  ctx.status = problem.status
  ctx.set(guarded)
  for (const [name, value] of Object.entries(problem.fields)) res.setHeader(name, value as string | string[])
  // A body that was not read would be taken for the next request on this connection, or cost us its reading.
  if (!ctx.req.complete) res.setHeader('Connection', 'close')
  ctx.type = 'application/problem+json'
  ctx.body = JSON.stringify(problem.body(state.id))
}
