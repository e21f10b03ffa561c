import assert from 'node:assert/strict'
import { test } from 'node:test'
import { Histogram, type Metric, Registry } from 'prom-client'
import { RequestDurations } from '../../src/telemetry/durations.ts'

const observations = [
  ['orders', 'GET', 200, 0.0004],
  ['orders', 'GET', 200, 0.001],
  ['orders', 'GET', 200, 0.0011],
  ['orders', 'GET', 404, 0.3],
  ['orders', 'POST', 200, 12],
  ['', 'GET', 200, 31],
] as const

test('request durations read as those of prom-client, line for line', async () => {
  const own = new RequestDurations()
  const theirs = new Registry()
  const histogram = new Histogram({
    name: own.name,
    help: own.help,
    labelNames: ['service', 'method', 'status'],
    buckets: [0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30],
    registers: [theirs],
  })
  const registry = new Registry()
  registry.registerMetric(own as unknown as Metric)
  for (const [service, method, status, seconds] of observations) {
    own.observe(service, method, status, seconds)
    histogram.observe({ service, method, status: String(status) }, seconds)
  }
  assert.equal(await registry.metrics(), await theirs.metrics())
  const values = ([metric]: readonly { readonly values?: readonly object[] }[]) => metric!.values!.length
  assert.equal(values(await registry.getMetricsAsJSON()), values(await theirs.getMetricsAsJSON()))

  registry.resetMetrics()
  assert.doesNotMatch(await registry.metrics(), /_count/)
})
