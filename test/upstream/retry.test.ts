import assert from 'node:assert/strict'
import type { Socket } from 'node:net'
import { describe, test } from 'node:test'
import { RetryBudget } from '../../src/upstream/retry.ts'
import { ask, gatewayTo, get, httpBackend, rawBackend, rawRequest, until, upstreamTo } from './scene.ts'

const ok = 'HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok'

/** Fails the first request of every connection in the given way, then answers; counts what came in. */
function failing(requests: string[], fail: (socket: Socket) => void, times = 1) {
  let left = times
  return (socket: Socket) => {
    socket.on('data', (chunk) => {
      requests.push(chunk.toString('latin1').split(' ', 1)[0]!)
      if (left-- > 0) fail(socket)
      else socket.write(ok)
    })
  }
}

describe('a request is tried again', { concurrency: true, timeout: 30_000 }, () => {
  for (const method of ['GET', 'HEAD', 'OPTIONS', 'DELETE', 'PUT']) {
    test(`${method}: when the service hung up without a byte`, async (t) => {
      const requests: string[] = []
      const backend = await rawBackend(
        t,
        failing(requests, (socket) => socket.destroy()),
      )
      const gateway = await gatewayTo(t, upstreamTo(t, { targets: [backend.url] }))
      const { status } = await rawRequest(gateway.port, get('/').replace('GET', method))
      assert.equal(status, 200)
      assert.deepEqual(requests, [method, method])
      assert.equal(backend.sockets.length, 2, 'on a fresh connection')
      assert.equal(gateway.outcomes[0]!.attempts, 2)
    })
  }

  test('PUT with a small body, which was kept', async (t) => {
    const bodies: string[] = []
    const backend = await rawBackend(t, (socket, index) =>
      socket.on('data', (chunk) => {
        bodies.push(chunk.toString('latin1').split('\r\n\r\n')[1]!)
        if (index === 0) socket.destroy()
        else socket.write(ok)
      }),
    )
    const gateway = await gatewayTo(t, upstreamTo(t, { targets: [backend.url] }))
    const put = 'PUT / HTTP/1.1\r\nHost: x\r\nContent-Length: 4\r\n\r\nbody'
    assert.equal((await rawRequest(gateway.port, put)).status, 200)
    assert.deepEqual(bodies.filter(Boolean), ['body', 'body'])
  })

  for (const [kind, head] of [
    ['a small body', 'Content-Length: 4\r\n\r\nbody'],
    ['a streamed body', 'Transfer-Encoding: chunked\r\n\r\n4\r\nbody\r\n0\r\n\r\n'],
  ]) {
    test(`POST with ${kind}: only when no connection could be made, so that nothing was sent`, async (t) => {
      const bodies: string[] = []
      const living = await httpBackend(t, (req, res) => {
        req.on('data', (chunk) => bodies.push(chunk.toString()))
        req.on('end', () => res.end('ok'))
      })
      const dead = await rawBackend(t, () => {})
      await dead.kill()
      const gateway = await gatewayTo(t, upstreamTo(t, { targets: [dead.url, living.url] }))
      for (let i = 0; i < 4; i++) {
        assert.equal((await rawRequest(gateway.port, `POST / HTTP/1.1\r\nHost: x\r\n${head}`)).status, 200)
      }
      assert.deepEqual(bodies, ['body', 'body', 'body', 'body'])
    })
  }

  test('with another target, when there is one', async (t) => {
    const requests: string[] = []
    const broken = await rawBackend(
      t,
      failing(requests, (socket) => socket.destroy(), 100),
    )
    const living = await httpBackend(t, (_req, res) => res.end('ok'))
    const settings = { targets: [broken.url, living.url], breaker: { failures: 1_000 } }
    const gateway = await gatewayTo(t, upstreamTo(t, settings))
    for (let i = 0; i < 10; i++) assert.equal((await ask(gateway.port)).status, 200)
    assert.equal(requests.length, 5, 'every other request began at the broken one')
  })
})

describe('a request is not tried again', { concurrency: true, timeout: 30_000 }, () => {
  test('POST: never once it was sent', async (t) => {
    const requests: string[] = []
    const backend = await rawBackend(
      t,
      failing(requests, (socket) => socket.destroy(), 100),
    )
    const gateway = await gatewayTo(t, upstreamTo(t, { targets: [backend.url] }))
    for (const head of ['Content-Length: 0\r\n\r\n', 'Content-Length: 4\r\n\r\nbody']) {
      assert.equal((await rawRequest(gateway.port, `POST / HTTP/1.1\r\nHost: x\r\n${head}`)).status, 502)
    }
    assert.deepEqual(requests, ['POST', 'POST'])
    assert.deepEqual(
      gateway.outcomes.map(({ attempts }) => attempts),
      [1, 1],
    )
  })

  test('POST: not even when the connection was idle for long and closed as we wrote', async (t) => {
    let posts = 0
    const backend = await rawBackend(t, (socket) =>
      socket.on('data', (chunk) => {
        if (chunk.includes('POST')) {
          posts += 1
          socket.resetAndDestroy()
        } else socket.write(ok)
      }),
    )
    const gateway = await gatewayTo(t, upstreamTo(t, { targets: [backend.url] }))
    assert.equal((await rawRequest(gateway.port, get('/'))).status, 200)
    assert.equal((await rawRequest(gateway.port, 'POST / HTTP/1.1\r\nHost: x\r\n\r\n')).status, 502)
    assert.equal(posts, 1)
  })

  test('when a byte of an answer had come', async (t) => {
    const requests: string[] = []
    const backend = await rawBackend(
      t,
      failing(
        requests,
        (socket) => {
          socket.write('HTTP/1.1 20')
          setTimeout(() => socket.destroy(), 20)
        },
        100,
      ),
    )
    const gateway = await gatewayTo(t, upstreamTo(t, { targets: [backend.url] }))
    assert.equal((await rawRequest(gateway.port, get('/'))).status, 502)
    assert.deepEqual(requests, ['GET'])
  })

  test('when the answer is a 503, or came too late', async (t) => {
    let requests = 0
    const backend = await httpBackend(t, (req, res) => {
      requests += 1
      if (req.url === '/busy') res.writeHead(503).end('busy')
    })
    const gateway = await gatewayTo(t, upstreamTo(t, { targets: [backend.url], timeouts: { response: '150ms' } }))
    const busy = await ask(gateway.port, { path: '/busy' })
    assert.equal(busy.status, 503)
    assert.equal(busy.content.toString(), 'busy')
    assert.equal((await ask(gateway.port, { path: '/late' })).status, 504)
    assert.equal(requests, 2)
  })

  test('PUT whose body was streamed', async (t) => {
    const requests: string[] = []
    const backend = await rawBackend(
      t,
      failing(requests, (socket) => socket.destroy(), 100),
    )
    const gateway = await gatewayTo(t, upstreamTo(t, { targets: [backend.url] }))
    const put = 'PUT / HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n4\r\nbody\r\n0\r\n\r\n'
    assert.equal((await rawRequest(gateway.port, put)).status, 502)
    assert.deepEqual(requests, ['PUT'])
  })

  test('when retries are turned off', async (t) => {
    const requests: string[] = []
    const backend = await rawBackend(
      t,
      failing(requests, (socket) => socket.destroy()),
    )
    const gateway = await gatewayTo(t, upstreamTo(t, { targets: [backend.url], retry: { attempts: 0 } }))
    assert.equal((await rawRequest(gateway.port, get('/'))).status, 502)
    assert.equal(requests.length, 1)
  })

  test('once the budget is spent: an outage of 600 requests costs 100 retries and a fifth, not 600', async (t) => {
    let requests = 0
    const backend = await rawBackend(t, (socket) =>
      socket.on('data', () => {
        requests += 1
        socket.destroy()
      }),
    )
    const gateway = await gatewayTo(t, upstreamTo(t, { targets: [backend.url], breaker: { failures: 1_000 } }))
    for (let i = 0; i < 12; i++) await Promise.all(Array.from({ length: 50 }, () => ask(gateway.port)))
    await until(() => gateway.outcomes.length === 600)
    assert.ok(requests > 700 && requests <= 600 + 100 + 0.2 * 600 + 1, `${requests} requests`)
  })
})

test('a budget starts with a reserve, and fills by its share of the requests', () => {
  const budget = new RetryBudget(0.25)
  let first = 0
  while (budget.withdraw()) first += 1
  assert.equal(first, 100)
  for (let i = 0; i < 8; i++) budget.deposit()
  assert.ok(budget.withdraw() && budget.withdraw())
  assert.ok(!budget.withdraw())
  for (let i = 0; i < 10_000; i++) budget.deposit()
  let saved = 0
  while (budget.withdraw()) saved += 1
  assert.equal(saved, 100)
})
