import assert from 'node:assert/strict'
import { describe, test } from 'node:test'
import { createContext } from '../../src/context/index.ts'
import { compileTrust } from '../../src/context/trust.ts'

describe('trusted origins', () => {
  const cases: [entry: Parameters<typeof compileTrust>[0][number], url: string, trusted: boolean][] = [
    ['http://orders:4001', 'http://orders:4001/deep?x#y', true],
    ['http://orders:4001/', 'http://ORDERS:4001/', true],
    ['http://orders:80', 'http://orders/', true],
    ['http://orders', 'http://orders:80/', true],
    ['http://orders:4001', 'https://orders:4001/', false],
    ['http://orders:4001', 'http://orders:4002/', false],
    ['http://orders:4001', 'http://orders.attacker.example:4001/', false],
    ['http://orders:4001', 'http://orders:4001@attacker.example/', false],
    ['http://orders:4001', 'http://user:password@orders:4001/', true],
    ['https://bücher.example', 'https://xn--bcher-kva.example/', true],
    ['http://127.0.0.1:4001', 'http://2130706433:4001/', true],
    [/http:\/\/[\w-]+\.svc/, 'http://orders.svc/', true],
    [/http:\/\/[\w-]+\.svc/, 'http://orders.svc.attacker.example/', false],
    [/http:\/\/[\w-]+\.svc/, 'http://attacker.example/http://orders.svc', false],
    [/orders\.svc/, 'http://orders.svc/', false],
    [/http:\/\/a|http:\/\/b/, 'http://a.attacker.example/', false],
    [/http:\/\/a|http:\/\/b/, 'http://b/', true],
    [/^HTTP:\/\/ORDERS$/i, 'http://orders/x', true],
    [/http:\/\/orders/g, 'http://orders/', true],
    [(url) => url.hostname.endsWith('.internal'), 'https://a.internal/', true],
    [(url) => url.hostname.endsWith('.internal'), 'https://a.internal.example/', false],
    [() => true, 'file:///etc/passwd', false],
    [() => true, 'data:text/plain,x', false],
  ]
  for (const [entry, url, trusted] of cases) {
    test(`${entry} ${trusted ? 'trusts' : 'does not trust'} ${url}`, () => {
      const isTrusted = compileTrust([entry])
      // Twice: a pattern with /g remembers where it stopped.
      assert.equal(isTrusted(new URL(url)), trusted)
      assert.equal(isTrusted(new URL(url)), trusted)
    })
  }

  test('an empty list trusts nobody', () => {
    assert.equal(compileTrust([])(new URL('http://127.0.0.1/')), false)
  })

  for (const entry of [
    '*',
    'orders:4001',
    'http://orders:4001/api',
    'http://*.svc',
    'ftp://orders',
    'http://user@orders',
    '',
  ]) {
    test(`"${entry}" is refused when the context is made`, () => {
      assert.throws(() => createContext({ trusted: [entry] }), {
        name: 'TypeError',
        message: /is not an origin.*http:\/\/orders:4001/,
      })
    })
  }
})
