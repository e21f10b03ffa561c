import assert from 'node:assert/strict'
import { createHmac, randomUUID } from 'node:crypto'
import { mkdtemp, rm, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { after, before, describe, test } from 'node:test'
import { decodeJwt, decodeProtectedHeader, importJWK, type JWK, SignJWT } from 'jose'
import { run } from '../../src/cli/run.ts'
import { openSqliteStore } from '../../src/store/sqlite.ts'
import { silent } from '../../src/telemetry/log.ts'
import { type Backend, startBackend } from '../backend.ts'
import { startProvider } from '../openid-provider.ts'
import { eventually, type GatewayUnderTest, startGateway } from '../sallyport.ts'

/** What is revoked at one gateway is refused at the other within a second; a busy machine may take longer. */
const within = 3_000
const partnerSecret = 'a secret of thirty-two bytes and more, for tests'

let folder: string
let backend: Backend
/** Two gateways on one store. */
let one: GatewayUnderTest
let other: GatewayUnderTest

const users = (active: Readonly<Record<string, boolean>> = {}) =>
  JSON.stringify(
    ['ada', 'bob', 'dora'].map((name) => ({ username: name, password: name, active: active[name] ?? true })),
  )

const definition = () => ({
  gateway: { publicUrl: 'http://gateway.example' },
  store: { type: 'sqlite', path: join(folder, 'store.db') },
  issuers: {
    local: {
      type: 'embedded',
      users: 'users.json',
      revocation: 'allowlist',
      grants: ['password', 'refresh_token', 'client_credentials'],
      clients: [
        { id: 'app', secret: 'a-secret-of-the-app', grants: ['password', 'refresh_token', 'client_credentials'] },
      ],
    },
    partner: {
      type: 'secret',
      issuer: 'https://partner.example',
      audience: 'api',
      secret: partnerSecret,
      revocation: 'allowlist',
    },
  },
  securitySchemes: {
    bearer: { type: 'http', scheme: 'bearer' },
    apiKey: { type: 'apiKey', in: 'header', name: 'X-API-Key' },
  },
  services: [
    {
      name: 'orders',
      path: '/orders',
      targets: [backend.url],
      openapi: false,
      security: [{ bearer: [] }, { apiKey: [] }],
    },
  ],
})

before(async () => {
  folder = await mkdtemp(join(tmpdir(), 'sallyport-revocation-'))
  backend = await startBackend()
  const files = {
    'users.json': users(),
  }
  one = await startGateway(definition(), { files })
  other = await startGateway(definition(), { files })
})
after(async () => {
  await one?.[Symbol.asyncDispose]()
  await other?.[Symbol.asyncDispose]()
  await backend?.[Symbol.asyncDispose]()
  await rm(folder, { recursive: true })
})

const basic = `Basic ${Buffer.from('app:a-secret-of-the-app').toString('base64')}`
async function form(path: string, fields: Record<string, string>, at = one) {
  const init = { method: 'POST', headers: { Authorization: basic }, body: new URLSearchParams(fields) }
  const response = await fetch(at.url + path, init)
  const text = await response.text()
  // biome-ignore lint/suspicious/noExplicitAny: an answer of OAuth
  return { status: response.status, json: (text.startsWith('{') ? JSON.parse(text) : {}) as any }
}
async function login(username = 'ada'): Promise<string> {
  const { status, json } = await form('/oauth2/token', { grant_type: 'password', username, password: username })
  assert.equal(status, 200, JSON.stringify(json))
  return json.access_token
}
async function call(headers: Record<string, string>, at = one) {
  const response = await fetch(`${at.url}/orders`, { headers })
  await response.arrayBuffer()
  return response.status
}
const bearer = (token: string) => ({ Authorization: `Bearer ${token}` })
async function admin(method: string, path: string, body?: object, at = one) {
  const response = await fetch(at.adminUrl + path, {
    method,
    ...(body && { headers: { 'Content-Type': 'application/json' }, body: JSON.stringify(body) }),
  })
  const text = await response.text()
  // biome-ignore lint/suspicious/noExplicitAny: an answer of the admin port
  return { status: response.status, json: (text === '' ? {} : JSON.parse(text)) as any }
}
async function command(...words: string[]) {
  const out: string[] = []
  const err: string[] = []
  const terminal = { environment: {}, out: (text: string) => out.push(text), err: (text: string) => err.push(text) }
  const code = await run([...words, '--config', join(one.folder, 'services.json')], terminal as never)
  return { code, out: out.join('\n'), err: err.join('\n') }
}
/** The store as somebody sees it who got hold of the file. */
async function stolen<T>(look: (store: ReturnType<typeof openSqliteStore>) => Promise<T>): Promise<T> {
  const store = openSqliteStore(join(folder, 'store.db'), { now: Date.now, log: silent })
  try {
    return await look(store)
  } finally {
    await store.close()
  }
}

describe('tokens that must be on record', () => {
  test('are put there when they are issued, and are good at every gateway', async () => {
    const token = await login()
    assert.equal(await call(bearer(token)), 200)
    assert.equal(await call(bearer(token), other), 200)
    const { json } = await form('/oauth2/token', { grant_type: 'client_credentials' })
    assert.equal(await call(bearer(json.access_token), other), 200)
  })

  test('are refused without the record, though the key that signed them is the right one', async () => {
    const genuine = await login()
    const { kid } = decodeProtectedHeader(genuine)
    const forged = await stolen(async (store) => {
      const entries = await store.list('issuer.keys')
      const jwk = entries.map(({ value }) => (value as { jwk?: JWK } | null)?.jwk).find((jwk) => jwk?.kid === kid)!
      return new SignJWT({ ...decodeJwt(genuine), jti: randomUUID() })
        .setProtectedHeader({ alg: 'RS256', kid: kid!, typ: 'at+jwt' })
        .sign(await importJWK(jwk, 'RS256'))
    })
    assert.equal(await call(bearer(genuine)), 200)
    assert.equal(await call(bearer(forged)), 401)
    assert.deepEqual((await form('/oauth2/introspect', { token: forged })).json, { active: false })
    assert.equal((await form('/oauth2/introspect', { token: genuine })).json.active, true)
    const { json } = await admin('POST', '/inspect', { token: forged })
    assert.match(JSON.stringify(json), /not on record/)
  })

  test('are withdrawn everywhere within a second, and no record outlives its token', async () => {
    const token = await login()
    assert.equal(await call(bearer(token), other), 200)
    assert.equal((await form('/oauth2/revoke', { token })).status, 200)
    assert.equal(await call(bearer(token)), 401)
    await eventually('it is refused', async () => (await call(bearer(token), other)) === 401, within)
    const { exp } = decodeJwt(token)
    const ends = await stolen(async (store) => (await store.list('issued-tokens')).map(({ expiresAt }) => expiresAt!))
    assert(ends.length > 0 && ends.every((end) => end <= exp! + 60))
  })

  test('may be those of an issuer elsewhere, which says what it has issued', async () => {
    const now = Math.floor(Date.now() / 1_000)
    const encode = (part: object) => Buffer.from(JSON.stringify(part)).toString('base64url')
    const claims = { iss: 'https://partner.example', aud: 'api', sub: 'grace', iat: now, exp: now + 300, jti: 'p1' }
    const content = `${encode({ alg: 'HS256', typ: 'at+jwt' })}.${encode(claims)}`
    const token = `${content}.${createHmac('sha256', partnerSecret).update(content).digest('base64url')}`
    assert.equal(await call(bearer(token)), 401)
    const record = { issuer: claims.iss, tokenId: 'p1', until: claims.exp }
    assert.equal((await admin('POST', '/issued-tokens', record)).status, 204)
    assert.equal(await call(bearer(token)), 200)
    assert.equal(await call(bearer(token), other), 200)
    assert.equal((await admin('POST', '/revocations', { tokenId: 'p1', issuer: claims.iss })).status, 204)
    assert.equal(await call(bearer(token)), 401)
    await eventually('it is refused', async () => (await call(bearer(token), other)) === 401, within)
  })
})

describe('a subject that is revoked', () => {
  test('loses its tokens and its API keys everywhere; what it is given afterwards is good', async () => {
    const token = await login('bob')
    const made = async (owner: string) => (await admin('POST', '/keys', { owner })).json.text as string
    const keys = [await made('bob'), await made('bob')]
    const stranger = await made('eve')
    for (const key of [...keys, stranger]) assert.equal(await call({ 'X-API-Key': key }, other), 200)

    const { code, out } = await command('revocations', 'add', '--subject', 'bob', '--json')
    assert.equal(code, 0)
    assert.deepEqual(JSON.parse(out).keys.sort(), keys.map((key) => key.slice(3, 11)).sort())
    for (const at of [one, other]) {
      await eventually('the token is refused', async () => (await call(bearer(token), at)) === 401, within)
      for (const key of keys)
        await eventually('the key is refused', async () => (await call({ 'X-API-Key': key }, at)) === 401, within)
      assert.equal(await call({ 'X-API-Key': stranger }, at), 200)
    }
    // At once, within the same second.
    const next = await made('bob')
    assert.equal(await call({ 'X-API-Key': next }, other), 200)
    // The list forgets; the keys do not come back.
    const { json } = await admin('GET', '/keys?owner=bob')
    assert.deepEqual(json.keys.map(({ state }: { state: string }) => state).sort(), ['active', 'revoked', 'revoked'])
    assert.match((await command('revocations', 'list')).out, /subject +bob +any/)
  })

  test('keeps its API keys where only the name at one issuer was meant', async () => {
    const key = (await admin('POST', '/keys', { owner: 'carol' })).json.text
    assert.equal(
      (await admin('POST', '/revocations', { subject: 'carol', issuer: 'https://partner.example' })).status,
      204,
    )
    assert.equal(await call({ 'X-API-Key': key }), 200)
    assert.equal((await admin('POST', '/revocations', { subject: 'carol' })).status, 204)
    assert.equal(await call({ 'X-API-Key': key }), 401)
  })

  test('is asked for wrongly: the message says what would be right', async () => {
    for (const words of [
      ['add'],
      ['add', '--subject', 'a', '--family', 'b'],
      ['add', '--subject', 'a', '--for', 'ever'],
      ['undo'],
    ]) {
      const { code, err } = await command('revocations', ...words)
      assert.equal(code, 2, words.join(' '))
      assert.match(err, /--token-id, --family and --subject|"30d"|add, list/)
    }
  })
})

describe('an API key', () => {
  test('is refused while its owner is locked out, and where and when it is not for', async () => {
    const made = async (wish: object) => (await admin('POST', '/keys', wish)).json.text as string
    const status = async (wish: object) => call({ 'X-API-Key': await made(wish) })
    assert.equal(await status({ owner: 'ci', cidrs: ['127.0.0.0/8'] }), 200)
    assert.equal(await status({ owner: 'ci', cidrs: ['10.0.0.0/8', '2001:db8::/32'] }), 401)
    assert.equal(await status({ owner: 'ci', notBefore: '1h' }), 401)
    const { json } = await admin('GET', '/keys?owner=ci')
    const lastUsed = (what: (key: { cidrs: string[]; notBefore?: number }) => boolean) => json.keys.find(what).lastUsed
    assert(Math.abs(lastUsed(({ cidrs }) => cidrs[0] === '127.0.0.0/8') - Date.now() / 1_000) < 60)
    assert.equal(
      lastUsed(({ notBefore }) => notBefore !== undefined),
      undefined,
    )

    const key = await made({ owner: 'dora' })
    assert.equal(await call({ 'X-API-Key': key }), 200)
    await writeFile(join(one.folder, 'users.json'), users({ dora: false }))
    await eventually('the owner is locked out', async () => (await call({ 'X-API-Key': key })) === 401, within)
    await writeFile(join(one.folder, 'users.json'), users({ dora: true }))
    await eventually('and let in again', async () => (await call({ 'X-API-Key': key })) === 200, within)
  })
})

describe('a key that an issuer elsewhere has withdrawn', () => {
  test('is refused at every gateway as soon as an operator says so', async (t) => {
    const provider = await startProvider()
    t.after(() => provider[Symbol.asyncDispose]())
    const written = {
      ...definition(),
      issuers: { navy: { type: 'oidc', issuer: provider.issuer, audience: 'api', algorithms: ['ES256'] } },
    }
    await using here = await startGateway(written)
    await using there = await startGateway(written)
    const now = Math.floor(Date.now() / 1_000)
    const claims = { iss: provider.issuer, aud: 'api', sub: 'grace', iat: now, exp: now + 300 }
    const token = await provider.sign({ typ: 'at+jwt' }, claims)
    for (const at of [here, there]) assert.equal(await call(bearer(token), at), 200)
    provider.bend.keys = 'broken'
    assert.equal((await admin('POST', '/issuers/navy/refresh', undefined, here)).status, 503)
    assert.equal(await call(bearer(token), here), 200, 'the known keys go on')
    provider.bend.keys = 'others'
    assert.equal(await call(bearer(token), here), 200)
    assert.equal((await admin('POST', '/issuers/navy/refresh', undefined, here)).status, 204)
    assert.equal(await call(bearer(token), here), 401)
    await eventually('it is refused', async () => (await call(bearer(token), there)) === 401, within)
    assert.equal((await admin('POST', '/issuers/nobody/refresh', undefined, here)).status, 404)
    assert.equal((await admin('POST', '/issuers/local/refresh')).status, 409)
  })
})

describe('a signing key that somebody else may have', () => {
  test('is removed on the admin port: it verifies nothing anywhere within a second, and another one signs at once', async () => {
    const before = await login()
    assert.equal(await call(bearer(before), other), 200)
    const { kid } = decodeProtectedHeader(before)
    const { status, json } = await admin('DELETE', `/issuer-keys/${kid}`)
    assert.equal(status, 200)
    assert.equal(json.removed, kid)
    assert.equal(await call(bearer(before)), 401)
    await eventually('it is refused', async () => (await call(bearer(before), other)) === 401, within)

    const token = await login()
    assert.equal(decodeProtectedHeader(token).kid, json.active)
    for (const at of [one, other]) {
      assert.equal(await call(bearer(token), at), 200)
      const set = (await (await fetch(`${at.url}/oauth2/jwks`)).json()) as { keys: { kid: string }[] }
      assert.deepEqual(
        set.keys.map((key) => key.kid),
        [json.active],
      )
    }
    assert.equal((await admin('DELETE', `/issuer-keys/${kid}`)).status, 404)
  })

  test('is removed on the command line, where keys are listed and rotated too', async () => {
    const token = await login()
    const { kid } = decodeProtectedHeader(token)
    const rotated = await command('issuer-keys', 'rotate', '--json')
    const next = JSON.parse(rotated.out).announced
    await eventually('both hear of it', async () => {
      const lists = await Promise.all([one, other].map((at) => admin('GET', '/issuer-keys', undefined, at)))
      return lists.every(({ json }) => json.keys.length === 2)
    })
    assert.equal((await command('issuer-keys', 'rotate')).code, 1, 'one announcement after the other')
    const { out } = await command('issuer-keys', 'list')
    assert.match(out, new RegExp(`^${next} +RS256 +announced.*\\n${kid} +RS256 +active`, 'm'))

    assert.equal((await command('issuer-keys', 'remove', kid!)).code, 0)
    for (const at of [one, other])
      await eventually('it is refused', async () => (await call(bearer(token), at)) === 401, within)
    assert.equal(decodeProtectedHeader(await login()).kid, next, 'the one that was announced signs')
    assert.equal((await command('issuer-keys', 'remove', kid!)).code, 1)
    assert.equal((await command('issuer-keys', 'burn')).code, 2)
  })
})
