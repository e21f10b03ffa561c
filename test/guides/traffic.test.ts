import assert from 'node:assert/strict'
import { readFileSync } from 'node:fs'
import { join } from 'node:path'
import { describe, test } from 'node:test'
import { readDefinition } from '../../src/config/load.ts'

const minimal = { name: 'orders', path: '/orders', targets: ['http://127.0.0.1:4001'] }

/** A block of a guide is all of services.json, one service of it, or keys of either. */
function completed(block: Record<string, unknown>): object {
  const part = 'services' in block || 'store' in block ? block : { services: [{ ...minimal, ...block }] }
  return { security: [{ bearer: [] }], services: [minimal], ...part }
}

for (const guide of ['limits.md', 'upstreams.md']) {
  describe(`the examples of docs/guides/${guide}`, () => {
    const text = readFileSync(join(import.meta.dirname, '..', '..', 'docs', 'guides', guide), 'utf8')
    const blocks = [...text.matchAll(/^```json\n([\s\S]*?)^```$/gm)].map(([, block]) => block!)
    assert.ok(blocks.length > 0)
    for (const [index, block] of blocks.entries()) {
      test(`number ${index + 1} is accepted as it stands there`, () => {
        readDefinition(JSON.stringify(completed(JSON.parse(block))), {})
      })
    }
  })
}
