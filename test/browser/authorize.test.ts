import assert from 'node:assert/strict'
import { hash } from 'node:crypto'
import { join } from 'node:path'
import { after, before, describe, test } from 'node:test'
import type { Browser, Page } from 'playwright-core'
import { demoKey } from '../../examples/demo.ts'
import { startBackend } from '../backend.ts'
import { skipWithout } from '../requirements.ts'
import {
  authorize,
  type Credential,
  chooseDocument,
  execute,
  launchBrowser,
  logout,
  noTrouble,
  offeredSchemes,
  openDialog,
  openDocs,
} from './browser.ts'
import { type Demo, demoUsers, startDemo } from './demo.ts'

const ada = demoUsers[0]!
const queryKey = 'sp-test-key-for-the-query'

interface Way {
  readonly scheme: string
  readonly title: string
  readonly credential: (origin: string) => Credential | Promise<Credential>
  /** What the services must have been told. */
  readonly subject: string
  /** The field in which the credential itself crosses to the services; none for one in the query. */
  readonly arrivesIn: 'authorization' | 'x-api-key' | undefined
}

/** Every way to prove who one is that the dialog offers, as a person goes about it. */
const ways: readonly Way[] = [
  {
    scheme: 'bearer',
    title: 'a token, pasted',
    credential: async (origin) => ({ value: await tokenOf(origin) }),
    subject: ada.subject,
    arrivesIn: 'authorization',
  },
  {
    scheme: 'oauth2',
    title: 'user name and password in the dialog',
    credential: () => ({ flow: 'password', username: ada.username, password: ada.password }),
    subject: ada.subject,
    arrivesIn: 'authorization',
  },
  {
    scheme: 'oauth2',
    title: 'the login page in a window of its own (authorization code with PKCE)',
    credential: () => ({ flow: 'authorizationCode', signIn }),
    subject: ada.subject,
    arrivesIn: 'authorization',
  },
  {
    scheme: 'oauth2',
    title: 'a program with its own secret (client credentials)',
    credential: () => ({ flow: 'clientCredentials', clientId: 'reporter', clientSecret: 'reporter-demo-secret' }),
    subject: 'reporter',
    arrivesIn: 'authorization',
  },
  {
    scheme: 'apiKey',
    title: 'a key in a header field',
    credential: () => ({ value: demoKey }),
    subject: 'demo-key',
    arrivesIn: 'x-api-key',
  },
  {
    scheme: 'apiKeyQuery',
    title: 'a key in the query',
    credential: () => ({ value: queryKey }),
    subject: 'query-holder',
    arrivesIn: undefined,
  },
]

describe('the Authorize button of the demo', { skip: skipWithout('chromium') }, () => {
  let browser: Browser
  let demo: Demo
  before(async () => {
    browser = await launchBrowser()
    demo = await startDemo((written) => {
      // The demo itself declares none: keys in addresses end up in logs.
      const keys = [{ sha256: hash('sha256', queryKey), subject: 'query-holder' }]
      written.securitySchemes.apiKeyQuery = { type: 'apiKey', in: 'query', name: 'api_key', keys }
      written.security.push({ apiKeyQuery: [] })
    })
  })
  after(async () => {
    await browser?.close()
    await demo?.[Symbol.asyncDispose]()
  })

  test('offers exactly the schemes of services.json, and each of them is tried below', async () => {
    await using docs = await openDocs(browser, `${demo.origin}/docs`)
    const offered = await offeredSchemes(docs.page)
    assert.deepEqual(offered.toSorted(), demo.schemes.toSorted())
    assert.deepEqual([...new Set(ways.map(({ scheme }) => scheme)), 'session'].toSorted(), demo.schemes.toSorted())
    assert.deepEqual(docs.trouble, noTrouble)
    if (process.env['SALLYPORT_PICTURES'] === '1') await takePicture(browser)
  })

  test('says 401 before anything is authorized, at every service', async () => {
    await using docs = await openDocs(browser, `${demo.origin}/docs`)
    for (const operation of whoAmI) assert.equal((await execute(docs.page, operation)).status, 401, operation)
    assert.deepEqual(docs.trouble, noTrouble)
  })

  for (const { scheme, title, credential, subject, arrivesIn } of ways) {
    test(`${scheme}: ${title}: reaches orders and inventory, and nothing does after logging out`, async () => {
      await using docs = await openDocs(browser, `${demo.origin}/docs`)
      const { page } = docs
      const given = await credential(demo.origin)
      await authorize(page, scheme, given)

      for (const operation of whoAmI) {
        const { status, body, sent, curl, url } = await execute(page, operation)
        assert.equal(status, 200, `${operation}: ${body}`)
        const arrived = JSON.parse(body)
        assert.equal(arrived.fields['user-id'], subject, operation)
        assert.equal(arrived.fields['auth-status'], 'authenticated')
        if (arrivesIn === 'authorization') {
          assert.equal(arrived.authorization, hash('sha256', sent['authorization']!).slice(0, 12))
          assert.ok(curl.includes(`Authorization: ${sent['authorization']}`))
        } else if (arrivesIn === 'x-api-key') {
          assert.equal(arrived.fields['x-api-key'], 'present')
        } else {
          assert.equal(new URL(url).searchParams.get('api_key'), queryKey)
        }
      }

      await logout(page, scheme, 'flow' in given ? given.flow : undefined)
      for (const operation of whoAmI) assert.equal((await execute(page, operation)).status, 401, operation)
      assert.deepEqual(docs.trouble, noTrouble)
    })
  }

  test('bearer and apiKey at once: both are sent and both arrive, and the first alternative says who calls', async () => {
    await using docs = await openDocs(browser, `${demo.origin}/docs`)
    const { page } = docs
    await authorize(page, 'apiKey', { value: demoKey })
    await authorize(page, 'bearer', { value: await tokenOf(demo.origin) })
    for (const operation of whoAmI) {
      const { status, body, sent } = await execute(page, operation)
      assert.equal(status, 200, `${operation}: ${body}`)
      assert.equal(sent['x-api-key'], demoKey)
      const arrived = JSON.parse(body)
      assert.equal(arrived.authorization, hash('sha256', sent['authorization']!).slice(0, 12))
      assert.equal(arrived.fields['x-api-key'], 'present')
      // Bearer stands first in services.json; the rights of the key are not added.
      assert.equal(arrived.fields['user-id'], ada.subject)
      assert.equal(arrived.fields['auth-method'], 'jwt')
    }
    await logout(page, 'bearer', undefined)
    for (const operation of whoAmI) {
      const { status, body } = await execute(page, operation)
      assert.equal(status, 200)
      assert.equal(JSON.parse(body).fields['user-id'], 'demo-key')
    }
    assert.deepEqual(docs.trouble, noTrouble)
  })

  test('session: signed in at /login, everything works without the button, until signing out', async () => {
    await using docs = await openDocs(browser, `${demo.origin}/docs`)
    const { page } = docs
    for (const operation of whoAmI) assert.equal((await execute(page, operation)).status, 401, operation)

    await page.goto(`${demo.origin}/login?returnTo=/docs`)
    await signIn(page)
    await page.waitForURL(`${demo.origin}/docs`)
    await page.locator('.opblock-tag').first().waitFor()
    for (const operation of whoAmI) {
      const { status, body, sent } = await execute(page, operation)
      assert.equal(status, 200, `${operation}: ${body}`)
      const arrived = JSON.parse(body)
      assert.equal(arrived.fields['user-id'], ada.subject, operation)
      assert.equal(sent['authorization'], undefined, 'the page has no token')
      assert.match(arrived.authorization, /^[0-9a-f]{12}$/, 'the service has one')
    }
    // A script cannot see the cookie.
    assert.equal(await page.evaluate('document.cookie'), '')
    const signOut = () => page.evaluate(() => fetch('/logout', { method: 'POST' }).then(({ status }) => status))
    assert.equal(await signOut(), 204)
    for (const operation of whoAmI) assert.equal((await execute(page, operation)).status, 401, operation)
    assert.deepEqual(docs.trouble, noTrouble)
  })

  test('session: a page of a service leads to the sign-in and back; another origin gets nowhere', async () => {
    await using evil = await startBackend((_req, res) => {
      res.setHeader('Content-Type', 'text/html')
      res.end(`<form method="post" action="${demo.origin}/orders"><button>Win</button></form>`)
    })
    const elsewhere = `http://localhost:${evil.port}`
    await using docs = await openDocs(browser, `${demo.origin}/docs`, { origins: [elsewhere] })
    const { page } = docs
    await page.goto(`${demo.origin}/orders/whoami`)
    await signIn(page)
    await page.waitForURL(`${demo.origin}/orders/whoami`)
    assert.equal(JSON.parse((await page.locator('body').textContent())!).fields['user-id'], ada.subject)

    // Same site, another port: the browser sends the cookie, and says whose doing it is.
    await page.goto(elsewhere)
    const [response] = await Promise.all([
      page.waitForResponse((candidate) => candidate.url() === `${demo.origin}/orders`),
      page.locator('button').click({ noWaitAfter: true }),
    ])
    assert.match((await response.request().allHeaders())['cookie'] ?? '', /__Host-sallyport=/)
    assert.equal(response.status(), 403)
  })

  test('takes the operation that its own document made impossible', async () => {
    await using docs = await openDocs(browser, `${demo.origin}/docs`)
    await authorize(docs.page, 'bearer', { value: await tokenOf(demo.origin) })
    const { status, body } = await execute(docs.page, 'inventory_list')
    assert.equal(status, 200, body)
    assert.equal(JSON.parse(body).items.length, 5)
    assert.equal(await docs.page.locator('tr[data-param-name=Authorization]').count(), 0)
  })

  test('stays authorized on the documents of single services', async () => {
    await using docs = await openDocs(browser, `${demo.origin}/docs`)
    await authorize(docs.page, 'apiKey', { value: demoKey })
    for (const service of ['inventory', 'orders'] as const) {
      await chooseDocument(docs.page, service)
      assert.equal((await execute(docs.page, service === 'orders' ? whoAmI[0] : whoAmI[1])).status, 200)
    }
    assert.deepEqual(docs.trouble, noTrouble)
  })
})

const whoAmI = ['orders_whoAmI', 'inventory_whoami'] as const

/** The picture in README.md; taken on demand only, so that tests leave the tree as it is. */
async function takePicture(browser: Browser): Promise<void> {
  await using demo = await startDemo()
  await using docs = await openDocs(browser, `${demo.origin}/docs`)
  await docs.page.setViewportSize({ width: 1200, height: 760 })
  await openDialog(docs.page, 'bearer')
  await docs.page.screenshot({ path: join(import.meta.dirname, '../../docs/images/authorize.png') })
}

async function signIn(popup: Page): Promise<void> {
  await popup.locator('input[name=username]').fill(ada.username)
  await popup.locator('input[name=password]').fill(ada.password)
  await popup.locator('button[type=submit]').click({ noWaitAfter: true })
}

async function tokenOf(origin: string): Promise<string> {
  const { username, password } = ada
  const body = new URLSearchParams({ grant_type: 'password', client_id: 'swagger-ui', username, password })
  const response = await fetch(`${origin}/token`, { method: 'POST', body })
  assert.equal(response.status, 200)
  return ((await response.json()) as { access_token: string }).access_token
}
