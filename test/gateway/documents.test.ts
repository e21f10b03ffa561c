import assert from 'node:assert/strict'
import { test } from 'node:test'
import type { Definition } from '../../src/config/schema.ts'
import { openDocuments } from '../../src/gateway/documents.ts'
import { createOwnPart } from '../../src/openapi/own.ts'
import { createPress, type Press } from '../../src/openapi/press.ts'
import type { ServiceDocument } from '../../src/openapi/service-document.ts'
import { type Log, silent } from '../../src/telemetry/log.ts'
import { createMetrics } from '../../src/telemetry/metrics.ts'
import { until } from '../openapi/backend.ts'

test('a first document that cannot be published ends nothing: it is published as soon as it can be', async (t) => {
  const errors: string[] = []
  const log: Log = { ...silent, error: (_, message) => errors.push(message) }
  const real = createPress({ thread: false }, { now: Date.now, log })
  let failing = true
  const press: Press = {
    ...real,
    publish: (...order) => (failing ? Promise.reject(new Error('the thread ended')) : real.publish(...order)),
  }
  const listeners: (() => void)[] = []
  const source: Pick<ServiceDocument, 'ready' | 'onChange'> = {
    ready: Promise.resolve(),
    onChange(listener) {
      listeners.push(listener)
      return () => {}
    },
  }
  const docs = { title: 'All', version: '1', view: 'caller' }
  const documents = await openDocuments({
    definition: { gateway: { docs } } as unknown as Definition,
    publicUrl: 'http://gateway.test',
    services: [],
    sources: new Map([['orders', source as ServiceDocument]]),
    press,
    own: createOwnPart({ health: true }),
    enforced: () => undefined,
    describeSchemes: async () => ({ schemes: {}, complete: true }),
    log,
    metrics: createMetrics(),
  })
  t.after(() => documents.close())
  assert.equal(documents.complete, false)
  const first = documents.published
  assert.deepEqual(Object.keys(JSON.parse(first.json.body.toString()).paths), ['/livez', '/readyz'])
  const selection = { services: new Map(), own: new Set(['GET /livez']) }
  const shown = await press.view(first, selection, 'json')
  assert.deepEqual(Object.keys(JSON.parse(shown!.body.toString()).paths), ['/livez'])
  assert.match(errors[0]!, /the gateway begins without the services/)

  for (const listener of listeners) listener()
  await until('another failure', () => errors.length > 1)
  assert.equal(documents.complete, false)
  failing = false
  for (const listener of listeners) listener()
  await until('the publication', () => documents.complete)
  assert.notEqual(documents.published, first)
})
