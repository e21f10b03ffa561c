import { affinityOf } from '../gateway/outbound.ts'
import { isUpgrade } from '../http/upgrade.ts'
import { Ending } from '../upstream/ending.ts'
import { answerFields } from './forward.ts'
import type { Step, StepContext } from './state.ts'

/**
 * A WebSocket instead of an answer? It stands until one end closes it, the gateway stops, or the credential that opened
 * it is no longer good. A service that does not agree answers the request like any other.
 */
export function tunnel(): Step {
  return function tunnel(ctx, next) {
    return isUpgrade(ctx.req) ? stand(ctx) : next()
  }
}

/** Resolves when the tunnel has closed, or another answer was delivered. */
async function stand(ctx: StepContext): Promise<void> {
  const { req, res, state } = ctx
  const { gateway, route, head, identification } = state
  const ending = new Ending()
  const unwatch = gateway.credentials.watch({ head, security: route.security, identification }, (problem) =>
    ending.end(problem),
  )
  let open = false
  ctx.respond = false
  try {
    await route.service.upstream.tunnel({
      req,
      res,
      socket: req.socket,
      head: nothing,
      target: state.target,
      fields: state.fields,
      responseFields: answerFields(state),
      affinity: affinityOf(state),
      timeouts: route.timeouts,
      ending,
      onOpen() {
        open = true
      },
      onOutcome(outcome) {
        state.outcome = outcome
      },
    })
  } finally {
    unwatch()
    // The response has lost its connection to the tunnel; whoever waits for its end is told when the tunnel ends.
    if (open) res.emit('close')
  }
}

/** What came behind the request was put back (server.ts). */
const nothing = Buffer.alloc(0)
