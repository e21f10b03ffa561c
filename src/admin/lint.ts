import type Router from '@koa/router'
import type { Gateway } from '../gateway/gateway.ts'
import type { Live } from '../gateway/live.ts'
import { Problem } from '../http/problem.ts'
import type { Finding } from '../openapi/document.ts'
import type { Linter } from '../openapi/linter.ts'
import { countsOf, type FindingCounts } from '../openapi/report.ts'

/** What was found in a text, as long as the service has that text. */
interface Linted {
  readonly bytes: Uint8Array
  readonly findings: Promise<readonly Finding[]>
  counts?: FindingCounts
}

/**
 * `/services/{name}/lint`: what is wrong in a service's document as the service wrote it. Looked at when somebody asks,
 * and once for each text. Returns what is known by now, by service.
 */
export function lintEndpoints(
  router: Router,
  { live, linter }: { readonly live: Live<Gateway>; readonly linter: Linter },
): (service: string) => FindingCounts | undefined {
  const known = new Map<string, Linted>()
  router.get('/services/:name/lint', async (ctx) => {
    const name = ctx.params['name']!
    const { documents, services } = live.current
    if (services.every((service) => service.name !== name))
      throw new Problem('not-found', `There is no service "${name}"`)
    const text = documents.text(name)
    if (!text) throw new Problem('not-found', `There is no document of "${name}"`)
    let linted = known.get(name)
    if (linted?.bytes !== text.bytes || text.local) {
      linted = { bytes: text.bytes, findings: linter.lint({ service: name, ...text }) }
      known.set(name, linted)
    }
    try {
      const findings = await linted.findings
      linted.counts = countsOf(findings)
      ctx.body = { service: name, ...linted.counts, findings }
    } catch (error) {
      known.delete(name)
      throw error
    }
  })
  return (name) => {
    const linted = known.get(name)
    return linted && linted.bytes === live.current.documents.text(name)?.bytes ? linted.counts : undefined
  }
}
