import assert from 'node:assert/strict'
import { randomBytes } from 'node:crypto'
import { describe, test } from 'node:test'
import { findAttempt, newAttempt, withAttempt, withoutAttempt } from '../../src/authentication/sign-in-cookie.ts'

describe('what a browser remembers while it signs in', () => {
  const attempt = (returnTo = '/') => newAttempt(returnTo, randomBytes)

  test('state, nonce and verifier of an attempt, none of which tells another', () => {
    const one = attempt('/orders?a=~.b')
    const found = findAttempt(withAttempt('', one), one.state)!
    assert.deepEqual(found, one)
    assert.equal(found.returnTo, '/orders?a=~.b')
    assert.equal(new Set([one.state, one.nonce, one.verifier, one.text.split('.')[0]]).size, 4)
    // RFC 7636 §4.1
    assert.match(one.verifier, /^[\w-]{43}$/)
    assert.equal(findAttempt(withAttempt('', attempt()), one.state), undefined)
  })

  test('several attempts; the oldest make way before the cookie grows too large', () => {
    const attempts = Array.from({ length: 6 }, () => attempt(`/${'p'.repeat(700)}`))
    let value = ''
    for (const one of attempts) {
      value = withAttempt(value, one)
      assert(value.length <= 3_500)
      assert.match(value, /^[\w.~-]*$/)
    }
    assert(findAttempt(value, attempts[5]!.state))
    assert(findAttempt(value, attempts[4]!.state))
    assert.equal(findAttempt(value, attempts[0]!.state), undefined)
    const rest = withoutAttempt(value, attempts[5]!)
    assert.equal(findAttempt(rest, attempts[5]!.state), undefined)
    assert(findAttempt(rest, attempts[4]!.state))
    assert.equal(withoutAttempt(withAttempt('', attempts[0]!), attempts[0]!), '')
  })

  test('of a value that somebody else wrote nothing is left', () => {
    for (const value of ['~', 'x', '..', `${'a'.repeat(42)}.`, '__proto__', `${'a'.repeat(43)}`, '%', 'é.é'])
      assert.match(withAttempt(value, attempt()), /^[\w-]{43}\.[\w-]*$/, value)
  })
})
