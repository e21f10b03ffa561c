import assert from 'node:assert/strict'
import { createRequire } from 'node:module'
import { after, before, describe, test } from 'node:test'
import type { Browser, Page } from 'playwright-core'
import { authorizePath, grants, type IssuerApp, people, pkce, secret, startIssuer } from '../issuer/issuer-app.ts'
import { skipWithout } from '../requirements.ts'
import { launchBrowser, noTrouble, watch } from './browser.ts'
import { serve, type TestServer } from './docs-server.ts'

const skip = skipWithout('chromium')

describe("the issuer's pages in a browser", { skip }, () => {
  let browser: Browser & AsyncDisposable
  let client: TestServer
  let app: IssuerApp
  before(async () => {
    browser = await launchBrowser()
    // Another origin than the issuer's: what `form-action` must let the last redirect reach.
    client = await serve((_request, response) => {
      response.writeHead(200, { 'Content-Type': 'text/html' })
      response.end('<!doctype html><link rel="icon" href="data:,"><title>The client</title><h1>Welcome</h1>')
    }, 'localhost')
    const definition = {
      id: 'web',
      name: 'The shop',
      secret,
      grants: ['authorization_code', 'refresh_token'],
      redirectUris: [`${client.origin}/callback`],
      postLogoutRedirectUris: [`${client.origin}/bye`],
    }
    app = await startIssuer({ publicUrl: 'its own', settings: { clients: [definition], grants }, users: people })
  })
  after(async () => {
    await app?.stop()
    await client?.[Symbol.asyncDispose]()
    await browser?.close()
  })

  const authorizeUrl = (changes: Record<string, string> = {}) =>
    `${app.publicUrl}${authorizePath(pkce().challenge, { redirect_uri: `${client.origin}/callback`, scope: 'openid', ...changes })}`

  async function open(colorScheme: 'light' | 'dark' = 'light', bypassCSP = false) {
    const context = await browser.newContext({ colorScheme, bypassCSP })
    context.setDefaultTimeout(20_000)
    const trouble = await watch(context, [app.publicUrl, client.origin])
    const page = await context.newPage()
    await page.route('**/favicon.ico', (route) => route.fulfill({ status: 204 }))
    return { page, trouble, close: () => context.close() }
  }

  async function fillIn(page: Page, password: string): Promise<void> {
    // The keyboard alone: the first field gets the focus.
    await page.locator('#username:focus').waitFor()
    await page.keyboard.type('ada')
    await page.keyboard.press('Tab')
    await page.keyboard.type(password)
    await page.keyboard.press('Enter')
  }

  for (const mode of ['query', 'form_post']) {
    test(`sign in by keyboard, with one mistake, and come back to a client elsewhere by ${mode}`, async () => {
      const { page, trouble, close } = await open()
      await page.goto(authorizeUrl({ response_mode: mode }))
      await fillIn(page, 'wrong')
      const fault = page.getByRole('alert')
      await fault.waitFor()
      assert.equal(await fault.textContent(), 'The user name or the password is not right.')
      assert.equal(await page.locator('#username').inputValue(), 'ada')
      await page.locator('#password:focus').waitFor()
      await page.keyboard.type('ada')
      await page.keyboard.press('Enter')
      await page.getByRole('heading', { name: 'Welcome' }).waitFor()
      assert.ok(page.url().startsWith(`${client.origin}/callback`))
      if (mode === 'query') assert.match(page.url(), /code=[\w-]+/)
      assert.deepEqual(trouble, noTrouble)
      await close()
    })
  }

  test('sign out and land at the client', async () => {
    const { page, trouble, close } = await open()
    await page.goto(authorizeUrl())
    await fillIn(page, 'ada')
    await page.getByRole('heading', { name: 'Welcome' }).waitFor()
    await page.goto(
      `${app.publicUrl}/oauth2/end-session?${new URLSearchParams({ client_id: 'web', post_logout_redirect_uri: `${client.origin}/bye` })}`,
    )
    await page.getByRole('button', { name: 'Sign out' }).click()
    await page.waitForURL(`${client.origin}/bye`)
    await page.goto(authorizeUrl())
    await page.getByLabel('Password').waitFor()
    // Asked to sign out again there is nothing to ask, and a script of the library goes on by itself.
    await page.goto(`${app.publicUrl}/oauth2/end-session`)
    await page.getByRole('heading', { name: 'You are signed out' }).waitFor()
    assert.deepEqual(trouble, noTrouble)
    await close()
  })

  test('are accessible, light and dark', async () => {
    const axe = createRequire(import.meta.url).resolve('axe-core/axe.min.js')
    for (const colorScheme of ['light', 'dark'] as const) {
      // axe-core is an inline script, which the pages' policy rightly forbids.
      const { page, close } = await open(colorScheme, true)
      const check = async (what: string) => {
        await page.addScriptTag({ path: axe })
        const violations = await page.evaluate<{ id: string; help: string }[]>(
          'axe.run().then(({ violations }) => violations.map(({ id, help }) => ({ id, help })))',
        )
        assert.deepEqual(violations, [], `${what}, ${colorScheme}`)
      }
      await page.goto(authorizeUrl())
      await check('sign in')
      await fillIn(page, 'wrong')
      await page.getByRole('alert').waitFor()
      await check('not signed in')
      await page.locator('#password:focus').waitFor()
      await page.keyboard.type('ada')
      await page.keyboard.press('Enter')
      await page.getByRole('heading', { name: 'Welcome' }).waitFor()
      await page.goto(`${app.publicUrl}/oauth2/end-session`)
      await page.getByRole('heading', { name: 'Sign out?' }).waitFor()
      await check('sign out')
      await page.getByRole('button', { name: 'Sign out' }).click()
      await page.getByRole('heading', { name: 'You are signed out' }).waitFor()
      await check('signed out')
      await page.goto(`${app.publicUrl}/oauth2/authorize?client_id=unknown`)
      await check('error')
      await close()
    }
  })
})
