import assert from 'node:assert/strict'
import { after, before, describe, test } from 'node:test'
import { createRemoteJWKSet, decodeJwt, decodeProtectedHeader, jwtVerify } from 'jose'
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
  app = await startIssuer()
})
after(() => app.stop())

const reporter = ['reporter', 'a-secret-of-the-reporter'] as const
const gateway = ['gateway', 'a-secret-of-the-gateway'] as const

describe('access tokens', () => {
  test('say everything the gateway decides by, and verify against the published keys', async () => {
    const { access_token } = await tokensByPassword(app)
    const keys = createRemoteJWKSet(new URL(`${app.base}/oauth2/jwks`))
    const { payload, protectedHeader } = await jwtVerify(access_token, keys, {
      issuer: 'http://gateway.test/oauth2',
      audience: 'http://gateway.test',
      algorithms: ['RS256'],
      typ: 'at+jwt',
    })
    assert.equal(typeof protectedHeader.kid, 'string')
    const { jti, iat, nbf, exp, fam, ...rest } = payload
    assert.match(String(jti), /^[\w-]{20,}$/)
    assert.match(String(fam), /^[\w-]{20,}$/)
    assert.equal(nbf, iat)
    assert.equal(exp! - iat!, 900)
    assert.deepEqual(rest, {
      iss: 'http://gateway.test/oauth2',
      aud: 'http://gateway.test',
      sub: 'u-1',
      client_id: 'web',
      scope: 'orders',
      roles: ['admin', 'editor'],
      permissions: ['orders:read', 'orders:write'],
      name: 'Ada Lovelace',
      email: 'ada@example.com',
      organization: 'engines',
    })
  })

  test('are what introspection says they are', async () => {
    const { access_token } = await tokensByPassword(app, 'bob')
    const { json } = await app.post('/oauth2/introspect', { token: access_token }, web)
    const claims = decodeJwt(access_token)
    assert.deepEqual(json, { active: true, token_type: 'Bearer', ...claims })
  })
})

describe('the password grant', () => {
  test('answers at /token too, without any name for the client', async () => {
    const answer = await app.post('/token', { grant_type: 'password', username: 'ada', password: 'ada' })
    assert.equal(answer.status, 200, answer.text)
    const { token_type, expires_in, scope, refresh_token, access_token } = answer.json
    assert.equal(token_type, 'Bearer')
    assert.equal(expires_in, 900)
    assert.equal(scope, 'orders invoices', 'everything the documentation page may have')
    assert.equal(decodeJwt(access_token)['client_id'], 'swagger-ui')
    assert.match(refresh_token, /^[\w-]{40,}$/)
    assert.equal(answer.fields['cache-control'], 'no-store')
  })

  test('takes what Swagger UI sends: a public client by Basic, without a secret', async () => {
    for (const secret of ['', 'undefined']) {
      const answer = await app.post(
        '/oauth2/token',
        { grant_type: 'password', username: 'ada', password: 'ada', scope: 'orders' },
        ['swagger-ui', secret],
        { origin: app.publicUrl },
      )
      assert.equal(answer.status, 200, answer.text)
    }
    const guessed = await app.post('/oauth2/token', { grant_type: 'password', username: 'ada', password: 'ada' }, [
      'swagger-ui',
      'guess',
    ])
    assert.equal(guessed.status, 401)
    const confidential = await app.post('/oauth2/token', { grant_type: 'password', username: 'ada', password: 'ada' }, [
      'web',
      '',
    ])
    assert.equal(confidential.status, 400)
  })

  test('says the same whether the user is unknown, locked out, or the password wrong', async () => {
    const answers = await Promise.all(
      [
        ['nobody', 'x'],
        ['ada', 'x'],
        ['eve', 'eve'],
        ['eve', 'x'],
      ].map(([username, password]) =>
        app.post('/oauth2/token', { grant_type: 'password', username: username!, password: password! }, web),
      ),
    )
    for (const { status, json } of answers) {
      assert.equal(status, 400)
      assert.deepEqual(json, { error: 'invalid_grant', error_description: 'wrong user name or password' })
    }
  })

  test('is not there unless it is named', async () => {
    const strict = await startIssuer({
      settings: { clients: [], grants: ['authorization_code', 'refresh_token', 'client_credentials'] },
    })
    const form = { grant_type: 'password', username: 'ada', password: 'ada' }
    const answer = await strict.post('/oauth2/token', { ...form, client_id: 'swagger-ui' })
    assert.equal(answer.status, 400)
    assert.equal(answer.json.error, 'unsupported_grant_type')
    const { json } = await strict.send('GET', '/oauth2/.well-known/openid-configuration')
    assert.ok(!json.grant_types_supported.includes('password'))
    await strict.stop()
  })

  test('gives scopes the client may have, and leaves the others out', async () => {
    const { scope, access_token } = await tokensByPassword(app, 'ada', 'orders admin openid nonsense')
    assert.equal(scope, 'orders')
    assert.equal(decodeJwt(access_token)['scope'], 'orders')
  })
})

describe('the authorization code grant', () => {
  test('brings tokens, with an ID token about the user and nobody asked for consent', async () => {
    const tokens = await tokensByCode(app)
    assert.equal(tokens.scope, 'orders')
    const { iss, aud, sub, name, email, roles, permissions, organization, preferred_username } = decodeJwt<
      Record<string, unknown>
    >(tokens.id_token)
    assert.deepEqual(
      { iss, aud, sub, name, email, roles, permissions, organization, preferred_username },
      {
        iss: 'http://gateway.test/oauth2',
        aud: 'web',
        sub: 'u-1',
        name: 'Ada Lovelace',
        email: 'ada@example.com',
        roles: ['admin', 'editor'],
        permissions: ['orders:read', 'orders:write'],
        organization: 'engines',
        preferred_username: 'ada',
      },
    )
    assert.notEqual(decodeProtectedHeader(tokens.id_token).typ, 'at+jwt')
    assert.equal(await isActive(app, tokens.id_token), false, 'an ID token is no access token')
  })

  test('sends state and iss along, and signs in once for several clients', async () => {
    const browser = new Browser(app)
    const first = await signIn(browser, authorizePath(pkce().challenge))
    assert.equal(first.get('state'), 'state-1')
    assert.equal(first.get('iss'), 'http://gateway.test/oauth2')
    const second = await browser.follow(
      authorizePath(pkce().challenge, { client_id: 'spa', redirect_uri: 'https://spa.test/cb' }),
    )
    assert.match(second.location ?? '', /^https:\/\/spa\.test\/cb\?code=/)
  })

  test('works for the documentation page, which names no scope and asks from its own origin', async () => {
    const { verifier, challenge } = pkce()
    const redirect = `${app.publicUrl}/docs/oauth2-redirect.html`
    const browser = new Browser(app)
    const page = await browser.follow(
      authorizePath(challenge, { client_id: 'swagger-ui', redirect_uri: redirect, scope: undefined }),
    )
    assert.match(page.text, /API documentation/)
    const form = /action="([^"]+)"/.exec(page.text)![1]!
    const csrf = /name="csrf" value="([^"]+)"/.exec(page.text)![1]!
    let answer = await browser.send('POST', form, {
      fields: { 'content-type': 'application/x-www-form-urlencoded', 'sec-fetch-site': 'same-origin' },
      body: new URLSearchParams({ csrf, username: 'bob', password: 'bob' }).toString(),
    })
    while (!String(answer.fields['location']).startsWith(redirect))
      answer = await browser.get(String(answer.fields['location']))
    const code = new URL(String(answer.fields['location'])).searchParams.get('code')!
    const redeemed = await app.post(
      '/oauth2/token',
      {
        grant_type: 'authorization_code',
        code,
        redirect_uri: redirect,
        code_verifier: verifier,
        client_id: 'swagger-ui',
      },
      undefined,
      { origin: app.publicUrl },
    )
    assert.equal(redeemed.status, 200, redeemed.text)
    assert.equal(redeemed.json.scope, 'orders invoices')
    assert.equal(decodeJwt(redeemed.json.access_token).sub, 'u-2')
  })

  test('lets a browser application ask from its own origin, and no other', async () => {
    const ask = (origin: string) =>
      app.post('/oauth2/token', { grant_type: 'refresh_token', refresh_token: 'x', client_id: 'spa' }, undefined, {
        origin,
      })
    const own = await ask('https://spa.test')
    assert.equal(own.json.error, 'invalid_grant')
    assert.equal(own.fields['access-control-allow-origin'], 'https://spa.test')
    const other = await ask('https://evil.test')
    assert.equal(other.json.error, 'invalid_request')
    assert.equal(other.fields['access-control-allow-origin'], undefined)
  })

  test('takes `resource` for this gateway only', async () => {
    const browser = new Browser(app)
    const good = await signIn(browser, authorizePath(pkce().challenge, { resource: app.publicUrl }))
    assert.ok(good.get('code'))
    const bad = await browser.follow(authorizePath(pkce().challenge, { resource: 'https://other.test/' }))
    assert.equal(new URL(bad.location!).searchParams.get('error'), 'invalid_target')
  })

  test('shows clients that ask for offline_access or consent no obstacle', async () => {
    const answer = await signIn(
      new Browser(app),
      authorizePath(pkce().challenge, { scope: 'openid offline_access orders', prompt: 'consent' }),
    )
    assert.ok(answer.get('code'), answer.toString())
  })
})

describe('client credentials', () => {
  test('give a client the roles and permissions of its definition', async () => {
    const answer = await app.post('/oauth2/token', { grant_type: 'client_credentials' }, reporter)
    assert.equal(answer.status, 200, answer.text)
    const { sub, client_id, roles, permissions, scope, aud, fam, nbf, iat } = decodeJwt<Record<string, unknown>>(
      answer.json.access_token,
    )
    assert.deepEqual(
      { sub, client_id, roles, permissions, scope, aud, fam },
      {
        sub: 'reporter',
        client_id: 'reporter',
        roles: ['service'],
        permissions: ['orders:read'],
        scope: 'orders',
        aud: 'http://gateway.test',
        fam: undefined,
      },
    )
    assert.equal(nbf, iat)
    assert.equal(answer.json.refresh_token, undefined)
    assert.equal(await isActive(app, answer.json.access_token), true)
  })

  test('take the secret from the form as well, and no wrong one', async () => {
    const form = { grant_type: 'client_credentials', client_id: reporter[0] }
    assert.equal((await app.post('/oauth2/token', { ...form, client_secret: reporter[1] })).status, 200)
    for (const client_secret of ['wrong', `${reporter[1]}x`]) {
      const answer = await app.post('/oauth2/token', { ...form, client_secret })
      assert.equal(answer.status, 401)
      assert.equal(answer.json.error, 'invalid_client')
    }
    assert.equal((await app.post('/oauth2/token', form)).status, 401)
  })

  test('are not for clients that have not got the grant', async () => {
    const answer = await app.post('/oauth2/token', { grant_type: 'client_credentials' }, web)
    assert.equal(answer.status, 400)
  })
})

describe('token exchange', () => {
  const accessTokenType = 'urn:ietf:params:oauth:token-type:access_token'
  const exchange = (form: Record<string, string>, as: readonly [string, string] = gateway) =>
    app.post(
      '/oauth2/token',
      {
        grant_type: 'urn:ietf:params:oauth:grant-type:token-exchange',
        subject_token_type: accessTokenType,
        ...form,
      },
      as,
    )

  test('gives a token for a service in the name of the user, and says who acts', async () => {
    const { access_token } = await tokensByPassword(app, 'ada', 'orders invoices')
    const answer = await exchange({ subject_token: access_token, audience: 'stock', scope: 'orders' })
    assert.equal(answer.status, 200, answer.text)
    assert.equal(answer.json.issued_token_type, accessTokenType)
    assert.equal(answer.json.refresh_token, undefined)
    const before = decodeJwt(access_token)
    const after = decodeJwt(answer.json.access_token)
    assert.equal(after.aud, 'stock')
    assert.equal(after.sub, 'u-1')
    assert.equal(after['client_id'], 'gateway')
    assert.deepEqual(after['act'], { sub: 'gateway' })
    assert.equal(after['scope'], 'orders')
    assert.equal(after['fam'], before['fam'])
    assert.deepEqual(after['roles'], ['admin', 'editor'])
    assert.ok(after.exp! <= before.exp!)
    assert.equal(decodeProtectedHeader(answer.json.access_token).typ, 'at+jwt')

    const again = await exchange({ subject_token: answer.json.access_token, audience: 'stock' })
    assert.deepEqual(decodeJwt(again.json.access_token)['act'], { sub: 'gateway', act: { sub: 'gateway' } })
  })

  test('dies with the login it came from', async () => {
    const { access_token, refresh_token } = await tokensByPassword(app)
    const exchanged = (await exchange({ subject_token: access_token, audience: 'stock' })).json.access_token
    assert.equal(await isActive(app, exchanged), true)
    await app.post('/oauth2/revoke', { token: refresh_token }, web)
    assert.equal(await isActive(app, exchanged), false)
    const late = await exchange({ subject_token: access_token })
    assert.equal(late.json.error, 'invalid_request')
  })

  test('exchanges what a client holds for itself', async () => {
    const own = await app.post('/oauth2/token', { grant_type: 'client_credentials' }, reporter)
    const answer = await exchange({ subject_token: own.json.access_token, audience: 'stock' })
    assert.equal(answer.status, 200, answer.text)
    const { sub, roles, act } = decodeJwt<Record<string, unknown>>(answer.json.access_token)
    assert.deepEqual({ sub, roles, act }, { sub: 'reporter', roles: ['service'], act: { sub: 'gateway' } })
  })

  test('refuses other audiences, more scopes, foreign and broken tokens, actors, and clients without the grant', async () => {
    const { access_token, id_token } = await tokensByCode(app)
    const broken = `${access_token.slice(0, -4)}AAAA`
    const refused: readonly [Record<string, string>, string][] = [
      [{ subject_token: access_token, audience: 'payroll' }, 'invalid_target'],
      [{ subject_token: access_token, scope: 'orders invoices' }, 'invalid_scope'],
      [{ subject_token: broken }, 'invalid_request'],
      [{ subject_token: id_token }, 'invalid_request'],
      [{ subject_token: 'opaque' }, 'invalid_request'],
      [{}, 'invalid_request'],
      [{ subject_token: access_token, actor_token: access_token }, 'invalid_request'],
      [
        { subject_token: access_token, subject_token_type: 'urn:ietf:params:oauth:token-type:saml2' },
        'invalid_request',
      ],
      [
        { subject_token: access_token, requested_token_type: 'urn:ietf:params:oauth:token-type:refresh_token' },
        'invalid_request',
      ],
    ]
    for (const [form, error] of refused) {
      const answer = await exchange(form)
      assert.equal(answer.status, 400, JSON.stringify(form))
      assert.equal(answer.json.error, error, JSON.stringify(form))
    }
    assert.equal((await exchange({ subject_token: access_token }, web)).status, 400)
  })
})

describe('discovery', () => {
  test('says the same at every address, and what the gateway says of itself', async () => {
    const paths = [
      '/oauth2/.well-known/openid-configuration',
      '/oauth2/.well-known/oauth-authorization-server',
      '/.well-known/oauth-authorization-server/oauth2',
    ]
    const documents = await Promise.all(paths.map((path) => app.send('GET', path)))
    for (const { status, json } of documents) {
      assert.equal(status, 200)
      assert.deepEqual(json, documents[0]!.json)
    }
    const { json } = documents[0]!
    const { openid_configuration, scopes_supported, grant_types_supported, ...endpoints } = app.issuer.metadata
    for (const [name, value] of Object.entries(endpoints)) assert.equal(json[name], value, name)
    assert.deepEqual([...grant_types_supported].sort(), [...json.grant_types_supported].sort())
    assert.equal(openid_configuration, 'http://gateway.test/oauth2/.well-known/openid-configuration')
    assert.deepEqual(scopes_supported, ['openid', 'profile', 'email', 'orders', 'invoices'])
  })

  test('offers nothing that is not wanted', async () => {
    const { json } = await app.send('GET', '/oauth2/.well-known/openid-configuration')
    assert.deepEqual(json.response_types_supported, ['code'])
    assert.deepEqual(json.code_challenge_methods_supported, ['S256'])
    assert.deepEqual(json.token_endpoint_auth_methods_supported, ['client_secret_basic', 'client_secret_post', 'none'])
    for (const name of [
      'registration_endpoint',
      'pushed_authorization_request_endpoint',
      'device_authorization_endpoint',
      'userinfo_endpoint',
      'backchannel_authentication_endpoint',
    ])
      assert.equal(json[name], undefined, name)
    for (const path of [
      '/oauth2/reg',
      '/oauth2/request',
      '/oauth2/device',
      '/oauth2/me',
      '/oauth2/auth',
      '/oauth2/TOKEN',
    ]) {
      assert.equal((await app.send('POST', path)).status, 404, path)
    }
  })

  test('publishes public keys only', async () => {
    const { json, fields } = await app.send('GET', '/oauth2/jwks')
    assert.ok(json.keys.length >= 1)
    for (const key of json.keys) {
      for (const member of ['d', 'p', 'q', 'dp', 'dq', 'qi', 'k', 'oth']) assert.equal(key[member], undefined)
      assert.equal(key.alg, 'RS256')
    }
    assert.deepEqual(app.issuer.keySource.keys(), json.keys)
    assert.equal(fields['cache-control'], 'public, max-age=300')
  })

  test('says which methods a path offers, and lets everything else pass', async () => {
    const wrong = await app.send('GET', '/oauth2/token')
    assert.equal(wrong.status, 405)
    assert.equal(wrong.fields['allow'], 'POST')
    assert.equal((await app.send('GET', '/token')).status, 405)
    assert.equal((await app.send('HEAD', '/oauth2/jwks')).status, 200)
    for (const path of ['/', '/oauth', '/oauth2x', '/tokens', '/.well-known/oauth-authorization-server'])
      assert.equal((await app.send('GET', path)).status, 418, path)
  })
})

test('ES256 tokens come with an ES256 key', async () => {
  const es = await startIssuer({ settings: { algorithm: 'ES256' } })
  const tokens = await tokensByCode(es)
  const { json } = await es.send('GET', '/oauth2/jwks')
  for (const token of [tokens.access_token, tokens.id_token]) {
    assert.equal(decodeProtectedHeader(token).alg, 'ES256')
    assert.equal(decodeProtectedHeader(token).kid, json.keys[0].kid)
  }
  assert.equal((await refresh(es, tokens.refresh_token)).status, 200)
  await es.stop()
})

test('a client may have its own lifetime, and the operator another audience', async () => {
  const other = await startIssuer({
    settings: {
      audience: 'api',
      accessToken: '5m',
      clients: [
        {
          id: 'web',
          secret: web[1],
          grants: ['password', 'refresh_token', 'authorization_code'],
          accessToken: '1h',
          redirectUris: [redirectUri],
        },
        { id: 'reporter', secret: reporter[1], grants: ['client_credentials'] },
      ],
    },
  })
  const { access_token } = await tokensByPassword(other)
  const claims = decodeJwt(access_token)
  assert.equal(claims.aud, 'api')
  assert.equal(claims.exp! - claims.iat!, 3_600)
  const own = await other.post('/oauth2/token', { grant_type: 'client_credentials' }, reporter)
  const machine = decodeJwt(own.json.access_token)
  assert.equal(machine.exp! - machine.iat!, 300)
  assert.equal(machine.aud, 'api')
  assert.equal(machine['scope'], undefined)
  await other.stop()
})
