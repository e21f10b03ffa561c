import Router from '@koa/router'
import Koa from 'koa'
import { Problem } from '../http/problem.ts'
import type { Linter } from '../openapi/linter.ts'
import { StoreUnavailable } from '../store/store.ts'
import type { Log } from '../telemetry/log.ts'
import type { Metrics } from '../telemetry/metrics.ts'
import { driftEndpoints, measureDrift } from './drift.ts'
import { type ExplainEndpointTools, explainEndpoints } from './explain.ts'
import { guardAdmin } from './guard.ts'
import { issuerKeyEndpoints } from './issuer-keys.ts'
import { type KeyTools, keyEndpoints } from './keys.ts'
import { lintEndpoints } from './lint.ts'
import { type AdminPage, pageEndpoints } from './page.ts'
import type { Peers } from './peers.ts'
import { personaEndpoints } from './personas.ts'

export interface AdminTools extends ExplainEndpointTools, KeyTools {
  readonly metrics: Metrics
  readonly log: Log
  /** Whose knowledge is added to this process's own. */
  readonly peers: Peers
  /** Where the admin port listens: a host that it may be called by. */
  readonly host: string
  readonly page: AdminPage
  readonly linter: Linter
}

/**
 * The operator's side, on a port of its own that is never public: what runs, how it goes, why something was refused,
 * and who holds a key.
 */
export function createAdmin({ metrics, log, host, page, ...tools }: AdminTools): Koa {
  const { live, peers } = tools
  if (!/^(?:localhost|::1|127\..*)$/.test(host))
    log.warn({ host }, 'the admin port asks nobody who they are; see to it that only operators can reach it')
  const app = new Koa()
  const router = new Router({ sensitive: true, strict: true, exclusive: true })

  pageEndpoints(router, page)
  peers.answer('metrics', () => {
    measureDrift(live.current, metrics)
    return metrics.snapshot()
  })
  router.get('/metrics', async (ctx) => {
    measureDrift(live.current, metrics)
    const { type, text } = await metrics.render(await peers.ask('metrics'))
    ctx.set('Content-Type', type)
    ctx.body = text
  })
  const lintOf = lintEndpoints(router, tools)
  router.get('/services', (ctx) => {
    const { drift, documents } = live.current
    const { findings } = documents.published
    const counts = new Map(drift.report().map((one) => [one.service, one.counts]))
    const { services } = live.current.readiness()
    ctx.body = {
      services: services.map((service) => ({
        ...service,
        drift: counts.get(service.name),
        lint: lintOf(service.name),
        findings: findings.filter((finding) => finding.service === service.name),
      })),
    }
  })
  router.get('/openapi.json', (ctx) => {
    const { type, body } = live.current.documents.published.json
    ctx.set('Content-Type', type)
    ctx.body = body
  })
  driftEndpoints(router, tools)
  explainEndpoints(router, tools)
  keyEndpoints(router, tools)
  issuerKeyEndpoints(router, tools)
  personaEndpoints(router, tools)

  app.use(async function answerProblems(ctx, next) {
    try {
      ctx.set('Cache-Control', 'no-store')
      ctx.set('X-Content-Type-Options', 'nosniff')
      ctx.set('Referrer-Policy', 'no-referrer')
      ctx.set('Cross-Origin-Resource-Policy', 'same-origin')
      await next()
      if (ctx.status === 404 && ctx.body === undefined) throw notFound(router, ctx)
    } catch (error) {
      if (!(error instanceof Problem)) log.error({ err: error }, 'an admin endpoint failed')
      const problem = problemOf(error)
      ctx.status = problem.status
      for (const [name, value] of Object.entries(problem.fields)) ctx.set(name, value as string)
      // What was not read of a body would be taken for the next request.
      if (!ctx.req.complete) ctx.set('Connection', 'close')
      ctx.type = 'application/problem+json'
      ctx.body = JSON.stringify(problem.body('admin'))
    }
  })
  app.use(guardAdmin(host))
  app.use(router.routes())
  app.on('error', (error) => log.error({ err: error }, 'an admin connection failed'))
  return app
}

function problemOf(error: unknown): Problem {
  if (error instanceof Problem) return error
  if (error instanceof StoreUnavailable)
    return new Problem('store-unavailable', 'The store does not answer', { fields: { 'Retry-After': '1' } })
  return new Problem('internal-error', 'The endpoint failed; the log knows more')
}

/** RFC 9110 §15.5.6: 405 with `Allow` where only the method is wrong. */
function notFound(router: Router, { path, method }: { readonly path: string; readonly method: string }): Problem {
  const allowed = [...new Set(router.match(path, method).path.flatMap(({ methods }) => methods))].sort().join(', ')
  if (allowed === '') return new Problem('not-found', 'The admin port has nothing at this path')
  return new Problem('method-not-allowed', `This path offers ${allowed}`, { fields: { Allow: allowed } })
}
