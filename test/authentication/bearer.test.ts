import assert from 'node:assert/strict'
import { describe, test } from 'node:test'
import type { Authentication } from '../../src/authentication/authenticator.ts'
import { createTokenAuthenticator, type TokenAuthenticatorSettings } from '../../src/authentication/bearer.ts'
import type { Caller } from '../../src/authentication/caller.ts'
import { type KeySet, localKeySet } from '../../src/authentication/key-set.ts'
import type { IntrospectingIssuer, Introspection } from '../../src/authentication/token-issuer.ts'
import { Problem } from '../../src/http/problem.ts'
import type { RequestHead } from '../../src/http/request-head.ts'
import { silent } from '../../src/telemetry/log.ts'
import { skipWithoutShared, vectors } from '../vectors.ts'
import {
  bearing,
  goodClaims,
  headWith,
  keySetOf,
  keySource,
  mint,
  newKey,
  startOfTest,
  testClock,
  testIssuer,
} from './minting.ts'

const key = newKey('ES256', 'key-1')
const authorization = { in: 'header', name: 'Authorization' } as const

function authenticatorWith(changes: Partial<TokenAuthenticatorSettings> = {}) {
  return createTokenAuthenticator({
    scheme: 'bearer',
    names: 'roles',
    location: authorization,
    issuers: [testIssuer(keySetOf([key]), { algorithms: ['ES256'] })],
    now: testClock().now,
    ...changes,
  })
}

const said = (authentication: Authentication) =>
  authentication.outcome === 'rejected'
    ? `${authentication.problem.status} ${authentication.reason}`
    : authentication.outcome

async function reject(authentication: Authentication | Promise<Authentication>): Promise<Problem> {
  const settled = await authentication
  assert.equal(settled.outcome, 'rejected')
  return (settled as Authentication & { outcome: 'rejected' }).problem
}

/** A key set that counts how often it is asked. */
function counting(keys: KeySet) {
  const counted = {
    finds: 0,
    find: (...parameters: Parameters<KeySet['find']>) => {
      counted.finds += 1
      return keys.find(...parameters)
    },
    holds: keys.holds,
  }
  return counted
}

describe('a request with a token', () => {
  test('is accepted, with the caller and the token as it was sent', async () => {
    const token = mint(key, goodClaims())
    const authentication = await authenticatorWith().authenticate(bearing(token))
    assert.equal(authentication.outcome, 'accepted')
    if (authentication.outcome !== 'accepted') return
    assert.equal(authentication.caller.subject, 'user-1')
    assert.equal(authentication.credential, token)
  })

  test('is none of ours without one, or with another scheme', async () => {
    const authenticator = authenticatorWith()
    assert.equal(said(await authenticator.authenticate(headWith())), 'absent')
    assert.equal(said(await authenticator.authenticate(headWith(['Authorization', 'Basic YTpi']))), 'absent')
  })

  test('is refused with 400 when it has two of them, in either order', async () => {
    const token = mint(key, goodClaims())
    for (const lines of [
      [token, 'bad'],
      ['bad', token],
      [token, token],
    ]) {
      const head = headWith(...lines.map((one) => ['Authorization', `Bearer ${one}`] as const))
      assert.equal((await reject(authenticatorWith().authenticate(head))).status, 400)
    }
  })

  test('is told what is wrong by the rules of RFC 6750, without a word of the token', async () => {
    const expired = mint(key, goodClaims({ exp: startOfTest - 3_600 }))
    const problem = await reject(authenticatorWith().authenticate(bearing(expired)))
    assert.equal(problem.code, 'token-expired')
    assert.equal(problem.status, 401)
    assert.equal(
      problem.fields['WWW-Authenticate'],
      'Bearer realm="sallyport", error="invalid_token", error_description="The token has expired."',
    )
    const forged = `${expired.slice(0, -8)}AAAAAAAA`
    const other = await reject(authenticatorWith().authenticate(bearing(forged)))
    assert.equal(other.code, 'invalid-token')
    for (const text of [
      JSON.stringify(problem.body('id')),
      JSON.stringify(other.fields),
      JSON.stringify(other.body('id')),
    ]) {
      assert.ok(!text.includes(expired.split('.')[1]!) && !text.includes('user-1'))
    }
  })

  test('is challenged with Bearer where there was no token', () => {
    assert.equal(authenticatorWith().challenge, 'Bearer realm="sallyport"')
  })

  describe('in each form of the Authorization field', { skip: skipWithoutShared }, () => {
    const cases = skipWithoutShared ? [] : vectors('authorization-forms.json').cases
    for (const { id, value, verdict } of cases as { id: string; value: string; verdict: string }[]) {
      test(`${id} ${JSON.stringify(value.slice(0, 60))}: ${verdict}`, async () => {
        const token = mint(key, goodClaims())
        const head = headWith(['Authorization', value.replaceAll('<TOKEN>', token)])
        const { outcome } = await authenticatorWith().authenticate(head)
        if (verdict === 'accept') assert.equal(outcome, 'accepted')
        if (verdict === 'refuse') assert.notEqual(outcome, 'accepted')
      })
    }
  })
})

describe('a remembered token', () => {
  test('is answered at once, without asking for its key again', async () => {
    const keys = counting(keySetOf([key]))
    const authenticator = authenticatorWith({ issuers: [testIssuer(keys, { algorithms: ['ES256'] })] })
    const head = bearing(mint(key, goodClaims()))
    const first = await authenticator.authenticate(head)
    const second = authenticator.authenticate(head)
    assert.ok(!(second instanceof Promise))
    assert.ok(first.outcome === 'accepted' && second.outcome === 'accepted')
    assert.equal(first.caller, second.caller, 'one frozen caller serves every request')
    assert.equal(keys.finds, 1)
  })

  test('is verified once for 100 requests at the same moment', async () => {
    const keys = counting(keySetOf([key]))
    const authenticator = authenticatorWith({ issuers: [testIssuer(keys, { algorithms: ['ES256'] })] })
    const head = bearing(mint(key, goodClaims()))
    const all = await Promise.all(Array.from({ length: 100 }, () => authenticator.authenticate(head)))
    assert.deepEqual(new Set(all.map(said)), new Set(['accepted']))
    assert.equal(keys.finds, 1)
  })

  test('is refused from the second on in which it expires', async () => {
    const clock = testClock()
    const authenticator = authenticatorWith({ now: clock.now })
    const head = bearing(mint(key, goodClaims()))
    assert.equal(said(await authenticator.authenticate(head)), 'accepted')
    clock.advance(659)
    assert.equal(said(await authenticator.authenticate(head)), 'accepted')
    clock.advance(1)
    assert.equal(said(await authenticator.authenticate(head)), '401 expired')
  })

  test('is not valid before its start when the clock is set back', async () => {
    const clock = testClock()
    const authenticator = authenticatorWith({ now: clock.now })
    const head = bearing(mint(key, goodClaims({ nbf: startOfTest - 10 })))
    assert.equal(said(await authenticator.authenticate(head)), 'accepted')
    clock.advance(-3_600)
    assert.equal(said(await authenticator.authenticate(head)), '401 not-yet-valid')
  })

  test('is refused as soon as its issuer withdraws the key', async () => {
    const source = keySource([key.jwk])
    const keys = localKeySet(source, ['ES256'], silent)
    const authenticator = authenticatorWith({ issuers: [testIssuer(keys, { algorithms: ['ES256'] })] })
    const head = bearing(mint(key, goodClaims()))
    assert.equal(said(await authenticator.authenticate(head)), 'accepted')
    source.replace([newKey('ES256', 'key-2').jwk])
    assert.equal(said(await authenticator.authenticate(head)), '401 key')
    source.replace([key.jwk])
    assert.equal(said(await authenticator.authenticate(head)), 'accepted')
    keys.close()
  })

  test('is refused as soon as another key takes the name of its own', async () => {
    const source = keySource([key.jwk])
    const keys = localKeySet(source, ['ES256'], silent)
    const authenticator = authenticatorWith({ issuers: [testIssuer(keys, { algorithms: ['ES256'] })] })
    const head = bearing(mint(key, goodClaims()))
    await authenticator.authenticate(head)
    source.replace([newKey('ES256', 'key-1').jwk])
    assert.equal(said(await authenticator.authenticate(head)), '401 signature')
  })

  test('is refused as soon as it is revoked, and good again when it is not', async () => {
    const revokedTokens = new Set<string>()
    const revoked = (caller: Caller) => revokedTokens.has(caller.tokenId!)
    const authenticator = authenticatorWith({ revoked })
    const head = bearing(mint(key, goodClaims()))
    assert.equal(said(await authenticator.authenticate(head)), 'accepted')
    revokedTokens.add('token-1')
    const problem = await reject(authenticator.authenticate(head))
    assert.equal(problem.code, 'invalid-token')
    revokedTokens.clear()
    assert.equal(said(await authenticator.authenticate(head)), 'accepted')
  })

  test('stays revoked when somebody changes its signature into another valid one', async () => {
    // ECDSA: with (r, s), (r, n - s) is a signature as well.
    const order = 0xffffffff00000000ffffffffffffffffbce6faada7179e84f3b9cac2fc632551n
    const token = mint(key, goodClaims())
    const [header, claims, signature] = token.split('.') as [string, string, string]
    const bytes = Buffer.from(signature, 'base64url')
    const s = order - BigInt(`0x${bytes.subarray(32).toString('hex')}`)
    const twin = Buffer.concat([bytes.subarray(0, 32), Buffer.from(s.toString(16).padStart(64, '0'), 'hex')])
    const authenticator = authenticatorWith({ revoked: ({ tokenId }) => tokenId === 'token-1' })
    assert.equal(said(await authenticator.authenticate(bearing(token))), '401 revoked')
    const second = `${header}.${claims}.${twin.toString('base64url')}`
    assert.equal(said(await authenticator.authenticate(bearing(second))), '401 revoked')
    assert.equal(said(await authenticatorWith().authenticate(bearing(second))), 'accepted')
  })

  test('is neither good nor bad while nobody can say whether it was revoked: 503', async () => {
    for (const revoked of [
      () => Promise.reject(new Error('no store')),
      () => {
        throw new Error('no store')
      },
    ]) {
      const problem = await reject(authenticatorWith({ revoked }).authenticate(bearing(mint(key, goodClaims()))))
      assert.equal(problem.status, 503)
      assert.equal(problem.fields['Retry-After'], '1')
    }
    const own = new Problem('store-unavailable', 'The revocation list is away.')
    const problem = await reject(
      authenticatorWith({ revoked: () => Promise.reject(own) }).authenticate(bearing(mint(key, goodClaims()))),
    )
    assert.equal(problem, own)
  })

  test('is asked about later when revocation has to be looked up', async () => {
    let answer = false
    const authenticator = authenticatorWith({ revoked: async () => answer })
    const head = bearing(mint(key, goodClaims()))
    assert.equal(said(await authenticator.authenticate(head)), 'accepted')
    answer = true
    assert.equal(said(await authenticator.authenticate(head)), '401 revoked')
  })

  test('says nothing about another scheme: other audiences and issuers judge for themselves', async () => {
    const keys = keySetOf([key])
    const orders = authenticatorWith({ issuers: [testIssuer(keys, { algorithms: ['ES256'], audiences: ['orders'] })] })
    const users = authenticatorWith({ issuers: [testIssuer(keys, { algorithms: ['ES256'], audiences: ['users'] })] })
    const others = authenticatorWith({
      issuers: [testIssuer(keySetOf([newKey('ES256', 'key-1')]), { algorithms: ['ES256'], audiences: ['orders'] })],
    })
    const head = bearing(mint(key, goodClaims({ aud: 'orders' })))
    assert.equal(said(await orders.authenticate(head)), 'accepted')
    assert.equal(said(await users.authenticate(head)), '401 audience')
    assert.equal(said(await others.authenticate(head)), '401 signature')
    assert.equal(said(await orders.authenticate(head)), 'accepted')
  })
})

describe('a refused token', () => {
  test('is refused from memory for 10 seconds when its signature was wrong', async () => {
    const clock = testClock()
    const keys = counting(keySetOf([key]))
    const authenticator = authenticatorWith({ now: clock.now, issuers: [testIssuer(keys, { algorithms: ['ES256'] })] })
    const head = bearing(mint(newKey('ES256', 'key-1'), goodClaims()))
    assert.equal(said(await authenticator.authenticate(head)), '401 signature')
    const again = authenticator.authenticate(head)
    assert.ok(!(again instanceof Promise))
    assert.equal(said(again), '401 signature')
    assert.equal(keys.finds, 1)
    clock.advance(10)
    assert.equal(said(await authenticator.authenticate(head)), '401 signature')
    assert.equal(keys.finds, 2)
  })

  test('is not remembered when it may be good in a moment: a key to come, a start to come', async () => {
    const source = keySource([newKey('ES256', 'key-0').jwk])
    const clock = testClock()
    const keys = localKeySet(source, ['ES256'], silent)
    const authenticator = authenticatorWith({ now: clock.now, issuers: [testIssuer(keys, { algorithms: ['ES256'] })] })
    const soon = bearing(mint(key, goodClaims({ nbf: startOfTest + 62 })))
    assert.equal(said(await authenticator.authenticate(soon)), '401 key')
    source.replace([key.jwk])
    assert.equal(said(await authenticator.authenticate(soon)), '401 not-yet-valid')
    clock.advance(2)
    assert.equal(said(await authenticator.authenticate(soon)), 'accepted')
  })

  test('cannot push good ones out of memory, however many there are', async () => {
    const keys = counting(keySetOf([key]))
    const authenticator = authenticatorWith({ capacity: 10, issuers: [testIssuer(keys, { algorithms: ['ES256'] })] })
    const good = bearing(mint(key, goodClaims()))
    await authenticator.authenticate(good)
    for (let made = 0; made < 200; made += 1) {
      await authenticator.authenticate(bearing(mint(key, goodClaims({ aud: `other-${made}` }))))
    }
    assert.ok(!(authenticator.authenticate(good) instanceof Promise))
  })

  test('that no JWT can be is refused without a promise', () => {
    assert.ok(!(authenticatorWith().authenticate(bearing('abc')) instanceof Promise))
    assert.equal(said(authenticatorWith().authenticate(bearing('abc')) as Authentication), '401 opaque')
  })
})

describe('an outage', () => {
  test('is 503 and never remembered', async () => {
    let available = false
    const keys = keySetOf([key])
    const flaky: KeySet = {
      find: (...parameters) =>
        available
          ? keys.find(...parameters)
          : {
              outcome: 'unavailable',
              problem: new Problem('issuer-unavailable', 'away', { fields: { 'Retry-After': '2' } }),
            },
      holds: keys.holds,
    }
    const authenticator = authenticatorWith({ issuers: [testIssuer(flaky, { algorithms: ['ES256'] })] })
    const head = bearing(mint(key, goodClaims()))
    const problem = await reject(authenticator.authenticate(head))
    assert.equal(problem.status, 503)
    assert.equal(problem.fields['Retry-After'], '2')
    available = true
    assert.equal(said(await authenticator.authenticate(head)), 'accepted')
  })
})

describe('several issuers in one scheme', () => {
  const legacy = newKey('RS256', 'legacy-1')
  const issuers = [
    testIssuer(keySetOf([key]), { algorithms: ['ES256'] }),
    testIssuer(keySetOf([legacy]), {
      name: 'legacy',
      issuer: 'https://legacy.test',
      algorithms: ['RS256'],
      audiences: ['api'],
    }),
  ]

  test('are each believed their own tokens, by their own rules', async () => {
    const authenticator = authenticatorWith({ issuers })
    const theirs = goodClaims({ iss: 'https://legacy.test', aud: 'api' })
    assert.equal(said(await authenticator.authenticate(bearing(mint(key, goodClaims())))), 'accepted')
    assert.equal(said(await authenticator.authenticate(bearing(mint(legacy, theirs)))), 'accepted')
    assert.equal(
      said(await authenticator.authenticate(bearing(mint(legacy, goodClaims({ aud: 'api' }))))),
      '401 algorithm',
    )
    assert.equal(
      said(await authenticator.authenticate(bearing(mint(legacy, { ...theirs, aud: 'gateway' })))),
      '401 audience',
    )
  })

  test('do not hear of tokens of strangers', async () => {
    const sets = issuers.map(({ keys }) => counting(keys))
    const authenticator = authenticatorWith({
      issuers: issuers.map((issuer, index) => ({ ...issuer, keys: sets[index]! })),
    })
    const stranger = mint(key, goodClaims({ iss: 'https://stranger.test' }))
    assert.equal(said(await authenticator.authenticate(bearing(stranger))), '401 issuer')
    assert.deepEqual(
      sets.map(({ finds }) => finds),
      [0, 0],
    )
  })
})

describe('opaque tokens', () => {
  function introspecting(answer: () => Introspection, issuer?: string) {
    const asked: string[] = []
    const introspector: IntrospectingIssuer = {
      kind: 'introspection',
      name: 'opaque',
      ...(issuer !== undefined && { issuer }),
      async introspect(token) {
        asked.push(token)
        return answer()
      },
    }
    return { introspector, asked }
  }
  const active = (): Introspection => ({
    outcome: 'active',
    caller: {
      subject: 'client-7',
      issuer: 'opaque',
      roles: [],
      permissions: [],
      scopes: [],
      claims: {},
      method: 'introspection',
    },
    endsAt: startOfTest + 60,
  })
  const jwtIssuer = testIssuer(keySetOf([key]), { algorithms: ['ES256'] })

  test('are asked about once, and remembered as long as the answer holds', async () => {
    const clock = testClock()
    const { introspector, asked } = introspecting(active)
    const authenticator = authenticatorWith({ now: clock.now, issuers: [jwtIssuer, introspector] })
    const head = bearing('2YotnFZFEjr1zCsicMWpAA')
    const all = await Promise.all(Array.from({ length: 20 }, () => authenticator.authenticate(head)))
    assert.deepEqual(new Set(all.map(said)), new Set(['accepted']))
    assert.equal(asked.length, 1)
    clock.advance(59)
    assert.ok(!(authenticator.authenticate(head) instanceof Promise))
    clock.advance(1)
    await authenticator.authenticate(head)
    assert.equal(asked.length, 2)
  })

  test('are refused for 10 seconds from memory when they are not active', async () => {
    const clock = testClock()
    const { introspector, asked } = introspecting(() => ({ outcome: 'refused', reason: 'inactive' }))
    const authenticator = authenticatorWith({ now: clock.now, issuers: [introspector] })
    for (let times = 0; times < 5; times += 1) {
      assert.equal(said(await authenticator.authenticate(bearing('opaque-token'))), '401 inactive')
    }
    assert.equal(asked.length, 1)
    clock.advance(10)
    await authenticator.authenticate(bearing('opaque-token'))
    assert.equal(asked.length, 2)
  })

  test('cause an outage of nobody else: 503, asked again by the next request', async () => {
    const { introspector, asked } = introspecting(() => ({
      outcome: 'unavailable',
      problem: new Problem('issuer-unavailable', 'away'),
    }))
    const authenticator = authenticatorWith({ issuers: [jwtIssuer, introspector] })
    assert.equal(said(await authenticator.authenticate(bearing('opaque-token'))), '503 unavailable')
    assert.equal(said(await authenticator.authenticate(bearing('opaque-token'))), '503 unavailable')
    assert.equal(asked.length, 2)
    assert.equal(said(await authenticator.authenticate(bearing(mint(key, goodClaims())))), 'accepted')
  })

  test('are explained with what happened where the issuer was asked', async () => {
    const cause = new Error('https://login.example/introspect: connect ECONNREFUSED 192.0.2.7:443')
    const { introspector } = introspecting(() => ({
      outcome: 'unavailable',
      problem: new Problem('issuer-unavailable', 'away', { cause }),
    }))
    const { outcome, steps } = await authenticatorWith({ issuers: [introspector] }).explain('opaque-token')
    assert.equal(outcome, 'unavailable')
    assert.match(
      steps.find(({ verdict }) => verdict === 'failed')!.text,
      /^away \(https:.*ECONNREFUSED 192\.0\.2\.7:443\)$/,
    )
  })

  test('are not JWTs: those of strangers and broken ones are not asked about where JWTs are checked', async () => {
    const { introspector, asked } = introspecting(active)
    const authenticator = authenticatorWith({ issuers: [jwtIssuer, introspector] })
    const stranger = mint(key, goodClaims({ iss: 'https://stranger.test' }))
    assert.equal(said(await authenticator.authenticate(bearing(stranger))), '401 issuer')
    assert.equal(said(await authenticator.authenticate(bearing(`${stranger}AAAA`.replace('.', '..')))), '401 parts')
    assert.deepEqual(asked, [])
  })

  test('may be JWTs where their issuer wants to be asked, or nobody checks JWTs', async () => {
    const theirs = mint(key, goodClaims({ iss: 'https://asked.test' }))
    const named = introspecting(active, 'https://asked.test')
    const both = authenticatorWith({ issuers: [jwtIssuer, named.introspector] })
    assert.equal(said(await both.authenticate(bearing(theirs))), 'accepted')
    assert.equal(said(await both.authenticate(bearing(mint(key, goodClaims())))), 'accepted')
    assert.deepEqual(named.asked, [theirs])
    const alone = introspecting(active)
    assert.equal(
      said(await authenticatorWith({ issuers: [alone.introspector] }).authenticate(bearing(theirs))),
      'accepted',
    )
    assert.equal(alone.asked.length, 1)
  })

  test('are refused where nobody can be asked', async () => {
    assert.equal(said(await authenticatorWith().authenticate(bearing('2YotnFZFEjr1zCsicMWpAA'))), '401 opaque')
  })

  test('cannot be told apart by two issuers: refused when the gateway is built', () => {
    const issuers = [introspecting(active).introspector, introspecting(active).introspector]
    assert.throws(() => authenticatorWith({ issuers }), /cannot both be asked/)
  })

  test('that belong to another scheme at the same place are left to it', async () => {
    const { introspector, asked } = introspecting(active)
    const authenticator = authenticatorWith({ issuers: [introspector], foreign: (text) => text.startsWith('gwk_') })
    assert.equal(said(await authenticator.authenticate(bearing('gwk_abc_def'))), 'absent')
    assert.deepEqual(asked, [])
  })
})

describe('a token in a place of its own', () => {
  const idToken = mint(key, goodClaims({ nonce: 'n', at_hash: 'h' }), { typ: 'JWT' })
  const issuers = [testIssuer(keySetOf([key]), { algorithms: ['ES256'], types: ['at+jwt', 'jwt'] })]
  const easyAuth = authenticatorWith({
    scheme: 'easyAuth',
    location: { in: 'header', name: 'X-MS-TOKEN-AAD-ID-TOKEN' },
    issuers,
  })

  test('may be the ID token that Easy Auth passes on, which is verified and not only decoded', async () => {
    const accepted = await easyAuth.authenticate(headWith(['x-ms-token-aad-id-token', idToken]))
    assert.ok(accepted.outcome === 'accepted')
    assert.equal(accepted.caller.method, 'easy-auth')
    const forged = mint(newKey('ES256', 'key-1'), goodClaims(), { typ: 'JWT' })
    assert.equal(said(await easyAuth.authenticate(headWith(['X-MS-TOKEN-AAD-ID-TOKEN', forged]))), '401 signature')
  })

  test('is not looked for in Authorization, where an ID token stays a mix-up', async () => {
    assert.equal(said(await easyAuth.authenticate(bearing(idToken))), 'absent')
    assert.equal(said(await authenticatorWith({ issuers }).authenticate(bearing(idToken))), '401 id-token')
  })

  test('is refused with 400 when it is there twice, and challenged by its place', async () => {
    const head = headWith(['X-MS-TOKEN-AAD-ID-TOKEN', idToken], ['x-ms-token-aad-id-token', idToken])
    const problem = await reject(easyAuth.authenticate(head))
    assert.equal(problem.code, 'ambiguous-credentials')
    assert.equal(easyAuth.challenge, 'ApiKey realm="sallyport", in="header", name="X-MS-TOKEN-AAD-ID-TOKEN"')
    assert.deepEqual(easyAuth.location, { in: 'header', name: 'x-ms-token-aad-id-token' })
  })

  test('may be the query or a cookie, where the operator says so', async () => {
    const token = mint(key, goodClaims())
    const inQuery = authenticatorWith({ location: { in: 'query', name: 'access_token' } })
    const head: RequestHead = { ...headWith(), query: `a=1&access_token=${token}` }
    assert.equal(said(await inQuery.authenticate(head)), 'accepted')
    assert.equal(said(await inQuery.authenticate({ ...head, query: `${head.query}&access_token=x` })), '400 malformed')
    const inCookie = authenticatorWith({ location: { in: 'cookie', name: 'token' } })
    assert.equal(said(await inCookie.authenticate(headWith(['Cookie', `a=b; token=${token}`]))), 'accepted')
    assert.equal(inCookie.explicit, false)
    assert.equal(inCookie.challenge, undefined)
    assert.equal(said(await authenticatorWith().authenticate(head)), 'absent')
  })
})

describe('an explanation', () => {
  const steps = (explanation: Awaited<ReturnType<ReturnType<typeof authenticatorWith>['explain']>>) =>
    explanation.steps.map(({ step, verdict }) => `${step} ${verdict}`)

  test('goes through every step of a good token, and says who it makes the caller', async () => {
    const explanation = await authenticatorWith().explain(mint(key, goodClaims()))
    assert.equal(explanation.outcome, 'accepted')
    assert.equal(explanation.caller?.subject, 'user-1')
    assert.deepEqual(steps(explanation), [
      'form passed',
      'issuer passed',
      'algorithm passed',
      'type passed',
      'key passed',
      'signature passed',
      'audience passed',
      'times passed',
      'claims passed',
      'revocation passed',
    ])
    for (const { text } of explanation.steps) assert.notEqual(text, '')
  })

  for (const [title, token, failed, text] of [
    ['another audience', mint(key, goodClaims({ aud: 'orders' })), 'audience', /another audience.*Found: orders/],
    ['an expired token', mint(key, goodClaims({ exp: startOfTest - 100 })), 'times', /expired.*exp 2026-09-21T/],
    ['an unknown issuer', mint(key, goodClaims({ iss: 'https://x.test' })), 'issuer', /Found: https:\/\/x\.test/],
    ['another algorithm', mint(key, goodClaims(), { alg: 'RS256' }), 'algorithm', /Found: RS256/],
    ['a wrong type', mint(key, goodClaims(), { typ: 'JWT' }), 'type', /Found: JWT/],
    ['an unknown key', mint(key, goodClaims(), { kid: 'key-9' }), 'key', /Found: key-9/],
    ['a claim of the wrong form', mint(key, goodClaims({ roles: 1 })), 'claims', /Claim: roles/],
    ['something that is no token', 'hello', 'form', /not a JWT/],
  ] as const) {
    test(`names the step that fails for ${title}, and reaches none after it`, async () => {
      const explanation = await authenticatorWith().explain(token)
      assert.equal(explanation.outcome, 'refused')
      const index = explanation.steps.findIndex(({ verdict }) => verdict === 'failed')
      assert.equal(explanation.steps[index]?.step, failed)
      assert.match(explanation.steps[index]!.text, text)
      assert.ok(explanation.steps.slice(0, index).every(({ verdict }) => verdict === 'passed'))
      assert.ok(explanation.steps.slice(index + 1).every(({ verdict }) => verdict === 'unreached'))
    })
  }

  test('shows revocation as the last step, and an outage where it happened', async () => {
    const revoked = await authenticatorWith({ revoked: () => true }).explain(mint(key, goodClaims()))
    assert.deepEqual([revoked.outcome, revoked.reason, revoked.steps.at(-1)?.verdict], ['refused', 'revoked', 'failed'])
    const away: KeySet = {
      find: () => ({ outcome: 'unavailable', problem: new Problem('issuer-unavailable', 'The keys cannot be had.') }),
      holds: () => true,
    }
    const issuers = [testIssuer(away, { algorithms: ['ES256'] })]
    const outage = await authenticatorWith({ issuers }).explain(mint(key, goodClaims()))
    assert.equal(outage.outcome, 'unavailable')
    assert.deepEqual(
      outage.steps.find(({ verdict }) => verdict === 'failed'),
      {
        step: 'key',
        verdict: 'failed',
        text: 'The keys cannot be had.',
      },
    )
  })

  test('agrees with what happens to a request, and leaves nothing in memory', async () => {
    const authenticator = authenticatorWith()
    for (const token of [
      mint(key, goodClaims()),
      mint(key, goodClaims({ aud: 'x' })),
      mint(key, goodClaims(), { typ: 'x' }),
    ]) {
      const { outcome, reason } = await authenticator.explain(token)
      const request = authenticator.authenticate(bearing(token))
      assert.ok(request instanceof Promise)
      const answer = await request
      assert.equal(answer.outcome === 'accepted', outcome === 'accepted')
      if (answer.outcome === 'rejected') assert.equal(answer.reason, reason)
    }
  })
})
