import { guest } from '../authentication/caller.ts'
import type { Identification } from '../authentication/identify.ts'
import { createFields } from '../http/fields.ts'
import { forwardedFields } from '../http/forwarded.ts'
import { remember } from '../http/intermediary.ts'
import { joinTarget } from '../http/path.ts'
import { Problem } from '../http/problem.ts'
import { withoutParameters } from '../http/query.ts'
import type { RequestHead } from '../http/request-head.ts'
import type { createTracing } from '../http/trace-context.ts'
import type { createVia } from '../http/via.ts'
import type { Affinity } from '../upstream/balancers/balancer.ts'
import { readDeadline, withPatience } from '../upstream/deadline.ts'
import type { Timeouts } from '../upstream/exchange.ts'
import type { Route } from './gateway.ts'

/** What a request tells on its way, besides what its client said. */
export interface OutboundTools {
  readonly trace: ReturnType<typeof createTracing>
  readonly via: ReturnType<typeof createVia>
}

/** One request that may pass. */
export interface Permitted {
  readonly head: RequestHead
  readonly route: Route
  readonly identification: Identification
}

/** Whose word a header field is. */
export type Origin = 'client' | 'gateway' | 'caller' | 'services.json' | 'credential'

/** Hears where in the list the lines of one origin end. Explanations listen; production does not. */
export type Mark = (origin: Origin, end: number) => void

const noFields = createFields([])

/**
 * The header lines that the service will get, Contract 3: the client's fields without what it has no right to say, then,
 * in this order, the gateway's word about the request, the caller, and what services.json adds. The credential comes
 * after them (`route.propagator`). Throws 508 when the request goes round.
 */
export function outboundFields(
  { head, route, identification }: Permitted,
  { trace, via }: OutboundTools,
  mark?: Mark,
): string[] {
  const { service } = route
  const passed = via(head.fields)
  if (passed === undefined)
    throw new Problem('loop-detected', 'The request has come back to a gateway it passed before')
  const lines = route.requestFields(head.fields.raw)
  mark?.('client', lines.length)
  const { traceparent, tracestate } = trace(head.client.viaTrustedProxy ? head.fields : noFields)
  lines.push('Via', passed, 'X-Request-ID', head.id, 'traceparent', traceparent)
  if (tracestate !== undefined) lines.push('tracestate', tracestate)
  for (const text of forwardedFields(head.client, service.stripPath ? service.prefix : '')) lines.push(text)
  mark?.('gateway', lines.length)
  route.writeIdentity?.(lines, identification.caller, identification.status)
  mark?.('caller', lines.length)
  for (const text of route.staticFields) lines.push(text)
  mark?.('services.json', lines.length)
  return lines
}

/** The bytes that were authorised, less the service's prefix and the credentials in the query. */
export function outboundTarget({ route, head }: Pick<Permitted, 'route' | 'head'>): string {
  const { service, withheldParameters } = route
  const path = service.stripPath ? below(service.prefix, head.path) : head.path
  const query = withheldParameters.size === 0 ? head.query : withoutParameters(head.query, withheldParameters)
  return joinTarget('', path, query)
}

/**
 * Returns the function that makes of a request's lines those of a request of the gateway's own that wants JSON, whole:
 * the client's conditions and ranges are about another answer (RFC 9110 §13, §14).
 */
export function createWholeJsonFields() {
  const fateOf = remember((name) => (ofAnotherAnswer.test(name) ? 'drop' : 'keep'))
  return function wholeJsonFields(lines: readonly string[]): string[] {
    const kept: string[] = []
    for (let index = 0; index < lines.length; index += 2) {
      if (fateOf(lines[index]!) === 'keep') kept.push(lines[index]!, lines[index + 1]!)
    }
    kept.push('Accept', 'application/json', 'Accept-Encoding', 'identity')
    return kept
  }
}

const ofAnotherAnswer = /^(?:if-.*|range|accept-encoding|accept|content-.*)$/i

/** What may keep a request with the same target as others of its caller. */
export function affinityOf({ head, identification: { caller } }: Pick<Permitted, 'head' | 'identification'>): Affinity {
  return {
    caller: caller === guest ? undefined : caller.subject,
    roles: caller.roles,
    client: head.client.address,
    field: (name) => head.fields.get(name),
  }
}

/**
 * How long the service is waited for; undefined as its own times say. A client that says how long it will wait is not
 * served longer, where services are told such things.
 */
export function timeoutsOf({ route, head }: Pick<Permitted, 'head' | 'route'>): Timeouts | undefined {
  const { deadline, timeouts } = route.service.upstream
  if (!deadline) return route.timeouts
  return withPatience(
    route.timeouts ?? timeouts,
    readDeadline(deadline, head.fields.get(deadline.header.toLowerCase())),
  )
}

/** What follows as many segments as the prefix has: the router also finds a service by `/%40me` or `/ME` for `/@me`. */
function below(prefix: string, path: string): string {
  if (path.startsWith(prefix)) return path.slice(prefix.length) || '/'
  let end = 0
  for (let segments = prefix.split('/').length - 1; segments > 0 && end >= 0; segments--)
    end = path.indexOf('/', end + 1)
  return end < 0 ? '/' : path.slice(end)
}
