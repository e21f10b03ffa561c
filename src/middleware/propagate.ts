import { createFields } from '../http/fields.ts'
import { forwardedFields } from '../http/forwarded.ts'
import { joinTarget } from '../http/path.ts'
import { Problem } from '../http/problem.ts'
import { withoutParameters } from '../http/query.ts'
import type { createTracing } from '../http/trace-context.ts'
import type { createVia } from '../http/via.ts'
import type { State, Step } from './state.ts'

export interface PropagateTools {
  readonly trace: ReturnType<typeof createTracing>
  readonly via: ReturnType<typeof createVia>
}

const noFields = createFields([])

/**
 * What the service will get, Contract 3: the client's fields without what it has no right to say, then, in this order,
 * the gateway's word about the request, the caller, the credential, and what services.json adds.
 */
export function propagate({ trace, via }: PropagateTools): Step {
  return function propagate(ctx, next) {
    const { state } = ctx
    const { route, head, identification } = state
    const { service } = route

    const passed = via(head.fields)
    if (passed === undefined)
      throw new Problem('loop-detected', 'The request has come back to a gateway it passed before')
    const lines = route.requestFields(head.fields.raw)
    const { traceparent, tracestate } = trace(head.client.viaTrustedProxy ? head.fields : noFields)
    lines.push('Via', passed, 'X-Request-ID', state.id, 'traceparent', traceparent)
    if (tracestate !== undefined) lines.push('tracestate', tracestate)
    for (const text of forwardedFields(head.client, service.stripPath ? service.prefix : '')) lines.push(text)
    route.writeIdentity?.(lines, identification.caller, identification.status)
    for (const text of route.staticFields) lines.push(text)

    state.fields = lines
    state.target = targetOf(state)

    const { caller, credentials } = identification
    const shown = route.propagator.fields({ head, caller, credentials, service: service.name })
    if (shown instanceof Promise) {
      return shown.then((late) => {
        for (const text of late) lines.push(text)
        return next()
      })
    }
    for (const text of shown) lines.push(text)
    return next()
  }
}

/** The bytes that were authorised, less the service's prefix and the credentials in the query. */
function targetOf({ route, head }: State): string {
  const { service, withheldParameters } = route
  const path = service.stripPath ? head.path.slice(service.prefix.length) || '/' : head.path
  const query = withheldParameters.size === 0 ? head.query : withoutParameters(head.query, withheldParameters)
  return joinTarget('', path, query)
}
