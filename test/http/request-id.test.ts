import assert from 'node:assert/strict'
import { randomBytes } from 'node:crypto'
import { describe, test } from 'node:test'
import { createFields } from '../../src/http/fields.ts'
import { createRequestIds, isRequestId } from '../../src/http/request-id.ts'

const nothing = createFields([])
const direct = { viaTrustedProxy: false }
const proxied = { viaTrustedProxy: true }

describe('a request id', () => {
  test('is new for every request, and tells processes apart', () => {
    const first = createRequestIds(randomBytes)
    const second = createRequestIds(randomBytes)
    const ids = new Set<string>()
    for (let i = 0; i < 5_000; i++) ids.add(first(nothing, direct)).add(second(nothing, direct))
    assert.equal(ids.size, 10_000)
    for (const id of ids) assert.ok(isRequestId(id))
  })

  test('follows from the chance that is handed in', () => {
    const requestId = createRequestIds((size) => new Uint8Array(size).fill(0xab))
    assert.equal(requestId(nothing, direct), 'abababababababab-000001')
    assert.equal(requestId(nothing, direct), 'abababababababab-000002')
  })

  test('is kept from a trusted proxy only, and only when it is well formed', () => {
    const requestId = createRequestIds(randomBytes)
    const sent = createFields(['X-Request-Id', '0b9f1c7e-6f0a-4d8e-9a51-2f0d6d1f7c11'])
    assert.equal(requestId(sent, proxied), '0b9f1c7e-6f0a-4d8e-9a51-2f0d6d1f7c11')
    assert.notEqual(requestId(sent, direct), '0b9f1c7e-6f0a-4d8e-9a51-2f0d6d1f7c11')
    for (const id of [
      '',
      'a b',
      'a,b',
      '../x',
      '..',
      'a/b',
      'a"b',
      'a\u001b[31m',
      'é',
      'a'.repeat(129),
      '<script>',
      '-a',
    ]) {
      assert.notEqual(requestId(createFields(['X-Request-Id', id]), proxied), id)
      assert.equal(isRequestId(id), false, id)
    }
    assert.notEqual(requestId(createFields(['X-Request-Id', 'a', 'X-Request-Id', 'b']), proxied), 'a, b')
    for (const id of ['a', 'Root=1-67891233-abcdef012345678912345678', '01ARZ3NDEKTSV4RRFFQ69G5FAV', 'a'.repeat(128)]) {
      assert.equal(isRequestId(id), true, id)
    }
  })
})
