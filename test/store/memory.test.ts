import assert from 'node:assert/strict'
import { test } from 'node:test'
import { createMemoryStore } from '../../src/store/memory.ts'
import { silent } from '../../src/telemetry/log.ts'
import { storeContract } from '../contracts/store.ts'

storeContract('memory', { open: createMemoryStore, shared: false })

test('a memory store says that it forgets', async () => {
  const store = createMemoryStore({ now: Date.now, log: silent })
  assert.equal(store.durable, false)
  await store.close()
})
