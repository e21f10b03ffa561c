import Router from '@koa/router'
import Koa from 'koa'
import type { Gateway } from '../gateway/gateway.ts'
import type { Live } from '../gateway/live.ts'
import { Problem } from '../http/problem.ts'
import type { Log } from '../telemetry/log.ts'
import type { Metrics } from '../telemetry/metrics.ts'

export interface AdminTools {
  readonly live: Live<Gateway>
  readonly metrics: Metrics
  readonly log: Log
}

/**
 * The operator's side, on a port of its own that is never public: what runs, how it goes, and why something was refused.
 */
export function createAdmin({ live, metrics, log }: AdminTools): Koa {
  const app = new Koa()
  const router = new Router({ sensitive: true, strict: true, exclusive: true })

  router.get('/metrics', async (ctx) => {
    const { type, text } = await metrics.render()
    ctx.set('Content-Type', type)
    ctx.body = text
  })
  router.get('/services', (ctx) => {
    ctx.body = { services: live.current.readiness().services }
  })

  app.use(async function answerProblems(ctx, next) {
    try {
      ctx.set('Cache-Control', 'no-store')
      await next()
      if (ctx.status === 404 && ctx.body === undefined)
        throw new Problem('not-found', 'The admin port has nothing at this path')
    } catch (error) {
      if (!(error instanceof Problem)) log.error({ err: error }, 'an admin endpoint failed')
      const problem =
        error instanceof Problem ? error : new Problem('internal-error', 'The endpoint failed; the log knows more')
      ctx.status = problem.status
      ctx.type = 'application/problem+json'
      ctx.body = JSON.stringify(problem.body('admin'))
    }
  })
  app.use(router.routes())
  app.on('error', (error) => log.error({ err: error }, 'an admin connection failed'))
  return app
}
