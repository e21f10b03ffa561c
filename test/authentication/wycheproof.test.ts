import assert from 'node:assert/strict'
import { createPublicKey, createSecretKey, type KeyObject, webcrypto } from 'node:crypto'
import { createRequire } from 'node:module'
import { describe, test } from 'node:test'
import { compactVerify } from 'jose'
import {
  type Algorithm,
  algorithms,
  publicAlgorithms,
  type SecretAlgorithm,
} from '../../src/authentication/algorithms.ts'
import { importKeys } from '../../src/authentication/key-import.ts'
import { type KeySet, Keys, secretKeySet } from '../../src/authentication/key-set.ts'
import { parseStrictJws } from '../../src/authentication/strict-jwt.ts'
import { skipWithoutShared, vectors } from '../vectors.ts'

/**
 * Project Wycheproof and the JOSE cookbook against the parts that a token passes: strict parser, key rules, and the
 * arithmetic of the engines. The payloads are no claims, so this is the verification of a JWS.
 */

// The signature code that koa-jwt runs, reached the way koa-jwt reaches it.
const fromKoaJwt = createRequire(createRequire(import.meta.url).resolve('koa-jwt'))
const fromJsonwebtoken = createRequire(fromKoaJwt.resolve('jsonwebtoken'))
const jws = fromJsonwebtoken('jws') as { verify(token: string, algorithm: string, key: KeyObject): boolean }
const jwa = createRequire(fromJsonwebtoken.resolve('jws'))('jwa') as (algorithm: string) => {
  verify(input: Buffer, signature: string, key: KeyObject): boolean
}

async function verifyJws(token: string, keys: Pick<KeySet, 'find'>): Promise<boolean> {
  const parsed = parseStrictJws(token)
  if (parsed.outcome === 'malformed' || parsed.unlisted.length > 0) return false
  const { alg, kid } = parsed.header
  const lookup = await keys.find(kid, alg)
  if (lookup.outcome !== 'found') return false
  try {
    if (algorithms[alg as Algorithm].engine === 'koa-jwt') return jws.verify(token, alg, lookup.key.key)
    await compactVerify(token, lookup.key.key, { algorithms: [alg] })
    return true
  } catch {
    return false
  }
}

type Jwk = Record<string, string | string[]>

/** The keys of a group as the gateway would have them: public ones from a key set, a secret by the rules for secrets. */
function keysOf(document: Jwk | { keys: Jwk[] }): Pick<KeySet, 'find'> {
  const jwks = 'keys' in document ? (document as { keys: Jwk[] }).keys : [document as Jwk]
  if (jwks.every(({ kty }) => kty === 'oct')) return secretOf(jwks)
  return new Keys(importKeys({ keys: jwks }, publicAlgorithms).keys)
}

function secretOf(jwks: readonly Jwk[]): Pick<KeySet, 'find'> {
  const none = new Keys()
  // One issuer has one secret: of two nobody could say which is meant.
  const [jwk, ...others] = jwks
  if (!jwk || others.length > 0) return none
  const algorithm = algorithms[jwk['alg'] as SecretAlgorithm]
  const bytes = Buffer.from(jwk['k'] as string, 'base64url')
  if (algorithm?.family !== 'secret' || bytes.length < algorithm.bytes) return none
  return secretKeySet(createSecretKey(bytes), [jwk['alg'] as SecretAlgorithm], jwk['kid'] as string)
}

interface Case {
  readonly tcId: number
  readonly result: 'valid' | 'invalid' | 'acceptable'
  readonly comment: string
  readonly jws?: string | object
}

interface Group {
  readonly comment: string
  readonly public?: Jwk
  readonly private?: Jwk
  readonly tests: readonly Case[]
}

interface Exception {
  readonly accepted: boolean
  readonly why: string
}

const otherAlgorithm = {
  accepted: false,
  why: 'the key says PS256 and the token PS384: one key, one algorithm (RFC 8725 §3.1)',
}

/** Cases whose result is not the one the collection gives. */
const exceptions: Readonly<Record<string, Readonly<Record<number, Exception>>>> = {
  'wycheproof.json_web_signature_test.json': {
    346: otherAlgorithm,
    347: otherAlgorithm,
    350: otherAlgorithm,
    351: { accepted: false, why: 'the key says "ES521", which is no algorithm (RFC 7518 §3.1)' },
    370: {
      accepted: true,
      why: 'to the letter the token of case 357, which is valid: the padding it is named for is not there',
    },
    372: { accepted: false, why: 'a "?" in the header is not base64url (RFC 7515 §2)' },
    373: { accepted: false, why: 'a "?" in the token is not base64url (RFC 7515 §2)' },
  },
}

for (const file of [
  'wycheproof.json_web_signature_test.json',
  'wycheproof.json_web_key_test.json',
  'wycheproof.json_web_crypto_test.json',
]) {
  describe(file, { skip: skipWithoutShared }, () => {
    const groups: readonly Group[] = skipWithoutShared ? [] : vectors(file).testGroups
    for (const group of groups) {
      for (const { tcId, result, comment, jws: token } of group.tests) {
        // Encrypted tokens have another field; the gateway refuses all of them by their five parts.
        const text =
          token === undefined ? String((group.tests.find((one) => one.tcId === tcId) as { jwe?: string }).jwe) : token
        const exception = exceptions[file]?.[tcId]
        const expected = exception?.accepted ?? (result === 'valid' && token !== undefined)
        test(`${tcId} ${group.comment} ${comment}: ${exception?.why ?? (expected ? 'valid' : 'refused')}`, async () => {
          const keys = keysOf(group.public ?? group.private ?? { keys: [] })
          assert.equal(await verifyJws(typeof text === 'string' ? text : JSON.stringify(text), keys), expected)
        })
      }
    }
  })
}

test('case 370 of the signatures is case 357 once more', { skip: skipWithoutShared }, () => {
  const cases = (vectors('wycheproof.json_web_signature_test.json').testGroups as readonly Group[]).flatMap(
    ({ tests }) => tests,
  )
  const tokenOf = (id: number) => cases.find(({ tcId }) => tcId === id)?.jws
  assert.equal(tokenOf(370), tokenOf(357))
})

describe('wycheproof, the arithmetic alone', { skip: skipWithoutShared }, () => {
  const signatures = (file: string) =>
    (skipWithoutShared ? [] : vectors(file).testGroups) as readonly {
      readonly publicKeyPem?: string
      readonly publicKey?: { readonly pem?: string }
      readonly publicKeyJwk?: object
      readonly tagSize?: number
      readonly sha?: string
      readonly tests: readonly {
        readonly tcId: number
        readonly key?: string
        readonly msg: string
        readonly sig?: string
        readonly tag?: string
        readonly result: Case['result']
        readonly flags?: readonly string[]
      }[]
    }[]
  const base64url = (hex: string) => Buffer.from(hex, 'hex').toString('base64url')

  for (const [file, algorithm] of [
    ['wycheproof.ecdsa_secp256r1_sha256_p1363_test.json', 'ES256'],
    ['wycheproof.ecdsa_secp384r1_sha384_p1363_test.json', 'ES384'],
    ['wycheproof.rsa_signature_2048_sha256_test.json', 'RS256'],
    ['wycheproof.rsa_pss_2048_sha256_mgf1_32_test.json', 'PS256'],
  ] as const) {
    test(`${algorithm}: ${file}`, () => {
      let asked = 0
      for (const group of signatures(file)) {
        const key = createPublicKey(group.publicKeyPem ?? group.publicKey!.pem!)
        for (const { tcId, msg, sig, result, flags } of group.tests) {
          let verdict: boolean
          try {
            verdict = jwa(algorithm).verify(Buffer.from(msg, 'hex'), base64url(sig!), key)
          } catch {
            verdict = false
          }
          asked += 1
          // "acceptable" may go either way; RS256 has only one encoding of the digest, so here it is refused.
          if (result !== 'acceptable') assert.equal(verdict, result === 'valid', `${tcId} ${flags}`)
        }
      }
      assert.ok(asked > 50)
    })
  }

  for (const [file, algorithm] of [
    ['wycheproof.hmac_sha256_test.json', 'HS256'],
    ['wycheproof.hmac_sha512_test.json', 'HS512'],
  ] as const) {
    test(`${algorithm}: ${file}`, () => {
      let asked = 0
      for (const group of signatures(file)) {
        for (const { tcId, key, msg, tag, result } of group.tests) {
          const verdict = jwa(algorithm).verify(
            Buffer.from(msg, 'hex'),
            base64url(tag!),
            createSecretKey(Buffer.from(key!, 'hex')),
          )
          asked += 1
          // JWS knows no shortened tags (RFC 7518 §3.2): those are refused, however right they are.
          const whole = group.tagSize === Number(algorithm.slice(2))
          assert.equal(verdict, result === 'valid' && whole, `${tcId}`)
        }
      }
      assert.ok(asked > 50)
    })
  }

  test('EdDSA, as jose asks for it: wycheproof.ed25519_test.json', async () => {
    let asked = 0
    for (const group of signatures('wycheproof.ed25519_test.json')) {
      const key = await webcrypto.subtle.importKey(
        'jwk',
        group.publicKeyJwk as webcrypto.JsonWebKey,
        'Ed25519',
        false,
        ['verify'],
      )
      for (const { tcId, msg, sig, result } of group.tests) {
        const verdict = await webcrypto.subtle.verify('Ed25519', key, Buffer.from(sig!, 'hex'), Buffer.from(msg, 'hex'))
        asked += 1
        assert.equal(verdict, result === 'valid', `${tcId}`)
      }
    }
    assert.ok(asked > 50)
  })
})

describe('the JOSE cookbook (RFC 7520, 7797, 8037)', { skip: skipWithoutShared }, () => {
  interface Example {
    readonly title?: string
    readonly kty?: string
    readonly input?: { readonly key: Jwk; readonly alg?: string }
    readonly output?: { readonly compact?: string; readonly json?: object }
    readonly sign?: {
      readonly input: { readonly key: Jwk; readonly alg: string }
      readonly output: { readonly compact: string; readonly json?: object }
    }
  }
  const cases = (skipWithoutShared ? [] : vectors('rfc7520-cookbook.json').cases) as readonly {
    readonly id: string
    readonly data: Example
  }[]

  /** The public half, for the algorithm of the example. */
  const published = ({ key, alg }: { key: Jwk; alg?: string }): Jwk => {
    if (key['kty'] === 'oct') return { ...key, alg: alg! }
    const members = ['kty', 'kid', 'use', 'crv', 'x', 'y', 'n', 'e']
    return { ...Object.fromEntries(members.filter((name) => key[name]).map((name) => [name, key[name]!])), alg: alg! }
  }

  const valid = new Set<string>()
  for (const { id, data } of cases) {
    if (data.kty) {
      test(`${id}: a key that is no public key for signatures stays out of a key set`, () => {
        assert.equal(importKeys({ keys: [data] }, publicAlgorithms).keys.length, 0)
      })
      continue
    }
    const example = data.sign ?? (data as Required<Pick<Example, 'input' | 'output'>>)
    const token = example.output?.compact
    const encrypted = !data.sign && token?.split('.').length === 5
    const detached = token?.includes('..') || token === undefined
    const expected = !encrypted && !detached
    if (expected) valid.add(id)
    test(`${id}: ${data.title}: ${expected ? 'valid' : encrypted ? 'refused, encrypted' : 'refused, no payload inside'}`, async () => {
      const { input } = example
      const key = Array.isArray(input?.key) ? input.key[0] : input?.key
      const keys = key && !encrypted ? keysOf(published({ key, ...(input.alg && { alg: input.alg }) })) : new Keys()
      assert.equal(await verifyJws(token ?? JSON.stringify(example.output?.json), keys), expected)
    })
  }
  test('the examples that are signed tokens were among them', { skip: skipWithoutShared }, () => {
    assert.ok(valid.has('jws/4_2.rsa-pss_signature.json'))
    assert.ok(valid.has('jws/4_3.ecdsa_signature.json'))
    assert.ok(valid.has('jws/4_4.hmac-sha2_integrity_protection.json'))
  })
})
