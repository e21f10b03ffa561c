import assert from 'node:assert/strict'
import { after, before, describe, test } from 'node:test'
import type { Browser, Page } from 'playwright-core'
import { demoKey } from '../../examples/demo.ts'
import { skipWithout } from '../requirements.ts'
import { eventually } from '../sallyport.ts'
import {
  authorize,
  type Credential,
  chooseDocument,
  launchBrowser,
  logout,
  noTrouble,
  openDocs,
  openOperation,
} from './browser.ts'
import { type Demo, demoUsers, startDemo } from './demo.ts'

const signInAs = (name: string): Credential => {
  const { username, password } = demoUsers.find((user) => user.username === name)!
  return { flow: 'password', username, password }
}

const remove = 'orders_deleteOrder'
const list = 'orders_listOrders'

/** Wait until operations of the orders are there, or not, whatever is folded. */
async function showing(page: Page, expected: Readonly<Record<string, boolean>>): Promise<void> {
  await eventually(
    JSON.stringify(expected),
    async () => {
      const folded = page.locator('.opblock-tag[data-tag="orders:Orders"][data-is-open=false]')
      if ((await folded.count()) > 0) await folded.first().click()
      const found = await page.locator('.opblock').evaluateAll((blocks) => blocks.map(({ id }) => id))
      return Object.entries(expected).every(([id, there]) => found.some((one) => one.endsWith(`-${id}`)) === there)
    },
    30_000,
  )
}

describe('a page that shows each caller its own document', { skip: skipWithout('chromium') }, () => {
  let browser: Browser & AsyncDisposable
  let demo: Demo
  before(async () => {
    browser = await launchBrowser()
    demo = await startDemo((written) => {
      written.gateway.docs.view = 'caller'
    })
  })
  after(async () => {
    await browser?.close()
    await demo?.[Symbol.asyncDispose]()
  })

  test('asks again when somebody signs in or out, and keeps what is authorized and what is open', async () => {
    await using docs = await openDocs(browser, `${demo.origin}/docs`)
    const { page, trouble } = docs
    await showing(page, { [list]: false, [remove]: false })

    await authorize(page, 'oauth2', signInAs('sofia'))
    await showing(page, { [list]: true, [remove]: false })
    const open = await openOperation(page, list)

    await logout(page, 'oauth2', 'password')
    await showing(page, { [list]: false, [remove]: false })

    await authorize(page, 'oauth2', signInAs('ada'))
    await showing(page, { [list]: true, [remove]: true })
    assert(await open.evaluate((block) => block.classList.contains('is-open')), 'what was open is open again')

    await authorize(page, 'apiKey', { value: demoKey })
    await logout(page, 'oauth2', 'password')
    await showing(page, { [list]: true, [remove]: false })
    await logout(page, 'apiKey')
    await showing(page, { [list]: false, [remove]: false })
    assert.deepEqual(trouble, noTrouble)
  })

  test('asks with what is authorized when another document is chosen', async () => {
    await using docs = await openDocs(browser, `${demo.origin}/docs`)
    const { page, trouble } = docs
    await authorize(page, 'oauth2', signInAs('ada'))
    await showing(page, { [remove]: true })
    await chooseDocument(page, 'orders')
    await showing(page, { [list]: true, [remove]: true })
    await logout(page, 'oauth2', 'password')
    await showing(page, { [list]: false, [remove]: false })
    assert.deepEqual(trouble, noTrouble)
  })

  test('is the document of whoever has a session, by its cookie alone', async () => {
    await using docs = await openDocs(browser, `${demo.origin}/docs`)
    const { page, trouble } = docs
    const { username, password } = demoUsers.find((user) => user.username === 'ada')!
    await page.goto(`${demo.origin}/login?returnTo=/docs`)
    await page.locator('input[name=username]').fill(username)
    await page.locator('input[name=password]').fill(password)
    await page.locator('button[type=submit]').first().click()
    await page.waitForURL(`${demo.origin}/docs`)
    await showing(page, { [list]: true, [remove]: true })
    assert.deepEqual(trouble, noTrouble)
  })
})
