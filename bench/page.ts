/**
 * `npm run bench:page [-- --compare]`: how much work the documentation page is for a browser, with documents of the
 * corpus beside the project; with `--compare` also for Swagger UI alone, which takes minutes, and whether both resolve
 * to the same. Prints a table in Markdown.
 *
 * Seconds of the page's main thread (CPU), which other processes do not change much, and seconds by the clock.
 */
import { readFileSync } from 'node:fs'
import { cpus } from 'node:os'
import type { Browser, Page } from 'playwright-core'
import { readDocsFiles } from '../src/docs/docs-page.ts'
import { parse } from '../src/openapi/parse.ts'
import { launchBrowser } from '../test/browser/browser.ts'
import { serveDocs } from '../test/browser/docs-server.ts'
import { replaceScripts, swaggerUiAlone } from '../test/browser/swagger-ui-alone.ts'
import { type Loose, publishAll, service } from '../test/openapi/service.ts'
import { sharedPath } from '../test/vectors.ts'

const compareToo = process.argv.includes('--compare')

const read = (name: string, file: string) => {
  const parsed = parse(readFileSync(sharedPath('corpus', file)))
  if (parsed.outcome === 'unreadable') throw new Error(`${file} cannot be read`)
  return service(parsed.document as object, { name })
}

const github = 's30-github-ghes-3.19.json'
const kubernetes = 's2-kubernetes.json'
const many = publishAll(
  ...['a', 'b', 'c', 'd'].map((letter) => read(`github-${letter}`, github)),
  ...['a', 'b', 'c', 'd'].map((letter) => read(`kubernetes-${letter}`, kubernetes)),
  read('openai', 's31-openai.yaml'),
  read('asana', 's30-asana.yaml'),
)
const realworld = publishAll(read('realworld', 's31-realworld.yml'))

interface Row {
  readonly title: string
  readonly document: Loose
  /** Words for the filter that leave few operations, and the end of the id of the one to open. */
  readonly words: string
  readonly operation: string
  /** Left out of the comparison: Swagger UI alone does not come to an end. */
  readonly endless?: true
}

const rows: readonly Row[] = [
  { title: 'RealWorld', document: realworld.document, words: 'articles', operation: 'GetArticles' },
  {
    title: 'OpenAI',
    document: many.byService.get('openai'),
    words: 'createChatCompletion',
    operation: 'createChatCompletion',
  },
  { title: 'Asana', document: many.byService.get('asana'), words: 'getTask ', operation: 'getTask' },
  {
    title: 'Kubernetes',
    document: many.byService.get('kubernetes-a'),
    words: 'createAppsV1NamespacedDeployment',
    operation: 'createAppsV1NamespacedDeployment',
  },
  {
    title: 'GitHub (GHES)',
    document: many.byService.get('github-a'),
    words: 'repos_get-branch',
    operation: 'repos_get-branch',
  },
  {
    title: 'All services together',
    document: many.document,
    words: 'github-c_repos_get-branch',
    operation: 'github-c_repos_get-branch',
    endless: true,
  },
]

const methods = new Set(['get', 'put', 'post', 'delete', 'options', 'head', 'patch', 'trace'])
const operationsOf = ({ paths }: Loose) =>
  Object.entries<Loose>(paths).flatMap(([path, item]) =>
    Object.keys(item)
      .filter((name) => methods.has(name))
      .map((method) => ({ path, method, id: item[method].operationId as string })),
  )

/** Seconds on the page's main thread and by the clock. */
interface Cost {
  readonly cpu: number
  readonly clock: number
}

async function measure(
  browser: Browser,
  url: string,
  row: Row,
  alone: boolean,
): Promise<{ open: Cost; operation: Cost }> {
  const context = await browser.newContext({ viewport: { width: 1280, height: 900 } })
  context.setDefaultTimeout(300_000)
  if (alone) await replaceScripts(context, swaggerUiAlone)
  const page = await context.newPage()
  const busy = await clockOf(page)
  const open = await busy(async () => {
    await page.goto(url)
    await page.locator('.opblock-tag').first().waitFor()
  })
  // What was found is unfolded; its cost is not the operation's.
  await page.locator('.operation-filter-input').fill(row.words)
  const block = page.locator(`.opblock[id$="${row.operation}"]`).first()
  await block.waitFor()
  await page.waitForTimeout(1_000)
  const operation = await busy(async () => {
    await block.locator('.opblock-summary-control').click()
    await block.locator('.responses-wrapper').waitFor()
  })
  await context.close()
  return { open, operation }
}

async function clockOf(page: Page): Promise<(work: () => Promise<void>) => Promise<Cost>> {
  const session = await page.context().newCDPSession(page)
  await session.send('Performance.enable', { timeDomain: 'threadTicks' })
  const cpu = async () => {
    const { metrics } = await session.send('Performance.getMetrics')
    return metrics.find(({ name }) => name === 'TaskDuration')!.value
  }
  return async (work) => {
    const [before, started] = [await cpu(), performance.now()]
    await work()
    const clock = (performance.now() - started) / 1_000
    return { cpu: (await cpu()) - before, clock }
  }
}

/** Whether the operation of a row resolves to the same from its slice and from the whole document. */
async function isEqual(browser: Browser, url: string, row: Row): Promise<boolean> {
  const { path, method } = operationsOf(row.document).find(({ id }) => id.endsWith(row.operation))!
  const page = await browser.newPage()
  page.setDefaultTimeout(300_000)
  await page.goto(url)
  await page.locator('.opblock-tag').first().waitFor()
  const equal = await page.evaluate<boolean>(`(async (place) => {
    const { createResolver } = await import('./docs/large-documents.js')
    document.body.append(Object.assign(document.createElement('div'), { id: 'alone' }))
    const spec = { openapi: '3.1.0', info: { title: 'none', version: '1' }, paths: {} }
    const { fn: { resolveSubtree }, Im } = SwaggerUIBundle({ dom_id: '#alone', spec }).getSystem()
    const whole = await (await fetch('openapi.json')).json()
    const options = { baseDoc: new URL('openapi.json', location.href).href }
    const quick = await createResolver(whole, resolveSubtree, Im)(place, options)
    const slow = await resolveSubtree(whole, place, options)
    return JSON.stringify([quick.spec, quick.errors]) === JSON.stringify([slow.spec, slow.errors])
  })(${JSON.stringify(['paths', path, method])})`)
  await page.close()
  return equal
}

const seconds = ({ cpu, clock }: Cost) => `${cpu.toFixed(1)} (${clock.toFixed(1)})`
const files = await readDocsFiles()
await using browser = await launchBrowser()
console.log(
  `Chromium ${browser.version()}, ${cpus().length} × ${cpus()[0]!.model.trim()}. Seconds of CPU, by the clock in brackets.\n`,
)
const titles = ['Document', 'operations', 'MB', 'open', 'an operation']
if (compareToo) titles.push('Swagger UI alone: open', 'an operation', 'equal')
console.log(`| ${titles.join(' | ')} |\n|${titles.map(() => '---|').join('')}`)
for (const row of rows) {
  await using server = await serveDocs(files, { documents: { '/openapi.json': row.document } })
  const url = `${server.origin}/docs`
  const { open, operation } = await measure(browser, url, row, false)
  const size = (JSON.stringify(row.document).length / 1e6).toFixed(1)
  const cells = [row.title, String(operationsOf(row.document).length), size, seconds(open), seconds(operation)]
  if (compareToo && !row.endless) {
    const alone = await measure(browser, url, row, true)
    cells.push(seconds(alone.open), seconds(alone.operation), (await isEqual(browser, url, row)) ? 'yes' : 'NO')
  }
  console.log(`| ${cells.join(' | ')} |`)
}
