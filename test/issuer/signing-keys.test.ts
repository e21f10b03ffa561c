import assert from 'node:assert/strict'
import { afterEach, beforeEach, describe, test } from 'node:test'
import { setTimeout as delay } from 'node:timers/promises'
import { openSigningKeys, type SigningKeys, type SigningKeysOptions } from '../../src/issuer/signing-keys.ts'
import { createMemoryStore } from '../../src/store/memory.ts'
import { connectRedisStore } from '../../src/store/redis.ts'
import type { Store } from '../../src/store/store.ts'
import { silent } from '../../src/telemetry/log.ts'
import { startRedis } from '../redis.ts'
import { skipWithout } from '../requirements.ts'

const hour = 3_600
const day = 24 * hour
const options: SigningKeysOptions = { algorithm: 'ES256', tokenLife: 900, rotateEvery: 90 * day, announce: hour }

describe('signing keys', () => {
  let time: number
  let store: Store
  const opened: SigningKeys[] = []
  const tools = { now: () => time, log: silent }

  beforeEach(() => {
    time = 1_700_000_000_000
    store = createMemoryStore(tools)
  })
  afterEach(async () => {
    for (const keys of opened.splice(0)) keys.close()
    await store.close()
  })
  async function open(changes: Partial<SigningKeysOptions> = {}): Promise<SigningKeys> {
    const keys = await openSigningKeys(store, { ...options, ...changes }, tools)
    opened.push(keys)
    return keys
  }
  const kids = (keys: SigningKeys) => keys.keys().map(({ kid }) => kid)
  async function pass(seconds: number, ...instances: SigningKeys[]): Promise<void> {
    time += seconds * 1_000
    for (const keys of instances) await keys.refresh()
  }

  test('are made once, and are the same after a restart and at every instance', async () => {
    const [one, other] = await Promise.all([open(), open()])
    assert.equal(kids(one!).length, 1)
    assert.deepEqual(kids(other!), kids(one!))
    assert.deepEqual(other!.secretFor('a'), one!.secretFor('a'))
    assert.notDeepEqual(one!.secretFor('b'), one!.secretFor('a'))
    assert.equal(one!.secretFor('a').length, 32)
    const later = await open()
    assert.deepEqual(later.signing, one!.signing)
  })

  test('show their public part only', async () => {
    for (const [algorithm, members] of [
      ['ES256', ['alg', 'crv', 'kid', 'kty', 'use', 'x', 'y']],
      ['RS256', ['alg', 'e', 'kid', 'kty', 'n', 'use']],
    ] as const) {
      const keys = await open({ algorithm })
      assert.deepEqual(Object.keys(keys.keys()[0]!).sort(), members)
      assert.equal(typeof keys.signing[0]!.d, 'string')
    }
  })

  test('are announced, take over, retire and go, at every instance alike', async () => {
    const [one, other] = await Promise.all([open(), open()])
    const [old] = kids(one!)
    const next = await one!.rotate()
    await delay(5)
    assert.deepEqual(kids(one!), [old, next], 'announced: published, but the old one signs')
    assert.deepEqual(kids(other!), [old, next])
    await pass(hour - 1, one!, other!)
    assert.equal(one!.signing[0]!.kid, old)
    await pass(1, one!, other!)
    assert.deepEqual(kids(one!), [next, old], 'active: the new one signs, the old one verifies')
    assert.deepEqual(kids(other!), [next, old])
    // The last token the old key has signed lives 900 s.
    await pass(900, one!, other!)
    assert.ok(kids(one!).includes(old))
    await pass(121, one!, other!)
    assert.deepEqual(kids(one!), [next], 'gone')
    assert.deepEqual(kids(other!), [next])
    assert.deepEqual(kids(await open()), [next])
  })

  test('that are removed verify nothing any more, and the next one signs at once, at every instance', async () => {
    const [one, other] = await Promise.all([open(), open()])
    const [stolen] = kids(one!)
    const changes: string[][] = []
    other!.onChange(() => changes.push(kids(other!) as string[]))
    const removal = await one!.remove(stolen!)
    assert(removal.outcome === 'removed')
    assert.deepEqual(kids(one!), [removal.active])
    assert.notEqual(removal.active, stolen)
    assert.equal(one!.signing[0]!.kid, removal.active)
    await delay(5)
    assert.deepEqual(kids(other!), [removal.active])
    assert.deepEqual(changes, [[removal.active]])
    assert.deepEqual(await one!.remove(stolen!), { outcome: 'unknown' })
  })

  test('that are removed do not come back from an instance that was away', async () => {
    const [one, away] = await Promise.all([open(), open()])
    const [stolen] = kids(one!)
    await one!.remove(stolen!)
    // Held up until now: it has heard nothing, and has the key in its memory.
    await away!.refresh()
    await one!.refresh()
    for (const keys of [one!, away!, await open()]) assert(!kids(keys).includes(stolen!))
    // Not even when the store has lost everything.
    for (const { key } of await store.list('issuer.keys')) await store.delete('issuer.keys', key)
    await away!.refresh()
    await one!.refresh()
    assert(!kids(one!).includes(stolen!))
    assert.deepEqual(kids(await open()), kids(one!))
  })

  test('that are removed give way to the one that was announced; an announced one that is removed leaves no gap', async () => {
    const keys = await open()
    const [first] = kids(keys)
    const second = await keys.rotate()
    assert.deepEqual(await keys.remove(first!), { outcome: 'removed', active: second })
    await pass(121, keys)
    const third = await keys.rotate()
    assert.deepEqual(
      keys.list().map(({ kid, state, expiresAt }) => [kid, state, expiresAt !== undefined]),
      [
        [third, 'announced', false],
        [second, 'active', true],
      ],
    )
    assert.deepEqual(await keys.remove(third), { outcome: 'removed', active: second })
    assert.deepEqual(
      keys.list().map(({ kid, state, expiresAt }) => [kid, state, expiresAt]),
      [[second, 'active', undefined]],
    )
    await pass(2 * day, keys)
    assert.deepEqual(kids(keys), [second])
  })

  test('change hands by the clock even when nobody looks into the store', async () => {
    const keys = await open()
    const changes: string[] = []
    keys.onChange(() => changes.push(keys.signing[0]!.kid!))
    const next = await keys.rotate()
    await delay(5)
    await store.close()
    time += hour * 1_000
    assert.equal(keys.signing[0]!.kid, next)
    assert.deepEqual(changes.length, 1)
  })

  test('are renewed by themselves when their time is over, by one instance', async () => {
    const [one, other] = await Promise.all([open(), open()])
    const [old] = kids(one!)
    await pass(89 * day, one!, other!)
    assert.deepEqual(kids(one!), [old])
    time += (day - hour) * 1_000
    await Promise.all([one!.refresh(), other!.refresh()])
    await Promise.all([one!.refresh(), other!.refresh()])
    assert.equal(kids(one!).length, 2, 'an hour ahead the next one is announced')
    assert.deepEqual(kids(other!), kids(one!))
    await pass(hour, one!, other!)
    assert.notEqual(one!.signing[0]!.kid, old)
    await pass(hour, one!, other!)
    assert.equal(kids(one!).length, 1)
  })

  test('tell of a change once each time', async () => {
    const keys = await open()
    let told = 0
    const stop = keys.onChange(() => {
      told += 1
    })
    await keys.refresh()
    assert.equal(told, 0)
    await keys.rotate()
    await keys.refresh()
    assert.equal(told, 1)
    await pass(hour, keys)
    await keys.refresh()
    assert.equal(told, 2)
    stop()
    await pass(2 * hour, keys)
    assert.equal(told, 2)
  })

  test('are not renewed twice in a row by mistake', async () => {
    const keys = await open()
    await keys.rotate()
    await assert.rejects(keys.rotate(), /within the last two minutes/)
    assert.equal(kids(keys).length, 2)
  })

  test('of another algorithm verify on, and a new one signs', async () => {
    const first = await open()
    const [old] = kids(first)
    const changed = await open({ algorithm: 'RS256' })
    assert.equal(changed.signing[0]!.alg, 'RS256')
    assert.equal(changed.keys().length, 2)
    assert.ok(kids(changed).includes(old))
  })

  test('survive a clock that is set back', async () => {
    const keys = await open()
    const [kid] = kids(keys)
    await pass(-7_200, keys)
    assert.equal(keys.signing[0]!.kid, kid)
    assert.equal(kids(keys).length, 1)
  })
})

test('signing keys go back into a Redis that came back empty', { skip: skipWithout('redis') }, async (t) => {
  const server = await startRedis()
  t.after(() => server.stop())
  const tools = { now: Date.now, log: silent }
  const store = connectRedisStore(server.url, 'keys:', tools)
  t.after(() => store.close())
  const keys = await openSigningKeys(store, options, tools)
  t.after(() => keys.close())
  await keys.rotate()
  await server.kill()
  await server.start()
  const end = Date.now() + 5_000
  for (;;) {
    const other = await openSigningKeys(store, options, tools).catch(() => undefined)
    const kids = other?.keys().map(({ kid }) => kid)
    other?.close()
    if (kids) {
      // An instance that came first may have begun anew; then both sets are there.
      await keys.refresh()
      const all = keys.keys().map(({ kid }) => kid)
      for (const kid of kids) assert.ok(all.includes(kid))
      const again = await openSigningKeys(store, options, tools)
      t.after(() => again.close())
      assert.deepEqual(again.keys(), keys.keys())
      assert.deepEqual(again.secretFor('a'), keys.secretFor('a'))
      break
    }
    assert.ok(Date.now() < end)
    await delay(20)
  }
})
