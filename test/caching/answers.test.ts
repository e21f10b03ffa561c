import assert from 'node:assert/strict'
import { describe, test } from 'node:test'
import { createAnswers, type KeptAnswer } from '../../src/caching/answers.ts'
import { accepts, lifetimeOf, parseDirectives } from '../../src/caching/rules.ts'

const answer = (size: number): KeptAnswer => ({
  status: 200,
  fields: [],
  content: Buffer.alloc(size),
  lifetime: { audience: 'guests', age: 0, fresh: 1_000, staleIfError: 0 },
  since: 0,
  vary: new Map(),
})
const request = { get: () => undefined }

describe('kept answers', () => {
  test('never take more than they may, and what was used last stays', () => {
    const answers = createAnswers(100_000, () => 0)
    for (let index = 0; index < 50; index += 1) {
      answers.keep(`t${index}`, 'p', answer(10_000), 0)
      assert.ok(answers.find('t0', 'p', request) || index > 0)
      assert.ok(answers.size <= 100_000)
    }
    assert.ok(answers.find('t0', 'p', request), 'asked for all the time')
    assert.ok(answers.find('t49', 'p', request))
    assert.equal(answers.find('t20', 'p', request), undefined)
    answers.keep('huge', 'p', answer(200_000), 0)
    assert.equal(answers.find('huge', 'p', request), undefined)
  })

  test('count what requests said to choose them, and remember no endless addresses', () => {
    const answers = createAnswers(100_000, () => 0)
    const wordy = { ...answer(1), vary: new Map([['accept', 'x'.repeat(60_000)]]) }
    answers.keep('a', 'p', wordy, 0)
    answers.keep('b', 'p', wordy, 0)
    assert.ok(answers.size > 60_000 && answers.size <= 100_000)
    answers.learn('c', 'never')
    answers.learn('c'.repeat(8_000), 'never')
    assert.deepEqual([answers.habit('c'), answers.habit('c'.repeat(8_000))], ['never', undefined])
  })

  test('from before a change are not kept after it', () => {
    const answers = createAnswers(100_000, () => 0)
    const asked = answers.changes
    answers.forget('t?x=1')
    answers.keep('t', 'p', answer(1), asked)
    assert.equal(answers.find('t', 'p', request), undefined)
    answers.keep('t', 'p', answer(1), answers.changes)
    assert.ok(answers.find('t', 'p', request))
  })
})

describe('how long an answer is good', () => {
  const guests = { known: false, unclear: false, directives: parseDirectives(undefined), personal: () => false }
  const fresh = (...fields: string[]) => lifetimeOf(guests, { status: 200, fields }, undefined)?.fresh
  const date = ['Date', 'Sun, 06 Nov 1994 08:49:37 GMT']

  for (const [expected, ...fields] of [
    [60_000, 'Cache-Control', 'max-age=60'],
    [60_000, 'cache-control', 'MAX-AGE="60"'],
    [30_000, 'Cache-Control', 'max-age=60, s-maxage=30'],
    [60_000, 'Cache-Control', 'max-age=60', 'Cache-Control', 'max-age=90'],
    [60_000, ...date, 'Expires', 'Sun, 06 Nov 1994 08:50:37 GMT'],
    [undefined, ...date, 'Expires', '0'],
    [0, ...date, 'Expires', '0', 'ETag', '"a"'],
    [undefined, 'Cache-Control', 'max-age=soon'],
    [0, 'Cache-Control', 'no-cache, max-age=60', 'ETag', '"a"'],
    [undefined, 'Cache-Control', 'max-age=60', 'Age', '61'],
    [undefined, 'Cache-Control', 'private, max-age=60'],
  ] as [number | undefined, ...string[]][]) {
    test(fields.join(' '), () => assert.equal(fresh(...fields), expected))
  }

  test('a request may want it younger', () => {
    const want = (field: string) => accepts(parseDirectives(field), 10_000, 60_000)
    assert.deepEqual(['', 'max-age=5', 'max-age=10', 'min-fresh=50', 'min-fresh=51', 'no-cache'].map(want), [
      true,
      false,
      true,
      true,
      false,
      false,
    ])
  })
})
