import assert from 'node:assert/strict'
import type { IncomingMessage } from 'node:http'
import { describe, type TestContext, test } from 'node:test'
import { answering, ask, gatewayTo, httpBackend, rawBackend, sleep, until, upstreamTo } from './scene.ts'

interface Seen {
  readonly method: string
  readonly url: string
  readonly headers: IncomingMessage['headers']
  readonly body: string
}

async function recording(t: TestContext, answer = 'ok') {
  const seen: Seen[] = []
  const backend = await httpBackend(t, (req, res) => {
    const chunks: Buffer[] = []
    req.on('data', (chunk) => chunks.push(chunk))
    req.on('end', () => {
      seen.push({ method: req.method!, url: req.url!, headers: req.headers, body: String(Buffer.concat(chunks)) })
      res.end(answer)
    })
  })
  return { ...backend, seen }
}

const copied = () => ({ fields: ['X-Copied', 'yes'], target: '/copied?x=1' })

describe('a mirror', { concurrency: true, timeout: 30_000 }, () => {
  test('gets what was sent, bodies of every kind included, and its answers go nowhere', async (t) => {
    const service = await recording(t, 'from the service')
    const shadow = await recording(t, 'from the mirror')
    const upstream = upstreamTo(t, { targets: [service.url], mirror: { url: `${shadow.url}/shadow` } })
    const gateway = await gatewayTo(t, upstream, { copied })
    const bodies = ['', 'small', 'x'.repeat(50_000)]
    for (const body of bodies) {
      const whole = await ask(gateway.port, {
        method: 'POST',
        body,
        headers: { 'content-length': String(body.length) },
      })
      assert.equal(whole.content.toString(), 'from the service')
      await ask(gateway.port, { method: 'PUT', body, headers: { 'transfer-encoding': 'chunked' } })
    }
    await ask(gateway.port)
    await until(() => upstream.mirror!.describe().answered === 7)
    assert.deepEqual(
      shadow.seen.map(({ body }) => body.length).toSorted(),
      service.seen.map(({ body }) => body.length).toSorted(),
    )
    for (const { url, headers } of shadow.seen) {
      assert.equal(url, '/shadow/copied?x=1')
      assert.equal(headers['x-copied'], 'yes')
      assert.equal(headers['sallyport-mirror'], '1')
    }
    assert.deepEqual(upstream.mirror!.describe(), { answered: 7, failed: 0, skipped: 0 })
  })

  test('gets no request that is larger than it takes, and only the methods and the share that it is meant for', async (t) => {
    const service = await recording(t)
    const shadow = await recording(t)
    const mirror = { url: shadow.url, body: '1kb', methods: ['POST' as const] }
    const upstream = upstreamTo(t, { targets: [service.url], mirror })
    const gateway = await gatewayTo(t, upstream, { copied })
    const large = 'x'.repeat(2_000)
    await ask(gateway.port, { method: 'POST', body: large, headers: { 'content-length': '2000' } })
    await ask(gateway.port, { method: 'POST', body: large, headers: { 'transfer-encoding': 'chunked' } })
    await ask(gateway.port, { method: 'GET' })
    await ask(gateway.port, { method: 'POST', body: 'fits', headers: { 'content-length': '4' } })
    await until(() => upstream.mirror!.describe().answered === 1)
    assert.deepEqual(upstream.mirror!.describe(), { answered: 1, failed: 0, skipped: 2 })
    assert.deepEqual(
      shadow.seen.map(({ body }) => body),
      ['fits'],
    )
    assert.equal(service.seen.filter(({ body }) => body === large).length, 2)

    const some = upstreamTo(t, { targets: [service.url], mirror: { url: shadow.url, share: 0.25 } })
    const sampled = await gatewayTo(t, some, { copied })
    for (let call = 0; call < 200; call++) await ask(sampled.port)
    await until(() => some.mirror!.describe().answered + some.mirror!.describe().failed >= 20)
    await sleep(50)
    const { answered } = some.mirror!.describe()
    assert.ok(answered >= 20 && answered <= 85, String(answered))
  })

  test('that hangs, breaks, floods or is gone neither slows nor breaks the original', async (t) => {
    const service = await recording(t)
    const hanging = await rawBackend(t, (socket) => socket.resume())
    const broken = await answering(t, 'this is no HTTP\r\n\r\n')
    const flooding = await httpBackend(t, (_req, res) => {
      const pour = () => {
        while (!res.destroyed && res.write(Buffer.alloc(65_536)));
        if (!res.destroyed) res.once('drain', pour)
      }
      pour()
    })
    for (const url of [hanging.url, broken.url, flooding.url, 'http://127.0.0.1:9']) {
      const settings = { targets: [service.url], mirror: { url }, timeouts: { response: '2s', total: '4s' } }
      const upstream = upstreamTo(t, settings)
      const gateway = await gatewayTo(t, upstream, { copied })
      const answers = await Promise.all(Array.from({ length: 40 }, () => ask(gateway.port)))
      assert.ok(answers.every(({ status }) => status === 200))
      await until(() => {
        const { failed, answered, skipped } = upstream.mirror!.describe()
        return failed + answered + skipped === 40
      }, 10_000)
      assert.equal(upstream.mirror!.describe().answered, 0, url)
      assert.equal(upstream.describe()[0]!.failures, 0)
    }
  })

  test('is not told of requests that the gateway itself refuses or that break off', async (t) => {
    const service = await recording(t)
    const shadow = await recording(t)
    const upstream = upstreamTo(t, { targets: [service.url], mirror: { url: shadow.url } })
    const gateway = await gatewayTo(t, upstream, { copied, bodyLimit: 10 })
    const body = 'more than ten bytes'
    const { status } = await ask(gateway.port, { method: 'POST', body, headers: { 'content-length': '19' } })
    assert.equal(status, 413)
    await ask(gateway.port, { method: 'POST', body, headers: { 'transfer-encoding': 'chunked' } }).catch(() => {})
    await ask(gateway.port)
    await until(() => upstream.mirror!.describe().answered === 1)
    assert.deepEqual(
      shadow.seen.map(({ method }) => method),
      ['GET'],
    )
  })
})
