/** What a process has counted, as prom-client writes it to JSON; as much of it as is read here. */
export type Counts = readonly Metric[]

interface Metric {
  readonly name: string
  readonly type: string | number
  readonly values: readonly Value[]
}

interface Value {
  readonly value: number
  readonly labels: Readonly<Record<string, unknown>>
  readonly metricName?: string
}

/**
 * What workers had counted that are gone. A counter must not go back when a worker dies: Prometheus would take what the
 * others have counted for new. Gauges go with their worker. What came between the last scrape and its end is lost.
 */
export function departedCounts() {
  const metrics = new Map<string, { readonly metric: Metric; readonly values: Map<string, Value> }>()
  return {
    add(counts: Counts): void {
      for (const metric of counts) {
        if (metric.type !== 'counter' && metric.type !== 'histogram') continue
        const { values } = metrics.get(metric.name) ?? { values: new Map<string, Value>() }
        for (const value of metric.values) {
          const key = JSON.stringify([value.metricName, Object.entries(value.labels).sort()])
          values.set(key, { ...value, value: value.value + (values.get(key)?.value ?? 0) })
        }
        metrics.set(metric.name, { metric, values })
      }
    },
    /** One set of counts for all of them; none while nobody has gone. */
    list(): Counts[] {
      if (metrics.size === 0) return []
      return [[...metrics.values()].map(({ metric, values }) => ({ ...metric, values: [...values.values()] }))]
    },
  }
}
