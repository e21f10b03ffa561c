import assert from 'node:assert/strict'
import { generateKeyPairSync } from 'node:crypto'
import { describe, test } from 'node:test'
import { type PublicAlgorithm, publicAlgorithms } from '../../src/authentication/algorithms.ts'
import { exportKeys, importKeys } from '../../src/authentication/key-import.ts'
import { newKey } from './minting.ts'

const rsa = newKey('RS256', 'rsa').jwk
const ec = newKey('ES256', 'ec').jwk
const ed = newKey('EdDSA', 'ed').jwk

/** What becomes of one key: its algorithm, or why it is left out. */
function fate(jwk: unknown, allowed: readonly PublicAlgorithm[] = publicAlgorithms): string {
  const { keys, leftOut } = importKeys({ keys: [jwk] }, allowed)
  assert.equal(keys.length + leftOut.length, 1)
  return keys[0]?.algorithm ?? leftOut[0]!.reason
}

const jwkOf = (type: 'rsa' | 'ec', options: object) =>
  generateKeyPairSync(type as 'rsa', options as { modulusLength: number }).publicKey.export({ format: 'jwk' })

describe('the keys of an issuer', () => {
  test('are imported with kid and algorithm, and exported without anything secret', () => {
    const { keys, leftOut } = importKeys({ keys: [rsa, ec, ed] }, ['RS256', 'ES256', 'EdDSA'])
    assert.deepEqual(leftOut, [])
    assert.deepEqual(
      keys.map(({ kid, algorithm }) => [kid, algorithm]),
      [
        ['rsa', 'RS256'],
        ['ec', 'ES256'],
        ['ed', 'EdDSA'],
      ],
    )
    const again = importKeys(exportKeys(keys), ['RS256', 'ES256', 'EdDSA'])
    assert.deepEqual(
      again.keys.map(({ fingerprint }) => fingerprint),
      keys.map(({ fingerprint }) => fingerprint),
    )
  })

  test('that name no algorithm get the first of the issuer that fits, and only that one', () => {
    const { alg: _, ...silent } = rsa
    assert.equal(fate(silent, ['ES256', 'PS256', 'RS256']), 'PS256')
    assert.equal(fate(silent, ['ES256']), 'algorithm not listed for the issuer')
    const { alg: __, ...curve } = ec
    assert.equal(fate(curve, ['RS256', 'ES384', 'ES256']), 'ES256')
  })

  for (const [title, jwk, reason] of [
    ['a shared secret', { kty: 'oct', k: 'AAAA', alg: 'HS256' }, 'symmetric'],
    ['a private RSA key', { ...rsa, d: 'AQAB' }, 'private members'],
    ['a private RSA key by its primes alone', { ...rsa, p: 'AQAB' }, 'private members'],
    ['a private EC key', { ...ec, d: 'AQAB' }, 'private members'],
    ['a key for encryption', { ...rsa, use: 'enc' }, 'not for signatures'],
    ['a key with a use of the wrong type', { ...rsa, use: ['sig'] }, 'not for signatures'],
    ['a key that may only encrypt', { ...ec, key_ops: ['encrypt'] }, 'not for signatures'],
    ['a key with operations of the wrong type', { ...ec, key_ops: 'verify' }, 'not for signatures'],
    ['an algorithm for encryption', { ...rsa, alg: 'RSA-OAEP' }, 'algorithm not listed for the issuer'],
    ['an algorithm nobody knows', { ...ec, alg: 'ES521' }, 'algorithm not listed for the issuer'],
    ['HS256 on an RSA key', { ...rsa, alg: 'HS256' }, 'algorithm not listed for the issuer'],
    ['an EC algorithm on an RSA key', { ...rsa, alg: 'ES256' }, 'algorithm does not fit the key'],
    ['the algorithm of another curve', { ...ec, alg: 'ES384' }, 'algorithm does not fit the key'],
    ['another curve than the point', { ...ec, alg: 'ES384', crv: 'P-384' }, 'malformed'],
    ['a curve nobody signs JWTs with', { ...ec, crv: 'secp256k1' }, 'unknown key type'],
    ['a key for key agreement', { ...ed, crv: 'X25519' }, 'unknown key type'],
    ['an unknown key type', { ...rsa, kty: 'AKP' }, 'unknown key type'],
    ['a point beside the curve', { ...ec, y: ec.x }, 'malformed'],
    ['a coordinate that is too short', { ...ec, x: ec.x!.slice(4) }, 'malformed'],
    ['plain base64', { ...rsa, n: `${rsa.n!.slice(0, -2)}+/` }, 'malformed'],
    ['no modulus', { kty: 'RSA', e: 'AQAB' }, 'malformed'],
    ['a kid that is no text', { ...rsa, kid: 1 }, 'malformed'],
    ['an RSA exponent of 1', { ...rsa, e: 'AQ' }, 'RSA exponent'],
    ['an even RSA exponent', { ...rsa, e: 'AQAA' }, 'RSA exponent'],
    ['something that is no object', 'key', 'not an object'],
    ['nothing', null, 'not an object'],
  ] as const) {
    test(`leave out ${title}`, () => assert.equal(fate(jwk), reason))
  }

  test('leave out RSA keys below 2,048 bits', () => {
    assert.equal(fate({ ...jwkOf('rsa', { modulusLength: 1_024 }), alg: 'RS256' }), 'RSA key below 2048 bits')
    assert.equal(fate({ ...jwkOf('rsa', { modulusLength: 2_040 }), alg: 'RS256' }), 'RSA key below 2048 bits')
  })

  test('leave out an RSA key so long that checking a signature would be an attack', () => {
    const n = Buffer.alloc(2_048, 0xab).toString('base64url')
    assert.equal(fate({ kty: 'RSA', n, e: 'AQAB', alg: 'RS256' }), 'RSA key above 8192 bits')
  })

  test('do not hold the mark of the weak generator by chance', () => {
    for (let made = 0; made < 5; made += 1)
      assert.equal(fate(jwkOf('rsa', { modulusLength: 2_048 }), ['RS256']), 'RS256')
  })

  test('with one kid for two different keys are both left out, and the others stay', () => {
    const other = { ...newKey('RS256').jwk, kid: 'rsa' }
    const { keys, leftOut } = importKeys({ keys: [rsa, other, ec] }, publicAlgorithms)
    assert.deepEqual(
      keys.map(({ kid }) => kid),
      ['ec'],
    )
    assert.deepEqual(leftOut, [{ kid: 'rsa', reason: 'kid names two keys' }])
  })

  test('may say the same key twice', () => {
    assert.equal(importKeys({ keys: [rsa, { ...rsa }] }, publicAlgorithms).keys.length, 1)
  })

  test('are no shadow of another key that is left out: a kid of an encryption key is free for a signing key', () => {
    const { keys } = importKeys({ keys: [{ ...newKey('RS256').jwk, kid: 'rsa', use: 'enc' }, rsa] }, publicAlgorithms)
    assert.deepEqual(
      keys.map(({ kid }) => kid),
      ['rsa'],
    )
  })

  for (const document of [null, [], 'keys', {}, { keys: null }, { keys: {} }, { keys: Array(101).fill(rsa) }]) {
    test(`are not read from ${JSON.stringify(document)?.slice(0, 30)}`, () => {
      assert.throws(() => importKeys(document, publicAlgorithms), TypeError)
    })
  }
})
