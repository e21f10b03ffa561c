import type Router from '@koa/router'
import { z } from 'zod'
import type { Gateway } from '../gateway/gateway.ts'
import type { Live } from '../gateway/live.ts'
import { Problem } from '../http/problem.ts'
import type { Metrics } from '../telemetry/metrics.ts'
import { readJson } from './read-json.ts'

const acceptance = z.strictObject({ services: z.array(z.string().min(1).max(64)).min(1).max(10_000) })

/** `/drift`: where services, their documents and the gateway do not agree. */
export function driftEndpoints(router: Router, { live }: { readonly live: Live<Gateway> }): void {
  router.get('/drift', (ctx) => {
    ctx.body = { services: live.current.drift.report() }
  })
  router.post('/drift/accept', async (ctx) => {
    const { services } = await readJson(ctx, acceptance)
    const { drift, services: known } = live.current
    const unknown = services.find((name) => !known.some((service) => service.name === name))
    if (unknown !== undefined) throw new Problem('not-found', `There is no service "${unknown}"`)
    ctx.body = { accepted: await drift.accept(services) }
  })
}

/** The numbers as they are when somebody looks. */
export function measureDrift({ drift }: Gateway, metrics: Metrics): void {
  for (const { service, counts } of drift.report())
    for (const [kind, count] of Object.entries(counts)) metrics.drift(service, kind, count)
}
