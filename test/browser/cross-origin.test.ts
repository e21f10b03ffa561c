import assert from 'node:assert/strict'
import { createHmac, hash } from 'node:crypto'
import { after, before, describe, test } from 'node:test'
import type { Browser, Page } from 'playwright-core'
import { WebSocketServer } from 'ws'
import { type Backend, startBackend } from '../backend.ts'
import { skipWithout } from '../requirements.ts'
import { type GatewayUnderTest, startGateway } from '../sallyport.ts'
import { launchBrowser } from './browser.ts'

interface Body {
  readonly code?: string
  readonly headers?: Readonly<Record<string, string>>
}

/** Pages of two origins and a gateway that lists one of them: what a real browser makes of it. */
describe('a page of another origin', { skip: skipWithout('chromium') }, () => {
  const secret = 'a secret of thirty-two bytes and more, for tests'
  const opened = new AsyncDisposableStack()
  let gateway: GatewayUnderTest
  let backend: Backend
  let listed: Page
  let stranger: Page

  before(async () => {
    const html: Parameters<typeof startBackend>[0] = (_req, res) =>
      res.setHeader('Content-Type', 'text/html').end('<!doctype html><link rel="icon" href="data:,">')
    const [home, elsewhere] = [opened.use(await startBackend(html)), opened.use(await startBackend(html))]
    backend = opened.use(await startBackend())
    const wss = new WebSocketServer({ noServer: true })
    backend.server.on('upgrade', (req, socket, head) =>
      wss.handleUpgrade(req, socket, head, (ws) =>
        ws.on('message', (data) => ws.send(`${req.headers['user-id']} ${data}`)),
      ),
    )
    gateway = opened.use(
      await startGateway({
        gateway: { cors: { origins: [home.url] } },
        issuers: {
          old: { type: 'secret', issuer: 'https://old.example', audience: 'api', algorithms: ['HS256'], secret },
        },
        securitySchemes: {
          bearer: { type: 'http', scheme: 'bearer' },
          key: {
            type: 'apiKey',
            in: 'header',
            name: 'X-API-Key',
            keys: [{ sha256: hash('sha256', 'key'), subject: 'app' }],
          },
        },
        services: [
          {
            name: 'echo',
            path: '/echo',
            targets: [backend.url],
            openapi: false,
            security: [{ bearer: [] }, { key: [] }],
            limits: { rate: [{ requests: 100, per: '1h' }] },
          },
        ],
      }),
    )
    const browser: Browser & AsyncDisposable = await launchBrowser()
    opened.defer(() => browser.close())
    const open = async (url: string) => {
      const page = await browser.newPage()
      await page.goto(url)
      return page
    }
    listed = await open(home.url)
    stranger = await open(elsewhere.url)
  })
  after(() => opened.disposeAsync())

  function token(): string {
    const now = Math.floor(Date.now() / 1_000)
    const encode = (part: object) => Buffer.from(JSON.stringify(part)).toString('base64url')
    const claims = { iss: 'https://old.example', aud: 'api', sub: 'ann', iat: now, exp: now + 60 }
    const content = `${encode({ alg: 'HS256', typ: 'at+jwt' })}.${encode(claims)}`
    return `${content}.${createHmac('sha256', secret).update(content).digest('base64url')}`
  }

  /** What a script of the page gets to see. */
  const call = (page: Page, method: string, headers: Record<string, string>) =>
    page.evaluate(
      async ({ url, method, headers }) => {
        try {
          const answer = await fetch(url, { method, headers, credentials: 'include' })
          return {
            status: answer.status,
            fields: Object.fromEntries(answer.headers),
            body: (await answer.json()) as Body,
          }
        } catch (error) {
          return { error: (error as Error).name }
        }
      },
      { url: `${gateway.url}/echo/1`, method, headers },
    )

  const socket = (page: Page, protocols: string[]) =>
    page.evaluate(
      ({ url, protocols }) =>
        new Promise<string>((resolve) => {
          const ws = new WebSocket(url, protocols)
          ws.onopen = () => ws.send('hello')
          ws.onmessage = ({ data }) => resolve(`${ws.protocol}: ${data}`)
          ws.onclose = ({ code }) => resolve(`closed ${code}`)
        }),
      { url: `${gateway.url.replace('http', 'ws')}/echo/1`, protocols },
    )

  test('that is listed calls with its key, whatever the method, and reads fields and refusals', async () => {
    for (const method of ['GET', 'DELETE', 'PATCH']) {
      const answer = await call(listed, method, { 'X-API-Key': 'key' })
      assert.equal(answer.status, 200, method)
      assert.equal(answer.body?.headers?.['user-id'], 'app')
      assert.match(answer.fields?.['x-request-id'] ?? '', /./)
      assert.match(answer.fields?.['ratelimit'] ?? '', /^"caller";r=\d+/)
    }
    const refused = await call(listed, 'GET', { 'X-API-Key': 'wrong' })
    assert.equal(refused.status, 401)
    assert.equal(refused.body?.code, 'invalid-api-key')
    assert.match(refused.fields?.['www-authenticate'] ?? '', /ApiKey/)
  })

  test('that is not listed reads nothing, and its preflights do not reach the service', async () => {
    backend.received.length = 0
    assert.deepEqual(await call(stranger, 'GET', {}), { error: 'TypeError' })
    assert.deepEqual(await call(stranger, 'DELETE', { 'X-API-Key': 'key' }), { error: 'TypeError' })
    assert.equal(backend.received.length, 0)
  })

  test('opens a WebSocket with a token among its subprotocols when it is listed, and not when it is not', async () => {
    assert.equal(await socket(listed, ['chat', `bearer.${token()}`]), 'chat: ann hello')
    assert.equal(await socket(stranger, ['chat', `bearer.${token()}`]), 'closed 1006')
    assert.equal(await socket(listed, ['chat', 'bearer.nonsense']), 'closed 1006')
  })
})
