import { randomBytes } from 'node:crypto'
import type Koa from 'koa'
import type { Decisions } from './gateway/decisions.ts'
import type { Gateway } from './gateway/gateway.ts'
import type { Live } from './gateway/live.ts'
import { createResourceReader } from './gateway/resources.ts'
import { createRequestIds } from './http/request-id.ts'
import { createTracing } from './http/trace-context.ts'
import { createVia } from './http/via.ts'
import { admit } from './middleware/admit.ts'
import { Application } from './middleware/application.ts'
import { askToSignIn } from './middleware/ask-to-sign-in.ts'
import { authenticate } from './middleware/authenticate.ts'
import { authorize } from './middleware/authorize.ts'
import { cache } from './middleware/cache.ts'
import { compose } from './middleware/compose.ts'
import { cors } from './middleware/cors.ts'
import { forward } from './middleware/forward.ts'
import { keepRefusal } from './middleware/keep-refusal.ts'
import { noteUndocumented } from './middleware/note-undocumented.ts'
import { observe } from './middleware/observe.ts'
import { ownEndpoints } from './middleware/own.ts'
import { pin } from './middleware/pin.ts'
import { answerProblems } from './middleware/problems.ts'
import { propagate } from './middleware/propagate.ts'
import { readHead } from './middleware/read-head.ts'
import { refuseForgery } from './middleware/refuse-forgery.ts'
import { reportShadow } from './middleware/report-shadow.ts'
import { route } from './middleware/route.ts'
import type { State } from './middleware/state.ts'
import { throttle } from './middleware/throttle.ts'
import { tunnel } from './middleware/tunnel.ts'
import { upgrade } from './middleware/upgrade.ts'
import { validate, validateParameters } from './middleware/validate.ts'
import type { Metrics } from './telemetry/metrics.ts'
import type { Tools } from './tools.ts'

export interface AppTools extends Tools {
  readonly live: Live<Gateway>
  readonly metrics: Metrics
  /** Where refusals are kept to be explained. */
  readonly decisions: Decisions
  /** Whether the process is about to end. */
  readonly leaving: () => boolean
  readonly limits: { readonly fields: number; readonly url: number }
}

/**
 * The score: every step, in the order a request meets it.
 *
 * The chain never changes while the process lives; the gateway it asks is swapped whole. A step that has nothing to do
 * on the way back returns `next()` instead of awaiting it.
 */
export function createApp({ live, metrics, decisions, leaving, limits, log, now }: AppTools): Koa<State> {
  const app = new Application()
  const requestIds = createRequestIds(randomBytes)
  const trace = createTracing(randomBytes)
  const via = createVia(randomBytes(8).toString('hex'))
  const kept = keepRefusal(decisions, { log, now })
  const may = {
    now,
    resources: createResourceReader({ trace, via, now }),
    tried: reportShadow(decisions, metrics, { log, now }),
  }

  const alone = [
    route(),
    throttle('clients'),
    authenticate(),
    throttle('callers'),
    authorize(may),
    admit(),
    validateParameters({ log, metrics }),
    propagate({ trace, via }),
  ]

  app.use(observe(log, metrics)) //            one line and one measurement, when the answer has ended
  app.use(answerProblems(log, kept)) //        what is thrown below, as application/problem+json
  app.use(pin(live)) //                        which revision of services.json?
  app.use(readHead(requestIds, limits)) //     400 what can be read in two ways; one canonical head for all below
  app.use(cors()) //                           whose scripts may read the answer? 204 to preflights
  app.use(ownEndpoints(leaving)) //            the documentation, the issuer, liveness
  app.use(compose(alone)) //                   several services at once? each part as if it came alone
  app.use(route()) //                          which row of the table? 404, 405
  app.use(throttle('clients')) //              how often, by address? 429
  app.use(upgrade()) //                        may this page open a WebSocket? 403
  app.use(askToSignIn()) //                    a person without a session? 302 to where one begins
  app.use(authenticate()) //                   who is calling? 401
  app.use(refuseForgery()) //                  did the page itself want this? 403
  app.use(throttle('callers')) //              how often, by who calls? 429
  app.use(authorize(may)) //                   may they? 403
  app.use(admit()) //                          is there room? 503
  app.use(validate({ log, metrics })) //       does it fit the document of its service? 400, 415
  app.use(propagate({ trace, via })) //        whom do we name to the service?
  app.use(noteUndocumented()) //               does its document know of this? counted
  app.use(tunnel()) //                         a WebSocket instead of an answer? 101
  app.use(cache(now)) //                       is the answer here already?
  app.use(forward()) //                        where to, and what came back? 502, 503, 504

  // Koa prints what reaches this event; everything that ends here was answered and logged above.
  app.on('error', (error) => log.debug({ err: error }, 'a connection broke'))
  return app
}
