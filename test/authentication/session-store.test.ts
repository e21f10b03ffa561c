import assert from 'node:assert/strict'
import { randomBytes } from 'node:crypto'
import { describe, test } from 'node:test'
import { createSessionStore, type SessionData } from '../../src/authentication/session-store.ts'
import { createMemoryStore } from '../../src/store/memory.ts'
import { silent } from '../../src/telemetry/log.ts'
import { testClock } from './minting.ts'

function scene({ idle = 600_000, lifetime = 3_600_000 } = {}) {
  const clock = testClock()
  const store = createMemoryStore({ now: clock.now, log: silent })
  const sessions = createSessionStore(store, {
    issuer: 'https://issuer.test',
    idle,
    lifetime,
    now: clock.now,
    random: randomBytes,
  })
  const data = (accessToken = 'the access token'): SessionData => ({
    signedInAt: clock.seconds(),
    subject: 'the subject of the session',
    accessToken,
    refreshToken: 'the refresh token',
  })
  const entries = () => store.list<{ sealed: string; used: number; ends: number }>('sessions')
  return { clock, store, sessions, data, entries }
}

describe('sessions in the store', () => {
  test('nothing in an entry tells an id or a token, and every id is another', async () => {
    const { sessions, data, entries } = scene()
    const ids = await Promise.all(Array.from({ length: 50 }, () => sessions.create(data())))
    assert.equal(new Set(ids).size, 50)
    const dump = JSON.stringify(await entries())
    for (const text of [...ids, 'the refresh token', 'the access token', 'the subject'])
      assert(!dump.includes(text), text)
    assert.equal((await sessions.find(ids[7]!))?.data.refreshToken, 'the refresh token')
  })

  test('an entry that was changed, or stands in the place of another, is no session', async () => {
    const { store, sessions, data, entries } = scene()
    const [one, other] = [await sessions.create(data('one')), await sessions.create(data('other'))]
    const found = await entries()
    const [first, second] = found as [(typeof found)[0], (typeof found)[0]]
    await store.put('sessions', first.key, second.value)
    await store.put('sessions', second.key, { ...second.value, sealed: `${second.value.sealed.slice(0, -2)}AA` })
    assert.equal(await sessions.find(one), undefined)
    assert.equal(await sessions.find(other), undefined)
    await store.put('sessions', first.key, { ...first.value, sealed: '' })
    assert.equal(await sessions.find(one), undefined)
    assert.equal(await sessions.find('nobody'), undefined)
  })

  test('is over when nobody used it, and in the end however much it was used', async () => {
    const { clock, sessions, data } = scene()
    const [used, unused] = [await sessions.create(data()), await sessions.create(data())]
    for (let minute = 0; minute < 9; minute += 1) {
      clock.advance(60)
      assert(await sessions.find(used))
    }
    clock.advance(61)
    assert.equal(await sessions.find(unused), undefined)
    for (let minute = 10; minute < 59; minute += 1) {
      assert(await sessions.find(used), `minute ${minute}`)
      clock.advance(60)
    }
    clock.advance(60)
    assert.equal(await sessions.find(used), undefined)
  })

  test('is renewed by one of two at the same moment, and not after its end', async () => {
    const { clock, sessions, data } = scene()
    const id = await sessions.create(data())
    const [one, other] = [await sessions.find(id), await sessions.find(id)]
    clock.advance(120)
    // Being used in between is no change.
    await sessions.find(id)
    assert.equal(await sessions.replace(id, one!, data('next')), true)
    assert.equal(await sessions.replace(id, other!, data('another')), false)
    const now = (await sessions.find(id))!
    assert.equal(now.data.accessToken, 'next')
    assert.equal(await sessions.end(now.key), true)
    assert.equal(await sessions.replace(id, now, data('late')), false)
    assert.equal(await sessions.find(id), undefined)
  })

  test('one works on it at a time; a lock whose holder is gone does not last', async () => {
    const { clock, store, sessions } = scene()
    let inside = 0
    const results = await Promise.all(
      [1, 2, 3].map(() =>
        sessions.exclusively('key', async () => {
          inside += 1
          await new Promise((resolve) => setTimeout(resolve, 5))
        }),
      ),
    )
    assert.deepEqual(results.toSorted(), [false, false, true])
    assert.equal(inside, 1)
    await assert.rejects(
      sessions.exclusively('key', async () => {
        throw new Error('broken')
      }),
      /broken/,
    )
    assert.equal(await sessions.exclusively('key', async () => {}), true)
    await store.create('session-locks', 'key', true, { expiresAt: clock.seconds() + 15 })
    assert.equal(await sessions.exclusively('key', async () => {}), false)
    clock.advance(16)
    assert.equal(await sessions.exclusively('key', async () => {}), true)
  })
})
