import assert from 'node:assert/strict'
import { describe, test } from 'node:test'
import { digestOf, TwoGenerations } from '../../src/authentication/remember.ts'

describe('what is remembered of tokens', () => {
  test('is bounded, however many there are', () => {
    const map = new TwoGenerations<number>(100)
    for (let index = 0; index < 10_000; index += 1) map.set(`key-${index}`, index)
    assert.ok(map.size <= 100)
    assert.equal(map.get('key-9999'), 9_999)
    assert.equal(map.get('key-1'), undefined)
  })

  test('stays while it is asked for, through any number of others', () => {
    const map = new TwoGenerations<string>(100)
    map.set('regular', 'known')
    for (let index = 0; index < 10_000; index += 1) {
      map.set(`stranger-${index}`, 'once')
      if (index % 20 === 0) assert.equal(map.get('regular'), 'known')
    }
    assert.ok(map.size <= 100)
  })

  test('is gone from both halves when it is deleted', () => {
    const map = new TwoGenerations<number>(2)
    map.set('a', 1)
    map.set('b', 2)
    assert.equal(map.get('a'), 1)
    map.delete('a')
    map.delete('b')
    assert.equal(map.get('a'), undefined)
    assert.equal(map.get('b'), undefined)
  })

  test('replaces what was there, in the cold half too', () => {
    const map = new TwoGenerations<number>(2)
    map.set('a', 1)
    map.set('b', 2)
    map.set('a', 3)
    assert.equal(map.get('a'), 3)
    map.clear()
    assert.equal(map.size, 0)
  })

  test('goes by the whole token: every character counts, and none is kept', () => {
    const token = `${'a'.repeat(300)}.${'b'.repeat(300)}.${'c'.repeat(300)}`
    const digest = digestOf(token)
    assert.equal(digest.length, 32)
    assert.ok(!token.includes(digest))
    for (let index = 0; index < token.length; index += 1) {
      assert.notEqual(digestOf(`${token.slice(0, index)}x${token.slice(index + 1)}`), digest)
    }
  })
})
