import { IdentificationRefused } from '../authentication/identify.ts'
import type { Log } from '../telemetry/log.ts'
import type { Metrics } from '../telemetry/metrics.ts'
import { reasonOf } from '../upstream/failure.ts'
import type { State, Step } from './state.ts'

/**
 * One log line and one measurement a request, when its answer has ended or its client has left.
 * The line names route, caller and times; never a query, a token or a field value of the client.
 */
export function observe(log: Log, metrics: Metrics): Step {
  return function observe(ctx, next) {
    const started = performance.now()
    metrics.inFlight(1)
    // The step that forwards hears of the same event later and has its say about how it went.
    ctx.res.on('close', () => process.nextTick(report))
    return next()

    function report(): void {
      const { id, head, route, composition, missingParts, identification, problem, outcome, cached } = ctx.state
      const duration = performance.now() - started
      const status = isTunnel(outcome) ? 101 : ctx.res.headersSent ? ctx.res.statusCode : 499
      const service = route?.service.name ?? ''
      metrics.inFlight(-1)
      metrics.request(service, ctx.method, status, duration / 1_000)
      if (cached) metrics.cached(service, cached)
      if (problem && problem.status < 500 && problem.status !== 404) metrics.refused(service, problem.code)
      for (const policy of violatedPolicies(problem)) metrics.limited(service, policy)
      for (const [part, code] of Object.entries(missingParts ?? {})) metrics.partMissed(composition!, part, code)
      if (outcome?.failure) metrics.exchangeFailed(service, outcome.failure.who, outcome.failure.stage)
      log.info(
        {
          id,
          method: ctx.method,
          path: head?.path,
          status,
          ms: round(duration),
          route: route?.id ?? composition,
          client: head?.client.address,
          subject: identification?.caller.subject,
          problem: problem?.code,
          missing: missingParts,
          cache: cached,
          ...(problem && refusalOf(ctx.state)),
          upstream: outcome && {
            status: outcome.status,
            ms: outcome.firstByte && round(outcome.firstByte),
            received: outcome.received,
            sent: outcome.sent,
            target: outcome.target,
            attempts: outcome.attempts,
            failure: outcome.failure && `${outcome.failure.who} ${outcome.failure.stage}`,
            reason: reasonOf(outcome.failure?.cause),
          },
        },
        'request',
      )
    }
  }
}

/** What every scheme said about a request that was refused, and the row of `allow` that did not hold. */
function refusalOf({ refusedPart, ...state }: State) {
  const { problem, identification, route } = refusedPart ? { ...refusedPart.state, ...refusedPart } : state
  const verdicts = problem instanceof IdentificationRefused ? problem.verdicts : identification?.verdicts
  return {
    verdicts:
      verdicts &&
      Object.fromEntries(
        verdicts.map(({ scheme, authentication }) => [
          scheme,
          authentication.outcome === 'rejected' ? authentication.reason : authentication.outcome,
        ]),
      ),
    row: problem.members['row'],
    limits: problem.members['violated-policies'],
    ...(refusedPart && { part: refusedPart.name, route: route?.id }),
  }
}

function violatedPolicies(problem: State['problem'] | undefined): readonly string[] {
  return (problem?.members['violated-policies'] as readonly string[] | undefined) ?? []
}

/** The response knows nothing of it: its connection went to the tunnel before anything was written. */
function isTunnel(outcome: State['outcome'] | undefined): boolean {
  return outcome?.status === 101 && outcome.failure === undefined
}

const round = (milliseconds: number) => Math.round(milliseconds * 10) / 10
