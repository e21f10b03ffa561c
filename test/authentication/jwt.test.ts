import assert from 'node:assert/strict'
import { createSecretKey, generateKeyPairSync, randomBytes } from 'node:crypto'
import { subscribe, unsubscribe } from 'node:diagnostics_channel'
import { describe, test } from 'node:test'
import { type Algorithm, publicAlgorithms } from '../../src/authentication/algorithms.ts'
import { createJwtVerifier, type JwtVerifier, type Verification } from '../../src/authentication/jwt.ts'
import { localKeySet, secretKeySet } from '../../src/authentication/key-set.ts'
import type { TokenProfile } from '../../src/authentication/token-profile.ts'
import { tokenRefusals, verificationSteps } from '../../src/authentication/token-refusal.ts'
import { silent } from '../../src/telemetry/log.ts'
import { skipWithoutShared, vectors } from '../vectors.ts'
import {
  goodClaims,
  keySetOf,
  keySource,
  mint,
  newKey,
  type SigningKey,
  startOfTest,
  testClock,
  testIssuer,
} from './minting.ts'

const rsa = newKey('RS256', 'rsa-1')
const otherRsa = newKey('RS256', 'rsa-2')
const ec = newKey('ES256', 'ec-1')
const ed = newKey('EdDSA', 'ed-1')

interface Options {
  readonly keys?: readonly SigningKey[]
  readonly profile?: Partial<TokenProfile>
  readonly now?: () => number
  readonly idTokens?: boolean
}

function verifierWith({
  keys = [rsa, otherRsa, ec, ed],
  profile = {},
  now = testClock().now,
  idTokens = false,
}: Options = {}) {
  return createJwtVerifier({ issuers: [testIssuer(keySetOf(keys), profile)], now, idTokens, method: 'jwt' })
}

const said = (verification: Verification) =>
  verification.outcome === 'refused'
    ? [verification.reason, verification.claim].filter(Boolean).join(' ')
    : verification.outcome

const judge = async (verifier: JwtVerifier, claims: object | string, header: object | string = {}, key = rsa) =>
  said(await verifier.verify(mint(key, claims, header)))

describe('the attack corpus', { skip: skipWithoutShared }, async () => {
  const corpus = skipWithoutShared ? undefined : vectors('jwt-attacks.json')
  const cases = (corpus?.cases ?? []) as { id: string; cls: string; title: string; token: string; verdict: string }[]
  const names: ('RS256' | 'ES256' | 'EdDSA')[] = ['RS256', 'ES256', 'EdDSA']
  // One of the keys has 1,024 bits: it is left out, and its token refused.
  const issuer = (name: string, iss: string, jwks: { keys: object[] }) =>
    testIssuer(localKeySet(keySource(jwks.keys), names, silent), {
      name,
      issuer: iss,
      audiences: [corpus.audience],
      algorithms: names,
      types: [corpus.profile.typ],
      clockTolerance: corpus.leeway_s,
      maxLifetime: corpus.max_lifetime_s,
    })
  const verifier = corpus
    ? createJwtVerifier({
        issuers: [issuer('a', corpus.issuer, corpus.jwks), issuer('b', corpus.issuer_b.issuer, corpus.issuer_b.jwks)],
        now: () => corpus.now * 1_000,
        idTokens: false,
        method: 'jwt',
      })
    : undefined

  for (const { id, cls, title, token, verdict } of cases) {
    test(`${id} ${cls}: ${title}: ${verdict}`, async () => {
      let sockets = 0
      const count = () => {
        sockets += 1
      }
      subscribe('net.client.socket', count)
      const started = performance.now()
      const verification = await verifier!.verify(token)
      const took = performance.now() - started
      unsubscribe('net.client.socket', count)
      if (verdict !== 'accept-or-refuse') {
        assert.equal(verification.outcome, verdict === 'accept' ? 'verified' : 'refused', said(verification))
      }
      assert.equal(sockets, 0, 'a token must not make us connect to anybody')
      assert.ok(took < 500, `${took} ms`)
      if (verification.outcome === 'verified') {
        assert.doesNotMatch(verification.caller.subject, /[\r\n\0]/)
        assert.ok(!verification.caller.roles.includes('admin'))
      }
    })
  }
  test('all of them were asked', () => assert.equal(cases.length, 122))
})

describe('a verified token', () => {
  test('makes a caller in the words of the specifications, frozen', async () => {
    const verification = await verifierWith().verify(
      mint(rsa, goodClaims({ email: 'u@example.test', name: 'U', org: 'acme', permissions: ['orders:read'] })),
    )
    assert.equal(verification.outcome, 'verified')
    if (verification.outcome !== 'verified') return
    const { caller } = verification
    const { claims, ...rest } = caller
    assert.deepEqual(rest, {
      subject: 'user-1',
      issuer: 'https://issuer.test',
      clientId: 'client-1',
      name: 'U',
      email: 'u@example.test',
      organization: 'acme',
      roles: ['editor'],
      permissions: ['orders:read'],
      scopes: ['read', 'write'],
      method: 'jwt',
      tokenType: 'Bearer',
      expiresAt: startOfTest + 600,
      issuedAt: startOfTest - 10,
      tokenId: 'token-1',
    })
    assert.equal(claims['aud'], 'gateway')
    for (const value of [caller, caller.roles, caller.claims, caller.claims['roles']]) assert.ok(Object.isFrozen(value))
    assert.equal(verification.endsAt, startOfTest + 660)
  })

  for (const algorithm of publicAlgorithms) {
    test(`may be signed with ${algorithm}`, async () => {
      const key = newKey(algorithm)
      const verifier = verifierWith({ keys: [key], profile: { algorithms: [algorithm] } })
      assert.equal(await judge(verifier, goodClaims(), {}, key), 'verified')
      const token = mint(key, goodClaims())
      const broken = `${token.slice(0, -4)}${token.endsWith('AAAA') ? 'BBBA' : 'AAAA'}`
      assert.equal(said(await verifier.verify(broken)), 'signature')
    })
  }

  for (const algorithm of ['HS256', 'HS384', 'HS512'] as const) {
    test(`may be signed with ${algorithm} and the one secret of its issuer`, async () => {
      const secret = createSecretKey(randomBytes(64))
      const key: SigningKey = { kid: 'any', algorithm, privateKey: secret, jwk: {} }
      const issuers = [testIssuer(secretKeySet(secret, [algorithm]), { algorithms: [algorithm] })]
      const verifier = createJwtVerifier({ issuers, now: testClock().now, idTokens: false, method: 'jwt' })
      assert.equal(await judge(verifier, goodClaims(), {}, key), 'verified')
      const other = { ...key, privateKey: createSecretKey(randomBytes(64)) }
      assert.equal(await judge(verifier, goodClaims(), {}, other), 'signature')
    })
  }

  test('needs no kid while its issuer has one single key', async () => {
    const header = { kid: undefined }
    assert.equal(await judge(verifierWith({ keys: [rsa] }), goodClaims(), header), 'verified')
    assert.equal(await judge(verifierWith({ keys: [rsa, ec] }), goodClaims(), header), 'key')
  })

  test('may have a type in any case, with application/ before it', async () => {
    for (const typ of ['at+jwt', 'AT+JWT', 'application/at+jwt', 'Application/AT+jwt']) {
      assert.equal(await judge(verifierWith(), goodClaims(), { typ }), 'verified', typ)
    }
  })
})

describe('a token is refused', () => {
  const verifier = verifierWith()

  for (const [title, claims, expected] of [
    ['from an unknown issuer', { iss: 'https://other.test' }, 'issuer'],
    ['from an issuer with a trailing slash more', { iss: 'https://issuer.test/' }, 'issuer'],
    ['whose issuer is a list with ours in it', { iss: ['https://issuer.test'] }, 'issuer'],
    ['without an issuer', { iss: undefined }, 'issuer'],
    ['for another audience', { aud: 'other' }, 'audience'],
    ['for an audience in capitals', { aud: 'GATEWAY' }, 'audience'],
    ['for a list of others', { aud: ['a', 'b'] }, 'audience'],
    ['for a list with a list in it', { aud: [['gateway']] }, 'malformed-claim aud'],
    ['for an object with our name', { aud: { gateway: 'gateway' } }, 'malformed-claim aud'],
    ['for nobody', { aud: undefined }, 'missing-claim aud'],
    ['that has expired', { exp: startOfTest - 61 }, 'expired'],
    ['that never expires', { exp: undefined }, 'missing-claim exp'],
    ['that expires in words', { exp: String(startOfTest + 600) }, 'malformed-claim exp'],
    ['that expires in milliseconds', { exp: (startOfTest + 600) * 1_000 }, 'malformed-claim exp'],
    ['that expires at zero', { exp: 0 }, 'malformed-claim exp'],
    ['that expires at null', { exp: null }, 'malformed-claim exp'],
    ['that is not valid yet', { nbf: startOfTest + 61 }, 'not-yet-valid'],
    ['whose start is text', { nbf: 'soon' }, 'malformed-claim nbf'],
    ['issued in the future', { iat: startOfTest + 61 }, 'issued-in-future'],
    ['issued at null', { iat: null }, 'malformed-claim iat'],
    ['that says not when it was issued', { iat: undefined }, 'missing-claim iat'],
    ['that lives longer than a day', { iat: startOfTest - 86_400 }, 'lifetime'],
    ['without a subject', { sub: undefined }, 'missing-claim sub'],
    ['with an empty subject', { sub: '' }, 'malformed-claim sub'],
    ['with a number as subject', { sub: 1 }, 'malformed-claim sub'],
    ['with a line break in its subject', { sub: 'a\r\nUser-Roles: admin' }, 'malformed-claim sub'],
    ['with a subject of 1,025 characters', { sub: 'x'.repeat(1_025) }, 'malformed-claim sub'],
    ['with roles that are an object', { roles: { admin: true } }, 'malformed-claim roles'],
    ['with a role that is an object', { roles: [{ name: 'admin' }] }, 'malformed-claim roles'],
    ['with a line break in a role', { roles: ['user\nadmin'] }, 'malformed-claim roles'],
    ['with a scope that is a number', { scope: 1 }, 'malformed-claim scope'],
    ['with a token id that is no text', { jti: 1 }, 'malformed-claim jti'],
    ['that is bound to a key of its holder', { cnf: { jkt: 'x' } }, 'proof-of-possession cnf'],
  ] as const) {
    test(title, async () => assert.equal(await judge(verifier, goodClaims(claims)), expected))
  }

  test('never by a tolerance that is a text, which would be appended instead of added', () => {
    assert.throws(() => verifierWith({ profile: { clockTolerance: '60' as unknown as number } }), /clock tolerance/)
  })

  for (const [title, header, expected] of [
    ['of another algorithm than its issuer uses', { alg: 'RS512' }, 'algorithm'],
    ['that is not signed', { alg: 'none' }, 'algorithm'],
    ['with an algorithm in small letters', { alg: 'rs256' }, 'algorithm'],
    ['with an algorithm named like a member of every object', { alg: 'constructor' }, 'algorithm'],
    ['whose key is of another algorithm', { kid: 'ec-1' }, 'key'],
    ['whose key nobody has', { kid: 'rsa-3' }, 'key'],
    ['whose key is named like a member of every object', { kid: 'toString' }, 'key'],
    ['of another type', { typ: 'logout+jwt' }, 'type'],
    ['of type JWT where access tokens say what they are', { typ: 'JWT' }, 'type'],
    ['of no type where access tokens say what they are', { typ: undefined }, 'type'],
    ['that calls its type "absent"', { typ: 'absent' }, 'type'],
    ['with a header parameter nobody knows', { cat: 'x' }, 'header-parameter'],
    ['signed by the other key of its issuer', { kid: 'rsa-2' }, 'signature'],
  ] as const) {
    test(title, async () => assert.equal(await judge(verifier, goodClaims(), header), expected))
  }

  test('by its type even where tokens without one are accepted', async () => {
    const lenient = verifierWith({ profile: { types: ['at+jwt', 'jwt', 'absent'] } })
    assert.equal(await judge(lenient, goodClaims(), { typ: undefined }), 'verified')
    assert.equal(await judge(lenient, goodClaims(), { typ: 'JWT' }), 'verified')
    assert.equal(await judge(lenient, goodClaims(), { typ: 'absent' }), 'type')
    assert.equal(await judge(lenient, goodClaims(), { typ: 'secevent+jwt' }), 'type')
  })

  test('unless the operator lets a further header parameter pass', async () => {
    const clerk = verifierWith({ profile: { headerParameters: ['cat'] } })
    assert.equal(await judge(clerk, goodClaims(), { cat: 'x' }), 'verified')
  })

  test('with a reason that never names a claim of its own before the signature holds', async () => {
    const forged = mint(newKey('RS256', 'rsa-1'), goodClaims({ exp: startOfTest - 3_600, aud: 'other' }))
    assert.equal(said(await verifier.verify(forged)), 'signature')
  })
})

describe('ID tokens', () => {
  const profile = { types: ['at+jwt', 'jwt', 'absent'] }
  const typ = { typ: 'JWT' }

  for (const [title, claims, expected] of [
    ['with a nonce', { nonce: 'n' }, 'id-token'],
    ['with the hash of an access token', { at_hash: 'h' }, 'id-token'],
    ['as Keycloak marks them', { typ: 'ID' }, 'id-token'],
    ['as Cognito marks them', { token_use: 'id' }, 'id-token'],
  ] as const) {
    test(`are no access tokens: ${title}`, async () => {
      assert.equal(await judge(verifierWith({ profile }), goodClaims(claims), typ), expected)
      assert.equal(await judge(verifierWith({ profile, idTokens: true }), goodClaims(claims), typ), 'verified')
      assert.equal(
        await judge(verifierWith({ profile: { ...profile, idTokens: true } }), goodClaims(claims), typ),
        'verified',
      )
    })
  }

  test('are not what Keycloak calls a bearer token, though it carries a nonce', async () => {
    assert.equal(await judge(verifierWith({ profile }), goodClaims({ nonce: 'n', typ: 'Bearer' }), typ), 'verified')
  })

  test('are told apart from access tokens that say what they are', async () => {
    assert.equal(await judge(verifierWith({ profile }), goodClaims({ nonce: 'n' })), 'verified')
  })
})

describe('two issuers', () => {
  test('may use the same kid, and neither can sign for the other', async () => {
    const mine = newKey('RS256', 'key-1')
    const theirs = newKey('RS256', 'key-1')
    const verifier = createJwtVerifier({
      issuers: [
        testIssuer(keySetOf([mine]), { name: 'mine', algorithms: ['RS256'] }),
        testIssuer(keySetOf([theirs]), { name: 'theirs', issuer: 'https://theirs.test', algorithms: ['RS256'] }),
      ],
      now: testClock().now,
      idTokens: false,
      method: 'jwt',
    })
    const their = goodClaims({ iss: 'https://theirs.test' })
    assert.equal(await judge(verifier, goodClaims(), {}, mine), 'verified')
    assert.equal(await judge(verifier, their, {}, theirs), 'verified')
    assert.equal(await judge(verifier, their, {}, mine), 'signature')
    assert.equal(await judge(verifier, goodClaims(), {}, theirs), 'signature')
  })

  test('cannot be the same one twice', () => {
    const issuers = [testIssuer(keySetOf([rsa])), testIssuer(keySetOf([ec]))]
    assert.throws(() => createJwtVerifier({ issuers, now: Date.now, idTokens: false, method: 'jwt' }), /same `issuer`/)
  })
})

describe('a profile', () => {
  for (const [title, changes, complaint] of [
    ['an empty issuer', { issuer: '' }, /issuer is empty/],
    ['an issuer that is a pattern', { issuer: /issuer/ as unknown as string }, /issuer is empty/],
    ['no audience', { audiences: [] }, /no audience/],
    ['an empty audience', { audiences: [''] }, /no audience/],
    ['no algorithm', { algorithms: [] }, /no algorithm/],
    ['an algorithm nobody knows', { algorithms: ['none' as Algorithm] }, /not supported/],
    ['public keys and secrets at once', { algorithms: ['RS256', 'HS256'] as Algorithm[] }, /mix/],
    ['no type', { types: [] }, /no type/],
    ['a tolerance of an hour', { clockTolerance: 3_600 }, /clock tolerance/],
    ['a lifetime of nothing', { maxLifetime: 0 }, /lifetime/],
  ] as const) {
    test(`with ${title} is refused before any token is`, () => {
      const issuers = [testIssuer(keySetOf([rsa]), changes as Partial<TokenProfile>)]
      assert.throws(() => createJwtVerifier({ issuers, now: Date.now, idTokens: false, method: 'jwt' }), complaint)
    })
  }
})

describe('the clock', () => {
  for (const key of [rsa, ed]) {
    test(`is the one that is handed in, for ${key.algorithm}: a token of 2026 is judged at its own time`, async () => {
      const clock = testClock()
      const verifier = verifierWith({ now: clock.now, profile: { clockTolerance: 5 } })
      const token = mint(key, goodClaims({ exp: startOfTest + 10 }))
      const at = async (seconds: number) => {
        clock.advance(seconds)
        return said(await verifier.verify(token))
      }
      assert.equal(await at(0), 'verified')
      assert.equal(await at(14), 'verified')
      assert.equal(await at(1), 'expired')
      assert.equal(await at(-15), 'verified')
    })
  }

  test('of one verification is never that of another at the same moment', async () => {
    const early = testClock()
    const late = testClock(startOfTest + 3_600)
    const [a, b] = [verifierWith({ now: early.now }), verifierWith({ now: late.now })]
    const token = mint(rsa, goodClaims())
    const verdicts = await Promise.all(Array.from({ length: 50 }, (_, index) => (index % 2 ? a : b).verify(token)))
    assert.deepEqual(new Set(verdicts.filter((_, index) => index % 2).map(said)), new Set(['verified']))
    assert.deepEqual(new Set(verdicts.filter((_, index) => index % 2 === 0).map(said)), new Set(['expired']))
  })

  test('may stand anywhere within a second: policy and engines agree at every edge', async () => {
    for (const key of [rsa, ed]) {
      for (const fraction of [0, 0.001, 0.5, 0.999]) {
        for (const exp of [-61, -60, -59, 0, 1]) {
          for (const nbf of [59, 60, 61]) {
            const now = () => (startOfTest + fraction) * 1_000
            const claims = goodClaims({ exp: startOfTest + exp, nbf: startOfTest + nbf, iat: startOfTest - 100 })
            const expected = exp <= -60 ? 'expired' : nbf > 60 ? 'not-yet-valid' : 'verified'
            assert.equal(await judge(verifierWith({ now }), claims, {}, key), expected)
          }
        }
      }
    }
  })
})

describe('what nobody signed', () => {
  const verifier = verifierWith()

  test('is refused whatever 1,000 kids it names', async () => {
    const stranger = newKey('RS256', 'stranger')
    for (let made = 0; made < 1_000; made += 1) {
      const kid = randomBytes(1 + (made % 40)).toString(made % 2 ? 'base64url' : 'latin1')
      const input = `${Buffer.from(JSON.stringify({ alg: 'RS256', typ: 'at+jwt', kid })).toString('base64url')}.${Buffer.from(JSON.stringify(goodClaims())).toString('base64url')}`
      assert.equal(said(await verifier.verify(`${input}.c2ln`)), 'key')
    }
    assert.equal(await judge(verifier, goodClaims(), {}, stranger), 'key')
  })

  test('is refused when a good token is changed anywhere', async () => {
    const rounds = Number(process.env['SALLYPORT_TOKEN_MUTATIONS'] ?? (process.env['CI'] === 'true' ? 100_000 : 5_000))
    const tokens = [rsa, ec, ed].map((key) => mint(key, goodClaims()))
    for (const token of tokens) assert.equal(said(await verifier.verify(token)), 'verified')
    let random = 20_261_122
    const chance = (below: number) => {
      random = (Math.imul(random, 1_664_525) + 1_013_904_223) >>> 0
      return random % below
    }
    const alphabet = 'ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_.=+/ \n"%'
    const mutations: ((token: string) => string)[] = [
      (token) => replaceAt(token, chance(token.length), alphabet[chance(alphabet.length)]!),
      (token) => replaceAt(token, chance(token.length), ''),
      (token) => insertAt(token, chance(token.length + 1), alphabet[chance(alphabet.length)]!),
      (token) => token.slice(0, chance(token.length)),
      (token) => token + alphabet[chance(alphabet.length)],
      (token) => swapParts(token, tokens[chance(tokens.length)]!, chance(3)),
      (token) => rewrite(token, 1, ['user-1', 'editor', 'gateway', 'read'][chance(4)]!, 'admin'),
      (token) =>
        rewrite(token, 0, ['RS256', 'ES256', 'EdDSA'][chance(3)]!, ['none', 'HS256', 'RS512', 'ES256'][chance(4)]!),
      (token) => rewrite(token, 1, String(startOfTest + 600), String(startOfTest + 601 + chance(999))),
      (token) => flipBit(token, chance(3), chance(4_096)),
    ]
    let changed = 0
    for (let round = 0; round < rounds; round += 1) {
      const token = tokens[chance(tokens.length)]!
      let mutant = token
      for (let times = 1 + chance(3); times > 0; times -= 1) mutant = mutations[chance(mutations.length)]!(mutant)
      if (tokens.includes(mutant)) continue
      changed += 1
      const verification = await verifier.verify(mutant)
      assert.notEqual(verification.outcome, 'verified', mutant)
    }
    assert.ok(changed > rounds * 0.8, `${changed} of ${rounds}`)
  })

  test('is refused when the signature is another of the same kind', async () => {
    const wrong = generateKeyPairSync('rsa', { modulusLength: 2_048 }).privateKey
    assert.equal(await judge(verifier, goodClaims(), {}, { ...rsa, privateKey: wrong }), 'signature')
  })
})

describe('every reason to refuse a token', () => {
  for (const [reason, { step, detail, code }] of Object.entries(tokenRefusals)) {
    test(`${reason} belongs to a step and can be said in a header field`, () => {
      assert.ok(verificationSteps.includes(step))
      // RFC 6750 §3: error_description.
      assert.match(detail, /^[\x20-\x21\x23-\x5b\x5d-\x7e]+$/)
      assert.equal(code === 'token-expired', reason === 'expired')
    })
  }
})

function replaceAt(text: string, index: number, by: string): string {
  return text.slice(0, index) + by + text.slice(index + 1)
}

function insertAt(text: string, index: number, what: string): string {
  return text.slice(0, index) + what + text.slice(index)
}

function swapParts(token: string, other: string, part: number): string {
  const parts = token.split('.')
  parts[part] = other.split('.')[part] ?? ''
  return parts.join('.')
}

/** Change the JSON of a part and write it canonically, as an attacker would. */
function rewrite(token: string, part: number, from: string, to: string): string {
  const parts = token.split('.')
  const text = Buffer.from(parts[part] ?? '', 'base64url').toString()
  parts[part] = Buffer.from(text.replace(from, to)).toString('base64url')
  return parts.join('.')
}

function flipBit(token: string, part: number, bit: number): string {
  const parts = token.split('.')
  const bytes = Buffer.from(parts[part] ?? '', 'base64url')
  if (bytes.length > 0) bytes[bit % bytes.length]! ^= 1 << (bit % 8)
  parts[part] = bytes.toString('base64url')
  return parts.join('.')
}
