import assert from 'node:assert/strict'
import type { IncomingMessage } from 'node:http'
import { describe, test } from 'node:test'
import { type Deadline, readDeadline, withPatience, writeDeadline } from '../../src/upstream/deadline.ts'
import { answering, ask, gatewayTo, httpBackend, rawBackend, settingsOf, sleep, until, upstreamTo } from './scene.ts'

const milliseconds: Deadline = { header: 'X-Left', format: 'milliseconds' }
const grpc: Deadline = { header: 'grpc-timeout', format: 'grpc' }

describe('a deadline', () => {
  test('is written in the words of the field, and read in them', () => {
    assert.equal(writeDeadline(milliseconds, 1_499.7), '1499')
    assert.equal(writeDeadline(grpc, 1_500), '1500m')
    assert.equal(writeDeadline(milliseconds, -3), '0')
    for (const [deadline, text, meaning] of [
      [milliseconds, '250', 250],
      [milliseconds, '250ms', undefined],
      [milliseconds, '-1', undefined],
      [milliseconds, '', undefined],
      [milliseconds, undefined, undefined],
      [grpc, '2S', 2_000],
      [grpc, '1M', 60_000],
      [grpc, '500000u', 500],
      [grpc, '123456789m', undefined],
    ] as const)
      assert.equal(readDeadline(deadline, text), meaning, String(text))
  })

  test('of a client only shortens', () => {
    const timeouts = { connect: 1, response: 2, idle: 3 }
    assert.equal(withPatience(timeouts, undefined), timeouts)
    assert.equal(withPatience(timeouts, 500).total, 500)
    assert.equal(withPatience({ ...timeouts, total: 100 }, 500).total, 100)
    assert.equal(withPatience({ ...timeouts, total: 100 }, 0).total, 1)
  })

  test('reaches the service as what is left, less at a second try', async (t) => {
    const seen: IncomingMessage['headers'][] = []
    const sleepy = await rawBackend(t, (socket) => {
      socket.once('data', () => void sleep(120).then(() => socket.destroy()))
    })
    const good = await httpBackend(t, (req, res) => {
      seen.push(req.headers)
      res.end('ok')
    })
    const settings = {
      targets: [sleepy.url, good.url],
      timeouts: { response: '5s', total: '2s' },
      deadline: { header: 'X-Left' },
    }
    const gateway = await gatewayTo(t, upstreamTo(t, settings))
    for (let call = 0; call < 2; call++) assert.equal((await ask(gateway.port)).status, 200)
    const left = seen.map((headers) => Number(headers['x-left'])).sort((one, other) => one - other)
    assert.equal(left.length, 2)
    assert.ok(left[0]! <= 1_885 && left[0]! > 0, String(left))
    assert.ok(left[1]! <= 2_000 && left[1]! > left[0]!, String(left))
  })

  test('is said in the usual field when it is only wanted, and not at all when it is not', () => {
    const targets = ['http://127.0.0.1:1']
    assert.deepEqual(settingsOf({ targets, deadline: true }).deadline, {
      header: 'X-Envoy-Expected-Rq-Timeout-Ms',
      format: 'milliseconds',
    })
    assert.deepEqual(settingsOf({ targets, deadline: 'X-Left' }).deadline, milliseconds)
    assert.equal(settingsOf({ targets, deadline: false }).deadline, undefined)
    assert.equal(settingsOf({ targets }).deadline, undefined)
    assert.throws(() => settingsOf({ targets, deadline: 'Content-Length' }), /the gateway writes this field itself/)
    assert.throws(() => settingsOf({ targets, deadline: 5 as never }), /deadline is true, the name of a header field/)
  })
})

describe('the whole time of an exchange', { concurrency: true, timeout: 30_000 }, () => {
  test('ends a service that is about to answer, with 504 and no second try', async (t) => {
    let asked = 0
    const backend = await httpBackend(t, () => void asked++)
    const settings = { targets: [backend.url, `${backend.url}/again`], timeouts: { total: '200ms' } }
    const gateway = await gatewayTo(t, upstreamTo(t, settings))
    const { status, content } = await ask(gateway.port)
    assert.equal(status, 504)
    assert.equal(content.toString(), 'problem upstream-timeout')
    assert.equal(asked, 1)
  })

  test('ends an answer that trickles on, visibly', async (t) => {
    const backend = await httpBackend(t, (_req, res) => {
      const drip = setInterval(() => res.write('drop'), 20)
      res.on('close', () => clearInterval(drip))
    })
    const settings = { targets: [backend.url], timeouts: { idle: '10s', total: '300ms' } }
    const gateway = await gatewayTo(t, upstreamTo(t, settings))
    await assert.rejects(ask(gateway.port))
    await until(() => gateway.outcomes.length === 1)
    assert.equal(gateway.outcomes[0]!.failure?.code, 'upstream-timeout')
  })

  test('covers several tries together', async (t) => {
    const broken = await rawBackend(t, (socket) => {
      socket.once('data', () => void sleep(80).then(() => socket.destroy()))
    })
    const settings = {
      targets: [broken.url, `${broken.url}/b`, `${broken.url}/c`, `${broken.url}/d`],
      retry: { attempts: 3 },
      timeouts: { total: '130ms' },
    }
    const gateway = await gatewayTo(t, upstreamTo(t, settings))
    const { content } = await ask(gateway.port)
    assert.equal(content.toString(), 'problem upstream-timeout')
    assert.ok(gateway.outcomes[0]!.attempts < 4)
  })
})

describe('205 Reset Content (RFC 9110 §15.3.6)', { concurrency: true, timeout: 30_000 }, () => {
  for (const [name, bytes, status] of [
    ['with a length above zero', 'HTTP/1.1 205 Reset Content\r\nContent-Length: 4\r\n\r\noops', 502],
    ['with content to the end of the connection', 'HTTP/1.1 205 Reset Content\r\nConnection: close\r\n\r\noops', 502],
    ['with chunks', 'HTTP/1.1 205 Reset Content\r\nTransfer-Encoding: chunked\r\n\r\n4\r\noops\r\n0\r\n\r\n', 502],
    ['without content', 'HTTP/1.1 205 Reset Content\r\nContent-Length: 0\r\n\r\n', 205],
    ['with chunks of nothing', 'HTTP/1.1 205 Reset Content\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n', 205],
  ] as const) {
    test(`${name} is answered with ${status}`, async (t) => {
      const backend = await answering(t, bytes)
      const gateway = await gatewayTo(t, upstreamTo(t, { targets: [backend.url] }))
      const answer = await ask(gateway.port)
      assert.equal(answer.status, status)
      assert.equal(answer.content.toString(), status === 502 ? 'problem upstream-invalid-response' : '')
    })
  }
})

describe('a POST that is marked', { concurrency: true, timeout: 30_000 }, () => {
  test('is sent a second time when its connection broke; one that is not, is not', async (t) => {
    const bodies: string[] = []
    const broken = await rawBackend(t, (socket) => socket.once('data', () => socket.destroy()))
    const good = await httpBackend(t, (req, res) => {
      req.on('data', (chunk) => bodies.push(String(chunk)))
      req.on('end', () => res.end('ok'))
    })
    const settings = { targets: [broken.url, good.url], breaker: { failures: 100 } }
    const marked = await gatewayTo(t, upstreamTo(t, settings), { repeatable: true })
    const plain = await gatewayTo(t, upstreamTo(t, settings))
    const post = async (port: number) =>
      (await ask(port, { method: 'POST', body: 'payment', headers: { 'content-length': '7' } })).status
    assert.deepEqual([await post(marked.port), await post(marked.port)], [200, 200])
    assert.deepEqual(bodies, ['payment', 'payment'])
    const seen = [await post(plain.port), await post(plain.port)]
    assert.deepEqual(seen.toSorted(), [200, 502])
  })
})

describe('connections of a service', { concurrency: true, timeout: 30_000 }, () => {
  test('are its own: one that is slow takes none from another at the same address', async (t) => {
    const backend = await httpBackend(t, (req, res) => {
      if (req.url === '/fast') res.end('fast')
    })
    const slow = upstreamTo(t, {
      targets: [backend.url],
      connections: 2,
      timeouts: { connect: '60s', response: '60s' },
    })
    const fast = upstreamTo(t, { targets: [backend.url], connections: 2 })
    const [slowly, quickly] = [await gatewayTo(t, slow), await gatewayTo(t, fast)]
    const held = Array.from({ length: 6 }, () => ask(slowly.port, { path: '/slow' }).catch(() => {}))
    await until(() => slow.describe()[0]!.inFlight === 6)
    assert.equal(slow.describe()[0]!.connections, 2)
    assert.equal((await ask(quickly.port, { path: '/fast' })).content.toString(), 'fast')
    await slowly.kill()
    await Promise.all(held)
  })
})
