import assert from 'node:assert/strict'
import { describe, test } from 'node:test'
import fc from 'fast-check'
import { cookie, cookies, setCookieName, withoutCookies } from '../../src/http/cookies.ts'
import { createFields } from '../../src/http/fields.ts'

describe('cookies of a request', () => {
  test('are read from every line, all values of a name in order', () => {
    const fields = createFields(['Cookie', 'a=1; b=x=y ;c="q"; ;nameless; a=2', 'cookie', 'a=3;__proto__=4;=5'])
    const found = cookies(fields)
    assert.deepEqual(found.get('a'), ['1', '2', '3'])
    assert.deepEqual(found.get('b'), ['x=y'])
    assert.deepEqual(found.get('c'), ['"q"'])
    assert.deepEqual(found.get('__proto__'), ['4'])
    assert.equal(found.has('nameless'), false)
    assert.deepEqual(cookie(fields, 'a'), ['1', '2', '3'])
    assert.deepEqual(cookie(fields, 'q'), [])
    assert.deepEqual(cookie(createFields([]), 'a'), [])
  })

  test('are what one finds who splits the line', () => {
    const bare = (part: string) => part.replace(/^[ \t]+|[ \t]+$/g, '')
    const line = fc.string({ unit: fc.constantFrom('a', 'b', '=', ';', ' ', '\t', '"'), maxLength: 24 })
    fc.assert(
      fc.property(line, (text) => {
        const expected = text
          .split(';')
          .filter((pair) => pair.includes('='))
          .map((pair) => [pair.slice(0, pair.indexOf('=')), pair.slice(pair.indexOf('=') + 1)] as const)
          .map(([name, value]) => [bare(name), bare(value)] as const)
        const found = cookies(createFields(['Cookie', text]))
        assert.deepEqual(
          Object.fromEntries(found),
          Object.fromEntries(
            expected.map(([name]) => [name, expected.filter(([other]) => other === name).map(([, value]) => value)]),
          ),
        )
      }),
    )
  })

  test('are told apart by their whole name and its case', () => {
    const fields = createFields(['Cookie', 'SID=1; sid2=2; xsid=3'])
    assert.deepEqual(cookie(fields, 'sid'), [])
  })
})

describe('taking cookies out', () => {
  const own = new Set(['__Host-sid', '_session'])

  test('leaves the others byte for byte', () => {
    const cases: Record<string, string> = {
      'a=1': 'a=1',
      'a=1;b=2;  c="x y" ': 'a=1;b=2;  c="x y" ',
      'a=__Host-sid; b=2': 'a=__Host-sid; b=2',
      'a=1; __Host-sid=s; b=2': 'a=1; b=2',
      '__Host-sid=s; a=1': 'a=1',
      'a=1; __Host-sid=s': 'a=1',
      '__Host-sid=s': '',
      '__Host-sid=s; _session=t': '',
      '__Host-sid=s; a=%20; __Host-sid=t;b=2': 'a=%20;b=2',
      '__Host-sid': '',
      ' __Host-sid\t=x; a=1': 'a=1',
      'a=1;; _session=;b=2': 'a=1;;b=2',
      'my_session=1; _session2=2': 'my_session=1; _session2=2',
    }
    for (const [value, rest] of Object.entries(cases)) assert.equal(withoutCookies(value, own), rest, value)
  })
})

test('the cookies that are left are those that one leaves who splits the line', () => {
  const names = new Set(['a', 'bb'])
  const line = fc.string({ unit: fc.constantFrom('a', 'b', '=', ';', ' '), maxLength: 20 })
  fc.assert(
    fc.property(line, (value) => {
      const pairs = value.split(';')
      const kept = pairs.filter((pair) => !names.has(pair.split('=', 1)[0]!.trim()))
      assert.equal(withoutCookies(value, names), kept.length === pairs.length ? value : kept.join(';').trim())
    }),
  )
})

describe('the name a Set-Cookie sets', () => {
  test('is the one under which the browser sends it back', () => {
    const cases: Record<string, string> = {
      'a=b; Path=/': 'a',
      ' a = b': 'a',
      a: 'a',
      'a;b=c': 'a',
      '=a=b': 'a',
      ' == a=b': 'a',
      '': '',
      '=': '',
      'a=__Host-sid=x': 'a',
    }
    for (const [value, name] of Object.entries(cases)) assert.equal(setCookieName(value), name, value)
  })
})
