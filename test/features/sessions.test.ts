import assert from 'node:assert/strict'
import { createHash } from 'node:crypto'
import { after, before, describe, test } from 'node:test'
import { InvalidConfiguration } from '../../src/config/load.ts'
import { type Backend, startBackend } from '../backend.ts'
import { Jar } from '../jar.ts'
import { type GatewayUnderTest, startGateway } from '../sallyport.ts'
import { skipWithoutShared, vectors } from '../vectors.ts'

const name = '__Host-sallyport'
const key = 'key-of-a-robot'
const people = [
  {
    username: 'ada',
    password: 'ada',
    subject: 'u-1',
    email: 'ada@acme.example',
    organization: 'acme',
    roles: ['admin'],
  },
  { username: 'bob', password: 'bob', subject: 'u-2', roles: ['viewer'] },
]
const files = { 'users.json': JSON.stringify(people) }
const session = { type: 'apiKey', in: 'cookie', name, session: { issuer: 'local' } }

const definition = (url: string, more: object = {}) => ({
  issuers: { local: { type: 'embedded', users: './users.json' } },
  securitySchemes: {
    bearer: { type: 'http', scheme: 'bearer' },
    apiKey: {
      type: 'apiKey',
      in: 'header',
      name: 'X-API-Key',
      keys: [{ sha256: createHash('sha256').update(key).digest('hex'), subject: 'robot', roles: ['machine'] }],
    },
    session,
  },
  security: [{ bearer: [] }, { apiKey: [] }, { session: [] }],
  services: [
    { name: 'echo', path: '/echo', targets: [url], openapi: false },
    { name: 'machines', path: '/machines', targets: [url], openapi: false, security: [{ apiKey: [] }] },
    { name: 'admins', path: '/admins', targets: [url], openapi: false, allow: { roles: ['admin'] } },
  ],
  ...more,
})

const navigation = { 'Sec-Fetch-Mode': 'navigate', 'Sec-Fetch-Dest': 'document', Accept: 'text/html,*/*;q=0.8' }

describe('a session of a browser', () => {
  let backend: Backend
  let gateway: GatewayUnderTest
  let origin: string
  const browser = () => new Jar(origin, gateway.url)
  const signedIn = async (who = 'ada') => {
    const jar = browser()
    const answer = await jar.signIn(who, who)
    assert.equal(answer.status, 303, answer.text)
    return jar
  }
  before(async () => {
    backend = await startBackend()
    gateway = await startGateway(definition(backend.url), { files })
    origin = gateway.running.publicUrl
  })
  after(async () => {
    await gateway?.[Symbol.asyncDispose]()
    await backend?.[Symbol.asyncDispose]()
  })

  test('begins at the sign-in page and brings the person back where they wanted to go', async () => {
    const jar = browser()
    const answer = await jar.signIn('ada', 'ada', '/login?returnTo=/echo/orders%3Fpage=2')
    assert.equal(answer.status, 303)
    assert.equal(answer.location, '/echo/orders?page=2')
    assert.match(
      answer.setCookies.find((line) => line.startsWith(`${name}=`)) ?? '',
      /^__Host-sallyport=[\w-]{43}; Path=\/; HttpOnly; SameSite=Lax; Secure$/,
    )
    assert.equal(answer.headers['cache-control'], 'no-store')
    assert(!jar.cookies.has(`${name}-login`), 'what the sign-in needed is gone')
  })

  test('tells the service who calls, with the access token and without the cookies', async () => {
    const jar = await signedIn()
    jar.cookies.set('theme', 'dark')
    backend.received.length = 0
    assert.equal((await jar.send('/echo/1')).status, 200)
    const { headers } = backend.received[0]!
    assert.equal(headers.cookie, 'theme=dark')
    assert.equal(headers['user-id'], 'u-1')
    assert.equal(headers['user-roles'], 'admin')
    assert.equal(headers['auth-method'], 'session')
    assert.equal(headers['token-type'], 'Cookie')
    // The token is one that the next service, or this gateway, would take.
    const again = await browser().send('/echo/1', { headers: { authorization: headers.authorization! } })
    assert.equal(again.status, 200)
    assert.equal(backend.received[1]!.headers['auth-method'], 'jwt')
  })

  test('has the roles of the person: 403 where they do not reach', async () => {
    assert.equal((await (await signedIn('ada')).send('/admins')).status, 200)
    assert.equal((await (await signedIn('bob')).send('/admins')).status, 403)
  })

  test('never gets an id that a browser brought along, and the one before it ends', async () => {
    const planted = 'A'.repeat(43)
    const jar = browser()
    jar.cookies.set(name, planted)
    await jar.signIn('ada', 'ada')
    const first = jar.cookies.get(name)!
    assert.notEqual(first, planted)
    const old = jar.copy()
    const again = await jar.send('/login')
    let target = again.location!
    for (;;) {
      const answer = await jar.send(target)
      if (answer.location === '/docs') break
      assert(answer.location, answer.text)
      target = answer.location
    }
    assert.notEqual(jar.cookies.get(name), first)
    assert.equal((await jar.send('/echo')).status, 200)
    assert.equal((await old.send('/echo')).status, 401)
    const attacker = browser()
    attacker.cookies.set(name, planted)
    assert.equal((await attacker.send('/echo')).status, 401)
  })

  test('two tabs sign in at once and both arrive', async () => {
    const jar = browser()
    const one = await jar.untilCallback('ada', 'ada', '/login?returnTo=/echo/one')
    const two = (await jar.send('/login?returnTo=/echo/two')).location!
    assert.equal((await jar.send(one)).location, '/echo/one')
    const answer = await jar.send((await jar.send(two)).location!)
    assert.equal(answer.location, '/echo/two')
    assert.equal((await jar.send('/echo')).status, 200)
  })

  describe('is begun only by the browser that asked for it', () => {
    const refused = async (jar: Jar, target: string) => {
      const answer = await jar.send(target)
      assert.equal(answer.status, 400, `${target}: ${answer.text}`)
      assert.equal(answer.json.code, 'sign-in-refused')
      assert(!jar.cookies.has(name), 'no session')
    }

    test('not with the code of an attacker in the browser of a victim', async () => {
      const callback = await browser().untilCallback('bob', 'bob')
      await refused(browser(), callback)
      const victim = browser()
      await victim.send('/login')
      await refused(victim, callback)
    })

    test('not without a state, with another one, or with two', async () => {
      const jar = browser()
      const callback = new URL(await jar.untilCallback('ada', 'ada'))
      const variant = (change: (query: URLSearchParams) => void) => {
        const url = new URL(callback)
        change(url.searchParams)
        return refused(jar, url.href)
      }
      await variant((query) => query.delete('state'))
      await variant((query) => query.set('state', 'x'.repeat(43)))
      await variant((query) => query.set('state', ''))
      await variant((query) => query.append('state', query.get('state')!))
      await variant((query) => query.set('iss', 'https://evil.example'))
      await variant((query) => query.delete('iss'))
      await variant((query) => query.delete('code'))
    })

    test('not twice with the same code', async () => {
      const jar = browser()
      const callback = await jar.untilCallback('ada', 'ada')
      const before = jar.copy()
      assert.equal((await jar.send(callback)).status, 303)
      await refused(before, callback)
    })

    test('not when the issuer says no', async () => {
      const jar = browser()
      const { searchParams } = new URL((await jar.send('/login')).location!)
      const query = new URLSearchParams({
        error: 'access_denied',
        state: searchParams.get('state')!,
        iss: `${origin}/oauth2`,
      })
      await refused(jar, `/login/callback?${query}`)
    })
  })

  test('asks the issuer with PKCE, a state and a nonce of their own each time, whatever Host says', async () => {
    const seen = new Set<string>()
    for (const host of ['evil.example', 'localhost']) {
      const headers = { host, 'x-forwarded-host': 'evil.example', 'x-forwarded-proto': 'https' }
      const { searchParams, href } = new URL((await browser().send('/login', { headers })).location!)
      assert(href.startsWith(`${origin}/oauth2/authorize?`), href)
      assert.equal(searchParams.get('redirect_uri'), `${origin}/login/callback`)
      assert.equal(searchParams.get('code_challenge_method'), 'S256')
      for (const parameter of ['state', 'nonce', 'code_challenge']) seen.add(searchParams.get(parameter)!)
    }
    assert.equal(seen.size, 6)
  })

  test('leads back to nowhere but the gateway', { skip: skipWithoutShared }, async () => {
    const cases: { s: string }[] = vectors('open-redirects.json').cases
    assert.equal(cases.length, 279)
    const jar = await signedIn()
    for (const { s } of cases) {
      const asked = await jar.send(`/login?returnTo=${encodeURIComponent(s)}`)
      const answer = await jar.send((await jar.send(asked.location!)).location!)
      assert.equal(answer.status, 303, s)
      // As a browser reads it, whatever page it is on.
      for (const base of [`${origin}/login/callback`, `${origin}/`])
        assert.equal(new URL(answer.location!, base).origin, origin, `${s} → ${answer.location}`)
    }
  })

  describe('with a cookie that is no session', () => {
    test('is refused with 401 and taken away, never 500', async () => {
      const good = (await signedIn()).cookies.get(name)!
      const flipped = `${good.slice(0, -1)}${good.endsWith('A') ? 'B' : 'A'}`
      const cookies = [
        `${name}=${flipped}`,
        `${name}=`,
        `${name}=${'A'.repeat(43)}`,
        `${name}=${good}x`,
        `${name}=${good.slice(1)}`,
        `${name}=${'x'.repeat(5_000)}`,
        `${name}=__proto__`,
        `${name}=%00`,
        `${name}="${good}"`,
        `${name}=bad; ${name}=${good}`,
        `${name}=${good}; ${name}=bad`,
        `${name}=${good}; ${name}=${good}`,
      ]
      for (const cookie of cookies) {
        const answer = await browser().send('/echo', { headers: { cookie } })
        assert.equal(answer.status, 401, cookie)
        assert.equal(answer.json.code, 'invalid-session', cookie)
        assert.match(String(answer.headers['www-authenticate']), /Cookie realm="sallyport"/)
        assert.match(answer.setCookies[0]!, /^__Host-sallyport=; Max-Age=0; Path=\/;/)
      }
    })

    test('counts as none beside a key that is good, and a bad key is refused beside a good session', async () => {
      const headers = { cookie: `${name}=bad`, 'x-api-key': key }
      assert.equal((await browser().send('/echo', { headers })).status, 200)
      const jar = await signedIn()
      assert.equal((await jar.send('/echo', { headers: { 'x-api-key': 'wrong' } })).status, 401)
    })

    test('rights are not added up: the first alternative that holds says who calls', async () => {
      const jar = await signedIn()
      backend.received.length = 0
      assert.equal((await jar.send('/echo', { headers: { 'x-api-key': key } })).status, 200)
      assert.equal(backend.received[0]!.headers['user-id'], 'robot')
      assert.equal(backend.received[0]!.headers.authorization, undefined)
      assert.equal((await jar.send('/admins', { headers: { 'x-api-key': key } })).status, 403)
    })
  })

  describe('is not used by other sites', () => {
    const post = (jar: Jar, headers: Record<string, string>) => jar.send('/echo/1', { method: 'POST', headers })

    test('what changes something is refused when it comes from elsewhere, and the service hears nothing', async () => {
      const jar = await signedIn()
      backend.received.length = 0
      const elsewhere = [
        { 'sec-fetch-site': 'cross-site', origin: 'https://evil.example' },
        { 'sec-fetch-site': 'same-site', origin: 'http://localhost:1' },
        { 'sec-fetch-site': 'cross-site' },
        { 'sec-fetch-site': 'cross-site', origin },
        { 'sec-fetch-site': 'same-origin, cross-site' },
        { origin: 'https://evil.example' },
        { origin: 'null' },
        { origin: `${origin}.evil.example` },
      ]
      for (const headers of elsewhere) {
        const answer = await post(jar, headers as Record<string, string>)
        assert.equal(answer.status, 403, JSON.stringify(headers))
        assert.equal(answer.json.code, 'cross-site-request')
      }
      for (const method of ['PUT', 'PATCH', 'DELETE']) {
        const answer = await jar.send('/echo/1', { method, headers: { 'sec-fetch-site': 'same-site' } })
        assert.equal(answer.status, 403, method)
      }
      assert.equal(backend.received.length, 0)
    })

    test('what comes from its own pages, from the person, or from no browser passes', async () => {
      const jar = await signedIn()
      for (const headers of [{ 'sec-fetch-site': 'same-origin', origin }, { 'sec-fetch-site': 'none' }, { origin }, {}])
        assert.equal((await post(jar, headers as Record<string, string>)).status, 200, JSON.stringify(headers))
      assert.equal((await jar.send('/echo/1', { headers: { 'sec-fetch-site': 'cross-site' } })).status, 200)
    })

    test('who shows a key means it, wherever the page is', async () => {
      const jar = await signedIn()
      const headers = { 'sec-fetch-site': 'cross-site', origin: 'https://app.example', 'x-api-key': key }
      assert.equal((await post(jar, headers)).status, 200)
    })

    test('nobody else signs a person out', async () => {
      const jar = await signedIn()
      const answer = await jar.send('/logout', { method: 'POST', headers: { 'sec-fetch-site': 'cross-site' } })
      assert.equal(answer.status, 403)
      assert.equal((await jar.send('/logout')).status, 405)
      assert.equal((await jar.send('/echo')).status, 200)
    })
  })

  describe('where there is none', () => {
    test('a browser that opens a page is sent to sign in, and then there', async () => {
      const jar = browser()
      const answer = await jar.send('/echo/a?b=c', { headers: navigation })
      assert.equal(answer.status, 302)
      assert.equal(answer.location, '/login?returnTo=%2Fecho%2Fa%3Fb%3Dc')
      assert.equal((await jar.signIn('ada', 'ada', answer.location)).location, '/echo/a?b=c')
    })

    test('so is one whose session is over, or one that only says that it wants a page', async () => {
      const jar = browser()
      jar.cookies.set(name, 'A'.repeat(43))
      assert.equal((await jar.send('/echo', { headers: navigation })).status, 302)
      assert(!jar.cookies.has(name))
      assert.equal((await browser().send('/echo', { headers: { accept: 'text/html' } })).status, 302)
    })

    test('a script gets 401, and so does a form, a bad token, and a route that takes no session', async () => {
      const cases: [string, Parameters<Jar['send']>[1]][] = [
        ['/echo', { headers: { 'sec-fetch-mode': 'cors', accept: 'text/html' } }],
        ['/echo', { headers: { accept: 'application/json' } }],
        ['/echo', {}],
        ['/echo', { method: 'POST', headers: navigation }],
        ['/echo', { headers: { ...navigation, authorization: 'Bearer nonsense' } }],
        ['/machines', { headers: navigation }],
      ]
      for (const [target, request] of cases) {
        const answer = await browser().send(target, request)
        assert.equal(answer.status, 401, JSON.stringify(request))
        assert.equal(answer.headers['content-type'], 'application/problem+json')
      }
    })
  })

  describe('ends', () => {
    test('by POST /logout: here at once, and its tokens too', async () => {
      const jar = await signedIn()
      backend.received.length = 0
      await jar.send('/echo')
      const { authorization } = backend.received[0]!.headers
      const stolen = jar.copy()
      const answer = await jar.send('/logout', { method: 'POST', headers: { 'sec-fetch-site': 'same-origin' } })
      assert.equal(answer.status, 204)
      assert(!jar.cookies.has(name))
      assert.equal((await jar.send('/echo')).status, 401)
      assert.equal((await stolen.send('/echo')).status, 401)
      const later = await browser().send('/echo', { headers: { authorization: authorization! } })
      assert.equal(later.status, 401)
    })

    test('by a form: the browser goes on to end it at the issuer, which sends it home', async () => {
      const jar = await signedIn()
      const answer = await jar.send('/logout', { method: 'POST', headers: navigation })
      assert.equal(answer.status, 303)
      const url = new URL(answer.location!)
      assert.equal(`${url.origin}${url.pathname}`, `${origin}/oauth2/end-session`)
      assert.equal(url.searchParams.get('post_logout_redirect_uri'), `${origin}/docs`)
      const page = await jar.send(answer.location!)
      assert.equal(page.status, 200, page.text)
      const action = /<form[^>]* action="([^"]+)"/.exec(page.text)![1]!
      const xsrf = /name="xsrf" value="([^"]+)"/.exec(page.text)![1]!
      const done = await jar.send(action, { method: 'POST', form: { xsrf, logout: 'yes' } })
      assert.equal(done.location, `${origin}/docs`)
      // Nobody is signed in silently now.
      const again = await jar.send((await jar.send('/login')).location!)
      assert.match((await jar.send(again.location!)).text, /name="password"/)
    })

    test('without one there is nothing to end, and that is fine', async () => {
      assert.equal((await browser().send('/logout', { method: 'POST' })).status, 204)
    })

    test('when the person is locked out', async () => {
      const jar = await signedIn('bob')
      const body = JSON.stringify({ subject: 'u-2', issuer: `${origin}/oauth2` })
      const headers = { 'content-type': 'application/json' }
      const revoked = await fetch(`${gateway.adminUrl}/revocations`, { method: 'POST', headers, body })
      assert.equal(revoked.status < 300, true, await revoked.text())
      assert.equal((await jar.send('/echo')).status, 401)
    })
  })

  test('a service can neither set nor take the cookies', async () => {
    await using liar = await startBackend((_req, res) => {
      res.setHeader('Set-Cookie', [`${name}=forged; Path=/; Secure`, `${name}-login=forged`, 'own=1', `=${name}=bare`])
      res.end('ok')
    })
    await using other = await startGateway(definition(liar.url), { files })
    const jar = new Jar(other.running.publicUrl, other.url)
    const answer = await jar.send('/echo', { headers: { 'x-api-key': key } })
    assert.deepEqual(answer.setCookies, ['own=1'])
  })

  describe('/me', () => {
    test('is the caller as the gateway sees it, by any scheme', async () => {
      const jar = await signedIn()
      const { json, headers } = await jar.send('/me')
      assert.equal(headers['cache-control'], 'no-store')
      assert.equal(json.subject, 'u-1')
      assert.equal(json.method, 'session')
      assert.equal(json.organization, 'acme')
      assert.deepEqual(json.roles, ['admin'])
      const robot = await browser().send('/me', { headers: { 'x-api-key': key } })
      assert.equal(robot.json.subject, 'robot')
      assert.equal(robot.json.method, 'api-key')
      backend.received.length = 0
      await jar.send('/echo')
      const { authorization } = backend.received[0]!.headers
      assert.equal((await browser().send('/me', { headers: { authorization: authorization! } })).json.method, 'jwt')
    })

    test('is 401 for nobody, and for a credential that is not good', async () => {
      const nobody = await browser().send('/me')
      assert.equal(nobody.status, 401)
      assert.equal([nobody.headers['www-authenticate']].flat().length, 3)
      assert.equal((await browser().send('/me', { headers: { 'x-api-key': 'wrong' } })).status, 401)
      assert.equal((await browser().send('/.auth/me')).status, 401)
      assert.equal((await browser().send('/.auth/login/aad')).status, 404)
    })

    test("says the same in Easy Auth's shape, without tokens", async () => {
      const jar = await signedIn()
      const answer = await jar.send('/.auth/me')
      const [entry, ...more] = answer.json
      assert.equal(more.length, 0)
      assert.equal(entry.provider_name, 'session')
      assert.equal(entry.user_id, 'ada@acme.example')
      assert(
        entry.user_claims.some((claim: { typ: string; val: string }) => claim.typ === 'roles' && claim.val === 'admin'),
      )
      assert.doesNotMatch(answer.text, /eyJ[\w-]+\.eyJ/, 'no token')
      const robot = await browser().send('/.auth/me', { headers: { 'x-api-key': key } })
      assert.equal(robot.json[0].user_id, 'robot')
    })
  })

  test('the document says what there is', async () => {
    const { paths, components } = (await browser().send('/openapi.json')).json
    assert.deepEqual(Object.keys(components.securitySchemes.session).toSorted(), ['description', 'in', 'name', 'type'])
    assert.equal(components.securitySchemes.session.name, name)
    for (const path of ['/login', '/logout', '/me', '/.auth/me']) assert(paths[path], path)
    assert.deepEqual(paths['/me'].get.security, [{ bearer: [] }, { apiKey: [] }, { session: [] }])
  })
})

describe('without sessions', () => {
  test('a service at the root has /login and /logout', async () => {
    await using backend = await startBackend()
    const { session: _, ...securitySchemes } = definition(backend.url).securitySchemes
    await using gateway = await startGateway(
      definition(backend.url, {
        securitySchemes,
        security: [],
        services: [{ name: 'site', path: '/', targets: [backend.url], openapi: false }],
      }),
      { files },
    )
    for (const path of ['/login', '/login/callback', '/logout'])
      assert.equal((await fetch(gateway.url + path)).status, 200)
    assert.deepEqual(
      backend.received.map(({ url }) => url),
      ['/login', '/login/callback', '/logout'],
    )
    assert.equal((await fetch(`${gateway.url}/me`)).status, 401)
  })
})

describe('a session without TLS', () => {
  test('is refused at start where browsers would not keep the cookie', async () => {
    const refuses = (gateway: object, scheme: object, pointer: string, message: RegExp) =>
      assert.rejects(
        startGateway(definition('http://127.0.0.1:1', { gateway, securitySchemes: { session: scheme }, security: [] })),
        (error: unknown) => {
          assert(error instanceof InvalidConfiguration, String(error))
          const found = error.mistakes.find((mistake) => mistake.pointer === pointer)
          assert(found, JSON.stringify(error.mistakes))
          assert.match(found.message, message)
          return true
        },
      )
    const at = '/securitySchemes/session'
    const here = {}
    await refuses({ publicUrl: 'http://192.168.1.5:8080' }, session, `${at}/session`, /no Secure cookie/)
    await refuses(here, { ...session, name: 'sid' }, `${at}/name`, /"__Host-sid"/)
    await refuses(here, { ...session, session: { issuer: 'local', insecure: true } }, `${at}/name`, /only with Secure/)
    await refuses(here, { ...session, in: 'header', name: 'X-Session' }, `${at}/in`, /in a cookie/)
    await refuses(here, { ...session, session: { issuer: 'lokal' } }, `${at}/session/issuer`, /did you mean "local"/)
    await refuses(here, { ...session, session: { issuer: 'local', clientId: 'x' } }, `${at}/session/clientId`, /leave/)
    await refuses(here, { ...session, keys: [] }, `${at}/session`, /either/)
  })

  test('works where it is asked for, with a cookie that says so', async () => {
    await using backend = await startBackend()
    const plain = { ...session, name: 'sallyport', session: { issuer: 'local', insecure: true } }
    await using gateway = await startGateway(
      definition(backend.url, {
        gateway: { publicUrl: 'http://gateway.test' },
        securitySchemes: { session: plain },
        security: [{ session: [] }],
        services: [{ name: 'echo', path: '/echo', targets: [backend.url], openapi: false }],
      }),
      { files },
    )
    const jar = new Jar('http://gateway.test', gateway.url)
    const { setCookies } = await jar.signIn('ada', 'ada')
    assert.match(setCookies[0]!, /^sallyport=[\w-]{43}; Path=\/; HttpOnly; SameSite=Lax$/)
    assert.equal((await jar.send('/echo')).status, 200)
  })
})
