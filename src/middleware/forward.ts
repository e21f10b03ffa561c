import type { IncomingHttpHeaders } from 'node:http'
import { guest } from '../authentication/caller.ts'
import type { Affinity } from '../upstream/balancers/balancer.ts'
import type { State, Step } from './state.ts'

/**
 * Where to, and what came back? The answer goes straight from the connection to the service to the client's; Koa is
 * told to keep out of it.
 */
export function forward(): Step {
  return function forward(ctx) {
    const { req, res, state } = ctx
    const { route, head } = state
    ctx.respond = false
    return route.service.upstream
      .exchange({
        req,
        res,
        method: head.method,
        target: state.target,
        fields: state.fields,
        hasBody: hasBody(req.headers),
        bodyLimit: route.limits.body,
        expectsContinue: req.headers.expect !== undefined,
        responseFields,
        affinity: affinityOf(state),
        timeouts: route.timeouts,
        onOutcome(outcome) {
          state.outcome = outcome
        },
      })
      .then(
        () => {},
        (error) => {
          ctx.respond = true
          throw error
        },
      )

    function responseFields(_status: number, raw: readonly string[]): string[] {
      const fields = route.responseFields(raw)
      for (const text of state.announced) fields.push(text)
      return fields
    }
  }
}

function affinityOf({ head, identification: { caller } }: State): Affinity {
  return {
    caller: caller === guest ? undefined : caller.subject,
    client: head.client.address,
    field: (name) => head.fields.get(name),
  }
}

/** RFC 9112 §6.3: what announces content in a request. */
function hasBody(headers: IncomingHttpHeaders): boolean {
  const length = headers['content-length']
  return headers['transfer-encoding'] !== undefined || (length !== undefined && length !== '0')
}
