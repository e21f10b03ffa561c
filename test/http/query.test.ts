import assert from 'node:assert/strict'
import { describe, test } from 'node:test'
import fc from 'fast-check'
import { queryParameter, withoutParameters } from '../../src/http/query.ts'

describe('a query parameter', () => {
  test('is every value of the name, decoded', () => {
    assert.deepEqual(queryParameter('api_key=1&x=2&api%5Fkey=%33&api_key=a+b%2Bc', 'api_key'), ['1', '3', 'a b+c'])
    assert.deepEqual(queryParameter('a', 'a'), [''])
    assert.deepEqual(queryParameter('a=b=c', 'a'), ['b=c'])
    assert.deepEqual(queryParameter('', 'a'), [])
    assert.deepEqual(queryParameter('A=1&aa=2', 'a'), [])
    assert.deepEqual(queryParameter('__proto__=1', '__proto__'), ['1'])
  })

  test('never throws, whatever is escaped', () => {
    assert.deepEqual(queryParameter('a=%&a=%zz&a=%e9', 'a'), ['%', '%zz', '\ufffd'])
    fc.assert(fc.property(fc.string(), fc.string(), (query, name) => void queryParameter(query, name)))
  })

  test('is found wherever URLSearchParams finds it', () => {
    // A canonical query holds visible ASCII only.
    const texts = fc.string({ unit: fc.constantFrom(...'ab%26=+&c3A9f') })
    fc.assert(
      fc.property(texts, (query) => {
        for (const [name, value] of new URLSearchParams(`?${query}`)) {
          // The one difference: a pair of nothing at all is a parameter without a name to us and none to them.
          assert.ok(queryParameter(query, name).includes(value), `${name}=${value} in ${query}`)
        }
      }),
    )
  })
})

describe('taking parameters out', () => {
  test('leaves the others byte for byte', () => {
    const names = new Set(['api_key'])
    const cases: Record<string, string> = {
      'a=1': 'a=1',
      'a=%7E+&b&&c=': 'a=%7E+&b&&c=',
      'api_key=x': '',
      'a=1&api_key=x&b=%2f': 'a=1&b=%2f',
      'api%5fkey=x&a=1&api_key': 'a=1',
      'API_KEY=1&api_key2=2': 'API_KEY=1&api_key2=2',
      'x=api_key=1': 'x=api_key=1',
      '': '',
    }
    for (const [query, rest] of Object.entries(cases)) assert.equal(withoutParameters(query, names), rest, query)
  })
})
