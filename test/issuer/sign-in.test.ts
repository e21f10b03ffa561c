import assert from 'node:assert/strict'
import { after, before, describe, test } from 'node:test'
import { type Answer, authorizePath, Browser, type IssuerApp, pkce, startIssuer, web } from './issuer-app.ts'

let app: IssuerApp
let address: string
let last = 0
/** Attempts are counted by address, so each test comes from another one. */
const move = () => {
  last += 1
  address = `192.0.2.${last}`
}
before(async () => {
  move()
  app = await startIssuer({ addressOf: () => address })
})
after(() => app.stop())

async function loginPage(browser: Browser, changes: Record<string, string> = {}): Promise<Answer> {
  const page = await browser.follow(authorizePath(pkce().challenge, changes))
  assert.equal(page.status, 200, page.text)
  assert.match(page.text, /type="password"/)
  return page
}

describe('the sign-in page', () => {
  test('names the client, escaped, and needs no script', async () => {
    move()
    const page = await loginPage(new Browser(app), { login_hint: '"><script>alert(1)</script>' })
    assert.match(page.text, /to continue to <strong>The &lt;Web&gt; Shop &amp; Co<\/strong>/)
    assert.doesNotMatch(page.text, /<script|style=|javascript:| on[a-z]+=/i)
    assert.match(page.text, /value="&quot;&gt;&lt;script&gt;/)
    const stylesheet = /<link rel="stylesheet" href="([^"]+)">/.exec(page.text)![1]!
    const style = await app.send('GET', stylesheet)
    assert.equal(style.status, 200)
    assert.equal(style.fields['content-type'], 'text/css; charset=utf-8')
  })

  test('is never kept, framed, or able to load or send anything elsewhere', async () => {
    move()
    const { fields } = await loginPage(new Browser(app))
    assert.equal(fields['cache-control'], 'no-store')
    assert.equal(fields['x-content-type-options'], 'nosniff')
    assert.equal(fields['x-frame-options'], 'DENY')
    assert.equal(fields['referrer-policy'], 'same-origin')
    assert.deepEqual(String(fields['content-security-policy']).split('; ').sort(), [
      "base-uri 'none'",
      "default-src 'none'",
      "form-action 'self' https://app.test",
      "frame-ancestors 'none'",
      "script-src 'none'",
      "style-src 'self'",
    ])
  })

  test('says the same whether the user is unknown, locked out or the password wrong, and keeps the name', async () => {
    const texts: string[] = []
    for (const [username, password] of [
      ['ada', 'wrong'],
      ['nobody', 'wrong'],
      ['eve', 'eve'],
    ] as const) {
      move()
      const browser = new Browser(app)
      const answer = await browser.submit(await loginPage(browser), { username, password })
      assert.equal(answer.status, 422)
      assert.match(answer.text, /<p class="fault" id="fault" role="alert">The user name or the password is not right\./)
      assert.match(answer.text, new RegExp(`value="${username}"`))
      assert.ok(!answer.text.includes(`value="${password}"`) || username === password)
      assert.match(answer.text, /<title>Not signed in – Sign in<\/title>/)
      texts.push(
        answer.text
          .replaceAll(username, 'NAME')
          .replace(/name="csrf" value="[^"]+"/, '')
          .replace(/login\/[\w-]+/, ''),
      )
    }
    assert.equal(new Set(texts).size, 1)
  })

  test('signs in at the second try', async () => {
    move()
    const browser = new Browser(app)
    const again = await browser.submit(await loginPage(browser), { username: 'ada', password: 'wrong' })
    const answer = (await browser.submit(again, { username: 'ada', password: 'ada' })) as Answer & { location?: string }
    assert.match(answer.location ?? '', /^https:\/\/app\.test\/callback\?code=/)
  })

  test('takes a new session id at sign-in', async () => {
    move()
    const browser = new Browser(app)
    const page = await loginPage(browser)
    const planted = 'x'.repeat(43)
    browser.cookies.set('issuer-session', { value: planted, path: '/', line: '' })
    await browser.submit(page, { username: 'ada', password: 'ada' })
    assert.notEqual(browser.cookies.get('issuer-session')?.value, planted)
  })

  test('refuses forms of other sites, without its token, and of another sign-in', async () => {
    move()
    const browser = new Browser(app)
    const page = await loginPage(browser)
    const values = { username: 'ada', password: 'ada' }
    for (const fields of [
      { 'sec-fetch-site': 'cross-site' },
      { 'sec-fetch-site': 'same-site' },
      { 'sec-fetch-site': 'none' },
      { origin: 'https://evil.test' },
      { origin: 'null' },
    ]) {
      const answer = await browser.submit(page, values, fields)
      assert.equal(answer.status, 403, JSON.stringify(fields))
    }
    assert.equal((await browser.submit(page, { ...values, csrf: 'guess' })).status, 403)
    const other = new Browser(app)
    const otherPage = await loginPage(other)
    const foreign = await browser.submit(otherPage, values)
    assert.equal(foreign.status, 400)
    assert.match(foreign.text, /This sign-in has ended/)
    const withoutCookies = await new Browser(app).submit(page, values)
    assert.equal(withoutCookies.status, 400)
    const answer = (await browser.submit(page, values, { origin: app.publicUrl })) as Answer & { location?: string }
    assert.match(answer.location ?? '', /code=/)
    const late = await browser.submit(page, values)
    assert.equal(late.status, 400)
    assert.match(late.text, /This sign-in has ended/)
  })

  test('asks for both fields, and hashes nothing that is too long', async () => {
    move()
    const browser = new Browser(app)
    const page = await loginPage(browser)
    for (const values of [
      { username: 'ada', password: '' },
      { username: '', password: 'x' },
      { username: 'ada', password: 'x'.repeat(5_000) },
    ]) {
      const answer = await browser.submit(page, values)
      assert.equal(answer.status, 422)
      assert.match(answer.text, /Please enter your user name and your password/)
    }
  })

  test('asks again when the user has been locked out, or signed in long ago', async () => {
    move()
    let offset = 0
    const other = await startIssuer({ settings: { session: '1s' }, now: () => Date.now() + offset })
    const browser = new Browser(other)
    const path = authorizePath(pkce().challenge)
    const first = (await browser.submit(await browser.follow(path), { username: 'ada', password: 'ada' })) as Answer & {
      location?: string
    }
    assert.match(first.location ?? '', /code=/)
    await new Promise((resolve) => setTimeout(resolve, 2_100))
    const old = await browser.follow(authorizePath(pkce().challenge))
    assert.match(old.text, /type="password"/)
    const back = (await browser.submit(old, { username: 'ada', password: 'ada' })) as Answer & { location?: string }
    assert.match(back.location ?? '', /code=/)

    offset = 1_000
    await other.revocations.revoke({ subject: 'u-1' })
    const revoked = await browser.follow(authorizePath(pkce().challenge))
    assert.match(revoked.text, /type="password"/)
    await other.stop()
  })
})

describe('wrong passwords', () => {
  test('are stopped after a few for one name at one address, at the page and at the token endpoint alike', async () => {
    move()
    const browser = new Browser(app)
    let page = await loginPage(browser)
    for (let n = 0; n < 3; n += 1) page = await browser.submit(page, { username: 'bob', password: 'wrong' })
    const form = { grant_type: 'password', username: 'bob', password: 'wrong' }
    assert.equal((await app.post('/oauth2/token', form, web)).status, 400)
    assert.equal((await app.post('/oauth2/token', form, web)).status, 400)

    const stopped = await app.post('/oauth2/token', { ...form, password: 'bob' }, web)
    assert.equal(stopped.status, 429)
    assert.equal(stopped.json.error, 'too_many_attempts')
    assert.ok(Number(stopped.fields['retry-after']) > 200)
    const shown = await browser.submit(page, { username: 'bob', password: 'bob' })
    assert.equal(shown.status, 429)
    assert.match(shown.text, /Too many attempts\. Please wait 5 minutes and try again\./)
    assert.ok(Number(shown.fields['retry-after']) > 200)

    move()
    const elsewhere = await app.post('/oauth2/token', { ...form, password: 'bob' }, web)
    assert.equal(elsewhere.status, 200, 'the user can still come from another address')
  })

  test('of a hundred at once no more than five are even looked at, whether the user exists or not', async () => {
    for (const username of ['ada', 'nobody']) {
      move()
      const answers = await Promise.all(
        Array.from({ length: 100 }, () =>
          app.post('/oauth2/token', { grant_type: 'password', username, password: 'wrong' }, web),
        ),
      )
      assert.equal(answers.filter(({ status }) => status === 400).length, 5)
      assert.equal(answers.filter(({ status }) => status === 429).length, 95)
    }
  })

  test('are forgotten by the right one', async () => {
    move()
    const form = (password: string) => ({ grant_type: 'password', username: 'ada', password })
    for (let round = 0; round < 3; round += 1) {
      for (let n = 0; n < 4; n += 1) await app.post('/oauth2/token', form('wrong'), web)
      assert.equal((await app.post('/oauth2/token', form('ada'), web)).status, 200)
    }
  })
})

describe('other pages', () => {
  test('an error is a page without a stack, and its words are text', async () => {
    const page = await new Browser(app).get('/oauth2/authorize?client_id=%3Cscript%3E')
    assert.equal(page.status, 400)
    assert.match(page.text, /This request cannot be answered/)
    assert.match(page.text, /<code>invalid_client<\/code>/)
    assert.doesNotMatch(page.text, /<script|node_modules|\.js:\d/)
    assert.equal(page.fields['cache-control'], 'no-store')
  })

  test('a sign-in page that nobody began is over', async () => {
    const page = await new Browser(app).get('/oauth2/login/unknown')
    assert.equal(page.status, 400)
    assert.match(page.text, /This sign-in has ended/)
  })

  test('signing out asks first, and staying changes nothing', async () => {
    move()
    const browser = new Browser(app)
    const path = authorizePath(pkce().challenge)
    await browser.submit(await browser.follow(path), { username: 'ada', password: 'ada' })
    const question = await browser.get('/oauth2/end-session')
    assert.match(question.text, /<h1>Sign out\?<\/h1>/)
    assert.doesNotMatch(question.text, /<script/)
    const stayed = await browser.submit(question, {})
    assert.equal(stayed.status, 200)
    assert.match((await browser.follow(path)).location ?? '', /code=/)

    const gone = await browser.submit(await browser.get('/oauth2/end-session'), { logout: 'yes' })
    assert.match(gone.text, /You are signed out/)
    assert.match((await browser.follow(path)).text, /type="password"/)
  })

  test('a forged sign-out does nothing', async () => {
    move()
    const browser = new Browser(app)
    const path = authorizePath(pkce().challenge)
    await browser.submit(await browser.follow(path), { username: 'ada', password: 'ada' })
    const forged = await browser.send('POST', '/oauth2/end-session/confirm', {
      fields: { 'content-type': 'application/x-www-form-urlencoded' },
      body: 'xsrf=guess&logout=yes',
    })
    assert.equal(forged.status, 400)
    assert.match((await browser.follow(path)).location ?? '', /code=/)
  })

  test('a code by form post goes to the client alone, with a script that the policy knows', async () => {
    move()
    const browser = new Browser(app)
    const path = authorizePath(pkce().challenge, { response_mode: 'form_post' })
    const page = await browser.submit(await browser.follow(path), { username: 'ada', password: 'ada' })
    const policy = String(page.fields['content-security-policy'])
    assert.match(page.text, /action="https:\/\/app\.test\/callback"/)
    assert.match(policy, /form-action 'self' https:\/\/app\.test/)
    assert.match(policy, /script-src 'sha256-[^']+'(;|$)/)
  })
})
