import assert from 'node:assert/strict'
import { readFileSync } from 'node:fs'
import { describe, test } from 'node:test'
import { skipWithout } from '../requirements.ts'
import { startGateway } from '../sallyport.ts'
import { sharedPath, skipWithoutShared, vectors } from '../vectors.ts'
import { launchBrowser, openDocs } from './browser.ts'

interface Case {
  readonly id: string
  readonly title: string
  readonly text: string
}

/** The hostile documents that aim at whoever reads them: markup, scripts, styles, addresses. */
const aimedAtReaders = /script|svg|javascript|html|style|image|externalDocs|callbacks|links/i

describe('hostile documents behind the gateway', { skip: skipWithout('chromium') || skipWithoutShared }, () => {
  test('run nothing, fetch nothing and lead nowhere, on the page of all services', { timeout: 180_000 }, async () => {
    const cases: readonly Case[] = vectors('malicious-openapi.json').cases
    const documents: Record<string, string> = {
      'rapid7.json': readFileSync(sharedPath('corpus', 'bad-rapid7-js.json'), 'utf8'),
    }
    for (const { id, title, text } of cases) if (text && aimedAtReaders.test(title)) documents[`${id}.json`] = text
    assert.ok(Object.keys(documents).length >= 12, Object.keys(documents).join())

    await using gateway = await startGateway(
      {
        services: Object.keys(documents).map((file) => ({
          name: file.replace('.json', ''),
          path: `/${file.replace('.json', '')}`,
          targets: ['http://127.0.0.1:9'],
          openapi: `./${file}`,
          security: [{ bearer: [] }],
        })),
      },
      { files: documents },
    )
    await using browser = await launchBrowser()
    await using docs = await openDocs(browser, `${gateway.running.publicUrl}/docs`)
    const { page, trouble } = docs
    const leaked: string[] = []
    page.on('requestfailed', (request) => {
      // "csp" is the page's own policy: the request never left the browser.
      if (request.failure()?.errorText !== 'csp') leaked.push(`${request.url()} ${request.failure()?.errorText}`)
    })
    page.on('response', (response) => {
      if (new URL(response.url()).origin !== new URL(page.url()).origin) leaked.push(response.url())
    })

    // Every operation that is shown is opened, so that every text is drawn.
    const folded = page.locator('.opblock-tag[data-is-open=false]')
    for (let tags = await folded.count(); tags > 0; tags--) await folded.first().click()
    const closed = page.locator('.opblock:not(.is-open) .opblock-summary-control')
    const operations = await closed.count()
    assert.ok(operations >= 10, `${operations} operations are shown`)
    for (let left = operations; left > 0; left--) await closed.first().click()
    await page
      .locator('.opblock.is-open .opblock-body')
      .nth(operations - 1)
      .waitFor()

    assert.deepEqual(trouble.dialogs, [])
    assert.deepEqual(leaked, [])
    const addresses = await page.evaluate<string[]>(
      "[...document.querySelectorAll('#swagger-ui a[href], #swagger-ui [src]')].map((e) => e.href ?? e.src)",
    )
    for (const address of addresses) assert.match(address, /^(?:https?:|about:blank|data:image\/|mailto:)/, address)
    assert.equal(await page.locator('#swagger-ui :is(script, iframe, object, embed, form[action])').count(), 0)
    // The header stands where it stood: no stylesheet of a document has hidden or covered it.
    assert.ok(await page.locator('.topbar .brand').isVisible())
  })
})
