import assert from 'node:assert/strict'
import { createRequire } from 'node:module'
import { after, before, describe, test } from 'node:test'
import { isDeepStrictEqual } from 'node:util'
import type { Browser } from 'playwright-core'
import { type DocsFiles, readDocsFiles } from '../../src/docs/docs-page.ts'
import { skipWithout } from '../requirements.ts'
import { eventually } from '../sallyport.ts'
import {
  authorize,
  chooseDocument,
  execute,
  launchBrowser,
  noTrouble,
  openDialog,
  openDocs,
  openOperation,
} from './browser.ts'
import { serve, serveDocs } from './docs-server.ts'

function service(name: string, text: Record<string, string> = {}) {
  return {
    openapi: '3.1.0',
    info: { title: `The ${name} service`, version: '1.0.0', ...text },
    tags: [{ name, ...text }],
    paths: {
      [`/${name}`]: {
        get: {
          operationId: `${name}_list`,
          summary: `All ${name}`,
          ...text,
          tags: [name],
          security: [{ bearer: [] }],
          responses: { 200: { description: 'The list', ...text } },
        },
      },
    },
    components: { securitySchemes: { bearer: { type: 'http', scheme: 'bearer', ...text } } },
  }
}

/** Three operations whose ids and tags have what is hard to put into an address. */
function twoTags() {
  const responses = { 200: { description: 'ok' } }
  const operation = (tag: string, operationId: string, summary: string) => ({
    tags: [tag],
    operationId,
    summary,
    responses,
  })
  return {
    openapi: '3.1.0',
    info: { title: 'Stock', version: '1.0.0' },
    paths: {
      '/take': { post: operation('in/out', 'take out', 'Fewer goods') },
      '/count': { get: operation('stock_of', 'count', 'How many of the goods') },
      '/list': { get: operation('stock_of', 'list', 'The goods') },
    },
  }
}

const documents = { '/openapi/orders.json': service('orders'), '/openapi/inventory.json': service('inventory') }

describe('the documentation page in a browser', { skip: skipWithout('chromium') }, () => {
  let browser: Browser
  let files: DocsFiles
  before(async () => {
    browser = await launchBrowser()
    files = await readDocsFiles()
  })
  after(() => browser?.close())

  test('shows the product, the drop-down and the operations, and asks nobody else for anything', async () => {
    await using server = await serveDocs(files, { documents })
    await using docs = await openDocs(browser, `${server.origin}/docs`)

    assert.equal(await docs.page.title(), 'Example APIs')
    assert.equal(await docs.page.locator('.brand').textContent(), 'Example APIs')
    assert.deepEqual(await docs.page.locator('.topbar option').allTextContents(), Object.keys(documents))
    await openOperation(docs.page, 'orders_list')
    assert.deepEqual(docs.trouble, noTrouble)
  })

  test('keeps what is authorized when another document is chosen', async () => {
    const received: (string | undefined)[] = []
    await using server = await serveDocs(files, {
      documents,
      api: (request, response) => {
        received.push(request.headers.authorization)
        response.writeHead(200, { 'Content-Type': 'application/json' }).end('[]')
      },
    })
    await using docs = await openDocs(browser, `${server.origin}/docs`)
    await authorize(docs.page, 'bearer', { value: 'token-1' })
    await chooseDocument(docs.page, '/openapi/inventory.json')
    await execute(docs.page, 'inventory_list')
    assert.deepEqual(received, ['Bearer token-1'])
    assert.deepEqual(docs.trouble, noTrouble)
  })

  test('forgets what is authorized when the page is closed', async () => {
    await using server = await serveDocs(files, { documents })
    await using docs = await openDocs(browser, `${server.origin}/docs`)
    await authorize(docs.page, 'bearer', { value: 'token-1' })
    const kept = await docs.page.evaluate(
      'JSON.stringify([{ ...localStorage }, { ...sessionStorage }, document.cookie])',
    )
    assert.equal(kept, '[{},{},""]')
  })

  test('opens the operation that a link names', async () => {
    await using server = await serveDocs(files, { documents })
    await using docs = await openDocs(browser, `${server.origin}/docs#/orders/orders_list`)
    await docs.page.locator('.opblock.is-open[id$="-orders_list"]').waitFor()
  })

  test('follows a link into the document of one service, and one that is put into the address of an open page', async () => {
    const path = '/openapi/inventory.json'
    await using server = await serveDocs(files, { documents: { ...documents, [path]: twoTags() } })
    await using docs = await openDocs(browser, `${server.origin}/docs?urls.primaryName=${path}#/in%2Fout/take%20out`)
    const { page, trouble } = docs
    const isOpen = (id: string) => page.locator(`.opblock.is-open:has([data-path="${id}"])`).waitFor()
    await isOpen('/take')
    const before = await page.evaluate('history.length')

    await page.locator('.operation-filter-input').fill('take')
    await page.locator('.found', { hasText: '1 operation' }).waitFor()
    await page.evaluate("location.hash = '#/stock_of/count'")
    await isOpen('/count')
    assert.equal(await page.locator('.operation-filter-input').inputValue(), '')
    assert.equal(await page.evaluate('history.length'), Number(before) + 1)
    await page.goBack()
    await isOpen('/take')
    assert.deepEqual(trouble, noTrouble)
  })

  test('finds operations by path, method, id, summary and tag, and unfolds where they are', async () => {
    await using server = await serveDocs(files, { documents: { '/openapi.json': twoTags() } })
    await using docs = await openDocs(browser, `${server.origin}/docs`)
    const { page, trouble } = docs
    const shown = () =>
      page.evaluate<string[]>("[...document.querySelectorAll('.opblock [data-path]')].map((one) => one.dataset.path)")
    // Folded by hand before: what is found there is shown all the same.
    await page.locator('.opblock-tag[data-tag="stock_of"]').click()
    await page.locator('.opblock-tag[data-tag="stock_of"]').click()
    for (const [words, said, paths] of [
      ['/TAKE', '1 operation', ['/take']],
      ['post', '1 operation', ['/take']],
      ['take out', '1 operation', ['/take']],
      ['goods of how', '1 operation', ['/count']],
      ['stock_of', '2 operations', ['/count', '/list']],
      ['goods', '3 operations', ['/take', '/count', '/list']],
      ['goods nothing', 'No operation has all of these words.', []],
    ] as const) {
      await page.getByLabel('Filter operations').fill(words)
      await page.getByRole('status').filter({ hasText: said }).waitFor()
      await eventually(`"${words}" finds ${paths}`, async () => isDeepStrictEqual(await shown(), paths))
    }
    assert.deepEqual(trouble, noTrouble)
  })

  test('takes no document and no settings from its own address', async () => {
    await using other = await serveDocs(files, { documents: { '/evil.json': service('evil') } })
    await using server = await serveDocs(files, { documents })
    for (const name of ['url', 'configUrl', 'config']) {
      const address = `${server.origin}/docs?${name}=${encodeURIComponent(`${other.origin}/evil.json`)}`
      await using docs = await openDocs(browser, address)
      assert.match((await docs.page.locator('.info .title').textContent())!, /The orders service/)
      assert.deepEqual(docs.trouble, noTrouble)
    }
  })

  test('runs nothing of what a hostile document says, and fetches nothing', async () => {
    const reached: string[] = []
    await using evil = await serve((request, response) => {
      reached.push(request.url!)
      response.end()
    })
    const attack = [
      '<script>alert(1)</script>',
      '<img src=x onerror=alert(2)>',
      `<img src="${evil.origin}/pixel.png">`,
      `![](${evil.origin}/picture.png)`,
      '<iframe src="javascript:alert(3)"></iframe>',
      '<svg onload=alert(4)>',
      `<form action="${evil.origin}"><button>Log in</button></form>`,
      '[click](javascript:alert(5))',
      '<style>body{display:none}</style>',
      '</script><script>alert(6)</script>',
    ].join('\n\n')
    const hostile = {
      ...service('orders', { description: attack }),
      info: {
        title: '<img src=x onerror=alert(7)>',
        version: '<b onclick=alert(8)>1</b>',
        description: attack,
        termsOfService: 'javascript:alert(9)',
        contact: { name: 'x', url: 'javascript:alert(10)' },
        license: { name: 'x', url: 'javascript:alert(11)' },
      },
      externalDocs: { url: 'javascript:alert(12)', description: 'x' },
    }
    await using server = await serveDocs(files, { documents: { '/openapi.json': hostile } })
    await using docs = await openDocs(browser, `${server.origin}/docs`)
    await openOperation(docs.page, 'orders_list')
    for (const link of await docs.page.locator('.info a').all()) {
      assert.doesNotMatch((await link.getAttribute('href')) ?? '', /^javascript:/i)
    }
    assert.equal(await docs.page.locator('.swagger-ui iframe, .swagger-ui script, .markdown form').count(), 0)
    assert.deepEqual(docs.trouble.dialogs, [])
    assert.deepEqual(reached, [])
    // The policy stopped the pictures, and what Swagger UI's sanitiser tried out on its way to an answer.
    const expected = [
      `img-src ${evil.origin}/p`,
      'script-src-attr inline',
      'style-src-attr inline',
      'style-src-elem inline',
    ]
    for (const violation of docs.trouble.violations) {
      assert.ok(
        expected.some((known) => violation.startsWith(known)),
        violation,
      )
    }
  })

  for (const colorScheme of ['light', 'dark'] as const) {
    test(`follows a system that prefers ${colorScheme}`, async () => {
      await using server = await serveDocs(files, { documents })
      await using docs = await openDocs(browser, `${server.origin}/docs`, { colorScheme })
      const dark = await docs.page.evaluate('document.documentElement.classList.contains("dark-mode")')
      assert.equal(dark, colorScheme === 'dark')
    })
  }

  test('says so when signing in would return to another address', async () => {
    await using server = await serveDocs(files, {
      documents,
      options: { redirectUrl: 'https://api.example/docs/oauth2-redirect.html' },
    })
    await using docs = await openDocs(browser, `${server.origin}/docs`)
    const notice = docs.page.locator('#notice')
    assert.equal(
      await notice.textContent(),
      `You are at ${server.origin}, but signing in returns to https://api.example: open this page there.`,
    )
    await using right = await serveDocs(files, { documents })
    await using fine = await openDocs(browser, `${right.origin}/docs`)
    assert.equal(await fine.page.locator('#notice').isVisible(), false)
  })

  test('opens the Authorize dialog at its first scheme', async () => {
    const names = ['first', 'second', 'third', 'fourth', 'fifth', 'sixth']
    const securitySchemes = Object.fromEntries(names.map((name) => [name, { type: 'apiKey', in: 'header', name }]))
    await using server = await serveDocs(files, {
      documents: { '/openapi.json': { ...service('orders'), components: { securitySchemes } } },
    })
    await using docs = await openDocs(browser, `${server.origin}/docs`)
    const form = await openDialog(docs.page, 'first')
    await form.locator('input:focus').waitFor()
    assert.equal(await docs.page.evaluate("document.querySelector('.modal-ux-content').scrollTop"), 0)
  })

  test('can be used with the keyboard alone', async () => {
    await using server = await serveDocs(files, { documents })
    await using docs = await openDocs(browser, `${server.origin}/docs`)
    const reached: string[] = []
    for (let presses = 0; presses < 12; presses++) {
      await docs.page.keyboard.press('Tab')
      reached.push(
        await docs.page.evaluate<string>(`(() => { const e = document.activeElement
          return e.getAttribute('aria-label') ?? e.id + ' ' + e.className })()`),
      )
    }
    const order = [
      'swagger-ui__skip-link',
      'select',
      'Switch to dark mode',
      'btn authorize',
      'operation-filter-input',
      'expand-operation',
    ]
    const positions = order.map((name) => reached.findIndex((label) => label.includes(name)))
    assert.ok(!positions.includes(-1), `reached ${reached.join(' | ')}`)
    assert.deepEqual(
      positions,
      positions.toSorted((a, b) => a - b),
    )
  })

  test('has no accessibility fault in what is ours: the frame of the page and the page after signing in', async () => {
    const axe = createRequire(import.meta.url).resolve('axe-core/axe.min.js')
    await using server = await serveDocs(files, { documents, fields: withoutPolicy })
    for (const colorScheme of ['light', 'dark'] as const) {
      const context = await browser.newContext({ colorScheme })
      const page = await context.newPage()
      for (const [path, ours, ready] of [
        ['/docs', ['html', 'title', '#notice', '.topbar', '#filter', '.filter', '.found', 'label'], '.opblock-tag'],
        ['/docs/oauth2-redirect.html?state=x', ['html', 'body'], '#message:has-text("No documentation page")'],
      ] as const) {
        await page.goto(`${server.origin}${path}`)
        await page.locator(ready).first().waitFor()
        await page.addScriptTag({ path: axe })
        const found = await page.evaluate<{ id: string; nodes: { target: string[] }[] }[]>(
          'axe.run().then(({ violations }) => violations)',
        )
        const faults = found.flatMap(({ id, nodes }) =>
          nodes
            .map(({ target }) => target[0]!)
            .filter((target) => path !== '/docs' || ours.some((part) => target.startsWith(part)))
            .map((target) => `${colorScheme} ${path} ${id} ${target}`),
        )
        assert.deepEqual(faults, [])
      }
      await context.close()
    }
  })
})

/** axe-core is injected as an inline script, which the page's policy rightly forbids. */
function withoutPolicy(): Record<string, string> {
  return { 'Content-Security-Policy': "object-src 'none'" }
}
