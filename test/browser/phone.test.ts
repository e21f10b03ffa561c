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

  test('lets nothing hang over the edge or over text, and everything be read in the dark', async () => {
    await using docs = await openDocs(browser, `${demo.origin}/docs`, { colorScheme: 'dark' })
    const { page } = docs
    await page.setViewportSize({ width: 390, height: 800 })
    const field = await page.locator('.operation-filter-input').boundingBox()
    assert.ok(field!.width > 340, `the filter is ${field!.width} wide`)
    const operation = await openOperation(page, 'orders_deleteOrder')
    await operation.getByText('Needed: the role admin.').waitFor()
    assert.equal(await page.evaluate('document.documentElement.scrollWidth'), 390)
    const name = operation.locator('table.headers td', { hasText: 'WWW-Authenticate' }).first()
    await name.waitFor()
    const colorOf = (selector: string) =>
      page.evaluate(`getComputedStyle(document.querySelector(${JSON.stringify(selector)})).color`)
    assert.equal(await colorOf('table.headers tbody td'), 'rgb(228, 230, 230)')
    const placing = await openOperation(page, 'orders_createOrder')
    await placing.getByText('Examples:').waitFor()
    assert.equal(await colorOf('.examples-select__section-label'), 'rgb(228, 230, 230)')

    // The buttons that stand over an answer leave its last line to be read.
    await placing.getByRole('button', { name: 'Execute' }).click()
    const answer = placing.locator('.live-responses-table .highlight-code', { has: page.getByText('Download') })
    const [buttons, lines] = await Promise.all([
      answer.locator('.download-contents').boundingBox(),
      answer.locator('code > span').last().boundingBox(),
    ])
    assert.ok(buttons!.y >= lines!.y + lines!.height, JSON.stringify({ buttons, lines }))
  })
})
