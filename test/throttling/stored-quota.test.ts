import assert from 'node:assert/strict'
import { mkdtempSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { describe, type TestContext, test } from 'node:test'
import { createMemoryStore } from '../../src/store/memory.ts'
import { openSqliteStore } from '../../src/store/sqlite.ts'
import { type Store, StoreUnavailable } from '../../src/store/store.ts'
import { silent } from '../../src/telemetry/log.ts'
import { createStoredQuota } from '../../src/throttling/stored-quota.ts'

const noon = Date.UTC(2026, 1, 28, 12)

function memoryStore(t: TestContext, now: () => number): Store {
  const store = createMemoryStore({ now, log: silent })
  t.after(() => store.close())
  return store
}

/** Takes as often as it is allowed. */
async function exhaust(quota: ReturnType<typeof createStoredQuota>, key = 'ada'): Promise<number> {
  for (let taken = 0; ; taken += 1) if (!(await quota.take(key)).allowed) return taken
}

async function takeTimes(quota: ReturnType<typeof createStoredQuota>, times: number, key = 'ada'): Promise<void> {
  for (let call = 0; call < times; call += 1) assert.equal((await quota.take(key)).allowed, true)
}

describe('a quota in a store', () => {
  test('survives a restart to the request, and begins anew with the month', async (t) => {
    let now = noon
    const folder = mkdtempSync(join(tmpdir(), 'sallyport-quota-'))
    t.after(() => rmSync(folder, { recursive: true }))
    const tools = { now: () => now, log: silent }
    const open = () => openSqliteStore(join(folder, 'store.db'), tools)
    let store = open()
    t.after(() => store.close())
    const month = { requests: 500, period: 'month' } as const
    let quota = createStoredQuota('orders:caller', month, { ...tools, store })
    await takeTimes(quota, 123)
    await quota.close()
    await store.close()
    store = open()
    quota = createStoredQuota('orders:caller', month, { ...tools, store })
    assert.equal(await exhaust(quota), 377)
    now += 12 * 3_600_000
    assert.equal(await exhaust(quota), 500, 'March')
  })

  test('of which one process is killed never gives more than there is, and nearly all of it', async (t) => {
    const now = () => noon
    const store = memoryStore(t, now)
    const day = { requests: 1_000, period: 'day' } as const
    const killed = createStoredQuota('orders:caller', day, { now, log: silent, store })
    await takeTimes(killed, 101)
    const rest = await exhaust(createStoredQuota('orders:caller', day, { now, log: silent, store }))
    assert.ok(rest <= 899 && rest >= 899 - 20, String(rest))
  })

  test('is one for all processes that share the store', async (t) => {
    const now = () => noon
    const store = memoryStore(t, now)
    const day = { requests: 300, period: 'day' } as const
    const processes = [1, 2, 3].map(() => createStoredQuota('orders:caller', day, { now, log: silent, store }))
    const standings = await Promise.all(Array.from({ length: 900 }, (_, call) => processes[call % 3]!.take('ada')))
    assert.equal(standings.filter(({ allowed }) => allowed).length, 300)
  })

  test('that is raised in the middle of the month keeps what was used', async (t) => {
    const now = () => noon
    const store = memoryStore(t, now)
    const small = createStoredQuota('plan', { requests: 10, period: 'month' }, { now, log: silent, store })
    assert.equal(await exhaust(small), 10)
    const large = createStoredQuota('plan', { requests: 15, period: 'month' }, { now, log: silent, store })
    assert.equal(await exhaust(large), 5)
  })

  test('is counted alone while the store is out, and what was used is written down afterwards', async (t) => {
    const now = () => noon
    const inner = memoryStore(t, now)
    let out = false
    const store: Store = {
      ...inner,
      get: (...args) => (out ? Promise.reject(new StoreUnavailable('out')) : inner.get(...args)),
    } as Store
    let alone = 0
    const onAlone = () => {
      alone += 1
    }
    const tools = { now, log: silent, store, onAlone }
    const quota = createStoredQuota('orders:caller', { requests: 100, period: 'day' }, tools)
    await takeTimes(quota, 10)
    out = true
    await takeTimes(quota, 30)
    assert.ok(alone > 0)
    out = false
    assert.equal(await exhaust(quota), 60)
    const other = createStoredQuota(
      'orders:caller',
      { requests: 100, period: 'day' },
      { now, log: silent, store: inner },
    )
    assert.equal(await exhaust(other), 0)
  })

  test('alone is no more than all of it', async (t) => {
    const now = () => noon
    const inner = memoryStore(t, now)
    const store = { ...inner, get: () => Promise.reject(new StoreUnavailable('out')) } as Store
    const quota = createStoredQuota('orders:caller', { requests: 25, period: 'day' }, { now, log: silent, store })
    assert.equal(await exhaust(quota), 25)
  })
})
