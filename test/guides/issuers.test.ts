import assert from 'node:assert/strict'
import { randomUUID } from 'node:crypto'
import { readFileSync } from 'node:fs'
import { join } from 'node:path'
import { after, before, describe, test } from 'node:test'
import { createTokenAuthenticator } from '../../src/authentication/bearer.ts'
import type { Caller } from '../../src/authentication/caller.ts'
import { oidcIssuer } from '../../src/authentication/issuers.ts'
import { readDefinition } from '../../src/config/load.ts'
import { silent } from '../../src/telemetry/log.ts'
import { bearing, json, mint, newKey, type SigningKey, serve, type TestServer } from '../authentication/minting.ts'

/** The examples of docs/guides/issuers.md, by the name of the issuer in them. */
const guide = readFileSync(join(import.meta.dirname, '..', '..', 'docs', 'guides', 'issuers.md'), 'utf8')
const examples = new Map(
  [...guide.matchAll(/^```json\n([\s\S]*?)^```$/gm)].map(([, text]) => {
    const example = JSON.parse(text!)
    return [Object.keys(example.issuers)[0]!, example]
  }),
)

interface Shape {
  readonly header: object
  /** Of an access token, without the times. */
  readonly access: Readonly<Record<string, unknown>>
  /** Of an ID token of the same login. */
  readonly id: Readonly<Record<string, unknown>>
  readonly expected: Partial<Caller>
}

const client = 'orders-web'
const tenant = '8f6d2c1e-5b7a-4e0d-9c3f-1a2b3c4d5e6f'
const shapes: Readonly<Record<string, Shape>> = {
  keycloak: {
    header: { typ: 'JWT' },
    access: {
      iss: 'https://keycloak.example.com/realms/acme',
      aud: ['orders-api', 'account'],
      sub: '0a1b',
      typ: 'Bearer',
      azp: client,
      sid: 'b7c3',
      acr: '1',
      realm_access: { roles: ['editor', 'offline_access'] },
      resource_access: { 'orders-api': { roles: ['approver'] }, account: { roles: ['manage-account'] } },
      scope: 'openid email profile',
      email_verified: true,
      preferred_username: 'ada',
      email: 'ada@acme.example',
    },
    id: {
      iss: 'https://keycloak.example.com/realms/acme',
      aud: client,
      sub: '0a1b',
      typ: 'ID',
      azp: client,
      at_hash: 'x',
      sid: 'b7c3',
    },
    expected: {
      subject: '0a1b',
      clientId: client,
      name: 'ada',
      email: 'ada@acme.example',
      roles: ['editor', 'offline_access', 'approver'],
      scopes: ['openid', 'email', 'profile'],
    },
  },
  entra: {
    header: { typ: 'JWT' },
    access: {
      iss: `https://login.microsoftonline.com/${tenant}/v2.0`,
      aud: '3e1f9a70-6c2d-4b8e-a5f4-0d9c8b7a6e5f',
      sub: 'pairwise-for-this-application',
      oid: '77aa',
      tid: tenant,
      azp: '11bb',
      azpacr: '1',
      name: 'Ada Lovelace',
      preferred_username: 'ada@acme.example',
      roles: ['Orders.Editor'],
      scp: 'Orders.Read Orders.Write',
      rh: '0.A',
      uti: 'u',
      ver: '2.0',
    },
    id: {
      iss: `https://login.microsoftonline.com/${tenant}/v2.0`,
      aud: '11bb',
      sub: 'pairwise',
      oid: '77aa',
      tid: tenant,
      nonce: 'n',
      ver: '2.0',
    },
    expected: {
      subject: '77aa',
      clientId: '11bb',
      name: 'Ada Lovelace',
      organization: tenant,
      roles: ['Orders.Editor'],
      scopes: ['Orders.Read', 'Orders.Write'],
    },
  },
  auth0: {
    header: { typ: 'JWT' },
    access: {
      iss: 'https://acme.eu.auth0.com/',
      aud: ['https://orders.acme.example', 'https://acme.eu.auth0.com/userinfo'],
      sub: 'auth0|507f',
      azp: client,
      scope: 'openid profile read:orders',
      permissions: ['read:orders', 'write:orders'],
      org_id: 'org_9',
      'https://acme.example/roles': ['editor', 'viewer'],
    },
    id: { iss: 'https://acme.eu.auth0.com/', aud: client, sub: 'auth0|507f', nonce: 'n', sid: 's', name: 'Ada' },
    expected: {
      subject: 'auth0|507f',
      clientId: client,
      organization: 'org_9',
      roles: ['editor', 'viewer'],
      permissions: ['read:orders', 'write:orders'],
      scopes: ['openid', 'profile', 'read:orders'],
    },
  },
  okta: {
    header: { typ: undefined },
    access: {
      ver: 1,
      iss: 'https://acme.okta.com/oauth2/default',
      aud: 'api://default',
      cid: '0oa1',
      uid: '00u1',
      scp: ['openid', 'orders'],
      sub: 'ada@acme.example',
      groups: ['Everyone', 'editors'],
    },
    id: {
      ver: 1,
      iss: 'https://acme.okta.com/oauth2/default',
      aud: '0oa1',
      sub: '00u1',
      amr: ['pwd'],
      idp: '00o1',
      at_hash: 'x',
      nonce: 'n',
    },
    expected: {
      subject: 'ada@acme.example',
      clientId: '0oa1',
      roles: ['Everyone', 'editors'],
      scopes: ['openid', 'orders'],
    },
  },
  cognito: {
    header: { typ: undefined },
    access: {
      iss: 'https://cognito-idp.eu-central-1.amazonaws.com/eu-central-1_Ab1Cd2Ef3',
      aud: 'https://orders.acme.example',
      sub: 'aaaa-bbbb',
      'cognito:groups': ['editors'],
      client_id: '1example',
      origin_jti: 'o',
      event_id: 'e',
      token_use: 'access',
      scope: 'openid orders/read',
      username: 'ada',
      version: 2,
    },
    id: {
      iss: 'https://cognito-idp.eu-central-1.amazonaws.com/eu-central-1_Ab1Cd2Ef3',
      aud: '1example',
      sub: 'aaaa-bbbb',
      'cognito:groups': ['editors'],
      'cognito:username': 'ada',
      token_use: 'id',
      email: 'ada@acme.example',
    },
    expected: {
      subject: 'aaaa-bbbb',
      clientId: '1example',
      name: 'ada',
      roles: ['editors'],
      scopes: ['openid', 'orders/read'],
    },
  },
}

let key: SigningKey
let endpoint: TestServer
before(async () => {
  key = newKey('RS256', 'the-key-of-the-issuer')
  endpoint = await serve(json({ keys: [key.jwk] }))
})
after(() => endpoint?.close())

/** What the gateway makes of a token when its services.json holds the example; only the address of the keys is ours. */
async function judge(name: string, claims: object, header: object) {
  const example = structuredClone(examples.get(name))
  example.issuers[name].jwksUri = `${endpoint.url}/keys`
  const text = JSON.stringify({
    ...example,
    services: [{ name: 'orders', path: '/orders', targets: ['http://127.0.0.1:1'], security: [{ bearer: [] }] }],
  })
  const settings = readDefinition(text, {}).issuers[name]!
  assert(settings.type === 'oidc')
  const now = Date.now
  const authenticator = createTokenAuthenticator({
    scheme: 'bearer',
    names: 'roles',
    location: { in: 'header', name: 'authorization' },
    issuers: [oidcIssuer.create(settings, { name, now, log: silent })],
    now,
  })
  const seconds = Math.floor(now() / 1_000)
  const times = { iat: seconds - 5, auth_time: seconds - 10, exp: seconds + 3_600, jti: randomUUID() }
  return authenticator.authenticate(bearing(mint(key, { ...times, ...claims }, header)))
}

describe('docs/guides/issuers.md', () => {
  test('has an example for every issuer that is tested here, and no other', () => {
    assert.deepEqual([...examples.keys()], Object.keys(shapes))
  })

  for (const [name, { header, access, id, expected }] of Object.entries(shapes)) {
    test(`${name}: who calls is read from an access token`, async () => {
      const authentication = await judge(name, access, header)
      assert(authentication.outcome === 'accepted', JSON.stringify(authentication))
      const { caller } = authentication
      const found = Object.fromEntries(
        Object.keys(expected).map((property) => [property, caller[property as keyof Caller]]),
      )
      assert.deepEqual(found, expected)
      assert.equal(caller.issuer, access['iss'])
    })

    test(`${name}: an ID token is refused, even one that is for the API`, async () => {
      for (const aud of [id['aud'], access['aud']]) {
        const authentication = await judge(name, { ...id, aud }, header)
        assert(authentication.outcome === 'rejected', `accepted with aud ${aud}`)
        assert.equal(authentication.problem.status, 401)
        assert.equal(authentication.reason, aud === id['aud'] ? 'audience' : 'id-token')
      }
    })

    test(`${name}: a token for another API, or of another tenant, is refused`, async () => {
      for (const [changes, reason] of [
        [{ aud: 'https://other.example' }, 'audience'],
        [{ aud: undefined }, 'missing-claim'],
        [{ iss: `${access['iss']}x` }, 'issuer'],
      ] as const) {
        const authentication = await judge(name, { ...access, ...changes }, header)
        assert.equal(authentication.outcome === 'rejected' && authentication.reason, reason)
      }
    })
  }
})
