import { Counter, collectDefaultMetrics, Gauge, type Metric, Registry } from 'prom-client'
import { RequestDurations } from './durations.ts'

/**
 * What Prometheus reads on the admin port. Labels come from services.json and from fixed tables only, never from a
 * request, so that no client can grow the number of series.
 */
export interface Metrics {
  /** The exposition text and its media type. */
  render(): Promise<{ readonly type: string; readonly text: string }>
  /** One answered request. `service` is empty for the gateway's own endpoints. */
  request(service: string, method: string, status: number, seconds: number): void
  /** One exchange that failed: who is to blame and how far it had come. */
  exchangeFailed(service: string, who: string, stage: string): void
  /** One request refused by the gateway itself, by problem code. */
  refused(service: string, code: string): void
  /** One request refused by a rate or a quota, by its name in services.json. */
  limited(service: string, policy: string): void
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
    registers,
  })
  const stale = new Gauge({
    name: 'sallyport_config_stale',
    help: '1 while services.json on disk is broken and an older configuration serves.',
    registers,
  })
  const documents = new Gauge({
    name: 'sallyport_document_stale',
    help: "1 while a service's OpenAPI document is the last good copy or missing.",
    labelNames: ['service'],
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
  stale.set(0)

  return {
    async render() {
      return { type: registry.contentType, text: await registry.metrics() }
    },
    request: (service, method, status, duration) =>
      durations.observe(service, methods.has(method) ? method : 'other', status, duration),
    exchangeFailed: (service, who, stage) => failures.inc({ service, who, stage }),
    refused: (service, code) => refusals.inc({ service, code }),
    limited: (service, policy) => limits.inc({ service, policy }),
    validated: (service, verdict) => validations.inc({ service, verdict }),
    triedInVain: (service, operation, row) => shadows.inc({ service, operation, row }),
    cached: (service, result) => cached.inc({ service, result }),
    configured: (at) => configuredAt.set(at / 1_000),
    configurationStale: (broken) => stale.set(broken ? 1 : 0),
    documentStale: (service, old) => documents.set({ service }, old ? 1 : 0),
    drift: (service, kind, count) => drifts.set({ service, kind }, count),
    alarm: (kind, name) => alarms.inc({ kind, name }),
    inFlight(change) {
      inFlight += change
    },
  }
}
