import assert from 'node:assert/strict'
import { test } from 'node:test'
import { type Endable, Ending } from '../../src/upstream/ending.ts'

test('an ending is told once to all that have not left, with the first reason', () => {
  const told: unknown[] = []
  const ending = new Ending()
  const listener = (name: string): Endable => ({ ended: (reason) => told.push([name, reason]) })
  const [one, other, left] = [listener('one'), listener('other'), listener('left')]
  ending.add(one)
  ending.add(left)
  ending.add(other)
  ending.delete(left)
  assert.equal(ending.over, false)
  ending.end('first')
  ending.end('second')
  assert.equal(ending.over, true)
  assert.equal(ending.reason, 'first')
  assert.deepEqual(told, [
    ['one', 'first'],
    ['other', 'first'],
  ])
})

test('who is told may leave, and let others leave', () => {
  const told: string[] = []
  const ending = new Ending()
  const second: Endable = { ended: () => told.push('second') }
  const first: Endable = {
    ended() {
      told.push('first')
      ending.delete(first)
      ending.delete(second)
    },
  }
  ending.add(first)
  ending.add(second)
  ending.end(undefined)
  assert.deepEqual(told, ['first'])
})
