import assert from 'node:assert/strict'
import type { Socket } from 'node:net'
import { describe, test } from 'node:test'
import fc from 'fast-check'
import { ConnectionMemory, memoryOf } from '../../src/http/connection-memory.ts'

function counted() {
  const made: string[] = []
  const make = (text: string) => {
    made.push(text)
    return `made of ${text}`
  }
  return { made, make }
}

describe('the memory of a connection', () => {
  test('makes nothing anew of the last two texts', () => {
    const { made, make } = counted()
    const memory = new ConnectionMemory()
    for (const text of ['a', 'a', 'b', 'a', 'b', 'b', 'a']) assert.equal(memory.recall(text, make), `made of ${text}`)
    assert.deepEqual(made, ['a', 'b'])
    for (const text of ['c', 'a', 'b']) memory.recall(text, make)
    assert.deepEqual(made, ['a', 'b', 'c', 'b'])
  })

  test('keeps what different makers made of one text apart', () => {
    const memory = new ConnectionMemory()
    const one = (text: string) => `1 ${text}`
    const other = (text: string) => `2 ${text}`
    for (let round = 0; round < 3; round++) {
      assert.equal(memory.recall('a', one), '1 a')
      assert.equal(memory.recall('a', other), '2 a')
    }
  })

  test('says the same as the maker, whatever comes in whatever order', () => {
    const text = fc.oneof(fc.constantFrom('a', 'b', 'ab', ''), fc.string({ unit: 'binary', maxLength: 3 }))
    fc.assert(
      fc.property(fc.array(fc.tuple(text, fc.boolean())), (said) => {
        const memory = new ConnectionMemory()
        const makers = [(of: string) => `1${of}`, (of: string) => `2${of}`] as const
        for (const [of, first] of said) {
          const make = first ? makers[0] : makers[1]
          assert.equal(memory.recall(of, make), make(of))
        }
      }),
    )
  })

  test('does not keep long texts', () => {
    const { made, make } = counted()
    const memory = new ConnectionMemory()
    const [short, long] = ['x'.repeat(2_048), 'x'.repeat(2_049)]
    for (const text of [short, short, long, long, short]) memory.recall(text, make)
    assert.deepEqual(made, [short, long, long])
  })

  test('is the same for every request of a connection and another for another', () => {
    const [one, other] = [{} as Socket, {} as Socket]
    assert.equal(memoryOf(one), memoryOf(one))
    assert.notEqual(memoryOf(one), memoryOf(other))
  })
})
