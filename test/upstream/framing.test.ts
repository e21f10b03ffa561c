import assert from 'node:assert/strict'
import { describe, test } from 'node:test'
import { InvalidResponse } from '../../src/upstream/failure.ts'
import { isFlood, readHead } from '../../src/upstream/framing.ts'

/** Views of one piece of memory, as undici hands them over. */
function views(...lines: readonly string[]): Buffer[] {
  const piece = Buffer.from(`HTTP/1.1 200 OK\r\n${lines.join('\r\n')}\r\n\r\n`, 'latin1')
  let at = 17
  return lines.flatMap((line) => {
    const colon = line.indexOf(': ')
    const parts = [piece.subarray(at, at + colon), piece.subarray(at + colon + 2, at + line.length)]
    at += line.length + 2
    return parts
  })
}

describe('the head of an answer', () => {
  test('is read as it came, from one piece of memory or from many', () => {
    const expected = ['X-One', '1', 'x-empty', '', 'X-Umlaut', '\xe4\xff', 'Content-Length', '12']
    const together = views('X-One: 1', 'x-empty: ', 'X-Umlaut: \xe4\xff', 'Content-Length: 12')
    const apart = together.map((part) => Buffer.from(part))
    const mixed = together.map((part, i) => (i % 3 === 0 ? Buffer.from(part) : part))
    const backwards = together.map((part, i) => (i < 2 ? together[0]! : part))
    for (const raw of [together, apart, mixed]) {
      const { fields, length } = readHead(200, raw, 'GET')
      assert.deepEqual(fields, expected)
      assert.equal(length, 12)
    }
    assert.deepEqual(readHead(200, backwards, 'GET').fields.slice(0, 2), ['X-One', 'X-One'])
    assert.deepEqual(readHead(200, [], 'GET').fields, [])
  })

  test('tells how the content ends', () => {
    const framing = (status: number, method: string, ...lines: string[]) => {
      const { length, chunked, closeDelimited } = readHead(status, views(...lines), method)
      return { length, chunked, closeDelimited }
    }
    const none = { length: 0, chunked: false, closeDelimited: false }
    const coded = { length: undefined, chunked: true, closeDelimited: false }
    assert.deepEqual(framing(200, 'GET', 'CONTENT-LENGTH: 7'), { length: 7, chunked: false, closeDelimited: false })
    assert.deepEqual(framing(200, 'GET', 'Transfer-Encoding: Chunked'), coded)
    assert.deepEqual(framing(200, 'GET', 'Server: x'), { length: undefined, chunked: false, closeDelimited: true })
    assert.deepEqual(framing(200, 'HEAD', 'Content-Length: 7'), none)
    assert.deepEqual(framing(204, 'GET', 'Content-Length: 7'), none)
    assert.deepEqual(framing(304, 'GET', 'Transfer-Encoding: chunked'), none)
  })

  for (const coding of ['gzip', 'gzip, chunked', 'chunked, chunked', 'identity', 'chunked;q=1', '']) {
    test(`with the transfer coding "${coding}" is refused`, () => {
      assert.throws(() => readHead(200, views(`Transfer-Encoding: ${coding}`), 'GET'), InvalidResponse)
    })
  }

  test('with two transfer codings, a strange status or too many lines is refused', () => {
    const twice = views('Transfer-Encoding: chunked', 'Transfer-Encoding: chunked')
    assert.throws(() => readHead(200, twice, 'GET'), InvalidResponse)
    for (const status of [0, 99, 100, 199, 600, 999]) assert.throws(() => readHead(status, [], 'GET'), InvalidResponse)
    const lines = (count: number) => views(...Array.from({ length: count }, (_, i) => `X-${i}: 1`))
    assert.throws(() => readHead(200, lines(257), 'GET'), InvalidResponse)
    assert.equal(readHead(200, lines(256), 'GET').fields.length, 512)
  })
})

test('framing may take six bytes for each byte of content, and some for the head, no more', () => {
  assert.equal(isFlood(1_000 * 6 + 16_384, 1_000), false)
  assert.equal(isFlood(70_000, 2), true)
  assert.equal(isFlood(49_000, 0), false)
  assert.equal(isFlood(70_000_000, 69_000_000), false)
})
