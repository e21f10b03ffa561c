import assert from 'node:assert/strict'
import { test } from 'node:test'
import { createLocationRewriter } from '../../src/http/location.ts'

const rewrite = createLocationRewriter({
  targets: ['http://127.0.0.1:4001', 'http://10.0.0.1/base'],
  prefix: '/orders',
})
const cases = {
  'http://127.0.0.1:4001/login?x=1#y': '/orders/login?x=1#y',
  'http://127.0.0.1:4001': '/orders/',
  'HTTP://127.0.0.1:4001?x': '/orders/?x',
  'http://10.0.0.1/base/7': '/orders/7',
  'http://10.0.0.1/based/7': '/orders/based/7',
  'http://127.0.0.1:40011/login': 'http://127.0.0.1:40011/login',
  'http://127.0.0.1:4001.evil.example/': 'http://127.0.0.1:4001.evil.example/',
  'https://login.example/': 'https://login.example/',
  '/relative': '/relative',
}

for (const [written, expected] of Object.entries(cases)) {
  test(`a redirect to ${written} becomes ${expected}`, () => {
    const lines = ['X', written, 'Location', written, 'content-location', written]
    rewrite(lines)
    assert.deepEqual(lines, ['X', written, 'Location', expected, 'content-location', expected])
  })
}
