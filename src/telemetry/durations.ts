/** Seconds; the last bucket has no bound. */
const bounds = [0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30]

interface Series {
  readonly labels: Readonly<Record<string, string>>
  /** How many fell into each bucket, not added up. */
  readonly counts: number[]
  sum: number
}

/**
 * The histogram of request durations. prom-client makes a text of the labels for each observation, which is a third of
 * a microsecond on every request; here a series is found by three look-ups (docs/decisions). The registry of
 * prom-client takes this for one of its own metrics, so the exposition is still its business.
 */
export class RequestDurations {
  readonly name = 'sallyport_request_duration_seconds'
  readonly help = 'Time from the request head to the end of the answer.'
  readonly type = 'histogram'
  readonly aggregator = 'sum'
  readonly #series: Series[] = []
  /** By service, method and status. */
  readonly #found = new Map<string, Map<string, Map<number, Series>>>()

  observe(service: string, method: string, status: number, seconds: number): void {
    const series = this.#found.get(service)?.get(method)?.get(status) ?? this.#begin(service, method, status)
    let bucket = 0
    while (bucket < bounds.length && seconds > bounds[bucket]!) bucket += 1
    series.counts[bucket]! += 1
    series.sum += seconds
  }

  #begin(service: string, method: string, status: number): Series {
    const labels = { service, method, status: String(status) }
    const series: Series = { labels, counts: new Array(bounds.length + 1).fill(0), sum: 0 }
    const byMethod = this.#found.get(service) ?? new Map<string, Map<number, Series>>()
    const byStatus = byMethod.get(method) ?? new Map<number, Series>()
    this.#found.set(service, byMethod.set(method, byStatus.set(status, series)))
    this.#series.push(series)
    return series
  }

  /** What the registry asks of a metric: buckets added up, as the exposition format wants them. */
  async get() {
    const { name, help, type, aggregator } = this
    const values = this.#series.flatMap(({ labels, counts, sum }) => {
      let count = 0
      const buckets = counts.map((more, bucket) => {
        count += more
        return { metricName: `${name}_bucket`, labels: { le: bounds[bucket] ?? '+Inf', ...labels }, value: count }
      })
      return [
        ...buckets,
        { metricName: `${name}_sum`, labels, value: sum },
        { metricName: `${name}_count`, labels, value: count },
      ]
    })
    return { name, help, type, aggregator, values }
  }

  reset(): void {
    this.#series.length = 0
    this.#found.clear()
  }
}
