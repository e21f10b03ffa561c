import assert from 'node:assert/strict'
import { readFileSync } from 'node:fs'
import { join, resolve } from 'node:path'
import { test } from 'node:test'
import { readDefinition } from '../../src/config/load.ts'

const guide = readFileSync(join(resolve(import.meta.dirname, '../..'), 'docs/guides/stores.md'), 'utf8')

test('the guide to stores: its example of a service is a good one', () => {
  const [text, ...more] = [...guide.matchAll(/^```json\n([\s\S]*?)^```$/gm)].map(([, block]) => block!)
  assert.equal(more.length, 0)
  const [service] = readDefinition(JSON.stringify({ services: [JSON.parse(text!)] }), {}).services
  assert.deepEqual([service!.storeOutage, service!.routes[0]!.storeOutage], ['refuse', 'last-known'])
})
