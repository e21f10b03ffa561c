import assert from 'node:assert/strict'
import { randomUUID } from 'node:crypto'
import { mkdtemp, rm } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { describe, type TestContext, test } from 'node:test'
import { startBackend } from '../backend.ts'
import { Jar } from '../jar.ts'
import { startOidcProvider } from '../oidc-provider.ts'
import { startProvider } from '../openid-provider.ts'
import { type GatewayUnderTest, startGateway } from '../sallyport.ts'

const name = '__Host-sallyport'
const publicUrl = 'https://gateway.test'
const path = '/logout/backchannel'

const definition = (issuer: string, target: string, more: object = {}) => ({
  gateway: { publicUrl },
  issuers: { elsewhere: { type: 'oidc', issuer, audience: 'api', algorithms: ['ES256'] } },
  securitySchemes: {
    session: {
      type: 'apiKey',
      in: 'cookie',
      name,
      session: { issuer: 'elsewhere', clientId: 'gateway', clientSecret: 'a-secret-of-the-gateway' },
    },
  },
  security: [{ session: [] }],
  services: [{ name: 'echo', path: '/echo', targets: [target], openapi: false }],
  ...more,
})

describe('signing out at an OpenID provider', () => {
  test('ends the sessions of that sign-in at every gateway, and no other', async (t) => {
    const folder = await mkdtemp(join(tmpdir(), 'sallyport-logout-'))
    t.after(() => rm(folder, { recursive: true }))
    await using backend = await startBackend()
    let addressed: GatewayUnderTest | undefined
    await using provider = await startOidcProvider(
      {
        client_id: 'gateway',
        client_secret: 'a-secret-of-the-gateway',
        redirect_uris: [`${publicUrl}/login/callback`],
        backchannel_logout_uri: publicUrl + path,
        backchannel_logout_session_required: true,
      },
      (url) => url.replace(publicUrl, addressed!.url),
    )
    const written = definition(provider.issuer, backend.url, {
      store: { type: 'sqlite', path: join(folder, 'store.db') },
    })
    await using one = await startGateway(written)
    await using other = await startGateway(written)
    addressed = other

    /** Somebody's browser signs in at a gateway: what it has there, and what it has at the provider. */
    const signIn = async (person: string, at: GatewayUnderTest, there = provider.browser()) => {
      const here = new Jar(publicUrl, at.url)
      const back = await provider.signIn(there, (await here.send('/login')).location!, person)
      const answer = await here.send(back)
      assert.equal(answer.status, 303, answer.text)
      return { here, there }
    }
    const status = async (jar: Jar) => (await jar.send('/echo')).status

    const laptop = await signIn('ada', one)
    const twin = await signIn('ada', other, laptop.there)
    const phone = await signIn('ada', one)
    const bob = await signIn('bob', other)
    for (const { here } of [laptop, twin, phone, bob]) assert.equal(await status(here), 200)

    await provider.signOut(laptop.there)
    assert.deepEqual(provider.undelivered, [])
    assert.equal(await status(laptop.here), 401, 'at the gateway that did not hear of it itself')
    assert.equal(await status(twin.here), 401)
    assert.equal(await status(phone.here), 200, 'another sign-in of the same person')
    assert.equal(await status(bob.here), 200)
  })
})

async function scene(t: TestContext, more: object = {}) {
  const backend = await startBackend()
  t.after(() => backend[Symbol.asyncDispose]())
  const provider = await startProvider()
  t.after(() => provider[Symbol.asyncDispose]())
  const gateway = await startGateway(definition(provider.issuer, backend.url, more))
  t.after(() => gateway[Symbol.asyncDispose]())
  const now = Math.floor(Date.now() / 1_000)
  const good = {
    iss: provider.issuer,
    aud: 'gateway',
    iat: now,
    exp: now + 120,
    sub: 'grace',
    events: { 'http://schemas.openid.net/event/backchannel-logout': {} },
  }
  const typed = { typ: 'logout+jwt' }
  const post = async (body: URLSearchParams | string, headers: Record<string, string> = {}) => {
    const response = await fetch(gateway.url + path, { method: 'POST', body, headers })
    const text = await response.text()
    return { status: response.status, text, cache: response.headers.get('cache-control') }
  }
  return {
    gateway,
    provider,
    good,
    post,
    async signedIn(sid?: string) {
      provider.bend.sid = sid
      const jar = new Jar(publicUrl, gateway.url)
      const answer = await jar.send(provider.authorize((await jar.send('/login')).location!))
      assert.equal(answer.status, 303, answer.text)
      return jar
    },
    async tell(claims: object, header: object = typed) {
      const token = await provider.sign(header, { jti: randomUUID(), ...claims })
      return post(new URLSearchParams({ logout_token: token }))
    },
    status: async (jar: Jar) => (await jar.send('/echo')).status,
  }
}

describe('a logout token', () => {
  test('that names a subject ends all its sessions; one that names a sign-in ends those of it', async (t) => {
    const { good, signedIn, tell, status } = await scene(t)
    const [a, b, c] = [await signedIn('first'), await signedIn('second'), await signedIn()]
    const answer = await tell({ ...good, sid: 'first' })
    assert.deepEqual(answer, { status: 200, text: '', cache: 'no-store' })
    assert.deepEqual([await status(a), await status(b), await status(c)], [401, 200, 200])
    assert.equal((await tell({ ...good, sub: 'somebody else' })).status, 200)
    assert.deepEqual([await status(b), await status(c)], [200, 200])
    assert.equal((await tell(good)).status, 200)
    assert.deepEqual([await status(b), await status(c)], [401, 401])
    const { sub: _, ...nameless } = good
    const d = await signedIn('third')
    assert.equal((await tell({ ...nameless, sid: 'third' }, {})).status, 200, 'the subject may be left out')
    assert.equal(await status(d), 401)
  })

  test('ends a session that has been used and renewed since', async (t) => {
    const { provider, good, signedIn, tell, status } = await scene(t)
    provider.bend.life = 1
    const jar = await signedIn('first')
    await new Promise((resolve) => setTimeout(resolve, 1_100))
    assert.equal(await status(jar), 200)
    assert(provider.asked.some(({ grant }) => grant === 'refresh_token'))
    assert.equal((await tell({ ...good, sid: 'first' })).status, 200)
    assert.equal(await status(jar), 401)
    const again = await signedIn()
    await new Promise((resolve) => setTimeout(resolve, 1_100))
    assert.equal(await status(again), 200)
    assert.equal((await tell(good)).status, 200)
    assert.equal(await status(again), 401)
  })

  test('that is not one, not for us, too old, unsigned or sent again is refused, and nobody is signed out', async (t) => {
    const { gateway, provider, good, post, signedIn, tell, status } = await scene(t)
    const jar = await signedIn('first')
    const event = 'http://schemas.openid.net/event/backchannel-logout'
    const without = (key: string) => Object.fromEntries(Object.entries(good).filter(([name]) => name !== key))
    const faults: [string, object, object?][] = [
      ['another audience', { ...good, aud: 'api' }],
      ['another issuer', { ...good, iss: 'https://evil.example' }],
      ['no iat', without('iat')],
      ['no exp', without('exp')],
      ['expired', { ...good, exp: good.iat - 60 }],
      ['from the future', { ...good, iat: good.iat + 3_600, exp: good.iat + 7_200 }],
      ['no events', without('events')],
      ['another event', { ...good, events: { 'https://other.example/event': {} } }],
      ['an event that is no object', { ...good, events: { [event]: true } }],
      ['a list of events', { ...good, events: [event] }],
      ['a nonce', { ...good, nonce: 'n' }],
      ['nobody named', without('sub')],
      ['a sid that is no text', { ...good, sid: 7 }],
      ['an empty jti', { ...good, jti: '' }],
      ['an access token', { ...good }, { typ: 'at+jwt' }],
      ['another key', good, { typ: 'logout+jwt', kid: 'two' }],
    ]
    for (const [title, claims, header] of faults) {
      const answer = await tell(claims, header)
      assert.equal(answer.status, 400, `${title}: ${answer.text}`)
      const { code, error } = JSON.parse(answer.text)
      assert.deepEqual([code, error, answer.cache], ['bad-request', 'invalid_request', 'no-store'], title)
    }
    const token = await provider.sign({ typ: 'logout+jwt' }, { ...good, sub: 'nobody', jti: 'once' })
    const form = () => new URLSearchParams({ logout_token: token })
    const [header, claims] = token.split('.')
    for (const forged of [`${header}.${claims}.`, `${header}.${claims}.${'A'.repeat(86)}`, 'nonsense', ''])
      assert.equal((await post(new URLSearchParams({ logout_token: forged }))).status, 400, forged)
    assert.equal((await post(new URLSearchParams())).status, 400)
    assert.equal(
      (await post(`${form()}&${form()}`, { 'content-type': 'application/x-www-form-urlencoded' })).status,
      400,
    )
    assert.equal(
      (await post(JSON.stringify({ logout_token: token }), { 'content-type': 'application/json' })).status,
      415,
    )
    assert.equal((await post(new URLSearchParams({ logout_token: 'a'.repeat(100_000) }))).status, 413)
    assert.equal((await fetch(gateway.url + path)).status, 405)

    assert.equal((await post(form())).status, 200)
    const replayed = await post(form())
    assert.equal(replayed.status, 400)
    assert.match(replayed.text, /replayed/)
    assert.equal(await status(jar), 200)
    const lines = JSON.stringify(gateway.log)
    assert(!lines.includes(token) && /a logout token was refused/.test(lines))
  })

  test('is described in the document, where people sign in', async (t) => {
    const { gateway } = await scene(t)
    const document = (await (await fetch(`${gateway.url}/openapi.json`)).json()) as { paths: Record<string, object> }
    assert.deepEqual(Object.keys(document.paths[path]!), ['post'])
  })
})
