import { affinityOf, timeoutsOf } from '../gateway/outbound.ts'
import { expectsContinue } from '../http/expectation.ts'
import { lineOf } from '../http/fields.ts'
import { hasContent } from '../http/framing.ts'
import type { ResponseFields } from '../upstream/forward.ts'
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
    return route.service.upstream.exchange({
      req,
      res,
      method: head.method,
      target: state.target,
      fields: state.fields,
      hasBody: hasContent(req),
      content: state.content,
      bodyLimit: route.limits.body,
      expectsContinue: expectsContinue(req) && !state.continued,
      responseFields: answerFields(state),
      collect: state.collect,
      affinity: affinityOf(state),
      timeouts: timeoutsOf(state),
      repeatable: route.idempotent,
      copied: route.copyHead && (() => route.copyHead!(state, state.uncredentialed)),
      onOutcome(outcome) {
        state.outcome = outcome
      },
    })
  }
}

/** The fields of the service's answer that come back, with what every answer carries. */
export function answerFields({ gateway, route, announced }: State): ResponseFields {
  const { name, versionField } = route.service
  return function answerFields(_status, raw) {
    if (versionField !== undefined) {
      const version = lineOf(raw, versionField)
      if (version !== undefined) gateway.documents.noteVersion(name, version)
    }
    const fields = route.responseFields(raw)
    route.service.rewriteLocations(fields)
    for (const text of announced) fields.push(text)
    return fields
  }
}
