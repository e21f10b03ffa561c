import assert from 'node:assert/strict'
import { after, before, describe, test } from 'node:test'
import { setTimeout as delay } from 'node:timers/promises'
import { decodeJwt, decodeProtectedHeader } from 'jose'
import { hashPassword } from '../../src/issuer/password.ts'
import { skipWithoutShared, vectors } from '../vectors.ts'
import {
  authorizePath,
  Browser,
  type IssuerApp,
  isActive,
  pkce,
  redirectUri,
  refresh,
  signIn,
  startIssuer,
  tokensByCode,
  tokensByPassword,
  web,
} from './issuer-app.ts'

let app: IssuerApp
before(async () => {
  app = await startIssuer({ settings: { refreshGrace: '200ms' } })
})
after(() => app.stop())

/** A code for "web", and the form that would redeem it. */
async function codeForm(): Promise<Record<string, string>> {
  const { verifier, challenge } = pkce()
  const answer = await signIn(new Browser(app), authorizePath(challenge))
  return {
    grant_type: 'authorization_code',
    code: answer.get('code')!,
    redirect_uri: redirectUri,
    code_verifier: verifier,
  }
}

async function refusesGrant(form: Record<string, string>, as: readonly [string, string] | 'nobody' = web) {
  const { status, json } = await app.post('/oauth2/token', form, as === 'nobody' ? undefined : as)
  assert.equal(status, 400)
  assert.equal(json.error, 'invalid_grant')
}

/** The authorization endpoint shows a page and sends nobody anywhere. */
async function refusesRedirect(query: string): Promise<void> {
  const { challenge } = pkce()
  const rest = `client_id=web&response_type=code&scope=openid&code_challenge=${challenge}&code_challenge_method=S256`
  const { status, fields, text } = await app.send('GET', `/oauth2/authorize?${rest}&${query}`, {
    fields: { accept: 'text/html' },
  })
  assert.equal(status, 400, query)
  assert.equal(fields['location'], undefined)
  assert.match(String(fields['content-type']), /^text\/html/)
  assert.doesNotMatch(text, /evil\.test.*<\/a>|<script/)
}

async function authorizationError(changes: Record<string, string | undefined>): Promise<string | null> {
  const { location = '', text } = await new Browser(app).follow(authorizePath(pkce().challenge, changes))
  assert.ok(location.startsWith(redirectUri), text)
  return new URL(location).searchParams.get('error')
}

/** Each scenario of the shared list that is about the issuer; the others are about the session and the gateway. */
const scenarios: Record<string, () => Promise<void>> = {
  async 'oauth-001'() {
    const first = await tokensByPassword(app)
    const second = (await refresh(app, first.refresh_token)).json
    await delay(250)
    assert.equal((await refresh(app, first.refresh_token)).json.error, 'invalid_grant')
    assert.equal((await refresh(app, second.refresh_token)).json.error, 'invalid_grant')
    assert.equal(await isActive(app, second.access_token), false)
  },
  async 'oauth-002'() {
    const { refresh_token } = await tokensByPassword(app)
    const answers = await Promise.all([refresh(app, refresh_token), refresh(app, refresh_token)])
    assert.equal(new Set(answers.map(({ json }) => json.refresh_token)).size, 1)
  },
  async 'oauth-004'() {
    const browser = new Browser(app)
    const tokens = await tokensByCode(app, browser)
    await browser.submit(await browser.get('/oauth2/end-session'), { logout: 'yes' })
    assert.equal((await refresh(app, tokens.refresh_token)).json.error, 'invalid_grant')
  },
  async 'oauth-006'() {
    const { refresh_token } = await tokensByPassword(app)
    const { json } = await app.post(
      '/oauth2/token',
      { grant_type: 'refresh_token', refresh_token, scope: 'admin' },
      web,
    )
    assert.equal(json.error, 'invalid_scope')
  },
  async 'oauth-007'() {
    const { access_token } = await tokensByPassword(app)
    await refusesGrant({ grant_type: 'refresh_token', refresh_token: access_token })
  },
  async 'oauth-008'() {
    const tokens = await tokensByPassword(app)
    assert.equal((await app.post('/oauth2/revoke', { token: tokens.refresh_token }, web)).status, 200)
    await refusesGrant({ grant_type: 'refresh_token', refresh_token: tokens.refresh_token })
    assert.equal(await isActive(app, tokens.access_token), false)
  },
  async 'oauth-010'() {
    for (const token of ['unknown', 'eyJhbGciOiJub25lIn0.e30.', 'eyJhbGciOiJSUzI1NiJ9.e30.AAAA'])
      assert.equal((await app.post('/oauth2/revoke', { token }, web)).status, 200)
  },
  async 'oauth-011'() {
    const error = await authorizationError({ code_challenge: undefined, code_challenge_method: undefined })
    assert.equal(error, 'invalid_request')
  },
  async 'oauth-012'() {
    assert.equal(await authorizationError({ code_challenge_method: 'plain' }), 'invalid_request')
    assert.equal(await authorizationError({ code_challenge_method: undefined }), 'invalid_request')
  },
  async 'oauth-013'() {
    const { code_verifier: _, ...form } = await codeForm()
    await refusesGrant(form)
  },
  async 'oauth-014'() {
    // Without a challenge no code is given, so there is nothing that a verifier could be sent with.
    const browser = new Browser(app)
    const answer = await browser.follow(
      authorizePath('', { code_challenge: undefined, code_challenge_method: undefined }),
    )
    assert.equal(new URL(answer.location!).searchParams.get('code'), null)
  },
  async 'oauth-015'() {
    const form = await codeForm()
    await refusesGrant({ ...form, code_verifier: pkce().verifier })
    await refusesGrant(form)
  },
  async 'oauth-017'() {
    const form = await codeForm()
    const answers = await Promise.all(Array.from({ length: 10 }, () => app.post('/oauth2/token', form, web)))
    const won = answers.filter(({ status }) => status === 200)
    assert.equal(won.length, 1)
    await refusesGrant(form)
    assert.equal((await refresh(app, won[0]!.json.refresh_token)).json.error, 'invalid_grant')
    assert.equal(await isActive(app, won[0]!.json.access_token), false)
  },
  async 'oauth-018'() {
    const form = await codeForm()
    await refusesGrant({ ...form, client_id: 'spa' }, 'nobody')
  },
  'oauth-022': () => refusesRedirect('redirect_uri=https://app.test@evil.test/callback'),
  'oauth-023': () => refusesRedirect('redirect_uri=https://app.test%5C@evil.test/'),
  'oauth-024': () => refusesRedirect('redirect_uri=javascript:alert(1)'),
  'oauth-025': () => refusesRedirect(`redirect_uri=${redirectUri}&redirect_uri=${redirectUri}`),
  async 'oauth-047'() {
    // The processor's time, threads included, in turns: what else the machine does does not count.
    const costs: Record<'ada' | 'nobody', number[]> = { ada: [], nobody: [] }
    let n = 0
    const users = [{ username: 'ada', passwordHash: await hashPassword('ada') }]
    const patient = await startIssuer({ users, addressOf: () => `192.0.2.${n++}` })
    for (let round = 0; round < 6; round += 1) {
      for (const username of ['ada', 'nobody'] as const) {
        const before = process.cpuUsage()
        await patient.post('/oauth2/token', { grant_type: 'password', username, password: 'wrong' }, web)
        const { user, system } = process.cpuUsage(before)
        costs[username].push(user + system)
      }
    }
    await patient.stop()
    const [known, unknown] = [Math.min(...costs.ada), Math.min(...costs.nobody)]
    // The hash takes 30 ms; leaving it out for unknown users would be a factor of ten.
    assert.ok(Math.abs(known - unknown) / Math.max(known, unknown) < 0.3, `${known} µs, ${unknown} µs`)
  },
  async 'oauth-051'() {
    const form = { grant_type: 'urn:ietf:params:oauth:grant-type:device_code', device_code: 'x' }
    assert.equal((await app.post('/oauth2/token', form, web)).json.error, 'unsupported_grant_type')
  },
  async 'oauth-058'() {
    const quick = await startIssuer({ announce: 1, settings: { accessToken: '1m' } })
    const kidsOf = async () =>
      (await quick.send('GET', '/oauth2/jwks')).json.keys.map(({ kid }: { kid: string }) => kid) as string[]
    const before = await tokensByPassword(quick)
    const old = decodeProtectedHeader(before.access_token).kid!
    const next = await quick.issuer.signingKeys.rotate()
    assert.deepEqual((await kidsOf()).sort(), [old, next].sort(), 'announced before it signs')
    let kid = old
    for (let n = 0; n < 60 && kid === old; n += 1) {
      const { access_token } = await tokensByPassword(quick)
      kid = decodeProtectedHeader(access_token).kid!
      assert.ok((await kidsOf()).includes(kid))
      assert.equal(await isActive(quick, access_token), true)
      assert.equal(await isActive(quick, before.access_token), true)
      await delay(40)
    }
    assert.equal(kid, next)
    assert.equal((await refresh(quick, before.refresh_token)).status, 200)
    assert.equal((await quick.send('GET', '/oauth2/jwks')).json.keys[0].kid, next)
    await quick.stop()
  },
  async 'oauth-059'() {
    const { json } = await app.send('GET', '/oauth2/jwks')
    for (const key of json.keys) assert.deepEqual(Object.keys(key).sort(), ['alg', 'e', 'kid', 'kty', 'n', 'use'])
  },
  async 'oauth-060'() {
    const { id_token, access_token } = await tokensByCode(app)
    assert.equal(await isActive(app, id_token), false)
    // What tells them apart for the gateway: type and audience.
    assert.equal(decodeProtectedHeader(access_token).typ, 'at+jwt')
    assert.notEqual(decodeProtectedHeader(id_token).typ, 'at+jwt')
    assert.notEqual(decodeJwt(id_token).aud, app.issuer.audience)
  },
}

/** In other tests: 003 with two instances over one Redis, in refresh.test.ts. */
const elsewhere = new Set(['oauth-003'])
/** About the session of the gateway, its CORS and its cookies. */
const notOurs = new Set(['oauth-027', 'oauth-029', 'oauth-030', 'oauth-032', 'oauth-036', 'oauth-038', 'oauth-043'])

describe('scenarios of the shared list', { skip: skipWithoutShared }, () => {
  const { cases } = skipWithoutShared ? { cases: [] } : vectors('oauth-session-cases.json')
  for (const { id, title } of cases as { id: string; title: string }[]) {
    if (elsewhere.has(id) || notOurs.has(id)) continue
    test(`${id} ${title}`, async () => {
      const scenario = scenarios[id]
      assert.ok(scenario, 'a scenario about the issuer that nobody plays')
      await scenario()
    })
  }
})

test('of eighteen ways to bend a redirect URI none works', async () => {
  for (const uri of [
    'https://app.test/callback/',
    'https://app.test/callback/..;/admin',
    'https://app.test/callback%2f..%2fadmin',
    'https://app.test/callback?x=1',
    'https://app.test/callback%00',
    'https://app.test/Callback',
    'https://APP.test/callback',
    'HTTPS://app.test/callback',
    'http://app.test/callback',
    'https://app.test:443/callback',
    'https://app.test:8443/callback',
    'https://app.test./callback',
    'https://app.test.evil.test/callback',
    'https://evil.test/https://app.test/callback',
    'https://app.test@evil.test',
    '//evil.test/callback',
    '/callback',
    'https://app.test/callback%23fragment',
  ])
    await refusesRedirect(`redirect_uri=${encodeURIComponent(uri)}`)
})

test('whatever host a request names, addresses and cookies stay those of the gateway', async () => {
  for (const fields of [
    { host: 'evil.test' },
    { host: 'gateway.test', 'x-forwarded-host': 'evil.test', 'x-forwarded-proto': 'https' },
    { host: 'evil.test:1', forwarded: 'host=evil.test;proto=https' },
  ]) {
    for (const path of ['/oauth2/.well-known/openid-configuration', '/.well-known/oauth-authorization-server/oauth2']) {
      const { json, text } = await app.send('GET', path, { fields })
      assert.ok(!text.includes('evil'))
      for (const [name, value] of Object.entries(json)) {
        if (/_endpoint$|_uri$/.test(name)) assert.ok(String(value).startsWith('http://gateway.test/oauth2/'), name)
      }
    }
    const { challenge } = pkce()
    const started = await app.send('GET', authorizePath(challenge), { fields })
    assert.equal(started.status, 303)
    assert.match(String(started.fields['location']), /^\/oauth2\/login\//)
    assert.ok(!JSON.stringify(started.fields).includes('evil'))
  }
})

test('over https every cookie is Secure and bound to this host', async () => {
  const secure = await startIssuer({ publicUrl: 'https://gateway.test' })
  const browser = new Browser(secure)
  await tokensByCode(secure, browser)
  await browser.follow(authorizePath(pkce().challenge, { prompt: 'login' }))
  const names = [...browser.cookies.keys()].sort()
  assert.deepEqual(names, [
    '__Host-issuer-session',
    '__Host-issuer-session.sig',
    '__Secure-issuer-interaction',
    '__Secure-issuer-interaction.sig',
    '__Secure-issuer-resume',
    '__Secure-issuer-resume.sig',
  ])
  for (const name of names) {
    assert.ok(secure.issuer.cookies.includes(name))
    const { line } = browser.cookies.get(name)!
    assert.match(line, /; secure/i)
    assert.match(line, /; httponly/i)
    assert.match(line, /; samesite=lax/i)
    assert.doesNotMatch(line, /domain=/i)
    if (name.startsWith('__Host-')) assert.match(line, /; path=\/;/i)
    if (name.includes('session')) assert.doesNotMatch(line, /expires|max-age/i, 'ends with the browser')
  }
  await secure.stop()
})

test('nothing that a request names is fetched', async () => {
  const before = globalThis.fetch
  let calls = 0
  globalThis.fetch = (async () => {
    calls += 1
    throw new Error('no')
  }) as typeof fetch
  try {
    for (const changes of [
      { request_uri: 'http://169.254.169.254/latest' },
      { request: 'eyJhbGciOiJub25lIn0.e30.' },
      { registration: '{}' },
    ]) {
      const error = await authorizationError(changes)
      assert.match(String(error), /not_supported/)
    }
    assert.equal((await app.send('POST', '/oauth2/reg', { body: '{}' })).status, 404)
  } finally {
    globalThis.fetch = before
  }
  assert.equal(calls, 0)
})

test('tokens of others are not revoked, and say nothing to public clients', async () => {
  const tokens = await tokensByPassword(app)
  for (const token of [tokens.access_token, tokens.refresh_token]) {
    const confidential = await app.post('/oauth2/revoke', { token }, ['reporter', 'a-secret-of-the-reporter'])
    assert.equal(confidential.status, 400)
    assert.equal(confidential.json.error, 'invalid_request')
    const anybody = await app.post('/oauth2/revoke', { token, client_id: 'spa' })
    assert.equal(anybody.status, 200)
    const asked = await app.post('/oauth2/introspect', { token, client_id: 'spa' })
    assert.deepEqual(asked.json, { active: false })
    const nobody = await app.post('/oauth2/introspect', { token })
    assert.equal(nobody.status, 400)
    const wrong = await app.post('/oauth2/introspect', { token }, ['web', 'wrong-secret'])
    assert.equal(wrong.status, 401)
  }
  assert.equal(await isActive(app, tokens.access_token), true)
  assert.equal((await refresh(app, tokens.refresh_token)).status, 200)
})

test('an access token alone can be revoked, and the login goes on', async () => {
  const tokens = await tokensByPassword(app)
  assert.equal((await app.post('/oauth2/revoke', { token: tokens.access_token }, web)).status, 200)
  assert.equal(await isActive(app, tokens.access_token), false)
  const next = await refresh(app, tokens.refresh_token)
  assert.equal(next.status, 200)
  assert.equal(await isActive(app, next.json.access_token), true)
})

test('bodies that are too large, of another kind, or doubled are refused without work', async () => {
  const large = await app.post(
    '/oauth2/token',
    { grant_type: 'password', username: 'ada', password: 'x'.repeat(1e6) },
    web,
  )
  assert.equal(large.status, 413)
  const long = await app.post(
    '/oauth2/token',
    { grant_type: 'password', username: 'ada', password: 'x'.repeat(2_000) },
    web,
  )
  assert.equal(long.status, 400)
  assert.equal(long.json.error, 'invalid_request')
  const json = await app.send('POST', '/oauth2/token', {
    fields: { 'content-type': 'application/json' },
    body: JSON.stringify({ grant_type: 'password', username: 'ada', password: 'ada', client_id: 'swagger-ui' }),
  })
  assert.equal(json.status, 400)
  for (const [path, form] of [
    [
      '/oauth2/token',
      [
        ['grant_type', 'client_credentials'],
        ['grant_type', 'password'],
      ],
    ],
    [
      '/oauth2/revoke',
      [
        ['token', 'a.b.c'],
        ['token', 'd.e.f'],
      ],
    ],
    [
      '/oauth2/introspect',
      [
        ['token', 'a.b.c'],
        ['token', 'd.e.f'],
      ],
    ],
  ] as const)
    assert.equal((await app.post(path, form as never, web)).status, 400, path)
})
