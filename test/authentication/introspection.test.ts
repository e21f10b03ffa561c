import assert from 'node:assert/strict'
import type { RequestListener } from 'node:http'
import { text } from 'node:stream/consumers'
import { after, describe, test } from 'node:test'
import { createTokenAuthenticator } from '../../src/authentication/bearer.ts'
import { introspectionIssuer } from '../../src/authentication/issuers.ts'
import { silent } from '../../src/telemetry/log.ts'
import { bearing, json, serve, startOfTest, testClock } from './minting.ts'

const endpoint = await serve(json({ active: false }))
after(() => endpoint.close())

const settingsOf = (changes: object = {}) =>
  introspectionIssuer.settings.parse({
    endpoint: `${endpoint.url}/introspect`,
    clientId: 'gateway',
    clientSecret: 'a secret: with %signs & spaces',
    ...changes,
  })

function introspectorWith(changes: object = {}, now = testClock().now) {
  return introspectionIssuer.create(settingsOf(changes), { name: 'opaque', now, log: silent })
}

async function answerTo(document: unknown, changes: object = {}) {
  endpoint.answer = json(document)
  return introspectorWith(changes).introspect('token-1', 'introspection')
}

const said = (answer: Awaited<ReturnType<typeof answerTo>>) =>
  answer.outcome === 'refused' ? [answer.reason, answer.claim].filter(Boolean).join(' ') : answer.outcome

describe('an issuer that is asked about a token', () => {
  test('gets the token in a form and the client’s password in Authorization, encoded as RFC 6749 asks', async () => {
    let heard: object = {}
    endpoint.answer = (request, response) => {
      const { method, url, headers } = request
      void text(request).then((body) => {
        heard = { method, url, type: headers['content-type'], authorization: headers.authorization, body }
        json({ active: true, sub: 'user-1' })(request, response)
      })
    }
    assert.equal(said(await introspectorWith().introspect('a+b/c=', 'introspection')), 'active')
    const password = Buffer.from('gateway:a+secret%3A+with+%25signs+%26+spaces').toString('base64')
    assert.deepEqual(heard, {
      method: 'POST',
      url: '/introspect',
      type: 'application/x-www-form-urlencoded',
      authorization: `Basic ${password}`,
      body: 'token=a%2Bb%2Fc%3D&token_type_hint=access_token',
    })
    await introspectorWith({ clientAuthentication: 'client_secret_post' }).introspect('t', 'introspection')
    assert.equal((heard as { authorization?: string }).authorization, undefined)
    assert.match((heard as { body: string }).body, /&client_id=gateway&client_secret=a\+secret/)
  })

  test('makes the caller of its answer', async () => {
    const answer = await answerTo({
      active: true,
      sub: 'user-1',
      client_id: 'app',
      scope: 'orders users',
      roles: ['editor'],
      iss: 'https://issuer.test',
      exp: startOfTest + 30,
      jti: 'token-1',
    })
    assert.ok(answer.outcome === 'active')
    const { claims, ...caller } = answer.caller
    assert.deepEqual(caller, {
      subject: 'user-1',
      clientId: 'app',
      roles: ['editor'],
      permissions: [],
      scopes: ['orders', 'users'],
      issuer: 'https://issuer.test',
      method: 'introspection',
      tokenType: 'Bearer',
      expiresAt: startOfTest + 30,
      tokenId: 'token-1',
    })
    assert.equal(claims['active'], true)
    assert.equal(answer.endsAt, startOfTest + 30, 'never longer than the token itself')
  })

  test('is relied on for 60 seconds at most, or as long as the operator says', async () => {
    const endsAt = async (changes: object, document: object) => {
      const answer = await answerTo({ active: true, sub: 'user-1', ...document }, changes)
      return answer.outcome === 'active' ? answer.endsAt - startOfTest : said(answer)
    }
    assert.equal(await endsAt({}, { exp: startOfTest + 3_600 }), 60)
    assert.equal(await endsAt({}, {}), 60)
    assert.equal(await endsAt({ remember: '5s' }, {}), 5)
    assert.throws(() => settingsOf({ remember: '61s' }))
  })

  test('may leave out the subject: then the client acts for itself', async () => {
    const answer = await answerTo({ active: true, client_id: 'job' })
    assert.equal(answer.outcome === 'active' && answer.caller.subject, 'job')
  })

  for (const [title, document, changes, expected] of [
    ['says no', { active: false }, {}, 'inactive'],
    ['answers for a token that has expired', { active: true, sub: 'a', exp: startOfTest }, {}, 'expired'],
    ['answers for a token of the future', { active: true, sub: 'a', nbf: startOfTest + 60 }, {}, 'not-yet-valid'],
    ['answers for another audience', { active: true, sub: 'a', aud: ['x'] }, { audience: 'api' }, 'audience'],
    ['answers for no audience where one is asked for', { active: true, sub: 'a' }, { audience: 'api' }, 'audience'],
    ['answers for another issuer', { active: true, sub: 'a', iss: 'x' }, { issuer: 'https://i.test' }, 'issuer'],
    ['answers for a token bound to a key', { active: true, sub: 'a', cnf: {} }, {}, 'proof-of-possession cnf'],
    ['gives times in words', { active: true, sub: 'a', exp: 'soon' }, {}, 'malformed-claim exp'],
    ['names nobody', { active: true }, {}, 'malformed-claim sub'],
    ['gives a role that is no text', { active: true, sub: 'a', roles: [1] }, {}, 'malformed-claim roles'],
  ] as const) {
    test(`makes nobody a caller when it ${title}`, async () => {
      assert.equal(said(await answerTo(document, changes)), expected)
    })
  }

  const faults: Record<string, RequestListener> = {
    'refuses our password': (_request, response) => {
      response.statusCode = 401
      response.end('{}')
    },
    fails: (_request, response) => {
      response.statusCode = 500
      response.end()
    },
    'sends us elsewhere': (_request, response) => {
      response.statusCode = 307
      response.setHeader('location', '/other')
      response.end()
    },
    'says "true" in a text': json({ active: 'true', sub: 'a' }),
    'says 1': json({ active: 1, sub: 'a' }),
    'says nothing': json({}),
    'answers with a list': json([{ active: true }]),
    'answers with null': json(null),
    'answers with a page': (_request, response) => {
      response.setHeader('content-type', 'text/html')
      response.end('{"active":true,"sub":"a"}')
    },
    'hangs up': (request) => request.socket.destroy(),
  }
  for (const [title, answer] of Object.entries(faults)) {
    test(`is out of order when it ${title}: 503, and nothing about where it is`, async () => {
      endpoint.answer = answer
      const result = await introspectorWith().introspect('token-1', 'introspection')
      assert.ok(result.outcome === 'unavailable')
      assert.equal(result.problem.status, 503)
      assert.equal(result.problem.fields['Retry-After'], '1')
      assert.doesNotMatch(JSON.stringify(result.problem.body('id')), /127\.0\.0\.1|secret/)
    })
  }

  test('is asked once for 50 requests with one token, and again when it was away', async () => {
    const authenticator = createTokenAuthenticator({
      scheme: 'bearer',
      names: 'roles',
      location: { in: 'header', name: 'authorization' },
      issuers: [introspectorWith()],
      now: testClock().now,
    })
    const before = endpoint.hits.length
    endpoint.answer = faults['fails']!
    const outcomes = async () => {
      const all = await Promise.all(
        Array.from({ length: 50 }, () => authenticator.authenticate(bearing('opaque-token'))),
      )
      return [...new Set(all.map((one) => (one.outcome === 'rejected' ? one.problem.status : one.outcome)))]
    }
    assert.deepEqual(await outcomes(), [503])
    endpoint.answer = json({ active: true, sub: 'user-1' })
    assert.deepEqual(await outcomes(), ['accepted'])
    assert.deepEqual(await outcomes(), ['accepted'])
    assert.equal(endpoint.hits.length - before, 2)
  })
})
