import assert from 'node:assert/strict'
import { mkdtempSync, readFileSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { after, before, describe, test } from 'node:test'
import { setTimeout as delay } from 'node:timers/promises'
import { decodeJwt } from 'jose'
import { connectRedisStore } from '../../src/store/redis.ts'
import { openSqliteStore } from '../../src/store/sqlite.ts'
import { type Store, StoreUnavailable } from '../../src/store/store.ts'
import { silent } from '../../src/telemetry/log.ts'
import { type RunningRedis, startRedis } from '../redis.ts'
import { skipWithout } from '../requirements.ts'
import {
  type Answer,
  type AppOptions,
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

const tools = { now: Date.now, log: silent }

/** The refresh tokens of several answers that are still alive: asked for in the end, when everything is over. */
async function living(app: IssuerApp, answers: readonly Answer[]): Promise<string[]> {
  const tokens = new Set(answers.filter(({ status }) => status === 200).map(({ json }) => json.refresh_token as string))
  const alive: string[] = []
  for (const token of tokens) {
    const { json } = await app.post('/oauth2/introspect', { token }, web)
    if (json.active) alive.push(token)
  }
  return alive
}

describe('refresh tokens', () => {
  let app: IssuerApp
  before(async () => {
    app = await startIssuer({ settings: { refreshGrace: '300ms' } })
  })
  after(() => app.stop())

  test('are used once, and bring new tokens of the same login', async () => {
    const first = await tokensByCode(app)
    const { status, json } = await refresh(app, first.refresh_token)
    assert.equal(status, 200)
    assert.notEqual(json.refresh_token, first.refresh_token)
    assert.notEqual(json.access_token, first.access_token)
    const [old, fresh] = [decodeJwt(first.access_token), decodeJwt(json.access_token)]
    assert.equal(fresh['fam'], old['fam'])
    assert.deepEqual(fresh['roles'], old['roles'])
    assert.equal(fresh['scope'], 'orders')
    assert.equal(decodeJwt(json.id_token).sub, 'u-1')
  })

  test('used again within the grace give the same successor, however often', async () => {
    const { refresh_token } = await tokensByPassword(app)
    const answers = [
      await refresh(app, refresh_token),
      await refresh(app, refresh_token),
      await refresh(app, refresh_token),
    ]
    assert.deepEqual(
      answers.map(({ status }) => status),
      [200, 200, 200],
    )
    assert.equal(new Set(answers.map(({ json }) => json.refresh_token)).size, 1)
  })

  test('used again after the grace end the login: its successors and its access tokens', async () => {
    const first = await tokensByPassword(app)
    const second = (await refresh(app, first.refresh_token)).json
    assert.equal(await isActive(app, second.access_token), true)
    await delay(350)
    const reused = await refresh(app, first.refresh_token)
    assert.equal(reused.status, 400)
    assert.equal(reused.json.error, 'invalid_grant')
    const successor = await refresh(app, second.refresh_token)
    assert.equal(successor.status, 400)
    assert.equal(successor.json.error, 'invalid_grant')
    assert.equal(await isActive(app, first.access_token), false)
    assert.equal(await isActive(app, second.access_token), false)
    const { fam: family } = decodeJwt<{ fam: string }>(first.access_token)
    assert.equal(app.revocations.isRevoked({ issuer: app.issuer.issuer, family }), true)
  })

  test('used within the grace after the successor was used do not bring it back to life', async () => {
    const r0 = (await tokensByPassword(app)).refresh_token
    const r1 = (await refresh(app, r0)).json.refresh_token
    const r2 = (await refresh(app, r1)).json.refresh_token
    assert.equal((await refresh(app, r0)).json.refresh_token, r1)
    await delay(350)
    assert.equal((await refresh(app, r1)).status, 400, 'r1 had been used')
    assert.equal((await refresh(app, r2)).status, 400, 'and that ended the login')
  })

  test('of another client, with more scopes, or access tokens in their place are refused', async () => {
    const { refresh_token, access_token } = await tokensByPassword(app)
    const other = await app.post('/oauth2/token', { grant_type: 'refresh_token', refresh_token, client_id: 'spa' })
    assert.equal(other.json.error, 'invalid_grant')
    const more = await app.post(
      '/oauth2/token',
      { grant_type: 'refresh_token', refresh_token, scope: 'orders invoices' },
      web,
    )
    assert.equal(more.json.error, 'invalid_scope')
    assert.equal((await refresh(app, access_token)).json.error, 'invalid_grant')
    assert.equal((await refresh(app, 'nonsense')).json.error, 'invalid_grant')
    assert.equal((await refresh(app, refresh_token)).status, 200, 'none of these used it up')
  })

  test('do not live longer by being used', async () => {
    const first = await tokensByPassword(app)
    const expiryOf = async (token: string) => (await app.post('/oauth2/introspect', { token }, web)).json.exp as number
    const before = await expiryOf(first.refresh_token)
    await delay(1_100)
    const { refresh_token } = (await refresh(app, first.refresh_token)).json
    assert.ok(Math.abs((await expiryOf(refresh_token)) - before) <= 1)
  })

  test('die when the user signs out', async () => {
    const browser = new Browser(app)
    const tokens = await tokensByCode(app, browser)
    const question = await browser.follow(
      `/oauth2/end-session?${new URLSearchParams({ id_token_hint: tokens.id_token, post_logout_redirect_uri: 'https://app.test/bye' })}`,
    )
    assert.match(question.text, /Sign out\?/)
    const gone = (await browser.submit(question, { logout: 'yes' })) as Answer & { location?: string }
    assert.equal(gone.location, 'https://app.test/bye')
    assert.equal((await refresh(app, tokens.refresh_token)).json.error, 'invalid_grant')
    assert.equal(await isActive(app, tokens.access_token), false)
    const page = await browser.follow(authorizePath(pkce().challenge))
    assert.match(page.text, /type="password"/, 'and the browser is no longer signed in')
  })

  test('die when they are revoked, and their access tokens with them', async () => {
    const tokens = await tokensByCode(app)
    const next = (await refresh(app, tokens.refresh_token)).json
    const answer = await app.post('/oauth2/revoke', { token: next.refresh_token }, web)
    assert.equal(answer.status, 200)
    assert.equal((await refresh(app, next.refresh_token)).json.error, 'invalid_grant')
    assert.equal(await isActive(app, tokens.access_token), false)
    assert.equal(await isActive(app, next.access_token), false)
  })

  test('do not outlive the revocation of their subject', async () => {
    const tokens = await tokensByPassword(app, 'bob')
    await app.revocations.revoke({ subject: 'u-2', issuer: app.issuer.issuer })
    assert.equal(await isActive(app, tokens.access_token), false)
    assert.equal((await refresh(app, tokens.refresh_token)).json.error, 'invalid_grant')
    await delay(1_100)
    const later = await tokensByPassword(app, 'bob')
    assert.equal(await isActive(app, later.access_token), true)
  })
})

test('without grace a second use ends the login at once', async () => {
  const app = await startIssuer({ settings: { refreshGrace: false } })
  const { refresh_token } = await tokensByPassword(app)
  const first = await refresh(app, refresh_token)
  assert.equal(first.status, 200)
  assert.equal((await refresh(app, refresh_token)).json.error, 'invalid_grant')
  assert.equal((await refresh(app, first.json.refresh_token)).json.error, 'invalid_grant')
  await app.stop()
})

/** Two instances over one store, as two processes are. */
function races(name: string, open: () => Store, skip: string | false, setUp?: () => Promise<void>) {
  describe(`races with ${name}`, { skip }, () => {
    const stores: Store[] = []
    let apps: IssuerApp[]
    const start = async (options: AppOptions = {}) => {
      const store = open()
      stores.push(store)
      return startIssuer({ store, ...options })
    }
    before(async () => {
      await setUp?.()
      apps = [await start(), await start()]
    })
    after(async () => {
      await Promise.all(apps.map((app) => app.stop()))
      await Promise.all(stores.map((store) => store.close()))
    })

    for (const parallel of [2, 20]) {
      test(`${parallel} refreshes at once with one token leave exactly one living descendant`, async () => {
        for (let round = 0; round < (parallel === 2 ? 8 : 3); round += 1) {
          const { refresh_token } = await tokensByPassword(apps[0]!)
          const answers = await Promise.all(
            Array.from({ length: parallel }, (_, n) => refresh(apps[n % 2]!, refresh_token)),
          )
          for (const { status, text } of answers) assert.equal(status, 200, text)
          assert.equal((await living(apps[0]!, answers)).length, 1)
        }
      })
    }

    test('without grace one of twenty wins, and two are never alive', async (t) => {
      const strict = [
        await start({ settings: { refreshGrace: false } }),
        await start({ settings: { refreshGrace: false } }),
      ]
      t.after(() => Promise.all(strict.map((app) => app.stop())))
      for (let round = 0; round < 3; round += 1) {
        const { refresh_token } = await tokensByPassword(strict[0]!)
        const answers = await Promise.all(Array.from({ length: 20 }, (_, n) => refresh(strict[n % 2]!, refresh_token)))
        assert.equal(answers.filter(({ status }) => status === 200).length, 1)
        assert.ok((await living(strict[0]!, answers)).length <= 1)
      }
    })

    test('a code is redeemed once of ten times at once', async () => {
      const { verifier, challenge } = pkce()
      const answer = await signIn(new Browser(apps[0]!), authorizePath(challenge))
      const form = {
        grant_type: 'authorization_code',
        code: answer.get('code')!,
        redirect_uri: redirectUri,
        code_verifier: verifier,
      }
      const answers = await Promise.all(
        Array.from({ length: 10 }, (_, n) => apps[n % 2]!.post('/oauth2/token', form, web)),
      )
      assert.equal(answers.filter(({ status }) => status === 200).length, 1)
      for (const { status, json } of answers) if (status !== 200) assert.equal(json.error, 'invalid_grant')
    })

    test('a token of one instance is good at the other, and dead there within a second after it is revoked here', async () => {
      const [one, other] = apps as [IssuerApp, IssuerApp]
      const tokens = await tokensByPassword(one)
      assert.equal(await isActive(other, tokens.access_token), true)
      await one.post('/oauth2/revoke', { token: tokens.refresh_token }, web)
      const revoked = performance.now()
      while (await isActive(other, tokens.access_token)) {
        assert.ok(performance.now() - revoked < 1_000)
        await delay(20)
      }
    })
  })
}

const folder = mkdtempSync(join(tmpdir(), 'sallyport-refresh-'))
after(() => rmSync(folder, { recursive: true }))
races('SQLite', () => openSqliteStore(join(folder, 'races.db'), tools), false)

let redis: RunningRedis | undefined
after(() => redis?.stop())
races(
  'Redis',
  () => connectRedisStore(redis!.url, 'races:', tools),
  skipWithout('redis'),
  async () => {
    redis = await startRedis()
  },
)

describe('a restart', () => {
  const path = join(folder, 'restart.db')

  test('with the same SQLite file changes nothing for anybody', async () => {
    const first = openSqliteStore(path, tools)
    let app = await startIssuer({ store: first })
    const browser = new Browser(app)
    const tokens = await tokensByCode(app, browser)
    const keys = app.issuer.keySource.keys()
    await app.post('/oauth2/revoke', { token: (await tokensByPassword(app)).refresh_token }, web)
    const revoked = app.revocations.list()
    await app.stop()
    await first.close()

    const second = openSqliteStore(path, tools)
    app = await startIssuer({ store: second })
    assert.deepEqual(app.issuer.keySource.keys(), keys)
    assert.deepEqual(app.revocations.list(), revoked)
    assert.equal(await isActive(app, tokens.access_token), true)
    assert.equal((await refresh(app, tokens.refresh_token)).status, 200)
    const again = new Browser(app)
    for (const [name, cookie] of browser.cookies) again.cookies.set(name, cookie)
    const answer = await again.follow(authorizePath(pkce().challenge))
    assert.match(answer.location ?? '', /code=/, 'the browser is still signed in')
    await app.stop()
    await second.close()
  })

  test('between the use of a refresh token and its successor ends no login', async () => {
    // The store dies just when the successor would be kept; what was written before stays.
    const store = openSqliteStore(join(folder, 'crash.db'), tools)
    let dying = false
    const mortal: Store = Object.assign(Object.create(store), {
      create(collection: string, ...rest: [string, string]) {
        if (dying && collection === 'issuer.RefreshToken') return Promise.reject(new StoreUnavailable('killed'))
        return store.create(collection, ...rest)
      },
    })
    let offset = 0
    const options: AppOptions = { store: mortal, now: () => Date.now() + offset }
    const app = await startIssuer(options)
    const { refresh_token } = await tokensByPassword(app)
    dying = true
    const failed = await refresh(app, refresh_token)
    assert.equal(failed.status, 503)
    assert.equal(failed.json.error, 'temporarily_unavailable')
    dying = false
    // Long after the grace: nobody can have got the successor, so this is no theft.
    offset = 60_000
    const retried = await refresh(app, refresh_token)
    assert.equal(retried.status, 200, retried.text)
    assert.equal((await refresh(app, retried.json.refresh_token)).status, 200)
    await app.stop()
    await store.close()
  })

  test('finds no token that could be used in the file', async () => {
    const at = join(folder, 'secrets.db')
    const store = openSqliteStore(at, tools)
    const app = await startIssuer({ store })
    const browser = new Browser(app)
    const tokens = await tokensByCode(app, browser)
    const next = (await refresh(app, tokens.refresh_token)).json
    const page = await browser.follow(authorizePath(pkce().challenge, { prompt: 'login' }))
    assert.match(page.text, /type="password"/)
    const session = [...browser.cookies].find(([name]) => name === 'issuer-session')?.[1].value
    assert.ok(session)
    const bytes = Buffer.concat([readFileSync(at), readFileSync(`${at}-wal`)])
    const canaries = [
      tokens.access_token,
      tokens.refresh_token,
      next.refresh_token,
      tokens.id_token,
      session,
      'a-secret-of',
    ]
    for (const canary of canaries) assert.equal(bytes.includes(canary), false, canary)
    for (const canary of canaries) assert.ok(!app.logged.join('\n').includes(canary), `${canary} was logged`)
    await app.stop()
    await store.close()
  })
})

test('a store that is out is a 503 in time, and nobody loses a login by it', {
  skip: skipWithout('redis'),
}, async () => {
  const server = await startRedis()
  const store = connectRedisStore(server.url, 'outage:', tools)
  const app = await startIssuer({ store })
  const { refresh_token, access_token } = await tokensByPassword(app)
  server.pause()
  try {
    for (const call of [
      () => refresh(app, refresh_token),
      () => app.post('/oauth2/revoke', { token: access_token }, web),
      () => app.post('/oauth2/token', { grant_type: 'password', username: 'ada', password: 'ada' }, web),
      () => app.send('GET', authorizePath(pkce().challenge)),
    ]) {
      const started = performance.now()
      const { status, text } = await call()
      assert.ok([503, 303].includes(status), `${status} ${text}`)
      assert.ok(performance.now() - started < 600)
    }
    const keys = await app.send('GET', '/oauth2/jwks')
    assert.equal(keys.status, 200)
  } finally {
    server.resume()
  }
  const end = Date.now() + 3_000
  let answer = await refresh(app, refresh_token)
  while (answer.status === 503 && Date.now() < end) {
    await delay(50)
    answer = await refresh(app, refresh_token)
  }
  assert.equal(answer.status, 200, answer.text)
  await app.stop()
  await store.close()
  await server.stop()
})
