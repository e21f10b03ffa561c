import assert from 'node:assert/strict'
import { after, before, describe, test } from 'node:test'
import { setTimeout as delay } from 'node:timers/promises'
import { Redis } from 'ioredis'
import { type Backend, startBackend } from '../backend.ts'
import { type GatewayProcess, startProcess } from '../processes.ts'
import { type RunningRedis, startRedis } from '../redis.ts'
import { skipWithout } from '../requirements.ts'
import { eventually } from '../sallyport.ts'

const skip = skipWithout('redis') || (process.platform !== 'linux' && 'needs /proc')

/** What one instance does, another knows within a second; the rest is for a machine that does much else. Milliseconds. */
const agreed = 1_000 + 9_000
/** Until everything works again after Redis does, two seconds; the same. */
const recovery = 2_000 + 8_000

const users = [{ username: 'ada', password: 'ada', subject: 'ada' }]

function definition(redis: string, target: string, path = '/public') {
  const common = { targets: [target], openapi: false }
  return {
    store: { type: 'redis', url: redis },
    gateway: { publicUrl: 'http://gateway.example', notice: '50ms', shutdown: '2s' },
    issuers: {
      local: {
        type: 'embedded',
        users: 'users.json',
        grants: ['client_credentials'],
        clients: [{ id: 'reporter', secret: 'a-secret-of-the-reporter', grants: ['client_credentials'] }],
      },
    },
    securitySchemes: {
      bearer: { type: 'http', scheme: 'bearer' },
      key: { type: 'apiKey', in: 'header', name: 'X-API-Key' },
    },
    services: [
      { name: 'public', path, ...common, security: [] },
      { name: 'tokens', path: '/tokens', ...common, security: [{ bearer: [] }] },
      { name: 'keyed', path: '/keyed', ...common, security: [{ key: [] }] },
      {
        name: 'limited',
        path: '/limited',
        ...common,
        security: [],
        limits: { rate: [{ requests: 10, per: '1h', by: 'address' }] },
      },
    ],
  }
}

interface Answer {
  readonly status: number
  readonly ms: number
  // biome-ignore lint/suspicious/noExplicitAny: whatever is asked for
  readonly json: any
}

async function ask(url: string, init: RequestInit = {}): Promise<Answer> {
  const started = performance.now()
  const response = await fetch(url, { ...init, signal: AbortSignal.timeout(5_000) })
  const text = await response.text()
  return {
    status: response.status,
    ms: performance.now() - started,
    json: text.startsWith('{') ? JSON.parse(text) : {},
  }
}

const json = (body: object): RequestInit => ({
  method: 'POST',
  headers: { 'Content-Type': 'application/json' },
  body: JSON.stringify(body),
})

describe('two gateways on one Redis', { skip }, () => {
  let redis: RunningRedis
  let backend: Backend
  let one: GatewayProcess
  let other: GatewayProcess

  before(async () => {
    redis = await startRedis()
    backend = await startBackend()
    const options = { files: { 'users.json': JSON.stringify(users) } }
    ;[one, other] = await Promise.all([
      startProcess(definition(redis.url, backend.url), options),
      startProcess(definition(redis.url, backend.url), options),
    ])
  })
  after(async () => {
    await one?.[Symbol.asyncDispose]()
    await other?.[Symbol.asyncDispose]()
    await backend?.[Symbol.asyncDispose]()
    await redis?.stop()
  })

  const newKey = async (at: GatewayProcess): Promise<Answer> => ask(`${at.adminUrl}/keys`, json({ owner: 'ada' }))
  const withKey = (at: GatewayProcess, key: string) => ask(`${at.url}/keyed/`, { headers: { 'X-API-Key': key } })
  const withToken = (at: GatewayProcess, token: string) =>
    ask(`${at.url}/tokens/`, { headers: { Authorization: `Bearer ${token}` } })
  const newToken = (at: GatewayProcess) =>
    ask(`${at.url}/oauth2/token`, {
      method: 'POST',
      headers: { Authorization: `Basic ${Buffer.from('reporter:a-secret-of-the-reporter').toString('base64')}` },
      body: new URLSearchParams({ grant_type: 'client_credentials' }),
    })

  test('a limit is counted together, exactly', async () => {
    const answers = await Promise.all(
      Array.from({ length: 20 }, (_, n) => ask(`${(n % 2 === 0 ? one : other).url}/limited/`)),
    )
    assert.equal(answers.filter(({ status }) => status === 200).length, 10)
    assert.equal(answers.filter(({ status }) => status === 429).length, 10)
  })

  test('a key of one is good at the other, and one that is revoked at neither within a second', async () => {
    const { json: made } = await newKey(one)
    assert.equal((await withKey(other, made.text)).status, 200)
    assert.equal((await ask(`${one.adminUrl}/keys/${made.key.id}`, { method: 'DELETE' })).status, 204)
    await eventually('the other knows', async () => (await withKey(other, made.text)).status === 401, agreed)
  })

  test('a token of one is good at the other, and one that is revoked at neither within a second', async () => {
    const token = (await newToken(one)).json.access_token
    assert.equal((await withToken(other, token)).status, 200)
    const { jti } = JSON.parse(Buffer.from(token.split('.')[1], 'base64url').toString())
    assert.equal((await ask(`${one.adminUrl}/revocations`, json({ tokenId: jti }))).status, 204)
    assert.equal((await withToken(one, token)).status, 401)
    await eventually('the other knows', async () => (await withToken(other, token)).status === 401, agreed)
  })

  test('a change of services.json is in use at both within a second', async () => {
    for (const [path, gone] of [
      ['/moved', '/public'],
      ['/public', '/moved'],
    ] as const) {
      await Promise.all([one, other].map((each) => each.rewrite(definition(redis.url, backend.url, path))))
      await eventually(
        'both have it',
        async () => {
          const answers = await Promise.all([one, other].map(({ url }) => ask(`${url}${path}/`)))
          return answers.every(({ status }) => status === 200)
        },
        agreed,
      )
      assert.equal((await ask(`${one.url}${gone}/`)).status, 404)
    }
  })

  const command = async (...words: [string, ...string[]]) => {
    const client = new Redis(redis.url, { lazyConnect: true })
    await client.connect()
    try {
      await client.call(...words)
    } finally {
      client.disconnect()
    }
  }

  /** Case F05: what is wrong with Redis, and whether what it holds can still be read. */
  for (const { fault, begin, end, readable = false, emptied = false } of [
    { fault: 'hangs', begin: async () => redis.pause(), end: async () => redis.resume() },
    {
      fault: 'is killed and comes back empty',
      begin: () => redis.kill(),
      end: () => redis.start(),
      emptied: true,
    },
    {
      fault: 'may only be read',
      begin: () => command('REPLICAOF', '127.0.0.1', '1'),
      end: () => command('REPLICAOF', 'NO', 'ONE'),
      readable: true,
    },
    {
      fault: 'has no memory left',
      begin: () => command('CONFIG', 'SET', 'maxmemory', '1'),
      end: () => command('CONFIG', 'SET', 'maxmemory', '0'),
      readable: true,
    },
  ]) {
    test(`Redis ${fault}: what needs no store goes on at both, the rest is refused, and both recover`, async () => {
      const token = (await newToken(one)).json.access_token
      const kept = (await newKey(one)).json.text
      assert.equal((await withToken(other, token)).status, 200)
      await begin()
      try {
        await eventually('writing is refused', async () => (await newKey(one)).status === 503)
        for (let n = 0; n < 10; n += 1) {
          for (const at of [one, other]) {
            assert.equal((await withToken(at, token)).status, 200)
            assert.equal((await ask(`${at.url}/public/`)).status, 200)
            // Counted by each alone, from a share of its own: no error in any case.
            assert.match(String((await ask(`${at.url}/limited/`)).status), /^(200|429)$/)
          }
          await delay(20)
        }
        const refused = await newKey(other)
        assert.deepEqual([refused.status, refused.json.code], [503, 'store-unavailable'])
        if (readable) {
          await eventually('what is kept is read', async () => (await withKey(other, kept)).status === 200)
        } else {
          const unseen = await withKey(other, kept)
          assert.equal(unseen.status, 503)
        }
      } finally {
        await end()
      }
      const made = await eventually(
        'keys can be made again',
        async () => {
          const answer = await newKey(one)
          return answer.status === 201 ? answer.json.text : undefined
        },
        recovery,
      )
      await eventually('and used', async () => (await withKey(other, made)).status === 200, recovery)
      await eventually('tokens are given again', async () => (await newToken(other)).status === 200, recovery)
      assert.equal((await withToken(other, token)).status, 200)
      assert.equal((await withKey(other, kept)).status, emptied ? 401 : 200)
      const told = one.log().filter(({ level, message }) => level === 'warn' && /Redis cannot be reached/.test(message))
      assert.ok(told.length <= 12, `an outage is not logged over and over: ${told.length}`)
    })
  }

  test('an instance that is killed takes nothing of the others along, and comes back to what they share', async () => {
    const { json: made } = await newKey(one)
    one.child.kill('SIGKILL')
    await one.ended
    assert.equal((await withKey(other, made.text)).status, 200)
    one = await startProcess(definition(redis.url, backend.url), { files: { 'users.json': JSON.stringify(users) } })
    assert.equal((await withKey(one, made.text)).status, 200)
    const keysAt = async ({ url }: GatewayProcess) => (await ask(`${url}/.well-known/gateway/jwks.json`)).json
    assert.deepEqual(await keysAt(one), await keysAt(other), 'both sign for services with the same key')
  })
})
