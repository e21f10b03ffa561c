import assert from 'node:assert/strict'
import { createHash, createHmac, randomBytes } from 'node:crypto'
import { after, before, describe, test } from 'node:test'
import { setTimeout as delay } from 'node:timers/promises'
import { type Backend, startBackend } from '../backend.ts'
import { type RunningRedis, startRedis } from '../redis.ts'
import { skipWithout } from '../requirements.ts'
import { eventually, type GatewayUnderTest, startGateway } from '../sallyport.ts'

const skip = skipWithout('redis')

/** What a caller waits at most for the answer that the store is out, in milliseconds. */
const promised = 250
/** What tests that run beside this one may add to it; without the promise a call would wait for seconds, or for ever. */
const slack = 350
/** Until everything works again after the store does, in milliseconds. */
const recovery = 2_000

const secret = 'a secret of thirty-two bytes and more, for tests'
const staticKey = 'key-of-the-robot'
const sha256 = (text: string) => createHash('sha256').update(text).digest('hex')

/** A token of an issuer that nothing is kept about; `iss` names another. */
function jwt(iss = 'https://old.example'): string {
  const now = Math.floor(Date.now() / 1_000)
  const encode = (part: object) => Buffer.from(JSON.stringify(part)).toString('base64url')
  const payload = {
    iss,
    aud: 'api',
    sub: 'grace',
    iat: now,
    exp: now + 300,
    jti: randomBytes(8).toString('hex'),
  }
  const content = `${encode({ alg: 'HS256', typ: 'at+jwt' })}.${encode(payload)}`
  return `${content}.${createHmac('sha256', secret).update(content).digest('base64url')}`
}

let redis: RunningRedis
let backend: Backend
/** Two instances on one store: a key that one of them made is not in the memory of the other. */
let maker: GatewayUnderTest
let gateway: GatewayUnderTest

const definition = (url: string, target: string) => ({
  store: { type: 'redis', url },
  issuers: {
    old: { type: 'secret', issuer: 'https://old.example', audience: 'api', secret },
    recorded: {
      type: 'secret',
      issuer: 'https://recorded.example',
      audience: 'api',
      secret,
      revocation: 'allowlist',
    },
    local: {
      type: 'embedded',
      users: 'users.json',
      grants: ['password', 'refresh_token', 'client_credentials'],
      clients: [
        {
          id: 'reporter',
          secret: 'a-secret-of-the-reporter',
          grants: ['password', 'refresh_token', 'client_credentials'],
        },
      ],
    },
  },
  securitySchemes: {
    bearer: { type: 'http', scheme: 'bearer' },
    apiKey: {
      type: 'apiKey',
      in: 'header',
      name: 'X-API-Key',
      keys: [{ sha256: sha256(staticKey), subject: 'robot' }],
    },
  },
  services: [
    { name: 'tokens', path: '/tokens', targets: [target], openapi: false, security: [{ bearer: [] }] },
    { name: 'keys', path: '/keys', targets: [target], openapi: false, security: [{ apiKey: [] }] },
    {
      name: 'careful',
      path: '/careful',
      targets: [target],
      openapi: false,
      security: [{ bearer: [] }, { apiKey: [] }, {}],
      storeOutage: 'refuse',
      routes: [
        { match: '/careless', storeOutage: 'accept' },
        { match: '/usual', storeOutage: 'last-known' },
      ],
    },
    { name: 'public', path: '/public', targets: [target], openapi: false, security: [] },
    {
      name: 'limited',
      path: '/limited',
      targets: [target],
      openapi: false,
      security: [],
      limits: { rate: [{ requests: 1_000, per: '1m', by: 'address' }] },
    },
  ],
})

before(async () => {
  if (skip) return
  redis = await startRedis()
  backend = await startBackend()
  const files = { 'users.json': JSON.stringify([{ username: 'ada', password: 'ada', subject: 'ada' }]) }
  // The same public address, so that each believes the tokens of the other.
  const both = { gateway: { publicUrl: 'http://gateway.example' }, ...definition(redis.url, backend.url) }
  maker = await startGateway(both, { files })
  gateway = await startGateway(both, { files })
})
after(async () => {
  await gateway?.[Symbol.asyncDispose]()
  await maker?.[Symbol.asyncDispose]()
  await backend?.[Symbol.asyncDispose]()
  await redis?.stop()
})

interface Answer {
  readonly status: number
  readonly code?: string
  readonly retryAfter: string | null
  /** How long it took, in milliseconds. */
  readonly ms: number
  // biome-ignore lint/suspicious/noExplicitAny: a token answer or a problem
  readonly json: any
}

async function ask(path: string, init: RequestInit = {}, at = gateway.url): Promise<Answer> {
  const started = performance.now()
  const response = await fetch(at + path, { ...init, signal: AbortSignal.timeout(5_000) })
  const text = await response.text()
  const json = text.startsWith('{') ? JSON.parse(text) : {}
  return {
    status: response.status,
    code: json.code,
    retryAfter: response.headers.get('retry-after'),
    ms: performance.now() - started,
    json,
  }
}

const withKey = (key: string) => ask('/keys', { headers: { 'X-API-Key': key } })
const withToken = (token: string) => ask('/tokens', { headers: { Authorization: `Bearer ${token}` } })
const onRecord = async () => {
  const text = jwt('https://recorded.example')
  const { iss, jti, exp } = JSON.parse(Buffer.from(text.split('.')[1]!, 'base64url').toString())
  const body = JSON.stringify({ issuer: iss, tokenId: jti, until: exp })
  const init = { method: 'POST', headers: { 'Content-Type': 'application/json' }, body }
  assert.equal((await ask('/issued-tokens', init, maker.adminUrl)).status, 204)
  return text
}
const carefully = (path: string, credential: Record<string, string>) => ask(`/careful${path}`, { headers: credential })
const bearer = (token: string) => ({ Authorization: `Bearer ${token}` })
const token = () =>
  ask('/oauth2/token', {
    method: 'POST',
    headers: { Authorization: `Basic ${Buffer.from('reporter:a-secret-of-the-reporter').toString('base64')}` },
    body: new URLSearchParams({
      grant_type: 'password',
      username: 'ada',
      password: 'ada',
      scope: 'openid offline_access',
    }),
  })

async function newKey(): Promise<string> {
  const body = JSON.stringify({ owner: 'ada' })
  const made = await ask(
    '/keys',
    { method: 'POST', headers: { 'Content-Type': 'application/json' }, body },
    maker.adminUrl,
  )
  assert.equal(made.status, 201, JSON.stringify(made.json))
  return made.json.text
}

/** What needs no store: checked over and over until `over`. Returns how often, and how long the slowest took. */
async function statelessUntil(over: () => boolean): Promise<{ readonly calls: number; readonly slowest: number }> {
  const times: number[] = []
  while (!over()) {
    const answers = await Promise.all([withToken(jwt()), withKey(staticKey), ask('/public'), ask('/limited')])
    for (const { status, ms, json } of answers) {
      assert.equal(status, 200, JSON.stringify(json))
      times.push(ms)
    }
    await delay(20)
  }
  return { calls: times.length, slowest: Math.max(...times) }
}

/** While the store is out: what a credential is worth is what the route says. */
async function whatRoutesSay(recorded: string): Promise<void> {
  const before = await carefully('/', bearer(jwt()))
  assert.equal(before.status, 503, 'refuse: nobody knows whether it was revoked')
  for (const [path, credential, status] of [
    ['/', bearer(jwt()), 503],
    ['/', { 'X-API-Key': staticKey }, 503],
    ['/', bearer(recorded), 503],
    ['/', {}, 200],
    ['/', bearer(`${jwt().slice(0, -8)}AAAAAAAA`), 401],
    ['/usual', bearer(jwt()), 200],
    ['/usual', { 'X-API-Key': staticKey }, 200],
    ['/usual', bearer(recorded), 503],
    ['/careless', bearer(jwt()), 200],
    ['/careless', bearer(recorded), 200],
    ['/careless', bearer(jwt('https://recorded.example')), 200],
    ['/careless', bearer(`${jwt().slice(0, -8)}AAAAAAAA`), 401],
  ] as const) {
    const answer = await carefully(path, credential as Record<string, string>)
    assert.equal(answer.status, status, `${path} ${JSON.stringify(answer.json)}`)
    assert(answer.ms < promised + slack + (await busy()), `${Math.round(answer.ms)} ms until ${status}`)
    if (status !== 503) continue
    assert.equal(answer.code, 'store-unavailable')
    assert.match(answer.retryAfter ?? '', /^[1-9]\d*$/)
  }
}

/** What the machine itself takes right now for an answer that needs nothing, in milliseconds: the slowest of some. */
async function busy(): Promise<number> {
  const times: number[] = []
  for (let n = 0; n < 8; n += 1) times.push((await ask('/public')).ms)
  return Math.max(...times)
}

/** While the store is out: the stateless routes go on, and what needs the store says so at once and politely. */
async function outage(unseen: readonly string[]): Promise<void> {
  let over = false
  const stateless = statelessUntil(() => over)
  stateless.catch(() => {})
  try {
    for (const key of unseen) {
      for (const answer of [await withKey(key), await token()]) {
        assert.equal(answer.status, 503, JSON.stringify(answer.json))
        // A problem of the gateway (RFC 9457), or what OAuth clients understand (RFC 6749 §5.2).
        assert.match(answer.code ?? answer.json.error, /^(store-unavailable|temporarily_unavailable)$/)
        assert.match(answer.retryAfter ?? '', /^[1-9]\d*$/)
        assert(answer.ms < promised + slack + (await busy()), `${Math.round(answer.ms)} ms until 503`)
      }
    }
    // Once it is known, nobody waits for the store any more: on a busy machine some take longer, for other reasons.
    const times: number[] = []
    for (let n = 0; n < 20; n += 1) times.push((await withKey(unseen[n % unseen.length]!)).ms)
    const quick = times.toSorted((one, other) => one - other)[5]!
    assert(
      quick < promised / 2 + (await busy()),
      `${Math.round(quick)} ms until 503 while the store is known to be out`,
    )
    const admin = await ask('/keys', {}, gateway.adminUrl)
    assert.deepEqual([admin.status, admin.code], [503, 'store-unavailable'])
  } finally {
    over = true
  }
  const { calls, slowest } = await stateless
  assert(calls >= 20, `${calls} calls`)
  assert(slowest < promised + slack + (await busy()), `a call that needs no store took ${Math.round(slowest)} ms`)
}

describe('a gateway whose Redis is in trouble', { skip }, () => {
  test('Redis hangs: stateless routes see nothing of it, the others 503 in time, and all is well after', async () => {
    // Everything has just been started, and a busy machine may take its time for that.
    const known = await eventually('keys can be made', () => newKey().catch(() => undefined))
    assert.equal((await withKey(known)).status, 200)
    const unseen = await Promise.all(Array.from({ length: 4 }, newKey))
    const before = (await token()).json.access_token
    assert.equal((await withToken(before)).status, 200)
    const recorded = await onRecord()
    for (const path of ['/', '/usual', '/careless'])
      assert.equal((await carefully(path, bearer(recorded))).status, 200, path)

    redis.pause()
    try {
      assert.equal((await withKey(known)).status, 200, 'a key in memory is believed for its 15 seconds')
      assert.equal((await withToken(before)).status, 200, "the embedded issuer's tokens are checked from memory")
      // What was heard half a second ago still counts; then the first one who asks waits no longer than was promised.
      await delay(600)
      const first = await carefully('/', bearer(jwt()))
      assert.equal(first.status, 503)
      assert(first.ms < promised + slack + (await busy()), `${Math.round(first.ms)} ms until 503`)
      await outage(unseen)
      await whatRoutesSay(recorded)
    } finally {
      redis.resume()
    }
    await eventually('stored keys are known again', async () => (await withKey(unseen[0]!)).status === 200, recovery)
    await eventually('tokens are given again', async () => (await token()).status === 200, recovery)
    for (const credential of [bearer(jwt()), bearer(recorded), { 'X-API-Key': staticKey }])
      await eventually('it is known again', async () => (await carefully('/', credential)).status === 200, recovery)
    for (const key of unseen) assert.equal((await withKey(key)).status, 200)
  })

  test('Redis is killed and comes back empty: new keys and new logins work, the old ones are gone', async () => {
    const unseen = await Promise.all(Array.from({ length: 4 }, newKey))
    const revoked = (await token()).json.access_token
    const { jti } = JSON.parse(Buffer.from(revoked.split('.')[1], 'base64url').toString())
    const body = JSON.stringify({ tokenId: jti })
    const init = { method: 'POST', headers: { 'Content-Type': 'application/json' }, body }
    assert.equal((await ask('/revocations', init, gateway.adminUrl)).status, 204)
    assert.equal((await withToken(revoked)).status, 401)
    const before = (await token()).json.access_token
    const recorded = await onRecord()
    assert.equal((await carefully('/', bearer(recorded))).status, 200)

    await redis.kill()
    await outage(unseen)
    await whatRoutesSay(recorded)
    assert.equal((await withToken(revoked)).status, 401, 'what was revoked stays so while nobody can look it up')
    await redis.start()

    const made = await eventually('keys can be made again', () => newKey().catch(() => undefined), recovery)
    await eventually('and used at the other instance', async () => (await withKey(made)).status === 200, recovery)
    const { json } = await eventually(
      'tokens are given again',
      async () => {
        const answer = await token()
        return answer.status === 200 ? answer : undefined
      },
      recovery,
    )
    assert.equal((await withToken(json.access_token)).status, 200)
    assert.equal((await withToken(before)).status, 200, 'the keys that sign tokens were in memory')
    await eventually('it is known again', async () => (await carefully('/', bearer(jwt()))).status === 200, recovery)
    assert.equal((await carefully('/', bearer(recorded))).status, 401, 'a record that is lost is no record')
    assert.equal((await carefully('/', bearer(await onRecord()))).status, 200)
    assert.equal((await withKey(unseen[0]!)).status, 401, 'a key that only the store knew is gone with it')
    assert.equal((await withToken(revoked)).status, 401, 'what was revoked stays so')
    await statelessUntil(() => true)
  })
})
