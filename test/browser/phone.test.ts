import assert from 'node:assert/strict'
import { after, before, describe, test } from 'node:test'
import type { Browser } from 'playwright-core'
import { skipWithout } from '../requirements.ts'
import { launchBrowser, openDocs, openOperation } from './browser.ts'
import { type Demo, startDemo } from './demo.ts'

describe('the documentation page on a telephone', { skip: skipWithout('chromium') }, () => {
  let browser: Browser & AsyncDisposable
  let demo: Demo
  before(async () => {
    browser = await launchBrowser()
    demo = await startDemo()
  })
  after(async () => {
    await browser?.close()
    await demo?.[Symbol.asyncDispose]()
  })

  test('lets nothing hang over the edge, and header names of answers be read in the dark', async () => {
    await using docs = await openDocs(browser, `${demo.origin}/docs`, { colorScheme: 'dark' })
    const { page } = docs
    await page.setViewportSize({ width: 390, height: 800 })
    const operation = await openOperation(page, 'orders_deleteOrder')
    await operation.getByText('Needed: the role admin.').waitFor()
    assert.equal(await page.evaluate('document.documentElement.scrollWidth'), 390)
    const name = operation.locator('table.headers td', { hasText: 'WWW-Authenticate' }).first()
    await name.waitFor()
    const color = await page.evaluate("getComputedStyle(document.querySelector('table.headers tbody td')).color")
    assert.equal(color, 'rgb(228, 230, 230)')
  })
})
