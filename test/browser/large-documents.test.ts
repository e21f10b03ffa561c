import assert from 'node:assert/strict'
import { after, before, describe, test } from 'node:test'
import type { Browser, BrowserContext, Locator, Page } from 'playwright-core'
import { type DocsFiles, readDocsFiles } from '../../src/docs/docs-page.ts'
import { corpus } from '../openapi/corpus.ts'
import { publishAll, service } from '../openapi/service.ts'
import { skipWithout } from '../requirements.ts'
import { eventually } from '../sallyport.ts'
import { skipWithoutShared } from '../vectors.ts'
import { launchBrowser, noTrouble, openDocs, openOperation } from './browser.ts'
import { serveDocs, type TestServer } from './docs-server.ts'
import { replaceScripts, swaggerUiAlone, unsteady } from './swagger-ui-alone.ts'

const github = 's30-github-ghes-3-19'

interface Lightened {
  readonly place: string
  readonly equal: boolean
  /** Characters of the slice. */
  readonly light: number
  readonly whole: number
}

/** Documents of which Swagger UI alone takes ten seconds and more for one operation; bench/page.ts compares them. */
const slow = new Set([github, 's2-kubernetes', 's31-openai'])

interface Comparison {
  readonly service: string
  readonly places: number
  /** Where the two ways gave something else. */
  readonly different: readonly string[]
  /** Milliseconds that the page was busy with each way. */
  readonly whole: number
  readonly slice: number
}

describe('large documents on the documentation page', { skip: skipWithout('chromium') || skipWithoutShared }, () => {
  let browser: Browser
  let files: DocsFiles
  let server: TestServer
  const documents = corpus()

  before(async () => {
    const published = publishAll(...documents.map(({ name, document }) => service(document, { name })))
    files = await readDocsFiles()
    const byPath = new Map<string, object>([
      ['/openapi.json', published.document],
      ...[...published.byService].map(([name, document]) => [`/openapi/${name}.json`, document] as const),
    ])
    server = await serveDocs(files, {
      documents: Object.fromEntries(byPath),
      options: {
        documents: [
          { name: 'All services', url: '/openapi.json' },
          ...documents.map(({ name }) => ({ name, url: `/openapi/${name}.json` })),
        ],
      },
    })
    browser = await launchBrowser()
  })
  after(async () => {
    await browser?.close()
    await server?.[Symbol.asyncDispose]()
  })

  const address = (name: string, link = '') =>
    `${server.origin}/docs?urls.primaryName=${encodeURIComponent(name)}${link}`

  /** The page as it is, or with Swagger UI's own way to read and resolve documents. */
  async function open(context: BrowserContext, name: string, link = ''): Promise<Page> {
    const page = await context.newPage()
    await page.goto(address(name, link))
    await page.locator('#operations').waitFor({ state: 'attached' })
    return page
  }

  async function newContext(
    replaced: Readonly<Record<string, string>> = {},
  ): Promise<BrowserContext & AsyncDisposable> {
    const context = await browser.newContext({ viewport: { width: 1280, height: 900 } })
    context.setDefaultTimeout(60_000)
    await replaceScripts(context, replaced)
    return Object.assign(context, { [Symbol.asyncDispose]: () => context.close() })
  }

  test('resolve from a slice to what they resolve to as a whole, for the documents of the corpus', async () => {
    await using context = await newContext()
    const page = await open(context, 's2-uber')
    const services = documents.map(({ name }) => name).filter((name) => !slow.has(name))
    const compared = await page.evaluate<Comparison[]>(`(${compare})(${JSON.stringify(services)})`)
    assert.deepEqual(
      compared.flatMap(({ service, different }) => different.map((place) => `${service} ${place}`)),
      [],
    )
    assert.equal(compared.length, documents.length - slow.size)
    assert.ok(compared.reduce((sum, { places }) => sum + places, 0) > 100, JSON.stringify(compared))
    // Eight to fifty times, the more the larger the document.
    const { whole, slice } = compared.find(({ service }) => service === 's30-asana')!
    assert.ok(whole > 3 * slice, `${Math.round(whole)} ms for the whole document, ${Math.round(slice)} ms for a slice`)
  })

  test('resolve without most of their schemas to what they resolve to with them', async () => {
    await using context = await newContext()
    const page = await open(context, 's2-uber')
    const services = [...slow, 's30-spotify', 's30-gravitee-portal-api-3-18']
    const compared = await page.evaluate<Lightened[]>(`(${compareLightened})(${JSON.stringify(services)})`)
    assert.deepEqual(
      compared.filter(({ equal }) => !equal).map(({ place }) => place),
      [],
    )
    assert.equal(compared.length, 4 * services.length)
    assert.ok(
      compared.some(({ light, whole }) => light < whole / 10),
      JSON.stringify(compared),
    )
  })

  test('leave to Swagger UI what may come to more than is written', async () => {
    await using own = await serveDocs(files, { documents: { '/openapi/odd.json': odd } })
    await using context = await newContext()
    const page = await context.newPage()
    await page.goto(`${own.origin}/docs`)
    await page.locator('#operations').waitFor({ state: 'attached' })
    const [compared] = await page.evaluate<Comparison[]>(`(${compare})(['odd'])`)
    assert.deepEqual(compared!.different, [])
    assert.equal(compared!.places, Object.keys(odd.paths).length)
  })

  test('look as they do with Swagger UI alone: each operation opened, the curl texts, the schemas', async () => {
    await using plain = await newContext(swaggerUiAlone)
    await using quick = await newContext()
    for (const name of [
      's30-readme-discriminators',
      's30-readme-schema-circular',
      's31-museum',
      's30-readme-callbacks',
    ]) {
      const [expected, shown] = await Promise.all([everything(plain, name), everything(quick, name)])
      assert.ok(expected.length > 1, name)
      assert.deepEqual(shown, expected, name)
    }
  })

  /** The markup of every operation, webhook and schema of a document, each one opened. */
  async function everything(context: BrowserContext, name: string): Promise<string[]> {
    const page = await open(context, name)
    const folded = page.locator('.opblock-tag[data-is-open=false]')
    for (let tags = await folded.count(); tags > 0; tags--) await folded.first().click()
    const blocks = page.locator('.opblock')
    const parts: string[] = []
    for (let index = 0; index < (await blocks.count()); index++) {
      const block = blocks.nth(index)
      await block.locator('.opblock-summary-control').first().click()
      await block.locator('.responses-wrapper').first().waitFor()
      parts.push(await markup(block))
      await block.locator('.opblock-summary-control').first().click()
    }
    await page.locator('.models-control').first().click()
    await page.locator('.models .json-schema-2020-12').first().waitFor()
    parts.push(await markup(page.locator('.models')))
    await page.close()
    return parts
  }

  test("open GitHub's 1,039 operations and show one of them", async () => {
    await using docs = await openDocs(browser, address(github))
    const { page, trouble } = docs
    await page.locator('.operation-filter-input').fill('repos get-branch a branch')
    await page.locator('.filter .found').filter({ hasText: 'operation' }).waitFor()
    const operation = await openOperation(page, `${github}_repos_get-branch`)
    await operation.locator('tr[data-param-name="branch"] input').waitFor()
    assert.match((await operation.locator('.responses-wrapper').textContent())!, /protection_url/)
    assert.deepEqual(trouble, noTrouble)
  })

  test('draw the one operation that is opened, and none of the hundreds of operations and webhooks beside it', async () => {
    const drawn = async (replaced = {}) => {
      await using context = await newContext(replaced)
      await context.addInitScript(countDrawn)
      const page = await open(context, github)
      await page.locator('.operation-filter-input').fill('repos get-branch a branch')
      await page.locator('.filter .found').filter({ hasText: 'operation' }).waitFor()
      await page.evaluate('drawn.clear()')
      await page.locator(`.opblock[id$="${github}_repos_get-branch"] .opblock-summary-control`).click()
      await page.locator('.opblock.is-open .opblock-body').waitFor()
      return await page.evaluate<string[]>('[...drawn]')
    }
    assert.deepEqual(await drawn(), [`${github}_repos_get-branch`])
    // So that this notices when Swagger UI names its parts anew.
    assert.ok((await drawn(unsteady)).length > 200)
  })

  test('make an example once, and another one when it is chosen', async () => {
    const json = { 'application/json': { schema: { properties: { at: { type: 'string', format: 'date-time' } } } } }
    const chosen = {
      'application/json': { examples: { first: { value: { name: 'one' } }, second: { value: { name: 'two' } } } },
      'text/plain': { example: 'in plain words' },
    }
    const get = {
      operationId: 'see',
      parameters: [{ name: 'word', in: 'query', schema: { type: 'string' } }],
      responses: { 200: { description: 'ok', content: chosen }, 201: { description: 'made', content: json } },
    }
    const other = { operationId: 'other', responses: { 200: { description: 'ok', content: json } } }
    const info = { title: 'examples', version: '1' }
    await using own = await serveDocs(files, {
      documents: { '/openapi.json': { openapi: '3.1.0', info, paths: { '/a': { get }, '/b': { get: other } } } },
      api: (_request, response) => response.writeHead(200).end(),
    })
    await using docs = await openDocs(browser, `${own.origin}/docs`)
    const operation = await openOperation(docs.page, 'see')
    const answer = (code: number) => operation.locator(`.response[data-code="${code}"]`)

    const made = await answer(201).locator('.example').textContent()
    assert.match(made!, /"at": "\d{4}-/)
    await answer(200).locator('.example').filter({ hasText: 'one' }).waitFor()
    await answer(200).locator('.examples-select-element').selectOption('second')
    await answer(200).locator('.example').filter({ hasText: 'two' }).waitFor()
    await answer(200).locator('select.content-type').selectOption('text/plain')
    await answer(200).locator('.example').filter({ hasText: 'in plain words' }).waitFor()

    await operation.locator('tr[data-param-name="word"] input').fill('typed')
    await operation.getByRole('button', { name: 'Execute' }).click()
    await operation.locator('.live-responses-table').filter({ hasText: '200' }).waitFor()
    assert.match((await answer(200).last().getAttribute('class'))!, /response_current/)
    assert.equal(await answer(201).locator('.example').textContent(), made)

    // Opening another operation resolves nothing anew but that one.
    const second = await openOperation(docs.page, 'other')
    await second.locator('.example').filter({ hasText: '"at"' }).waitFor()
    assert.equal(await answer(201).locator('.example').textContent(), made)
    assert.deepEqual(docs.trouble, noTrouble)
  })

  test('open with all services together: thousands of operations, every one of them to be found', async () => {
    await using docs = await openDocs(browser, address('All services'))
    const { page, trouble } = docs
    // Most of the list is not drawn before it comes into view.
    assert.ok((await page.locator('.opblock, .opblock-tag').count()) < 800)
    const found = page.locator('.filter .found')
    for (const [words, said] of [
      ['createAppsV1NamespacedDeployment', '1 operation'],
      ['post chat completion create', /^\d+ operations?$/],
      ['no such words', 'No operation has all of these words.'],
    ] as const) {
      await page.locator('.operation-filter-input').fill(words)
      await found.filter({ hasText: said }).waitFor()
    }
    assert.equal(await page.locator('.opblock-tag').count(), 0)
    assert.doesNotMatch((await page.locator('#operations').textContent())!, /No operations defined/)
    await page.locator('.operation-filter-input').fill('')
    await page.locator('.opblock-tag').first().waitFor()
    assert.deepEqual(trouble, noTrouble)
  })

  test('are linked to: an operation deep in a long list is opened and in view', async () => {
    await using context = await newContext()
    const page = await open(context, github, `#/${github}:repos/${github}_repos_get-branch`)
    const operation = page.locator('.opblock.is-open')
    await operation.getByRole('button', { name: 'Execute' }).waitFor()
    await eventually(
      'it is in view',
      async () => {
        const box = await operation.boundingBox()
        return box !== null && Math.abs(box.y) < 900
      },
      30_000,
    )
  })
})

const see = (name: string) => ({ $ref: `#/components/schemas/${name}` })
const answers = (schema: unknown) => ({ 200: { description: 'ok', content: { 'application/json': { schema } } } })
const oddSchemas = {
  reference: see('Plain'),
  'a sibling that overrides': { ...see('Plain'), description: 'another', properties: { own: see('Chain') } },
  'a reference to a reference': { ...see('Chain'), title: 'last' },
  'lists and maps': {
    type: 'object',
    properties: { $ref: { type: 'string' }, constructor: see('Plain'), allOf: { items: see('Plain') } },
    patternProperties: { '^x': see('Chain') },
    additionalProperties: { anyOf: [see('Plain'), true] },
    prefixItems: [see('Plain'), { not: see('Chain') }],
  },
  'examples that look like references': { type: 'object', example: see('Plain'), default: { deep: [see('Plain')] } },
  'a schema that is true': { properties: { any: see('Anything') } },
  'a circle': { properties: { tree: see('Tree'), plain: see('Plain') } },
  'allOf around plain ones': { allOf: [see('Plain'), { properties: { name: { minLength: 2 } } }], title: 'both' },
  'allOf that merges what stands under others': {
    allOf: [see('Holder'), { properties: { held: { properties: { more: see('Chain') } } } }],
  },
  'allOf beside a reference': { ...see('Merged'), properties: { held: see('Chain') } },
  'an identifier': { $id: 'https://gateway.test/schemas/one', properties: { a: see('Plain') } },
  'an anchor': { properties: { a: { $ref: '#anchored' }, b: see('Holder') } },
  'a pointer into a schema': { properties: { a: { $ref: '#/components/schemas/Holder/properties/held' } } },
  'a pointer into an operation': {
    items: { $ref: '#/paths/~1reference/get/responses/200/content/application~1json/schema' },
  },
  'nothing that is there': see('Missing'),
  'a discriminator': {
    oneOf: [see('Plain'), see('Tree')],
    discriminator: { propertyName: 'kind', mapping: { tree: '#/components/schemas/Tree' } },
  },
  'no schema at all': [see('Plain')],
}
const shownValue = { value: { $ref: '#/components/schemas/Plain', schema: see('Plain') } }
/** Schemas that come to more than is written, and what only looks like that; an operation for each. */
const odd = {
  openapi: '3.1.0',
  info: { title: 'odd', version: '1' },
  paths: {
    ...Object.fromEntries(
      Object.entries(oddSchemas).map(([name, schema]) => [`/${name}`, { get: { responses: answers(schema) } }]),
    ),
    '/parameters': {
      parameters: [{ name: 'id', in: 'path', required: true, schema: see('Plain'), examples: { one: shownValue } }],
      post: {
        parameters: [
          { name: 'q', in: 'query', schema: { ...see('Exampled'), minLength: 1 }, examples: { one: { value: 'a' } } },
          { name: 'j', in: 'query', content: { 'application/json': { schema: see('Chain') } } },
          { $ref: '#/components/parameters/Shared' },
        ],
        requestBody: { $ref: '#/components/requestBodies/Shared' },
        responses: {
          200: {
            description: 'ok',
            headers: { X: { schema: see('Exampled'), example: 'b' }, Y: { schema: see('Holder') } },
            content: { 'application/json': { schema: see('Plain'), examples: { one: shownValue, two: see('None') } } },
          },
        },
        callbacks: { done: { '{$url}': { post: { requestBody: { content: { 'a/b': { schema: see('Tree') } } } } } } },
      },
    },
  },
  components: {
    parameters: { Shared: { name: 's', in: 'query', schema: see('Chain') } },
    requestBodies: { Shared: { content: { 'text/x': { schema: see('Holder'), example: see('Plain') } } } },
    schemas: {
      Plain: { type: 'object', title: 'plain', description: 'one', properties: { name: { type: 'string' } } },
      Chain: { ...see('Plain'), description: 'two' },
      Exampled: { type: 'string', examples: ['written'], example: 'written' },
      Anything: true,
      Tree: { properties: { of: { type: 'array', items: see('Tree') }, plain: see('Plain') } },
      Holder: { type: 'object', properties: { held: see('Plain'), deep: { items: see('Chain') } } },
      Merged: { allOf: [see('Holder'), { properties: { held: { title: 'here' } } }] },
      Anchored: { $anchor: 'anchored', properties: { a: see('Plain') } },
    },
  },
}

/** The markup of an element without the names that Swagger UI draws by chance, and the time of day in its examples. */
async function markup(element: Locator): Promise<string> {
  const html = await element.innerHTML()
  return html
    .replace(/ (?:id|for|aria-controls|aria-labelledby)="[^"]*"/g, '')
    .replace(/\d{4}-\d\d-\d\d(?:T[\d:.]+Z)?|\b\d\d:\d\d:\d\d[\d.]*Z/g, 'now')
}

/** Runs in the page before React: keeps the ids of the operations that React draws, told of by what React tells its tools. */
const countDrawn = `
  globalThis.drawn = new Set()
  const look = (fiber) => {
    for (; fiber; fiber = fiber.sibling) {
      const performedWork = fiber.flags & 1
      if (performedWork && fiber.type?.name === 'OperationContainer') drawn.add(fiber.memoizedProps.operationId)
      if (fiber.child !== fiber.alternate?.child) look(fiber.child)
    }
  }
  globalThis.__REACT_DEVTOOLS_GLOBAL_HOOK__ = {
    supportsFiber: true,
    renderers: new Map(),
    inject: () => 1,
    checkDCE() {},
    onCommitFiberUnmount() {},
    onCommitFiberRoot: (_renderer, root) => look(root.current),
  }`

/** Runs in the page: Swagger UI without the plug-ins of the page, and how to compare what it resolves things to. */
const startUi = `
  document.body.append(Object.assign(document.createElement('div'), { id: 'alone' }))
  const spec = { openapi: '3.1.0', info: { title: 'none', version: '1' }, paths: {} }
  const { fn: { resolveSubtree }, Im } = SwaggerUIBundle({ dom_id: '#alone', spec }).getSystem()
  const methods = new Set(['get', 'put', 'post', 'delete', 'options', 'head', 'patch', 'trace'])
  const operationsOf = (document) => ['paths', 'webhooks'].flatMap((root) =>
    Object.entries(document[root] ?? {}).flatMap(([path, item]) =>
      Object.keys(item).filter((name) => methods.has(name)).map((method) => [root, path, method])))
  const toState = (value) => Im.fromJS(value, (_key, part) => (Im.isKeyed(part) ? part.toOrderedMap() : part.toList()))
  // Texts tell the order of members, and not of members called constructor, which Im.is does.
  const same = ([one, ...errors], [other, ...others]) =>
    Im.is(one, other) && JSON.stringify([one, errors]) === JSON.stringify([other, others])`

/**
 * Runs in the page: resolves places of each document both ways with the resolver of the Swagger UI that the page uses,
 * and compares what comes out, errors and all. Of large documents few places, because the slow way is slow.
 */
const compare = `async (services) => {
  const { createResolver } = await import('./docs/large-documents.js')
  ${startUi}
  const results = []
  for (const service of services) {
    const text = await (await fetch('openapi/' + service + '.json')).text()
    const whole = JSON.parse(text)
    const ways = { slice: createResolver(whole, resolveSubtree, Im), whole: (...rest) => resolveSubtree(JSON.parse(text), ...rest) }
    const operations = operationsOf(whole)
    const schemas = Object.keys(whole.components?.schemas ?? {}).map((name) => ['components', 'schemas', name])
    const places = [...operations, ...schemas]
    const count = Math.min(places.length, text.length > 100_000 ? 1 : text.length > 30_000 ? 2 : 4)
    const chosen = Array.from({ length: count }, (_, index) => places[Math.floor(((index + 0.5) * places.length) / count)])
    if (service === 'odd') chosen.splice(0, count, ...operations)
    else if (text.length < 10_000) chosen.push(['components', 'securitySchemes'], ['paths', '/nothing', 'get'])
    const result = { service, places: chosen.length, different: [], whole: 0, slice: 0 }
    const resolve = async (way, place) => {
      const started = performance.now()
      const { spec, errors } = await ways[way](place, { baseDoc: location.origin + '/openapi.json' })
      result[way] += performance.now() - started
      return [toState(spec), errors]
    }
    for (const place of chosen) {
      if (!same(await resolve('slice', place), await resolve('whole', place))) result.different.push(place.join(' '))
    }
    results.push(result)
  }
  return results
}`

/** Runs in the page: operations here and there in a document are resolved with all their schemas and without most. */
const compareLightened = `async (services) => {
  const { createPlainSchemas } = await import('./docs/plain-schemas.js')
  const { createSlicer } = await import('./docs/slices.js')
  ${startUi}
  const results = []
  for (const service of services) {
    const whole = await (await fetch('openapi/' + service + '.json')).json()
    const { lighten, restore } = createPlainSchemas(whole, Im)
    const slice = createSlicer(whole, lighten)
    const places = operationsOf(whole)
    const options = { baseDoc: location.origin + '/openapi.json' }
    for (let index = 0; index < 4; index++) {
      const place = places[Math.floor(((index + 0.5) * places.length) / 4)]
      const parts = { light: slice(place), whole: slice(place, { whole: true }) }
      const [light, all] = [await resolveSubtree(parts.light, place, options), await resolveSubtree(parts.whole, place, options)]
      results.push({
        place: [service, ...place].join(' '),
        equal: same([restore(light.spec, options.baseDoc), light.errors], [toState(all.spec), all.errors]),
        light: JSON.stringify(parts.light).length,
        whole: JSON.stringify(parts.whole).length,
      })
    }
  }
  return results
}`
