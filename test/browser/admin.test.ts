import assert from 'node:assert/strict'
import { readFileSync } from 'node:fs'
import { createRequire } from 'node:module'
import { after, before, describe, test } from 'node:test'
import type { Browser, Page } from 'playwright-core'
import { skipWithout } from '../requirements.ts'
import { type GatewayUnderTest, startGateway } from '../sallyport.ts'
import { launchBrowser, noTrouble, type Trouble, watch } from './browser.ts'

const axe = readFileSync(createRequire(import.meta.url).resolve('axe-core'), 'utf8')

const document = JSON.stringify({
  openapi: '3.1.0',
  info: { title: 'Orders', version: '1' },
  paths: {
    '/{owner}': {
      parameters: [{ name: 'owner', in: 'path', required: true, schema: { type: 'string' } }],
      get: { tags: ['orders'], operationId: 'readOrders', summary: 'Orders of somebody', responses: {} },
    },
  },
})

const definition = {
  issuers: {
    partner: { type: 'secret', issuer: 'https://partner.example', audience: 'api', secret: '${PARTNER_SECRET}' },
  },
  securitySchemes: {
    bearer: { type: 'http', scheme: 'bearer' },
    key: {
      type: 'apiKey',
      in: 'header',
      name: 'X-API-Key',
      keys: [
        { sha256: 'a'.repeat(64), subject: 'bob', name: 'Robot of Bob', roles: ['editor'] },
        { sha256: 'b'.repeat(64), subject: 'zoe', roles: ['admin'] },
      ],
    },
  },
  services: [
    {
      name: 'orders',
      path: '/orders',
      targets: ['http://127.0.0.1:9'],
      openapi: './orders.json',
      security: [{ bearer: [] }, { key: [] }],
      limits: { rate: [{ requests: 7, per: '1m' }], concurrent: 20 },
      routes: [
        { match: 'GET /{owner}', allow: { when: "caller.subject == request.params.owner || 'admin' in caller.roles" } },
        {
          match: 'PUT /{owner}',
          allow: { resource: { get: '/{owner}' }, when: 'resource.author == caller.subject' },
        },
      ],
    },
  ],
}

describe('the admin page', { skip: skipWithout('chromium') }, () => {
  let browser: Browser
  let gateway: GatewayUnderTest

  before(async () => {
    gateway = await startGateway(definition, {
      files: { 'orders.json': document },
      environment: { PARTNER_SECRET: 'pLCzRLbMtTR0rr3nT0vY5mLr9vJmBq1dYv2cQW7uK8E=' },
    })
    browser = await launchBrowser()
  })
  after(async () => {
    await browser?.close()
    await gateway?.[Symbol.asyncDispose]()
  })

  async function open(view: string, options: { colorScheme?: 'light' | 'dark'; width?: number } = {}) {
    const { width = 1280, ...rest } = options
    const context = await browser.newContext({ viewport: { width, height: 900 }, ...rest })
    context.setDefaultTimeout(15_000)
    const trouble = await watch(context, [gateway.adminUrl])
    const page = await context.newPage()
    await page.goto(`${gateway.adminUrl}/#${view}`)
    return { page, trouble, [Symbol.asyncDispose]: () => context.close() }
  }

  async function assertSound(page: Page, trouble: Trouble): Promise<void> {
    // Through the protocol: the policy of the page lets no foreign script in.
    await page.evaluate(axe)
    const { violations } = (await page.evaluate('axe.run()')) as { violations: { id: string; nodes: unknown[] }[] }
    assert.deepEqual(
      violations.map(({ id, nodes }) => `${id} ×${nodes.length}`),
      [],
    )
    assert.deepEqual(trouble, noTrouble)
  }

  test('shows each service, its instances and its document', async () => {
    await using opened = await open('health')
    const { page, trouble } = opened
    const row = page.getByRole('row').filter({ hasText: 'orders' })
    await row.getByText('http://127.0.0.1:9').waitFor()
    await row.getByText('fresh').waitFor()
    await assertSound(page, trouble)
  })

  test('says who may do what, and follows every change of a claim', async () => {
    await using opened = await open('simulator')
    const { page, trouble } = opened
    await page.getByLabel('Operation').selectOption('GET /orders/{owner}')
    assert.equal(await page.getByLabel('Path and query').inputValue(), '/orders/1')
    await page.getByLabel('Path and query').fill('/orders/ada')
    const answer = page.getByRole('status')
    await page.getByLabel('Claims of a token').fill('{ "sub": "bob", "roles": ["editor"] }')
    await answer.filter({ hasText: '403 policy-denied' }).waitFor()
    await page.getByText('is "bob"').waitFor()

    await page.getByLabel('Claims of a token').fill('{ "sub": "bob", "roles": ["admin"] }')
    await answer.filter({ hasText: 'goes through' }).waitFor()
    await page.getByText("'admin' in caller.roles", { exact: true }).waitFor()
    await page.getByRole('row').filter({ hasText: 'User-Roles' }).getByText('admin').waitFor()

    await page.getByLabel('Claims of a token').fill('{ "sub": ')
    await page.getByText('The claims are not JSON').waitFor()
    await page.getByLabel('Nobody').check()
    await answer.filter({ hasText: '401 no-credentials' }).waitFor()
    await assertSound(page, trouble)
  })

  test('is told what a service would answer where a policy reads a thing', async () => {
    await using opened = await open('simulator')
    const { page, trouble } = opened
    const answer = page.getByRole('status')
    await page.getByLabel('Claims of a token').fill('{ "sub": "bob" }')
    await page.getByLabel('Path and query').fill('/orders/1')
    await page.getByLabel('Method').selectOption('PUT')
    await answer.filter({ hasText: 'depends' }).waitFor()
    const resource = page.getByLabel('Resource')
    await resource.fill('{ "author": "bob" }')
    await answer.filter({ hasText: 'goes through' }).waitFor()
    await resource.fill('null')
    await answer.filter({ hasText: '403 policy-denied' }).waitFor()
    await resource.fill('{')
    await page.getByText('The resource is not JSON').waitFor()
    await resource.fill('')
    await answer.filter({ hasText: 'depends' }).waitFor()
    assert.equal(await page.getByText('The resource is not JSON').count(), 0)
    await assertSound(page, trouble)
  })

  test('takes on the personas that the gateway knows, by keyboard as well, on a telephone', async () => {
    await using opened = await open('simulator', { width: 390, colorScheme: 'dark' })
    const { page, trouble } = opened
    const persona = page.getByLabel('Persona')
    await persona.locator('option', { hasText: 'Robot of Bob – editor' }).waitFor({ state: 'attached' })
    const claims = page.getByLabel('Claims of a token')
    assert.match(await claims.inputValue(), /"subject": "bob"/, 'the first is taken on')
    await page.getByLabel('Operation').selectOption('GET /orders/{owner}')
    const answer = page.getByRole('status')
    await answer.filter({ hasText: '403 policy-denied' }).waitFor()
    await page.getByText('7 in 60 s, by caller. 7 left').waitFor()
    await page.getByText('At once 20').waitFor()

    await persona.focus()
    await page.keyboard.press('ArrowDown')
    await answer.filter({ hasText: 'goes through' }).waitFor()
    assert.match(await claims.inputValue(), /"subject": "zoe"/)
    await page.getByRole('region', { name: 'Header fields' }).waitFor()

    await claims.fill((await claims.inputValue()).replace('"admin"', '"nobody"'))
    await answer.filter({ hasText: '403 policy-denied' }).waitFor()
    assert.equal(await persona.inputValue(), '', 'those are claims of your own now')
    const width = await page.evaluate('document.documentElement.scrollWidth')
    assert.equal(width, 390, 'nothing hangs over the edge')
    await assertSound(page, trouble)
    await page.goto(`${gateway.adminUrl}/#health`)
    await page.getByText('Every service is available').waitFor()
    await assertSound(page, trouble)
  })

  test('looks up why a request was refused', async () => {
    const answer = await fetch(`${gateway.url}/orders/ada`, {
      headers: { 'X-API-Key': '<img src=x onerror=alert(1)>' },
    })
    const { instance } = (await answer.json()) as { instance: string }
    await using opened = await open('refusals')
    const { page, trouble } = opened
    await page.getByLabel('Request id').fill(instance)
    await page.getByRole('button', { name: 'Look up' }).click()
    await page.getByRole('status').filter({ hasText: '401 invalid-api-key' }).waitFor()
    await page.getByText('rejected: malformed').waitFor()
    await page.getByRole('link', { name: 'GET /orders/ada' }).waitFor()
    await assertSound(page, trouble)
  })

  test('reads a token without sending it, and verifies it step by step when asked', async () => {
    await using opened = await open('inspector', { colorScheme: 'dark' })
    const { page, trouble } = opened
    const claims = { iss: 'https://partner.example', sub: '<script>alert(1)</script>', exp: 1_600_000_000 }
    const encode = (value: object) => Buffer.from(JSON.stringify(value)).toString('base64url')
    const token = `${encode({ alg: 'HS256', typ: 'JWT' })}.${encode(claims)}.c2lnbmF0dXJl`
    const asked: string[] = []
    page.on('request', (request) => {
      if (!request.url().endsWith('.svg')) asked.push(request.url())
    })

    await page.getByRole('textbox', { name: 'Token' }).fill(`Bearer ${token}`)
    await page.getByText('"alg": "HS256"').waitFor()
    await page.getByText('Expires').waitFor()
    assert.deepEqual(asked, [], 'nothing was sent')

    await page.getByRole('button', { name: 'Verify' }).click()
    await page.getByText('refuses it').waitFor()
    await page.getByText('The signature of the token does not hold').waitFor()
    assert.deepEqual(asked, [`${gateway.adminUrl}/inspect`])

    await page.getByRole('textbox', { name: 'Token' }).fill('opaque')
    await page.getByText('This is no JSON Web Token').waitFor()
    await assertSound(page, trouble)
  })
})
