import {
  AggregatorRegistry,
  Counter,
  collectDefaultMetrics,
  Gauge,
  type Metric,
  type MetricObjectWithValues,
  type MetricValue,
  Registry,
} from 'prom-client'
import { RequestDurations } from './durations.ts'

/** Everything that one process has counted, as JSON. */
export type Snapshot = readonly MetricObjectWithValues<MetricValue<string>>[]

/**
 * What Prometheus reads on the admin port. Labels come from services.json and from fixed tables only, never from a
 * request, so that no client can grow the number of series.
 */
export interface Metrics {
  /** The exposition text and its media type, with what `others` have counted added. */
  render(others?: readonly Snapshot[]): Promise<{ readonly type: string; readonly text: string }>
  snapshot(): Promise<Snapshot>
  /** One answered request. `service` is empty for the gateway's own endpoints. */
  request(service: string, method: string, status: number, seconds: number): void
  /** One exchange that failed: who is to blame and how far it had come. */
  exchangeFailed(service: string, who: string, stage: string): void
  /** One request refused by the gateway itself, by problem code. */
  refused(service: string, code: string): void
  /** One request refused by a rate or a quota, by its name in services.json. */
  limited(service: string, policy: string): void
  /** One composition that was answered without an optional part, by the code of the part's problem. */
  partMissed(composition: string, part: string, code: string): void
  /** One request that was held against a document and did not fit (`refused`, or `shadow` where it passed all the same), or could not be (`unchecked`). */
  validated(service: string, verdict: 'refused' | 'shadow' | 'unchecked'): void
  /** One request that went on although what is in shadow would have refused it, by the row that would have. */
  triedInVain(service: string, operation: string, row: string): void
  /** One request to a route that keeps answers: what came of it. */
  cached(service: string, result: string): void
  /** A configuration took effect. */
  configured(at: number): void
  /** Whether the file on disk is broken while an older configuration serves. */
  configurationStale(stale: boolean): void
  /** Whether a service's document is the last good copy instead of a fresh one. */
  documentStale(service: string, stale: boolean): void
  /** In how many ways a service, its document and the gateway do not agree, by kind. */
  drift(service: string, kind: string, count: number): void
  /** Something that is worth an alarm when it counts up, such as a key set that cannot be fetched. */
  alarm(kind: string, name: string): void
  inFlight(change: 1 | -1): void
  /** Counts the log lines that could not be written; `lost` says how many there have been. */
  logLost(lost: () => number): void
  /** Asked for each time the metrics are read: what counts and changes beside them. */
  watchServices(read: () => readonly ServiceSample[]): void
}

/** How one service stands. */
export interface ServiceSample {
  readonly name: string
  readonly targets: readonly {
    readonly url: string
    readonly available: boolean
    readonly inFlight: number
    readonly connections: number
    readonly requests: number
    readonly failures: number
  }[]
  /** Copies of its requests, where some are made. */
  readonly mirror?: { readonly answered: number; readonly failed: number; readonly skipped: number } | undefined
  /** Requests under way and waiting, where their number is limited. */
  readonly concurrent?: { readonly active: number; readonly waiting: number } | undefined
}

const methods = new Set(['GET', 'HEAD', 'POST', 'PUT', 'PATCH', 'DELETE', 'OPTIONS'])

export function createMetrics(): Metrics {
  const registry = new Registry()
  collectDefaultMetrics({ register: registry })
  const registers = [registry]
  const durations = new RequestDurations()
  registry.registerMetric(durations as unknown as Metric)
  const failures = new Counter({
    name: 'sallyport_upstream_failures_total',
    help: 'Exchanges with a service that failed, by who is to blame and how far they had come.',
    labelNames: ['service', 'who', 'stage'],
    registers,
  })
  const refusals = new Counter({
    name: 'sallyport_refusals_total',
    help: 'Requests that the gateway itself refused, by problem code.',
    labelNames: ['service', 'code'],
    registers,
  })
  const limits = new Counter({
    name: 'sallyport_limited_total',
    help: 'Requests that a rate or a quota refused, by its name in RateLimit-Policy.',
    labelNames: ['service', 'policy'],
    registers,
  })
  const partsMissed = new Counter({
    name: 'sallyport_composition_parts_missed_total',
    help: 'Compositions answered without an optional part, by the code of its problem.',
    labelNames: ['composition', 'part', 'code'],
    registers,
  })
  const validations = new Counter({
    name: 'sallyport_validation_total',
    help: 'Requests that did not fit the document of their service (refused, shadow), or could not be checked (unchecked).',
    labelNames: ['service', 'verdict'],
    registers,
  })
  const shadows = new Counter({
    name: 'sallyport_shadow_refusals_total',
    help: 'Requests that would have been refused if what is in shadow were enforced, by operation and row.',
    labelNames: ['service', 'operation', 'row'],
    registers,
  })
  const cached = new Counter({
    name: 'sallyport_cache_total',
    help: 'Requests to routes that keep answers: hit, miss, revalidated, stale (the service failed) or bypass.',
    labelNames: ['service', 'result'],
    registers,
  })
  const configuredAt = new Gauge({
    name: 'sallyport_config_loaded_timestamp_seconds',
    help: 'When the configuration in use took effect.',
    // Of several processes: the one that is furthest behind.
    aggregator: 'min',
    registers,
  })
  const stale = new Gauge({
    name: 'sallyport_config_stale',
    help: '1 while services.json on disk is broken and an older configuration serves.',
    aggregator: 'max',
    registers,
  })
  const documents = new Gauge({
    name: 'sallyport_document_stale',
    help: "1 while a service's OpenAPI document is the last good copy or missing.",
    labelNames: ['service'],
    aggregator: 'max',
    registers,
  })
  const drifts = new Gauge({
    name: 'sallyport_document_drift',
    help: 'In how many ways a service, its OpenAPI document and the gateway do not agree, by kind; sallyport drift lists them.',
    labelNames: ['service', 'kind'],
    registers,
  })
  const alarms = new Counter({
    name: 'sallyport_alarms_total',
    help: 'Faults around the gateway that somebody should look at, by kind and name.',
    labelNames: ['kind', 'name'],
    registers,
  })
  let inFlight = 0
  new Gauge({
    name: 'sallyport_requests_in_flight',
    help: 'Requests whose answer has not ended.',
    registers,
    // Asked when somebody reads the metrics, instead of told twice in every request.
    collect() {
      this.set(inFlight)
    },
  })
  const processes = new Gauge({ name: 'sallyport_processes', help: 'Processes that serve.', registers })
  processes.set(1)
  stale.set(0)

  let services: () => readonly ServiceSample[] = () => []
  const sampled = (
    kind: typeof Gauge | typeof Counter,
    name: string,
    help: string,
    labelNames: readonly string[],
    read: (service: ServiceSample) => readonly (readonly [labels: Record<string, string>, value: number])[],
  ) =>
    new kind({
      name,
      help,
      labelNames: [...labelNames],
      registers,
      collect() {
        // Targets and services come and go with services.json.
        this.reset()
        for (const service of services()) for (const [labels, value] of read(service)) this.inc(labels, value)
      },
    })
  const ofTargets = (value: (target: ServiceSample['targets'][number]) => number) => (service: ServiceSample) =>
    service.targets.map((target) => [{ service: service.name, target: target.url }, value(target)] as const)
  const ofLimit = (value: (limit: NonNullable<ServiceSample['concurrent']>) => number) => (service: ServiceSample) =>
    service.concurrent ? [[{ service: service.name }, value(service.concurrent)] as const] : []
  const target = ['service', 'target']
  sampled(
    Gauge,
    'sallyport_target_available',
    '1 while a target gets requests, 0 while it is out.',
    target,
    ofTargets(({ available }) => Number(available)),
  )
  sampled(
    Gauge,
    'sallyport_target_in_flight',
    'Requests under way at a target.',
    target,
    ofTargets(({ inFlight }) => inFlight),
  )
  sampled(
    Gauge,
    'sallyport_target_connections',
    'Connections to a target.',
    target,
    ofTargets(({ connections }) => connections),
  )
  sampled(
    Counter,
    'sallyport_target_requests_total',
    'Requests sent to a target, second tries included.',
    target,
    ofTargets(({ requests }) => requests),
  )
  sampled(
    Counter,
    'sallyport_target_failures_total',
    'Requests that a target failed: no answer, a broken one, 502, 503 or 504.',
    target,
    ofTargets(({ failures }) => failures),
  )
  sampled(
    Counter,
    'sallyport_mirrored_total',
    'Copies of requests that were answered, that failed, and requests of which none was made.',
    ['service', 'outcome'],
    ({ name, mirror }) => Object.entries(mirror ?? {}).map(([outcome, value]) => [{ service: name, outcome }, value]),
  )
  sampled(
    Gauge,
    'sallyport_concurrent_requests',
    'Requests that hold a place of `limits.concurrent`.',
    ['service'],
    ofLimit(({ active }) => active),
  )
  sampled(
    Gauge,
    'sallyport_waiting_requests',
    'Requests that wait for such a place.',
    ['service'],
    ofLimit(({ waiting }) => waiting),
  )

  return {
    async render(others = []) {
      if (others.length === 0) return { type: registry.contentType, text: await registry.metrics() }
      const all = [await registry.getMetricsAsJSON(), ...others]
      return { type: registry.contentType, text: await AggregatorRegistry.aggregate(all as object[]).metrics() }
    },
    snapshot: () => registry.getMetricsAsJSON(),
    request: (service, method, status, duration) =>
      durations.observe(service, methods.has(method) ? method : 'other', status, duration),
    exchangeFailed: (service, who, stage) => failures.inc({ service, who, stage }),
    refused: (service, code) => refusals.inc({ service, code }),
    limited: (service, policy) => limits.inc({ service, policy }),
    partMissed: (composition, part, code) => partsMissed.inc({ composition, part, code }),
    validated: (service, verdict) => validations.inc({ service, verdict }),
    triedInVain: (service, operation, row) => shadows.inc({ service, operation, row }),
    cached: (service, result) => cached.inc({ service, result }),
    configured: (at) => configuredAt.set(at / 1_000),
    configurationStale: (broken) => stale.set(broken ? 1 : 0),
    documentStale: (service, old) => documents.set({ service }, old ? 1 : 0),
    drift: (service, kind, count) => drifts.set({ service, kind }, count),
    alarm: (kind, name) => alarms.inc({ kind, name }),
    logLost(lost) {
      let told = 0
      new Counter({
        name: 'sallyport_log_lines_lost_total',
        help: 'Lines of the log that could not be written: its reader is too slow, or the disk is full.',
        registers,
        collect() {
          const now = lost()
          this.inc(now - told)
          told = now
        },
      })
    },
    inFlight(change) {
      inFlight += change
    },
    watchServices(read) {
      services = read
    },
  }
}
