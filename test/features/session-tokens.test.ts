import assert from 'node:assert/strict'
import { mkdtemp, readdir, readFile, rm } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { describe, test } from 'node:test'
import { startBackend } from '../backend.ts'
import { Jar } from '../jar.ts'
import { type ProviderUnderTest, startProvider } from '../openid-provider.ts'
import { startGateway } from '../sallyport.ts'

const name = '__Host-sallyport'
const publicUrl = 'https://gateway.test'

interface Wishes {
  readonly session?: object
  readonly store?: object
  readonly now?: () => number
  readonly forward?: object
}

/** A gateway whose people sign in at an issuer elsewhere. */
async function scene({ session = {}, store, now, forward }: Wishes, methods?: string[]) {
  const backend = await startBackend()
  const provider = await startProvider(methods)
  const written = {
    gateway: { publicUrl },
    ...(store && { store }),
    issuers: { navy: { type: 'oidc', issuer: provider.issuer, audience: 'api', algorithms: ['ES256'] } },
    securitySchemes: {
      session: {
        type: 'apiKey',
        in: 'cookie',
        name,
        session: { issuer: 'navy', clientId: 'gateway', clientSecret: 'a secret: of & words', ...session },
      },
    },
    security: [{ session: [] }],
    services: [{ name: 'echo', path: '/echo', targets: [backend.url], openapi: false, ...(forward && { forward }) }],
  }
  const start = () => startGateway(written, now && { now })
  const gateway = await start()
  return {
    backend,
    provider,
    gateway,
    start,
    browser: () => new Jar(publicUrl, gateway.url),
    async signedIn() {
      const jar = new Jar(publicUrl, gateway.url)
      const answer = await jar.send(await callbackOf(jar, provider))
      assert.equal(answer.status, 303, answer.text)
      return jar
    },
    refreshes: () => provider.asked.filter(({ grant }) => grant === 'refresh_token').length,
    async [Symbol.asyncDispose]() {
      await gateway[Symbol.asyncDispose]()
      await provider[Symbol.asyncDispose]()
      await backend[Symbol.asyncDispose]()
    },
  }
}

async function callbackOf(jar: Jar, provider: ProviderUnderTest): Promise<string> {
  return provider.authorize((await jar.send('/login')).location!)
}

const sleep = (milliseconds: number) => new Promise((resolve) => setTimeout(resolve, milliseconds))

describe('a session with an issuer elsewhere', () => {
  test('is signed in with the secret of the gateway, as the issuer wants it sent', async () => {
    for (const [methods, basic] of [
      [['client_secret_basic'], true],
      [['client_secret_post'], false],
    ] as const) {
      await using here = await scene({}, [...methods])
      const jar = await here.signedIn()
      const [request] = here.provider.asked
      assert.equal(request!.basic, basic)
      assert.equal(request!.form.get('client_secret'), basic ? null : 'a secret: of & words')
      assert.equal(request!.form.get('redirect_uri'), `${publicUrl}/login/callback`)
      assert.equal((await jar.send('/echo')).status, 200)
      const { headers } = here.backend.received[0]!
      assert.equal(headers['user-id'], 'grace')
      assert.equal(headers['user-roles'], 'editor')
      assert.match(String(headers.authorization), /^Bearer eyJ/)
    }
  })

  test('is who the ID token says where only the issuer can read the access token', async () => {
    await using here = await scene({})
    here.provider.bend.opaque = true
    const jar = await here.signedIn()
    assert.equal((await jar.send('/echo')).status, 200)
    const { headers } = here.backend.received[0]!
    assert.equal(headers['user-id'], 'grace')
    assert.equal(headers['user-roles'], 'from-id-token')
    assert.equal(headers['user-email'], 'grace@navy.example')
    assert.match(String(headers.authorization), /^Bearer opaque-/)
  })

  test('does not begin with the nonce of somebody else, nor with the answer of another issuer', async () => {
    await using here = await scene({})
    const refused = async () => {
      const jar = here.browser()
      const answer = await jar.send(await callbackOf(jar, here.provider))
      assert.equal(answer.status, 400, answer.text)
      assert.equal(answer.json.code, 'sign-in-refused')
      assert(!jar.cookies.has(name))
    }
    here.provider.bend.nonce = 'of another sign-in'
    await refused()
    here.provider.bend.nonce = undefined
    here.provider.bend.iss = 'https://evil.example'
    await refused()
    here.provider.bend.iss = null
    await refused()
    assert.equal(here.provider.asked.length, 1, 'a mix-up is seen before a code is shown to anybody')
    assert.deepEqual(
      here.gateway.log.filter(({ level }) => level === 'error'),
      [],
    )
  })

  test('cannot begin while the issuer is away: 503, and it begins when it is back', async () => {
    await using here = await scene({})
    const jar = here.browser()
    const callback = await callbackOf(jar, here.provider)
    await here.provider[Symbol.asyncDispose]()
    assert.equal((await jar.send(callback)).status, 503)
    await using never = await scene({})
    await never.provider[Symbol.asyncDispose]()
    const answer = await never.browser().send('/login')
    assert.equal(answer.status, 503)
    assert.equal(answer.json.code, 'issuer-unavailable')
    assert.equal(answer.headers['retry-after'], '1')
  })

  test('renews an expired access token once for all who come at the same time', async () => {
    await using here = await scene({})
    here.provider.bend.life = 1
    const jar = await here.signedIn()
    here.provider.bend.life = 300
    here.provider.bend.delay = 50
    await sleep(1_100)
    const answers = await Promise.all(Array.from({ length: 8 }, () => jar.send('/echo')))
    assert.deepEqual(
      answers.map(({ status }) => status),
      Array.from({ length: 8 }, () => 200),
    )
    assert.equal(here.refreshes(), 1)
    const shown = new Set(here.backend.received.map(({ headers }) => headers.authorization))
    assert.equal(shown.size, 1)
    await jar.send('/echo')
    assert.equal(here.refreshes(), 1)
  })

  test('renews it once for two gateways that share a store, and is known to both', async () => {
    const folder = await mkdtemp(join(tmpdir(), 'sallyport-shared-'))
    try {
      await using here = await scene({ store: { type: 'sqlite', path: join(folder, 'store.db') } })
      await using second = await here.start()
      here.provider.bend.life = 1
      const jar = await here.signedIn()
      const there = new Jar(publicUrl, second.url)
      there.cookies.set(name, jar.cookies.get(name)!)
      here.provider.bend.life = 300
      here.provider.bend.delay = 100
      await sleep(1_100)
      const answers = await Promise.all([jar, there, jar, there].map((one) => one.send('/echo')))
      assert.deepEqual(
        answers.map(({ status }) => status),
        [200, 200, 200, 200],
      )
      assert.equal(here.refreshes(), 1)
      assert.equal((await there.send('/logout', { method: 'POST' })).status, 204)
      assert.equal((await jar.send('/echo')).status, 401)

      // Whoever gets hold of the store has no session and no token of anybody.
      const id = (await here.signedIn()).cookies.get(name)!
      const token = String(here.backend.received[0]!.headers.authorization).slice('Bearer '.length)
      for (const file of await readdir(folder)) {
        const bytes = await readFile(join(folder, file), 'latin1')
        for (const secret of [id, token, token.split('.')[1]!]) assert(!bytes.includes(secret), file)
      }
    } finally {
      await rm(folder, { recursive: true })
    }
  })

  test('ends when its issuer knows the login no more', async () => {
    await using here = await scene({})
    here.provider.bend.life = 1
    const jar = await here.signedIn()
    here.provider.bend.refresh = 'invalid_grant'
    await sleep(1_100)
    const answer = await jar.send('/echo')
    assert.equal(answer.status, 401)
    assert.equal(answer.json.code, 'invalid-session')
    assert(!jar.cookies.has(name))
    assert.equal(here.backend.received.length, 0)
  })

  test('ends when a renewed token is somebody else', async () => {
    await using here = await scene({})
    here.provider.bend.life = 1
    const jar = await here.signedIn()
    here.provider.bend.subject = 'mallory'
    await sleep(1_100)
    assert.equal((await jar.send('/echo')).status, 401)
    assert.equal(here.backend.received.length, 0)
  })

  test('stays while its issuer is away: 503, and the cookie is kept', async () => {
    await using here = await scene({})
    here.provider.bend.life = 1
    const jar = await here.signedIn()
    here.provider.bend.life = 300
    await sleep(1_100)
    for (const trouble of ['broken', 'cut'] as const) {
      here.provider.bend.refresh = trouble
      const answer = await jar.send('/echo', { headers: { 'sec-fetch-mode': 'navigate' } })
      assert.equal(answer.status, 503, answer.text)
      assert.equal(answer.json.code, 'issuer-unavailable')
      assert(jar.cookies.has(name))
    }
    here.provider.bend.refresh = 'fine'
    assert.equal((await jar.send('/echo')).status, 200)
  })

  test('lasts as long as it is used, and never longer than its lifetime', async () => {
    let passed = 0
    const now = () => Date.now() + passed
    await using here = await scene({ session: { idle: '10m', lifetime: '20m' }, now })
    here.provider.bend.opaque = true
    here.provider.bend.life = 7_200
    const [used, unused] = [await here.signedIn(), await here.signedIn()]
    passed = 8 * 60_000
    assert.equal((await used.send('/echo')).status, 200)
    passed = 11 * 60_000
    assert.equal((await used.send('/echo')).status, 200)
    const idle = await unused.send('/echo')
    assert.equal(idle.status, 401)
    assert(!unused.cookies.has(name))
    passed = 19 * 60_000
    assert.equal((await used.send('/echo')).status, 200)
    passed = 20 * 60_000 + 1_000
    assert.equal((await used.send('/echo')).status, 401)
  })

  test('leads to the place where the issuer signs people out', async () => {
    await using here = await scene({ session: { home: '/echo/bye' } })
    const jar = await here.signedIn()
    const answer = await jar.send('/logout', { method: 'POST', headers: { accept: 'text/html' } })
    const { origin, pathname, searchParams } = new URL(answer.location!)
    assert.equal(origin + pathname, `${here.provider.issuer}/bye`)
    assert.equal(searchParams.get('post_logout_redirect_uri'), `${publicUrl}/echo/bye`)
    assert.match(searchParams.get('id_token_hint')!, /^eyJ/)
  })

  test('shows a service the token of the gateway where it asks for that, and never the cookie', async () => {
    await using here = await scene({ forward: { credentials: 'gateway-jwt' } })
    const jar = await here.signedIn()
    assert.equal((await jar.send('/echo')).status, 200)
    const { headers } = here.backend.received[0]!
    assert.equal(headers.cookie, undefined)
    const claims = JSON.parse(Buffer.from(String(headers.authorization).split('.')[1]!, 'base64url').toString())
    assert.equal(claims.sub, 'grace')
    assert.equal(claims.aud, 'echo')
  })
})
