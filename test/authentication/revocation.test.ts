import assert from 'node:assert/strict'
import { mkdtempSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { afterEach, beforeEach, describe, test } from 'node:test'
import { setTimeout as delay } from 'node:timers/promises'
import { openRevocations, type Revocations } from '../../src/authentication/revocation.ts'
import { createMemoryStore } from '../../src/store/memory.ts'
import { connectRedisStore } from '../../src/store/redis.ts'
import { openSqliteStore } from '../../src/store/sqlite.ts'
import { type Store, StoreUnavailable } from '../../src/store/store.ts'
import { silent } from '../../src/telemetry/log.ts'
import { startRedis } from '../redis.ts'
import { skipWithout } from '../requirements.ts'

const lifetime = 3_600_000

describe('revocations', () => {
  let time: number
  let store: Store
  let revocations: Revocations
  const tools = { now: () => time, log: silent }
  const issuer = 'https://issuer.test'

  beforeEach(async () => {
    time = 1_700_000_000_500
    store = createMemoryStore(tools)
    revocations = await openRevocations(store, { lifetime }, tools)
  })
  afterEach(async () => {
    revocations.close()
    await store.close()
  })

  test('refuse a token, and no other token of the same login', async () => {
    const caller = { issuer, tokenId: 'a', family: 'f', subject: 's', issuedAt: 1_699_999_000 }
    assert.equal(revocations.isRevoked(caller), false)
    await revocations.revoke({ tokenId: 'a' })
    assert.equal(revocations.isRevoked(caller), true)
    assert.equal(revocations.isRevoked({ ...caller, tokenId: 'b' }), false)
  })

  test('refuse every token of a login, later ones too', async () => {
    await revocations.revoke({ family: 'f', until: 1_700_001_000 })
    assert.equal(revocations.isRevoked({ tokenId: 'b', family: 'f', issuedAt: 1_700_000_900 }), true)
    assert.equal(revocations.isRevoked({ tokenId: 'b', family: 'g' }), false)
    assert.equal(revocations.isRevoked({ tokenId: 'f', subject: 'f' }), false, 'a family is no token and no subject')
  })

  test('refuse what a subject was given until now, and not what it is given afterwards', async () => {
    await revocations.revoke({ subject: 's' })
    assert.equal(revocations.isRevoked({ subject: 's', issuedAt: 1_699_999_999 }), true)
    assert.equal(revocations.isRevoked({ subject: 's', issuedAt: 1_700_000_000 }), true)
    assert.equal(revocations.isRevoked({ subject: 's' }), true, 'who knows when')
    assert.equal(revocations.isRevoked({ subject: 's', issuedAt: 1_700_000_001 }), false)
    time += 10_000
    await revocations.revoke({ subject: 's' })
    assert.equal(revocations.isRevoked({ subject: 's', issuedAt: 1_700_000_001 }), true)
  })

  test('keep the names of two issuers apart when told to', async () => {
    await revocations.revoke({ subject: 's', issuer })
    await revocations.revoke({ tokenId: 't' })
    assert.equal(revocations.isRevoked({ subject: 's', issuer, issuedAt: 1 }), true)
    assert.equal(revocations.isRevoked({ subject: 's', issuer: 'https://other.test', issuedAt: 1 }), false)
    assert.equal(revocations.isRevoked({ subject: 's', issuedAt: 1 }), false)
    assert.equal(revocations.isRevoked({ tokenId: 't', issuer }), true)
  })

  test('are forgotten when nothing they concern can be alive', async () => {
    await revocations.revoke({ tokenId: 'short', until: 1_700_000_010 })
    await revocations.revoke({ tokenId: 'long' })
    await revocations.revoke({ tokenId: 'over', until: 1_600_000_000 })
    assert.deepEqual(
      revocations.list().map(({ id }) => id),
      ['short', 'long'],
    )
    time += 20_000
    assert.equal(revocations.isRevoked({ tokenId: 'short' }), false)
    assert.deepEqual(
      revocations.list().map(({ id, until }) => [id, until]),
      [['long', 1_700_003_601]],
    )
    assert.equal((await store.list('revocations')).length, 1)
  })

  test('never become shorter by being repeated', async () => {
    await revocations.revoke({ family: 'f', until: 1_700_002_000 })
    await revocations.revoke({ family: 'f', until: 1_700_001_000 })
    assert.equal(revocations.list()[0]?.until, 1_700_002_000)
    assert.equal((await store.list('revocations'))[0]?.expiresAt, 1_700_002_000)
  })

  test('are told to listeners once, wherever they come from', async () => {
    const other = await openRevocations(store, { lifetime }, tools)
    const heard: string[] = []
    const stop = revocations.onRevoked(({ kind, id }) => heard.push(`${kind} ${id}`))
    await other.revoke({ tokenId: 'a' })
    await revocations.revoke({ family: 'f' })
    await delay(5)
    assert.deepEqual(heard, ['token a', 'family f'])
    stop()
    await other.revoke({ tokenId: 'b' })
    await delay(5)
    assert.equal(heard.length, 2)
    other.close()
  })

  test('are there again after a restart', async () => {
    await revocations.revoke({ tokenId: 'a' })
    const next = await openRevocations(store, { lifetime }, tools)
    assert.equal(next.isRevoked({ tokenId: 'a' }), true)
    next.close()
  })

  test('hold while the store is out, and say so when a new one cannot be kept', async () => {
    await revocations.revoke({ tokenId: 'a' })
    await store.close()
    await assert.rejects(revocations.revoke({ tokenId: 'b' }), StoreUnavailable)
    assert.equal(revocations.isRevoked({ tokenId: 'a' }), true)
    assert.equal(revocations.isRevoked({ tokenId: 'b' }), false)
    await assert.rejects(openRevocations(store, { lifetime }, tools), StoreUnavailable)
  })

  test('cost next to nothing when there are many', async () => {
    for (let n = 0; n < 20_000; n += 1) await revocations.revoke({ tokenId: `t${n}` })
    const caller = { issuer, tokenId: 'x', family: 'y', subject: 'z', issuedAt: 1 }
    const started = performance.now()
    for (let n = 0; n < 200_000; n += 1) revocations.isRevoked(caller)
    const each = ((performance.now() - started) / 200_000) * 1_000
    assert.ok(each < 5, `${each} µs`)
  })
})

describe('two instances', () => {
  const tools = { now: Date.now, log: silent }

  /** Revoke on one and wait for the other, several times; the slowest must be below a second. */
  async function spreads(open: () => Store): Promise<void> {
    const stores = [open(), open()]
    const [one, other] = await Promise.all(stores.map((store) => openRevocations(store, { lifetime }, tools)))
    try {
      for (let round = 0; round < 5; round += 1) {
        const tokenId = `t${round}`
        await one!.revoke({ tokenId })
        const kept = performance.now()
        while (!other!.isRevoked({ tokenId })) {
          assert.ok(performance.now() - kept < 1_000, 'it takes longer than a second')
          await delay(5)
        }
      }
    } finally {
      one!.close()
      other!.close()
      await Promise.all(stores.map((store) => store.close()))
    }
  }

  test('with one SQLite file hear of a revocation within a second', async () => {
    const folder = mkdtempSync(join(tmpdir(), 'sallyport-revocations-'))
    try {
      await spreads(() => openSqliteStore(join(folder, 'store.db'), tools))
    } finally {
      rmSync(folder, { recursive: true })
    }
  })

  test('with one Redis hear of it within a second, and heal a Redis that came back empty', {
    skip: skipWithout('redis'),
  }, async () => {
    const server = await startRedis()
    const open = () => connectRedisStore(server.url, 'revocations:', tools)
    const store = open()
    let revocations: Revocations | undefined
    try {
      await spreads(open)
      revocations = await openRevocations(store, { lifetime }, tools)
      await revocations.revoke({ family: 'f' })
      await server.kill()
      assert.equal(revocations.isRevoked({ family: 'f' }), true)
      await server.start()

      // A third instance that starts now learns what Redis itself no longer knew.
      const late = open()
      const end = Date.now() + 5_000
      for (;;) {
        const third = await openRevocations(late, { lifetime }, tools).catch(() => undefined)
        const knows = third?.isRevoked({ family: 'f' })
        third?.close()
        if (knows) break
        assert.ok(Date.now() < end, 'the revocation is lost')
        await delay(50)
      }
      await late.close()
    } finally {
      revocations?.close()
      await store.close()
      await server.stop()
    }
  })
})
