import assert from 'node:assert/strict'
import { createPublicKey, createSecretKey, type JsonWebKey } from 'node:crypto'
import { createServer } from 'node:http'
import type { AddressInfo } from 'node:net'
import { after, afterEach, describe, test } from 'node:test'
import { exportJWK, generateKeyPair } from 'jose'
import { Provider } from 'oidc-provider'
import { createTokenAuthenticator } from '../../src/authentication/bearer.ts'
import { embeddedTokenIssuer, introspectionIssuer, oidcIssuer, secretIssuer } from '../../src/authentication/issuers.ts'
import type { TokenIssuer } from '../../src/authentication/token-issuer.ts'
import { oneOf } from '../../src/kind.ts'
import { silent } from '../../src/telemetry/log.ts'
import { skipWithoutShared, vectors } from '../vectors.ts'
import {
  bearing,
  goodClaims,
  json,
  keySource,
  mint,
  newKey,
  type SigningKey,
  serve,
  startOfTest,
  type TestServer,
  testClock,
} from './minting.ts'

const schema = oneOf([oidcIssuer, secretIssuer, introspectionIssuer])

/** What the operator is told, each with the path it is about. */
function mistakes(settings: object): string[] {
  const result = schema.safeParse(settings)
  return result.success ? [] : result.error.issues.map(({ path, message }) => `/${path.join('/')} ${message}`)
}

const oidc = { type: 'oidc', issuer: 'https://issuer.test', audience: 'gateway' }
const strong = 'kV9#mQ2$xR7!pL4@wZ8%nB3^tC6&yH1*fJ5(gD0)sA-eUiOqWzXcVbNm+=TrYlKj'
const secretSettings = { issuer: 'https://old.test', audience: 'api', secret: strong }
const secret = { type: 'secret', ...secretSettings }

function authenticatorFor(issuers: readonly TokenIssuer[], now = testClock().now) {
  return createTokenAuthenticator({
    scheme: 'bearer',
    names: 'roles',
    location: { in: 'header', name: 'authorization' },
    issuers,
    now,
  })
}

async function ask(issuer: TokenIssuer, token: string, now = testClock().now): Promise<string> {
  const authentication = await authenticatorFor([issuer], now).authenticate(bearing(token))
  return authentication.outcome === 'rejected'
    ? `${authentication.problem.status} ${authentication.reason}`
    : authentication.outcome
}

describe('the settings of an issuer', () => {
  test('are few when the defaults are right', () => {
    assert.deepEqual(mistakes(oidc), [])
    assert.deepEqual(mistakes(secret), [])
    assert.deepEqual(schema.parse(oidc), {
      type: 'oidc',
      issuer: 'https://issuer.test',
      audience: ['gateway'],
      algorithms: ['RS256'],
      keysMaxAge: 600_000,
      keysStaleFor: 259_200_000,
      idTokens: false,
      clockTolerance: 5_000,
      maxLifetime: 86_400_000,
      requiredClaims: ['sub', 'iat'],
      headerParameters: [],
      revocation: 'denylist',
    })
  })

  for (const [title, settings, mistake] of [
    ['no audience', { ...oidc, audience: undefined }, /^\/audience the audience is a string/],
    ['an empty audience', { ...oidc, audience: '' }, /^\/audience/],
    ['an empty list of audiences', { ...oidc, audience: [] }, /^\/audience/],
    ['an issuer that is no URL', { ...oidc, issuer: 'issuer' }, /^\/issuer the issuer is a URL/],
    ['an issuer with a query', { ...oidc, issuer: 'https://issuer.test?a' }, /^\/issuer .*no query/],
    ['no signatures at all', { ...oidc, algorithms: ['none'] }, /^\/algorithms\/0 "none" would accept/],
    [
      'a secret’s algorithm for public keys',
      { ...oidc, algorithms: ['RS256', 'HS256'] },
      /^\/algorithms\/1 HS256 needs a shared secret/,
    ],
    [
      'an algorithm for public keys with a secret',
      { ...secret, algorithms: ['RS256'] },
      /^\/algorithms\/0 RS256 needs public keys/,
    ],
    ['an algorithm nobody knows', { ...oidc, algorithms: ['RS257'] }, /^\/algorithms\/0 one of RS256/],
    ['a tolerance that is a number', { ...oidc, clockTolerance: 60 }, /^\/clockTolerance/],
    ['a tolerance without a unit', { ...oidc, clockTolerance: '60' }, /^\/clockTolerance/],
    ['a tolerance of an hour', { ...oidc, clockTolerance: '1h' }, /^\/clockTolerance/],
    ['a key address that is no web address', { ...oidc, jwksUri: 'file:///etc/keys' }, /^\/jwksUri/],
    ['a key that is written by mistake', { ...oidc, audiance: 'a' }, /audiance/],
    ['an unknown claim to map', { ...oidc, claims: { role: 'roles' } }, /role/],
    ['no secret', { ...secret, secret: undefined }, /^\/secret the secret is a string/],
    ['no endpoint', { type: 'introspection', clientId: 'a', clientSecret: 'b' }, /^\/endpoint/],
    [
      'no password for the endpoint',
      { type: 'introspection', endpoint: 'https://i.test', clientId: 'a', clientSecret: '' },
      /^\/clientSecret/,
    ],
  ] as const) {
    test(`are refused with ${title}`, () => {
      const told = mistakes(settings)
      assert.ok(
        told.some((one) => mistake.test(one)),
        told.join('\n'),
      )
    })
  }
})

describe('a shared secret', () => {
  const pem = createPublicKey({ key: newKey('RS256').jwk as JsonWebKey, format: 'jwk' }).export({
    type: 'spki',
    format: 'pem',
  }) as string

  for (const [title, settings, mistake] of [
    ['shorter than 32 bytes for HS256', { secret: strong.slice(0, 31) }, /31 bytes; at least 32/],
    ['shorter than 48 bytes for HS384', { secret: strong.slice(0, 47), algorithms: ['HS384'] }, /at least 48/],
    [
      'shorter than 64 bytes for HS512 among others',
      { secret: strong.slice(0, 63), algorithms: ['HS256', 'HS512'] },
      /at least 64/,
    ],
    ['that is a public key', { secret: pem }, /text of a key/],
    ['that is a public key with its line breaks spelled out', { secret: pem.replaceAll('\n', '\\n') }, /text of a key/],
    ['that is a JWK', { secret: JSON.stringify(newKey('RS256').jwk) }, /text of a key/],
    ['with a line break at its end', { secret: `${strong}\n` }, /white space/],
    ['that repeats itself', { secret: '0123456789abcdef0123456789abcdef' }, /repeats itself/],
    ['of a few characters', { secret: 'abababaabababbbabaababbaabababab' }, /repeats itself/],
    ['that is an identifier', { secret: 'c787de55-83bd-4ada-8911-4c9c9557b40d' }, /UUID/],
    ['from a tutorial', { secret: '09d25e094faa6ca2556c818166b7a9563b93f7099f6f0f4caa6cf63b88e8d3e7' }, /published/],
    ['from a quick start', { secret: 'super-secret-jwt-token-with-at-least-32-characters-long' }, /published/],
    ['that is not the base64 it should be', { secret: `${strong}`, secretEncoding: 'base64' }, /is not base64/],
    [
      'whose bytes are too few, however long its text',
      { secret: Buffer.alloc(31, 'k1l2m3n4').toString('hex'), secretEncoding: 'hex' },
      /31 bytes/,
    ],
  ] as const) {
    test(`is refused ${title}, and not repeated in the message`, () => {
      const changed = { ...secret, ...settings }
      const told = mistakes(changed)
      assert.equal(told.length, 1)
      assert.match(told[0]!, mistake)
      assert.match(told[0]!, /^\/secret /)
      assert.ok(!told[0]!.includes(settings.secret))
      assert.throws(
        () =>
          secretIssuer.create(secretIssuer.settings.parse({ ...secretSettings, ...settings }), {
            name: 'old',
            now: Date.now,
            log: silent,
          }),
        mistake,
      )
    })
  }

  test('is refused when everybody knows it', { skip: skipWithoutShared }, () => {
    const known: string[] = vectors('known-jwt-secrets.json').cases
    const accepted = known.filter((text) => mistakes({ ...secret, secret: text }).length === 0)
    // Without the white space that all of them end in, which alone would be reason enough.
    const trimmed = known.filter((text) => mistakes({ ...secret, secret: text.trim() }).length === 0)
    assert.equal(known.length, 1_000)
    assert.deepEqual([accepted, trimmed], [[], []])
  })

  for (const encoding of ['base64', 'base64url', 'hex'] as const) {
    test(`may be bytes that are no text, written as ${encoding}`, async () => {
      const bytes = createSecretKey(Buffer.from(strong)).export()
      const settings = secretIssuer.settings.parse({
        ...secretSettings,
        secret: bytes.toString(encoding),
        secretEncoding: encoding,
      })
      const issuer = secretIssuer.create(settings, { name: 'old', now: Date.now, log: silent })
      const key: SigningKey = { kid: '', algorithm: 'HS256', privateKey: createSecretKey(bytes), jwk: {} }
      const claims = goodClaims({ iss: 'https://old.test', aud: 'api' })
      assert.equal(await ask(issuer, mint(key, claims, { typ: 'JWT', kid: undefined })), 'accepted')
    })
  }

  test('has a kid only where the operator gave it one', async () => {
    const issuerWith = (keyId?: string) =>
      secretIssuer.create(secretIssuer.settings.parse({ ...secretSettings, ...(keyId && { keyId }) }), {
        name: 'old',
        now: Date.now,
        log: silent,
      })
    const key: SigningKey = { kid: 'k1', algorithm: 'HS256', privateKey: createSecretKey(Buffer.from(strong)), jwk: {} }
    const claims = goodClaims({ iss: 'https://old.test', aud: 'api' })
    const tokens = [{ kid: 'k1' }, { kid: '../../dev/null' }, { kid: undefined }].map((header) =>
      mint(key, claims, header),
    )
    assert.deepEqual(await Promise.all(tokens.map((token) => ask(issuerWith(), token))), [
      'accepted',
      'accepted',
      'accepted',
    ])
    assert.deepEqual(await Promise.all(tokens.map((token) => ask(issuerWith('k1'), token))), [
      'accepted',
      '401 key',
      '401 key',
    ])
    const other = mint({ ...key, algorithm: 'HS512' }, claims, { kid: 'k1' })
    assert.equal(await ask(issuerWith(), other), '401 algorithm')
  })
})

describe('an OpenID issuer', () => {
  const running: TestServer[] = []
  afterEach(async () => {
    await Promise.all(running.splice(0).map((server) => server.close()))
  })

  /** An issuer that publishes metadata and keys; `metadata` changes what it says of itself. */
  async function publishing(keys: readonly SigningKey[], metadata: (url: string) => object = () => ({})) {
    const server = await serve(() => {})
    running.push(server)
    server.answer = (request, response) => {
      if (request.url === '/tenant/.well-known/openid-configuration') {
        const issuer = `${server.url}/tenant`
        json({
          issuer,
          jwks_uri: `${server.url}/keys`,
          token_endpoint: `${server.url}/token`,
          ...metadata(server.url),
        })(request, response)
      } else if (request.url === '/keys') json({ keys: keys.map(({ jwk }) => jwk) })(request, response)
      else {
        response.statusCode = 404
        response.end()
      }
    }
    return server
  }

  function created(url: string, changes: object = {}, now = testClock().now, warnings: string[] = []) {
    const settings = oidcIssuer.settings.parse({ issuer: `${url}/tenant`, audience: 'gateway', ...changes })
    const log = { ...silent, warn: (_facts: object, message: string) => void warnings.push(message) }
    return oidcIssuer.create(settings, { name: 'external', now, log, random: () => 0.5 })
  }

  const key = newKey('RS256', 'key-1')

  test('is discovered, and its keys are fetched, when the first of 100 tokens arrives', async () => {
    const server = await publishing([key])
    const issuer = created(server.url)
    assert.deepEqual(server.hits, [])
    const authenticator = authenticatorFor([issuer])
    const tokens = Array.from({ length: 100 }, (_, index) =>
      mint(key, goodClaims({ iss: `${server.url}/tenant`, jti: `token-${index}` })),
    )
    const answers = await Promise.all(tokens.map((token) => authenticator.authenticate(bearing(token))))
    assert.deepEqual(new Set(answers.map(({ outcome }) => outcome)), new Set(['accepted']))
    assert.deepEqual(server.hits, ['/tenant/.well-known/openid-configuration', '/keys'])
  })

  test('is not asked for anything by tokens of strangers', async () => {
    const server = await publishing([key])
    const authenticator = authenticatorFor([created(server.url)])
    for (let made = 0; made < 20; made += 1) {
      await authenticator.authenticate(bearing(mint(key, goodClaims({ iss: `https://stranger-${made}.test` }))))
    }
    assert.deepEqual(server.hits, [])
  })

  for (const [title, metadata] of [
    ['another issuer', () => ({ issuer: 'https://evil.test' })],
    ['itself with a slash more', (url: string) => ({ issuer: `${url}/tenant/` })],
    ['no place for its keys', () => ({ jwks_uri: undefined })],
    ['a place for its keys that is no web address', () => ({ jwks_uri: 'file:///etc/keys' })],
  ] as const) {
    test(`is not believed when its metadata names ${title}: 503, since nobody can check`, async () => {
      const server = await publishing([key], metadata)
      const issuer = created(server.url)
      assert.equal(await ask(issuer, mint(key, goodClaims({ iss: `${server.url}/tenant` }))), '503 unavailable')
      await assert.rejects(issuer.metadata!())
      assert.ok(!server.hits.includes('/keys'))
    })
  }

  test('with TLS cannot send us to keys without', async () => {
    const issuer = oidcIssuer.create(oidcIssuer.settings.parse({ issuer: 'https://issuer.test', audience: 'a' }), {
      name: 'external',
      now: Date.now,
      log: silent,
      fetchJson: async () => ({ issuer: 'https://issuer.test', jwks_uri: 'http://issuer.test/keys' }),
    })
    await assert.rejects(issuer.metadata!(), /jwks_uri must be https/)
  })

  test('needs no discovery when the operator says where the keys are', async () => {
    const server = await publishing([key])
    const issuer = created(server.url, { jwksUri: `${server.url}/keys` })
    assert.equal(await ask(issuer, mint(key, goodClaims({ iss: `${server.url}/tenant` }))), 'accepted')
    assert.deepEqual(server.hits, ['/keys'])
  })

  test('is asked again where its keys are after they could not be fetched', async () => {
    let path = '/gone'
    const server = await publishing([key], (url) => ({ jwks_uri: `${url}${path}` }))
    const clock = testClock()
    const issuer = created(server.url, {}, clock.now)
    const token = mint(key, goodClaims({ iss: `${server.url}/tenant` }))
    assert.equal(await ask(issuer, token, clock.now), '503 unavailable')
    path = '/keys'
    clock.advance(1)
    assert.equal(await ask(issuer, token, clock.now), 'accepted')
  })

  test('is asked once about itself, by however many', async () => {
    const server = await publishing([key])
    const issuer = created(server.url)
    const all = await Promise.all(Array.from({ length: 20 }, () => issuer.metadata!()))
    assert.equal(all[0]!.tokenEndpoint, `${server.url}/token`)
    assert.deepEqual(all[0]!.grantTypes, ['authorization_code', 'implicit'])
    assert.equal(server.hits.length, 1)
  })

  test('without TLS on another machine is worth a warning', () => {
    const warnings: string[] = []
    created('http://keycloak.internal:8080', {}, Date.now, warnings)
    created('http://127.0.0.1:8080', {}, Date.now, warnings)
    assert.equal(warnings.length, 1)
    assert.match(warnings[0]!, /without TLS/)
  })

  test('writes its claims where the operator says: Keycloak, Auth0, Entra', async () => {
    const server = await publishing([key])
    const read = async (claims: object, map: object) => {
      const issuer = created(server.url, { claims: map })
      const token = mint(
        key,
        goodClaims({ iss: `${server.url}/tenant`, roles: undefined, scope: undefined, ...claims }),
        { typ: 'JWT' },
      )
      const authentication = await authenticatorFor([issuer]).authenticate(bearing(token))
      assert.ok(authentication.outcome === 'accepted', JSON.stringify(authentication))
      const { subject, roles, permissions, scopes, organization } = authentication.caller
      return { subject, roles, permissions, scopes, organization }
    }
    assert.deepEqual(
      await read(
        {
          typ: 'Bearer',
          scope: 'openid profile',
          realm_access: { roles: ['editor', 'user'] },
          resource_access: { shop: { roles: ['buyer', 'user'] } },
          organization: ['acme'],
        },
        { roles: ['realm_access.roles', 'resource_access.shop.roles'] },
      ),
      {
        subject: 'user-1',
        roles: ['editor', 'user', 'buyer'],
        permissions: [],
        scopes: ['openid', 'profile'],
        organization: undefined,
      },
    )
    assert.deepEqual(
      await read(
        { 'https://acme.test/roles': ['admin'], permissions: ['orders:read'], org_id: 'org_1' },
        { roles: 'https://acme.test/roles' },
      ),
      { subject: 'user-1', roles: ['admin'], permissions: ['orders:read'], scopes: [], organization: 'org_1' },
    )
    assert.deepEqual(
      await read(
        { oid: 'object-1', tid: 'tenant-1', scp: 'Orders.Read Orders.Write', 'a.b': { 'c/d': 'x, y  z' } },
        { subject: 'oid', roles: '/a.b/c~1d' },
      ),
      {
        subject: 'object-1',
        roles: ['x', 'y', 'z'],
        permissions: [],
        scopes: ['Orders.Read', 'Orders.Write'],
        organization: 'tenant-1',
      },
    )
  })

  test('cannot give a role by a claim’s prototype, nor two by a comma in one', async () => {
    const server = await publishing([key])
    const issuer = created(server.url, { claims: { roles: ['constructor.name', 'roles'], organization: 'toString' } })
    const token = mint(key, goodClaims({ iss: `${server.url}/tenant`, roles: ['user,admin'] }))
    const authentication = await authenticatorFor([issuer]).authenticate(bearing(token))
    assert.ok(authentication.outcome === 'accepted')
    assert.deepEqual(authentication.caller.roles, ['user,admin'])
    assert.equal(authentication.caller.organization, undefined)
  })
})

describe('a certified OpenID provider (oidc-provider)', async () => {
  const { privateKey } = await generateKeyPair('RS256', { extractable: true })
  const server = createServer()
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve))
  const url = `http://127.0.0.1:${(server.address() as AddressInfo).port}`
  const provider = new Provider(url, {
    jwks: { keys: [{ ...(await exportJWK(privateKey)), kid: 'provider-1', use: 'sig', alg: 'RS256' }] },
    clients: [
      {
        client_id: 'job',
        client_secret: 'a-secret-of-the-job-that-is-long',
        grant_types: ['client_credentials'],
        redirect_uris: [],
        response_types: [],
      },
    ],
    cookies: { keys: ['not used here'] },
    ttl: { ClientCredentials: 600 },
    features: {
      devInteractions: { enabled: false },
      clientCredentials: { enabled: true },
      introspection: { enabled: true, allowedPolicy: () => true },
      resourceIndicators: {
        enabled: true,
        defaultResource: () => 'urn:api',
        getResourceServerInfo: (_context, resource) => ({
          scope: 'orders users',
          audience: resource,
          accessTokenFormat: resource === 'urn:opaque' ? 'opaque' : 'jwt',
          jwt: { sign: { alg: 'RS256' } },
        }),
      },
    },
  })
  server.on('request', provider.callback())
  after(
    () =>
      new Promise<void>((resolve) => {
        server.close(() => resolve())
        server.closeAllConnections()
      }),
  )

  async function issued(resource: string): Promise<string> {
    const response = await fetch(`${url}/token`, {
      method: 'POST',
      headers: { authorization: `Basic ${Buffer.from('job:a-secret-of-the-job-that-is-long').toString('base64')}` },
      body: new URLSearchParams({ grant_type: 'client_credentials', scope: 'orders', resource }),
    })
    const { access_token: token } = (await response.json()) as { access_token: string }
    assert.ok(token)
    return token
  }

  const tools = { name: 'external', now: Date.now, log: silent }

  test('is discovered, and its access tokens are believed', async () => {
    const issuer = oidcIssuer.create(
      oidcIssuer.settings.parse({ issuer: url, audience: 'urn:api', typ: 'at+jwt' }),
      tools,
    )
    const token = await issued('urn:api')
    const authentication = await authenticatorFor([issuer], Date.now).authenticate(bearing(token))
    assert.ok(authentication.outcome === 'accepted', JSON.stringify(authentication))
    const { subject, clientId, scopes, issuer: from } = authentication.caller
    assert.deepEqual(
      { subject, clientId, scopes, from },
      { subject: 'job', clientId: 'job', scopes: ['orders'], from: url },
    )
    assert.equal((await issuer.metadata!()).tokenEndpoint, `${url}/token`)
  })

  test('has tokens for others refused', async () => {
    const issuer = oidcIssuer.create(oidcIssuer.settings.parse({ issuer: url, audience: 'urn:other' }), tools)
    assert.equal(await ask(issuer, await issued('urn:api'), Date.now), '401 audience')
  })

  test('is asked about its opaque tokens', async () => {
    const settings = introspectionIssuer.settings.parse({
      endpoint: `${url}/token/introspection`,
      clientId: 'job',
      clientSecret: 'a-secret-of-the-job-that-is-long',
      audience: 'urn:opaque',
    })
    const issuer = introspectionIssuer.create(settings, tools)
    const authentication = await authenticatorFor([issuer], Date.now).authenticate(bearing(await issued('urn:opaque')))
    assert.ok(authentication.outcome === 'accepted', JSON.stringify(authentication))
    assert.deepEqual(authentication.caller.scopes, ['orders'])
    assert.equal(await ask(issuer, 'made-up-token', Date.now), '401 inactive')
  })
})

describe('the built-in issuer', () => {
  const key = newKey('RS256', 'key-1')
  const source = keySource([key.jwk])
  const make = (changes: Partial<Parameters<typeof embeddedTokenIssuer>[0]> = {}) =>
    embeddedTokenIssuer({
      name: 'local',
      issuer: 'http://localhost:8080/oauth2',
      audiences: ['http://localhost:8080'],
      algorithms: ['RS256'],
      keys: source,
      metadata: () => Promise.reject(new Error('not here')),
      log: silent,
      ...changes,
    })
  const claims = (changes: object = {}) =>
    goodClaims({ iss: 'http://localhost:8080/oauth2', aud: 'http://localhost:8080', fam: 'grant-1', ...changes })

  test('is believed its access tokens, with the family that revocation names', async () => {
    const authentication = await authenticatorFor([make()]).authenticate(bearing(mint(key, claims())))
    assert.ok(authentication.outcome === 'accepted')
    assert.equal(authentication.caller.family, 'grant-1')
  })

  test('runs by our clock: what has expired has expired', async () => {
    const clock = testClock()
    const token = mint(key, claims({ exp: startOfTest + 2 }))
    assert.equal(await ask(make(), token, clock.now), 'accepted')
    clock.advance(2)
    assert.equal(await ask(make(), token, clock.now), '401 expired')
  })

  test('has its ID tokens and everything without a token id refused', async () => {
    assert.equal(await ask(make(), mint(key, claims(), { typ: 'JWT' })), '401 type')
    assert.equal(await ask(make(), mint(key, claims({ jti: undefined }))), '401 missing-claim')
  })

  test('may rotate its keys at any moment', async () => {
    const rotating = keySource([key.jwk])
    const issuer = make({ keys: rotating })
    const next = newKey('RS256', 'key-2')
    assert.equal(await ask(issuer, mint(next, claims())), '401 key')
    rotating.replace([key.jwk, next.jwk])
    assert.equal(await ask(issuer, mint(next, claims())), 'accepted')
    rotating.replace([next.jwk])
    assert.equal(await ask(issuer, mint(key, claims())), '401 key')
    issuer.close!()
    rotating.replace([key.jwk])
    assert.equal(await ask(issuer, mint(key, claims())), '401 key', 'nobody listens any more')
  })

  test('may have a key for ID tokens besides, which signs no access token', async () => {
    const forIdTokens = newKey('EdDSA', 'key-3')
    const issuer = make({ keys: keySource([key.jwk, forIdTokens.jwk]) })
    assert.equal(await ask(issuer, mint(key, claims())), 'accepted')
    assert.equal(await ask(issuer, mint(forIdTokens, claims())), '401 algorithm')
  })

  test('keeps its keys when it hands over something that is none, and cannot begin with it', async () => {
    const broken = keySource([key.jwk])
    const issuer = make({ keys: broken })
    broken.replace([{ kty: 'oct', k: 'AAAA' }])
    assert.equal(await ask(issuer, mint(key, claims())), 'accepted')
    assert.throws(() => make({ keys: broken }), /no key of the built-in issuer is usable: symmetric/)
  })
})
