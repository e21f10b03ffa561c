import assert from 'node:assert/strict'
import { describe, test } from 'node:test'
import fc from 'fast-check'
import { createFields, fieldList, fieldValue, isName } from '../../src/http/fields.ts'

describe('the fields of a request', () => {
  const fields = createFields(['Host', 'gw.test', 'ACCEPT', 'a', 'accept', 'b', 'X-Empty', '', '__proto__', 'x'])

  test('are found by lower-case name, however they were spelled', () => {
    assert.equal(fields.get('host'), 'gw.test')
    assert.equal(fields.get('x-empty'), '')
    assert.equal(fields.get('__proto__'), 'x')
    assert.equal(fields.get('hos'), undefined)
    assert.equal(fields.get('constructor'), undefined)
  })

  test('join several lines of one name in order, and give them one by one', () => {
    assert.equal(fields.get('accept'), 'a, b')
    assert.deepEqual(fields.all('accept'), ['a', 'b'])
    assert.deepEqual(fields.all('absent'), [])
  })

  test('compare names like toLowerCase does, for every name that HTTP allows', () => {
    const token = fc.string({ unit: fc.constantFrom(..."!#$%&'*+-.^_`|~09azAZkKxX"), maxLength: 6 })
    fc.assert(
      fc.property(token, token, (received, wanted) => {
        assert.equal(isName(received, wanted.toLowerCase()), received.toLowerCase() === wanted.toLowerCase())
        assert.ok(isName(received, received.toLowerCase()))
      }),
      { numRuns: 2_000 },
    )
  })
})

describe('a value written by the gateway', () => {
  test('is the text itself when it is visible ASCII', () => {
    assert.equal(fieldValue('ada@example.org'), 'ada@example.org')
    assert.equal(fieldValue('urn:a/b?c=(d)"e"'), 'urn:a/b?c=(d)"e"')
  })

  test('is percent-encoded where it is not, and decodes to the text', () => {
    assert.equal(fieldValue('张三'), '%E5%BC%A0%E4%B8%89')
    assert.equal(fieldValue('Ada Lovelace'), 'Ada%20Lovelace')
    assert.equal(fieldValue('100%'), '100%25')
    assert.equal(fieldValue('a\r\nUser-Role: admin\0'), 'a%0D%0AUser-Role:%20admin%00')
    // U+010D and U+010A become CR and LF where a server cuts characters to bytes.
    assert.equal(fieldValue('a\u010d\u010ab'), 'a%C4%8D%C4%8Ab')
    assert.equal(fieldValue('\ud800'), '%EF%BF%BD')
  })

  test('is not written at all when it is empty or too long: a shortened name is another name', () => {
    assert.equal(fieldValue(''), undefined)
    assert.equal(fieldValue('a'.repeat(1_024))?.length, 1_024)
    assert.equal(fieldValue('a'.repeat(1_025)), undefined)
    assert.equal(fieldValue('é'.repeat(200)), undefined)
  })

  test('never holds anything but visible ASCII, and always comes back', () => {
    fc.assert(
      fc.property(fc.string({ unit: 'binary', minLength: 1, maxLength: 40 }), (text) => {
        const value = fieldValue(text)
        assert.ok(value !== undefined)
        assert.match(value, /^[!-~]+$/)
        assert.equal(decodeURIComponent(value), text.toWellFormed())
      }),
    )
  })
})

describe('a list written by the gateway', () => {
  test('has as many elements as it was given, whatever is in them', () => {
    assert.equal(fieldList(['editor', 'user,admin', 'a b']), 'editor,user%2Cadmin,a%20b')
    assert.equal(fieldList(['', 'a', '']), 'a')
    assert.equal(fieldList([]), undefined)
    assert.equal(fieldList(['']), undefined)
    fc.assert(
      fc.property(fc.array(fc.string({ unit: 'binary', minLength: 1, maxLength: 8 }), { minLength: 1 }), (roles) => {
        assert.deepEqual(
          fieldList(roles)!.split(',').map(decodeURIComponent),
          roles.map((role) => role.toWellFormed()),
        )
      }),
    )
  })

  test('ends between two elements when it grows too long, and never shortens one', () => {
    const roles = Array.from({ length: 1_000 }, (_, i) => `role-${i}`)
    const list = fieldList(roles)!
    assert.ok(list.length <= 4_096 && list.length > 4_000)
    assert.deepEqual(list.split(','), roles.slice(0, list.split(',').length))
    assert.equal(fieldList(['a'.repeat(5_000), 'b']), undefined, 'what follows the limit is not written either')
  })
})
