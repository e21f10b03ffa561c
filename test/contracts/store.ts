import assert from 'node:assert/strict'
import { after, before, describe, test } from 'node:test'
import { setTimeout as delay } from 'node:timers/promises'
import { type Json, type Store, StoreUnavailable } from '../../src/store/store.ts'
import { silent } from '../../src/telemetry/log.ts'
import type { Tools } from '../../src/tools.ts'

export interface StoreUnderTest {
  /** Opens the store; called again it is another instance over the same data, where there is such a thing. */
  open(tools: Tools): Store
  /** Whether two instances see the same data. */
  readonly shared: boolean
  readonly skip?: string | false
  before?(): Promise<void>
  after?(): Promise<void>
}

/** What every store must do. */
export function storeContract(name: string, subject: StoreUnderTest): void {
  describe(`store contract: ${name}`, { skip: subject.skip ?? false }, () => {
    let offset = 0
    const tools: Tools = { now: () => Date.now() + offset, log: silent }
    const seconds = () => tools.now() / 1_000
    const opened: Store[] = []
    let store: Store
    let other: Store

    const open = () => {
      const instance = subject.open(tools)
      opened.push(instance)
      return instance
    }
    let count = 0
    /** Tests share the data, so each has a collection of its own. */
    const collection = () => {
      count += 1
      return `test.${count}`
    }

    before(async () => {
      await subject.before?.()
      store = open()
      other = subject.shared ? open() : store
      await store.ping()
      await other.ping()
    })
    after(async () => {
      await Promise.all(opened.map((instance) => instance.close()))
      await subject.after?.()
    })

    test('gives back what was put, with a revision that grows', async () => {
      const things = collection()
      const value: Json = { text: 'ä\u0000"\n🚪', list: [1, null, { deep: true }], zero: 0, empty: '' }
      assert.equal(await store.get(things, 'a'), undefined)
      await store.put(things, 'a', value, { group: 'g' })
      const first = await other.get(things, 'a')
      assert.deepEqual(first?.value, value)
      assert.equal(first?.key, 'a')
      assert.equal(first?.group, 'g')
      assert.equal(first?.expiresAt, undefined)
      await store.put(things, 'a', 'new')
      const second = await other.get(things, 'a')
      assert.equal(second?.value, 'new')
      assert.equal(second?.group, undefined)
      assert.ok(second!.revision > first!.revision)
    })

    test('keeps values apart from the objects they came from', async () => {
      const things = collection()
      const value = { list: [1] }
      await store.put(things, 'a', value)
      value.list.push(2)
      const read = (await store.get<{ list: number[] }>(things, 'a'))!.value
      assert.deepEqual(read, { list: [1] })
      // A store may refuse that, or not notice it.
      Reflect.set(read.list, 1, 3)
      assert.deepEqual((await store.get(things, 'a'))?.value, { list: [1] })
    })

    test('keeps collections apart, and keys with any characters', async () => {
      const [one, two] = [collection(), collection()]
      const keys = ['a', 'a:b', 'a b', "'; DROP TABLE entries; --", 'é', '*', '', 'x'.repeat(500)]
      for (const key of keys) await store.put(one, key, key)
      for (const key of keys) assert.equal((await other.get(one, key))?.value, key)
      assert.equal(await store.get(two, 'a'), undefined)
      assert.equal((await store.list(one)).length, keys.length)
    })

    test('creates only what is not there', async () => {
      const things = collection()
      assert.equal(await store.create(things, 'a', 1), true)
      assert.equal(await other.create(things, 'a', 2), false)
      assert.equal((await store.get(things, 'a'))?.value, 1)
      assert.equal(await store.delete(things, 'a'), true)
      assert.equal(await other.create(things, 'a', 3), true)
    })

    test('replaces only the revision it was told', async () => {
      const things = collection()
      assert.equal(await store.replace(things, 'a', 0, 1), false)
      await store.put(things, 'a', 1)
      const { revision } = (await store.get(things, 'a'))!
      assert.equal(await other.replace(things, 'a', revision, 2), true)
      assert.equal(await store.replace(things, 'a', revision, 3), false)
      assert.equal((await store.get(things, 'a'))?.value, 2)
    })

    test('does not take a new entry for one that was deleted', async () => {
      const things = collection()
      await store.put(things, 'a', 1)
      const { revision } = (await store.get(things, 'a'))!
      await store.delete(things, 'a')
      await store.put(things, 'a', 2)
      assert.equal(await store.replace(things, 'a', revision, 3), false)
      assert.equal((await store.get(things, 'a'))?.value, 2)
    })

    test('lets exactly one of twenty create, and one of twenty replace', async () => {
      const things = collection()
      for (let round = 0; round < 10; round += 1) {
        const key = String(round)
        const twenty = Array.from({ length: 20 }, (_, index) => (index % 2 ? store : other))
        const created = await Promise.all(twenty.map((instance, index) => instance.create(things, key, index)))
        assert.equal(created.filter(Boolean).length, 1)
        const { value, revision } = (await store.get(things, key))!
        assert.equal(value, created.indexOf(true))
        const replaced = await Promise.all(
          twenty.map((instance, index) => instance.replace(things, key, revision, 100 + index)),
        )
        assert.equal(replaced.filter(Boolean).length, 1)
        assert.equal((await store.get(things, key))?.value, 100 + replaced.indexOf(true))
      }
    })

    test('forgets an entry at the second it expires', async () => {
      const things = collection()
      const expiresAt = Math.floor(seconds()) + 100
      await store.put(things, 'a', 1, { expiresAt, group: 'g' })
      assert.equal((await other.get(things, 'a'))?.expiresAt, expiresAt)
      try {
        offset += 99_000
        assert.equal((await store.get(things, 'a'))?.value, 1)
        offset += 1_100
        assert.equal(await store.get(things, 'a'), undefined)
        assert.equal(await other.replace(things, 'a', 1, 2), false)
        assert.deepEqual(await store.list(things), [])
        assert.deepEqual(await store.list(things, { group: 'g' }), [])
        assert.equal(await store.delete(things, 'a'), false)
        await store.put(things, 'a', 1, { expiresAt: seconds() - 1 })
        assert.equal(await store.get(things, 'a'), undefined)
        assert.equal(await store.create(things, 'a', 2), true)
        assert.equal((await other.get(things, 'a'))?.expiresAt, undefined)
      } finally {
        offset = 0
      }
    })

    test('forgets by the clock on the wall as well', async () => {
      const things = collection()
      await store.put(things, 'short', 1, { expiresAt: seconds() + 0.3, group: 'g' })
      await store.put(things, 'long', 2, { expiresAt: seconds() + 60, group: 'g' })
      assert.equal((await store.list(things)).length, 2)
      await delay(400)
      assert.deepEqual(
        (await store.list(things, { group: 'g' })).map(({ key }) => key),
        ['long'],
      )
      assert.equal(await store.deleteGroup(things, 'g'), 1)
    })

    test('lists in the order of keys, all or one group', async () => {
      const things = collection()
      const keys = ['b', 'a', 'B', '10', '9', 'ä', '🚪', '\uff5e']
      for (const [index, key] of keys.entries())
        await store.put(things, key, index, { group: index % 2 ? 'odd' : 'even' })
      const all = await other.list(things)
      assert.deepEqual(
        all.map(({ key }) => key),
        ['10', '9', 'B', 'a', 'b', 'ä', '\uff5e', '🚪'],
      )
      assert.deepEqual(
        (await store.list(things, { group: 'odd' })).map(({ value }) => value),
        [3, 1, 5, 7],
      )
      assert.deepEqual(await store.list(things, { group: 'none' }), [])
      assert.deepEqual(await store.list(collection()), [])
    })

    test('deletes a group whole, and an entry that left the group not with it', async () => {
      const [things, others] = [collection(), collection()]
      for (const key of ['a', 'b', 'c']) await store.put(things, key, key, { group: 'g' })
      await store.put(things, 'd', 'd', { group: 'h' })
      await store.put(others, 'a', 'a', { group: 'g' })
      await store.put(things, 'c', 'c', { group: 'h' })
      assert.equal(await other.deleteGroup(things, 'g'), 2)
      assert.deepEqual(
        (await store.list(things)).map(({ key }) => key),
        ['c', 'd'],
      )
      assert.equal((await store.get(others, 'a'))?.value, 'a')
      assert.equal(await store.deleteGroup(things, 'g'), 0)
    })

    test('tells every listener of every instance, and none that stopped', async () => {
      const heard: string[] = []
      const stand = (instance: Store, name: string) =>
        new Promise<() => void>((resolve) => {
          // The first message may be sent as soon as `missed` says that the subscription stands.
          const stop = instance.subscribe(
            'channel',
            (message) => heard.push(`${name} ${JSON.stringify(message)}`),
            () => resolve(stop),
          )
          setTimeout(() => resolve(stop), 300)
        })
      const stops = await Promise.all([stand(store, 'one'), stand(other, 'two'), stand(store, 'three')])
      stops[2]!()
      await store.publish('channel', { n: 1 })
      await other.publish('elsewhere', { n: 2 })
      const end = Date.now() + 1_000
      while (heard.length < 2 && Date.now() < end) await delay(10)
      await delay(50)
      assert.deepEqual(heard.sort(), ['one {"n":1}', 'two {"n":1}'])
      for (const stop of stops) stop()
    })

    test('goes on telling when a listener throws', async () => {
      const heard: Json[] = []
      const stops = [
        store.subscribe('faulty', () => {
          throw new Error('a faulty listener')
        }),
        store.subscribe('faulty', (message) => heard.push(message)),
      ]
      await delay(100)
      await store.publish('faulty', 1)
      const end = Date.now() + 1_000
      while (heard.length === 0 && Date.now() < end) await delay(10)
      assert.deepEqual(heard, [1])
      for (const stop of stops) stop()
    })

    test('refuses everything once it is closed, and closes twice', async () => {
      const closing = open()
      await closing.ping()
      await closing.close()
      await closing.close()
      await assert.rejects(closing.ping(), StoreUnavailable)
      await assert.rejects(closing.get('test', 'a'), StoreUnavailable)
      await assert.rejects(closing.put('test', 'a', 1), StoreUnavailable)
      await assert.rejects(closing.list('test'), StoreUnavailable)
      await assert.rejects(closing.deleteGroup('test', 'g'), StoreUnavailable)
      await assert.rejects(closing.publish('test', 1), StoreUnavailable)
    })
  })
}
