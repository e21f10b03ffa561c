import assert from 'node:assert/strict'
import { spawnSync } from 'node:child_process'
import { join } from 'node:path'
import { describe, test } from 'node:test'
import { pathToFileURL } from 'node:url'
import { z } from 'zod'
import { embedded } from '../../src/issuer/embedded.ts'
import { createIssuer, type IssuerTools } from '../../src/issuer/issuer.ts'
import { embeddedSettings, IssuerRefused } from '../../src/issuer/settings.ts'
import { InvalidUsers } from '../../src/issuer/users.ts'
import { createMemoryStore } from '../../src/store/memory.ts'
import type { Store } from '../../src/store/store.ts'
import { silent } from '../../src/telemetry/log.ts'
import { startIssuer } from './issuer-app.ts'

describe('outside this machine', () => {
  const durable = (): Store => Object.assign(createMemoryStore({ now: Date.now, log: silent }), { durable: true })

  test('plain passwords are refused, unless they are asked for by name', async () => {
    const store = durable()
    await assert.rejects(startIssuer({ loopback: false, store }), (error: unknown) => {
      assert.ok(error instanceof InvalidUsers)
      return /"allowDemoUsers": true/.test(error.message)
    })
    const app = await startIssuer({ loopback: false, store, settings: { allowDemoUsers: true } })
    assert.match(app.logged.join('\n'), /the public URL is not https/)
    await app.stop()
    await store.close()
  })

  test('a store that forgets its keys is refused, unless it is asked for by name', async () => {
    await assert.rejects(startIssuer({ loopback: false, settings: { allowDemoUsers: true } }), (error: unknown) => {
      assert.ok(error instanceof IssuerRefused)
      return /"allowVolatileStore": true/.test(error.message)
    })
    const settings = { allowDemoUsers: true, allowVolatileStore: true }
    await (await startIssuer({ loopback: false, settings, publicUrl: 'https://gateway.test' })).stop()
  })
})

describe('settings', () => {
  const mistakesIn = (settings: object): string[] => {
    const parsed = embeddedSettings.safeParse(settings)
    return parsed.success ? [] : parsed.error.issues.map(({ path, message }) => `/${path.join('/')} ${message}`)
  }
  const client = (changes: object) => ({
    clients: [{ id: 'c', grants: ['client_credentials'], secret: 'a-long-secret', ...changes }],
  })

  test('have a default each', () => {
    const settings = embeddedSettings.parse({})
    assert.deepEqual(settings.grants, ['authorization_code', 'refresh_token', 'client_credentials'])
    assert.equal(settings.accessToken, 900_000)
    assert.equal(settings.refreshToken, 30 * 86_400_000)
    assert.equal(settings.refreshGrace, 10_000)
    assert.equal(settings.algorithm, 'RS256')
    assert.equal(settings.allowDemoUsers, false)
    assert.deepEqual(mistakesIn({ refreshGrace: false, refreshToken: '366d', accessToken: '24h' }), [])
  })

  test('that cannot work are refused with what would be right', () => {
    const wrong: readonly [object, RegExp][] = [
      [{ grants: ['implicit'] }, /\/grants\/0 a grant is one of authorization_code, /],
      [{ accessToken: '2d' }, /\/accessToken a duration is above zero and at most/],
      [{ algorithm: 'none' }, /\/algorithm/],
      [{ algorithm: 'HS256' }, /\/algorithm/],
      [{ user: 'x' }, /Unrecognized key: "user"/],
      [client({ id: 'swagger-ui' }), /\/clients\/0\/id "swagger-ui" is built in/],
      [client({ id: 'a:b' }), /\/clients\/0\/id a client id is/],
      [client({ secret: 'short' }), /\/clients\/0\/secret a client secret is at least 8/],
      [client({ secret: undefined }), /\/clients\/0\/grants "client_credentials" is for clients with a secret/],
      [client({ grants: [] }), /\/clients\/0\/grants a client without a grant can do nothing/],
      [
        client({ grants: ['authorization_code'] }),
        /\/clients\/0\/redirectUris "authorization_code" needs at least one/,
      ],
      [client({ grants: ['refresh_token'] }), /"refresh_token" goes with/],
      [client({ redirectUris: ['https://app.test/cb'] }), /redirect URIs are for "authorization_code"/],
      [client({ scopes: ['a b'] }), /\/clients\/0\/scopes\/0 a scope has no spaces/],
      ...['javascript:alert(1)', 'data:text/html,x', '/callback', 'https://app.test/#x'].map(
        (uri): [object, RegExp] => [
          client({ grants: ['authorization_code'], redirectUris: [uri] }),
          /\/clients\/0\/redirectUris\/0 a redirect URI/,
        ],
      ),
      [{ clients: [client({}).clients[0], client({}).clients[0]] }, /\/clients\/1\/id there are two clients "c"/],
    ]
    for (const [settings, expected] of wrong) assert.match(mistakesIn(settings).join('\n'), expected)
  })

  test('are described, every one, for the editor', () => {
    const schema = z.toJSONSchema(embedded.settings, { io: 'input', unrepresentable: 'any' })
    const properties = schema.properties as Record<string, { description?: string }>
    for (const [name, { description }] of Object.entries(properties)) assert.ok(description, name)
  })

  test('whose client wants what the issuer does not offer are refused at start', async () => {
    await assert.rejects(startIssuer({ settings: { grants: ['client_credentials'] } }), (error: unknown) => {
      assert.ok(error instanceof IssuerRefused)
      return /the client "web" has the grant "authorization_code"/.test(error.message)
    })
  })

  test('whose client the library would refuse at its first request are refused at start', async () => {
    const native = {
      id: 'app',
      grants: ['authorization_code'],
      redirectUris: ['com.example.app:/callback', 'http://not-loopback.test/callback'],
    }
    await assert.rejects(startIssuer({ settings: { clients: [native] } }), (error: unknown) => {
      assert.ok(error instanceof IssuerRefused)
      return /the client "app" cannot be used: redirect_uris for native clients/.test(error.message)
    })
  })
})

test('an issuer for clients alone needs no users', async () => {
  const store = createMemoryStore({ now: Date.now, log: silent })
  const tools: IssuerTools = {
    publicUrl: 'http://gateway.test',
    store,
    denylist: { revoke: async () => {}, isRevoked: () => false },
    issuedTokens: { record: async () => {}, isOnRecord: () => false },
    loopback: true,
    directory: '/',
    now: Date.now,
    log: silent,
    clients: embeddedSettings.parse({
      clients: [{ id: 'own', secret: 'a-long-secret', grants: ['client_credentials'] }],
    }).clients,
  }
  const issuer = await createIssuer(embeddedSettings.parse({ grants: ['client_credentials'] }), tools)
  assert.equal(issuer.metadata.authorization_endpoint, undefined)
  assert.equal(issuer.isActive({ issuer: issuer.issuer, subject: 'own' }), true)
  await issuer.close()
  await store.close()
})

test('nothing is printed and nothing is left running, whatever the issuer is asked', () => {
  const script = `
    const { startIssuer, tokensByCode, tokensByPassword, refresh, isActive, web, Browser } =
      await import(${JSON.stringify(pathToFileURL(join(import.meta.dirname, 'issuer-app.ts')).href)})
    const app = await startIssuer()
    const browser = new Browser(app)
    const tokens = await tokensByCode(app, browser)
    await refresh(app, (await tokensByPassword(app)).refresh_token)
    await isActive(app, tokens.access_token)
    await isActive(app, tokens.refresh_token)
    await app.post('/oauth2/token', { grant_type: 'client_credentials' }, ['reporter', 'a-secret-of-the-reporter'])
    await app.post('/oauth2/revoke', { token: tokens.refresh_token }, web)
    await app.send('GET', '/oauth2/jwks', { fields: { origin: 'https://x.test' } })
    await browser.get('/oauth2/authorize?client_id=unknown')
    await browser.submit(await browser.get('/oauth2/end-session'), { logout: 'yes' })
    await app.issuer.signingKeys.rotate()
    await app.stop()`
  const { status, stdout, stderr } = spawnSync(process.execPath, ['--input-type=module', '--eval', script], {
    encoding: 'utf8',
    timeout: 30_000,
  })
  assert.equal(stdout + stderr, '')
  assert.equal(status, 0)
})
