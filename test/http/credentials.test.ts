import assert from 'node:assert/strict'
import { describe, test } from 'node:test'
import { basicCredentials, bearerToken, challenge } from '../../src/http/credentials.ts'
import { createFields } from '../../src/http/fields.ts'
import { skipWithoutShared, vectors } from '../vectors.ts'

const authorization = (...values: string[]) => createFields(values.flatMap((value) => ['Authorization', value]))

function problemOf(found: ReturnType<typeof bearerToken> | ReturnType<typeof basicCredentials>) {
  assert.equal(found.outcome, 'malformed')
  return found.problem
}

describe('a bearer token', () => {
  test('is found whatever the case of the scheme and the number of spaces', () => {
    for (const value of ['Bearer a.b-c_d~e+f/g==', 'bearer a.b-c_d~e+f/g==', 'BEARER   a.b-c_d~e+f/g==']) {
      assert.deepEqual(bearerToken(authorization(value)), { outcome: 'presented', value: 'a.b-c_d~e+f/g==' })
    }
  })

  test('is absent when another scheme or none is used', () => {
    assert.equal(bearerToken(createFields([])).outcome, 'absent')
    for (const value of ['Basic YTpi', 'DPoP abc', 'Negotiate abc', '', 'abc', 'Bear er']) {
      assert.equal(bearerToken(authorization(value)).outcome, 'absent', value)
    }
  })

  test('is refused with a challenge when it is none', () => {
    for (const value of [
      ...[
        'Bearer',
        'Bearer ',
        'Bearera',
        'Bearer\ta',
        'Bearer=a',
        'Bearer a b',
        'Bearer a,b',
        'Bearer a, Bearer b',
        'Bearer "a"',
      ],
      ...[
        'Bearer a=b',
        'Bearer =',
        'Bearer %61',
        'Bearer a;b',
        'Bearer é',
        'Bearer [object Object]',
        'Bearer \u00a0a',
        'Bearer a\u00a0',
      ],
    ]) {
      const problem = problemOf(bearerToken(authorization(value)))
      assert.equal(problem.status, 401, value)
      assert.match(
        String(problem.fields['WWW-Authenticate']),
        /^Bearer error="invalid_token", error_description="[^"\\]+"$/,
      )
    }
  })

  test('is refused above 8,192 bytes', () => {
    assert.equal(bearerToken(authorization(`Bearer ${'a'.repeat(8_192)}`)).outcome, 'presented')
    assert.equal(problemOf(bearerToken(authorization(`Bearer ${'a'.repeat(8_193)}`))).code, 'invalid-token')
  })

  test('is refused in either order when there are two', () => {
    for (const values of [
      ['Bearer a', 'Bearer b'],
      ['Bearer a', 'Basic YTpi'],
      ['Basic YTpi', 'Bearer a'],
    ]) {
      assert.equal(problemOf(bearerToken(authorization(...values))).code, 'ambiguous-credentials')
    }
  })

  test('is read from the forms of the shared vectors as they say', { skip: skipWithoutShared }, () => {
    const { cases } = vectors('authorization-forms.json') as { cases: { id: string; value: string; verdict: string }[] }
    assert.equal(cases.length, 15)
    const token = 'eyJhbGciOiJSUzI1NiJ9.eyJzdWIiOiJhIn0.c2ln'
    for (const { id, value, verdict } of cases) {
      const found = bearerToken(authorization(value.replaceAll('<TOKEN>', token)))
      const accepted = found.outcome === 'presented' && found.value === token
      if (verdict === 'accept') assert.ok(accepted, id)
      if (verdict === 'refuse') assert.ok(!accepted, id)
    }
  })
})

describe('a user name and password', () => {
  const basic = (text: string | Uint8Array) => authorization(`Basic ${Buffer.from(text).toString('base64')}`)

  test('are found, the password with its colons', () => {
    assert.deepEqual(basicCredentials(basic('ada:secret')), {
      outcome: 'presented',
      value: { username: 'ada', password: 'secret' },
    })
    const found = basicCredentials(basic('é:a:b:'))
    assert.deepEqual(found.outcome === 'presented' && found.value, { username: 'é', password: 'a:b:' })
    const empty = basicCredentials(authorization('bAsIc  Og=='))
    assert.deepEqual(empty.outcome === 'presented' && empty.value, { username: '', password: '' })
  })

  test('are absent when another scheme is used', () => {
    assert.equal(basicCredentials(authorization('Bearer a')).outcome, 'absent')
    assert.equal(basicCredentials(createFields([])).outcome, 'absent')
  })

  test('are refused when they are not what RFC 7617 says', () => {
    const wrong = [
      'Basic',
      'Basic a',
      'Basic YTpi YTpi',
      'Basic YTpi=',
      'Basic YT pi',
      'Basic YTo_',
      'Basic =',
      'Basicx YTpi',
    ]
    for (const value of wrong) assert.equal(problemOf(basicCredentials(authorization(value))).status, 400, value)
    for (const text of ['no colon', 'a:b\n', 'a\0:b', Buffer.from([0x61, 0x3a, 0xff])]) {
      assert.equal(problemOf(basicCredentials(basic(text))).status, 400)
    }
    assert.equal(problemOf(basicCredentials(authorization('Basic YTpi', 'Basic YTpi'))).code, 'ambiguous-credentials')
  })
})

describe('a challenge', () => {
  test('quotes its parameters and leaves out those that are not given', () => {
    assert.equal(challenge('Bearer'), 'Bearer')
    assert.equal(challenge('Bearer', { realm: undefined }), 'Bearer')
    assert.equal(
      challenge('Bearer', { realm: 'orders', error: 'insufficient_scope', scope: 'a b' }),
      'Bearer realm="orders", error="insufficient_scope", scope="a b"',
    )
  })

  test('cannot be broken out of', () => {
    assert.equal(
      challenge('Bearer', { realm: 'a", x="\\\r\nSet-Cookie: é' }),
      `Bearer realm="a', x='${"'"}??Set-Cookie: ?"`,
    )
  })
})
