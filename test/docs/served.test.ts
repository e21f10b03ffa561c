import assert from 'node:assert/strict'
import { request } from 'node:http'
import { after, before, describe, test } from 'node:test'
import { type GatewayUnderTest, startGateway } from '../sallyport.ts'

describe('the documentation page as the gateway serves it', () => {
  let gateway: GatewayUnderTest
  before(async () => {
    gateway = await startGateway({
      services: [{ name: 'orders', path: '/orders', targets: ['http://127.0.0.1:9'], openapi: false, security: [] }],
    })
  })
  after(() => gateway?.[Symbol.asyncDispose]())

  function ask(path: string, method = 'GET', headers: Record<string, string> = {}) {
    return new Promise<{ status: number; headers: Record<string, unknown>; body: Buffer }>((resolve, reject) => {
      const sent = request(`${gateway.url}${path}`, { method, headers }, async (response) => {
        resolve({
          status: response.statusCode!,
          headers: response.headers,
          body: Buffer.concat(await response.toArray()),
        })
      })
      sent.on('error', reject).end()
    })
  }

  test('is at /docs, and /docs/ leads there', async () => {
    const page = await ask('/docs')
    assert.equal(page.status, 200)
    assert.match(
      String(page.headers['content-security-policy']),
      /^default-src 'none'; script-src 'self'; style-src 'self'/,
    )
    const other = await ask('/docs/')
    assert.equal(other.status, 308)
    assert.equal(other.headers['location'], '../docs')
    assert.equal(other.body.length, 0)
  })

  test('lists all services and each one', async () => {
    const { documents, redirectUrl } = JSON.parse(String((await ask('/docs/config.json')).body))
    assert.deepEqual(
      documents.map(({ name }: { name: string }) => name),
      ['All services', 'orders'],
    )
    assert.equal(redirectUrl, `${gateway.running.publicUrl}/docs/oauth2-redirect.html`)
    for (const { url } of documents) {
      assert.equal((await ask(new URL(url, `${gateway.url}/docs`).pathname)).status, 200, url)
    }
  })

  test('is sent small, and only once', async () => {
    const path = '/docs/swagger-ui-bundle.js'
    for (const [accepted, coding] of [
      ['gzip, deflate, br, zstd', 'br'],
      ['gzip', 'gzip'],
      ['gzip, br;q=0', 'gzip'],
      ['*', 'br'],
      ['identity', undefined],
    ] as const) {
      const answer = await ask(path, 'GET', { 'Accept-Encoding': accepted })
      assert.equal(answer.headers['content-encoding'], coding, accepted)
    }
    const { headers, body } = await ask(path, 'GET', { 'Accept-Encoding': 'gzip, deflate, br, zstd' })
    assert.match(String(headers['vary']), /accept-encoding/i)
    assert.ok(body.length < 450_000)
    const again = await ask(path, 'GET', { 'If-None-Match': String(headers['etag']) })
    assert.equal(again.status, 304)
    assert.equal(again.body.length, 0)
  })

  test('answers HEAD like GET without a body, and other methods with 405', async () => {
    const head = await ask('/docs', 'HEAD')
    assert.equal(head.status, 200)
    assert.equal(head.body.length, 0)
    const post = await ask('/docs', 'POST')
    assert.equal(post.status, 405)
    assert.match(String(post.headers['allow']), /GET/)
  })

  test('has no other files', async () => {
    for (const path of ['/docs/index.html', '/docs/swagger-initializer.js', '/docs/page', '/docsx']) {
      assert.equal((await ask(path)).status, 404, path)
    }
  })
})
