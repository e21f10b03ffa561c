import assert from 'node:assert/strict'
import { createServer, request as httpRequest } from 'node:http'
import { type AddressInfo, createServer as createTcpServer } from 'node:net'
import { describe, test } from 'node:test'
import { setTimeout as sleep } from 'node:timers/promises'
import { type Backend, startBackend } from '../backend.ts'
import { sendRaw } from '../raw.ts'
import { eventually, startGateway } from '../sallyport.ts'

const open = (backend: Pick<Backend, 'url'>, more: object = {}) => ({
  services: [{ name: 'echo', path: '/echo', targets: [backend.url], openapi: false, security: [], ...more }],
})

describe('what reaches the service', () => {
  test('the bytes of path and query that were authorised, less the prefix', async () => {
    await using backend = await startBackend()
    await using gateway = await startGateway(open(backend))
    const targets = {
      '/echo': '/',
      '/echo/': '/',
      '/echo?a=b': '/?a=b',
      '/echo/a%2Cb/c%20d?x=%2F&y=z%': '/a%2Cb/c%20d?x=%2F&y=z%',
      '/echo/%7Euser': '/~user',
      '/echo/trailing/': '/trailing/',
    }
    for (const [sent, expected] of Object.entries(targets)) {
      const { status } = await sendRaw(gateway.url, `GET ${sent} HTTP/1.1\r\nHost: gw.test\r\n\r\n`)
      assert.equal(status, 200, sent)
      assert.equal(backend.received.at(-1)?.url, expected)
    }
  })

  test('nothing of a path that can be read in two ways', async () => {
    await using backend = await startBackend()
    await using gateway = await startGateway(open(backend))
    for (const path of [
      '/echo/../admin',
      '/echo/%2e%2e/admin',
      '/echo//x',
      '/echo/a%2fb',
      '/echo/a;b',
      '/echo/%252e',
    ]) {
      const { status } = await sendRaw(gateway.url, `GET ${path} HTTP/1.1\r\nHost: gw.test\r\n\r\n`)
      assert.equal(status, 400, path)
    }
    assert.equal(backend.received.length, 0)
  })

  test('the whole path, and the base path of the target, when services.json says so', async () => {
    await using backend = await startBackend()
    await using gateway = await startGateway(open({ url: `${backend.url}/base` }, { stripPath: false }))
    await fetch(`${gateway.url}/echo/1?full=1`)
    assert.equal(backend.received[0]?.url, '/base/echo/1?full=1')
  })

  test('one Via, request id and trace; where the request came from; nothing hop-by-hop', async () => {
    await using backend = await startBackend()
    await using gateway = await startGateway(open(backend))
    const answer = await sendRaw(
      gateway.url,
      [
        'GET /echo/x HTTP/1.1',
        'Host: gw.test',
        'Connection: keep-alive, X-Nominated, X-Request-ID',
        'X-Nominated: 1',
        'X-Request-ID: theirs',
        'traceparent: 00-11111111111111111111111111111111-2222222222222222-01',
        'X-Forwarded-For: 6.6.6.6',
        'Forwarded: for=6.6.6.6',
        'Keep-Alive: timeout=5',
        'TE: trailers',
        'Proxy-Authorization: Basic xxx',
        'X-Kept: yes',
        '',
        '',
      ].join('\r\n'),
    )
    const { headers, raw } = backend.received[0]!
    const id = /x-request-id: (\S+)/i.exec(answer.text)?.[1]
    assert.match(id ?? '', /^[0-9a-f]{16}-\w+$/)
    assert.equal(headers['x-request-id'], id)
    assert.match(String(headers['traceparent']), /^00-(?!1{32})[0-9a-f]{32}-[0-9a-f]{16}-01$/)
    assert.equal(headers['x-forwarded-for'], '127.0.0.1')
    assert.equal(headers['x-forwarded-host'], 'gw.test')
    assert.equal(headers['x-forwarded-proto'], 'http')
    assert.equal(headers['x-forwarded-prefix'], '/echo')
    assert.equal(headers['forwarded'], 'for=127.0.0.1;proto=http;host=gw.test')
    assert.equal(headers['x-kept'], 'yes')
    for (const name of ['x-nominated', 'keep-alive', 'te', 'proxy-authorization'])
      assert.equal(headers[name], undefined)
    assert.equal(raw.filter((text) => text.toLowerCase() === 'x-request-id').length, 1)
  })

  test('ids, traces and addresses of a proxy that is trusted, and of no other', async () => {
    await using backend = await startBackend()
    await using gateway = await startGateway({ gateway: { trustedProxies: ['127.0.0.0/8'] }, ...open(backend) })
    const headers = {
      'X-Request-ID': 'from-the-proxy',
      traceparent: '00-11111111111111111111111111111111-2222222222222222-01',
      'X-Forwarded-For': '203.0.113.7',
      'X-Forwarded-Proto': 'https',
      'X-Forwarded-Host': 'api.example',
    }
    const answer = await fetch(`${gateway.url}/echo`, { headers })
    assert.equal(answer.headers.get('x-request-id'), 'from-the-proxy')
    const got = backend.received[0]!.headers
    assert.match(String(got['traceparent']), /^00-1{32}-(?!2{16})[0-9a-f]{16}-01$/)
    assert.equal(got['x-forwarded-for'], '203.0.113.7, 127.0.0.1')
    assert.equal(got['x-forwarded-proto'], 'https')
    assert.equal(got['x-forwarded-host'], 'api.example')
  })

  test('header fields that services.json adds, instead of those of the client', async () => {
    await using backend = await startBackend()
    await using gateway = await startGateway(open(backend, { forward: { headers: { 'Feature-Tier': 'premium' } } }))
    await fetch(`${gateway.url}/echo`, { headers: { 'Feature-Tier': 'mine', 'feature-tier': 'mine' } })
    assert.equal(backend.received[0]?.headers['feature-tier'], 'premium')
  })
})

describe('bodies', () => {
  test('go both ways whatever their framing', async () => {
    await using backend = await startBackend((req, res) => {
      res.setHeader('Content-Type', 'application/octet-stream')
      req.pipe(res)
    })
    await using gateway = await startGateway(open(backend))
    for (const size of [0, 1, 10_000, 300_000]) {
      const body = Buffer.alloc(size, 'x')
      const fixed = await fetch(`${gateway.url}/echo`, { method: 'POST', body })
      assert.equal((await fixed.arrayBuffer()).byteLength, size)
      const stream = new ReadableStream({
        start(controller) {
          if (size > 0) controller.enqueue(body)
          controller.close()
        },
      })
      const chunked = await fetch(`${gateway.url}/echo`, { method: 'POST', body: stream, duplex: 'half' })
      assert.equal((await chunked.arrayBuffer()).byteLength, size)
    }
  })

  test('over the limit are refused with 413, announced or not', async () => {
    await using backend = await startBackend()
    await using gateway = await startGateway(open(backend, { limits: { body: '1kb' } }))
    const announced = await fetch(`${gateway.url}/echo`, { method: 'POST', body: 'x'.repeat(2_000) })
    assert.equal(announced.status, 413)
    assert.equal(((await announced.json()) as { code: string }).code, 'body-too-large')
    const stream = new Blob(['x'.repeat(100_000)]).stream()
    const streamed = await fetch(`${gateway.url}/echo`, { method: 'POST', body: stream, duplex: 'half' })
    assert.equal(streamed.status, 413)
    assert.equal((await fetch(`${gateway.url}/echo`, { method: 'POST', body: 'x'.repeat(1_024) })).status, 200)
  })

  test('a stream of events arrives event by event', async () => {
    let send: (text: string) => void = () => {}
    await using backend = await startBackend((_req, res) => {
      res.writeHead(200, { 'Content-Type': 'text/event-stream' })
      send = (text) => (text === '' ? res.end() : res.write(text))
      send('data: 1\n\n')
    })
    await using gateway = await startGateway(open(backend))
    const answer = await fetch(`${gateway.url}/echo`)
    const reader = answer.body!.getReader()
    const read = async () => Buffer.from((await reader.read()).value ?? []).toString()
    assert.equal(await read(), 'data: 1\n\n')
    send('data: 2\n\n')
    assert.equal(await read(), 'data: 2\n\n')
    send('')
    assert.equal((await reader.read()).done, true)
  })
})

describe('a client that leaves', () => {
  for (const when of ['before', 'after'] as const) {
    test(`ends the request at the service within 100 ms, ${when} the head of the answer`, async () => {
      let closedAt = 0
      let arrived = false
      await using backend = await startBackend((_req, res) => {
        arrived = true
        res.on('close', () => {
          closedAt = performance.now()
        })
        if (when === 'after') {
          res.writeHead(200)
          res.write('beginning')
        }
      })
      await using gateway = await startGateway(open(backend))
      const { port } = new URL(gateway.url)
      const request = httpRequest({ host: '127.0.0.1', port, path: '/echo' }).on('error', () => {})
      const answered = new Promise((resolve) =>
        request.on('response', (answer) => answer.on('error', () => {}).once('data', resolve)),
      )
      request.end()
      if (when === 'after') await answered
      else await eventually('the request has arrived', () => arrived)
      const left = performance.now()
      request.destroy()
      await eventually('the service has noticed', () => closedAt)
      assert(closedAt - left < 100, `${Math.round(closedAt - left)} ms`)
    })
  }
})

describe('a service that', () => {
  test('is not there is a 502 that names no address', async () => {
    await using gateway = await startGateway(open({ url: 'http://127.0.0.1:9' }))
    const answer = await fetch(`${gateway.url}/echo`)
    const text = await answer.text()
    assert.equal(answer.status, 502)
    assert.equal(answer.headers.get('content-type'), 'application/problem+json')
    assert.equal(JSON.parse(text).code, 'upstream-unreachable')
    assert(!text.includes('127.0.0.1'))
  })

  test('hangs is a 504 after the time that is given', async () => {
    await using backend = await startBackend(() => {})
    await using gateway = await startGateway(open(backend, { timeouts: { response: '300ms' } }))
    const before = performance.now()
    const answer = await fetch(`${gateway.url}/echo`)
    assert.equal(answer.status, 504)
    assert.equal(((await answer.json()) as { code: string }).code, 'upstream-timeout')
    const took = performance.now() - before
    assert(took > 250 && took < 1_500, `${took} ms`)
  })

  test('resets or talks nonsense is a 502, and the next request is fine', async () => {
    const answers = [
      '',
      'NONSENSE\r\n\r\n',
      'HTTP/1.1 000 What\r\n\r\n',
      'HTTP/1.1 200 OK\r\nContent-Length: 1\r\nContent-Length: 2\r\n\r\nxx',
    ]
    const good = 'HTTP/1.1 200 OK\r\nContent-Length: 2\r\nConnection: close\r\n\r\nok'
    let next = ''
    const server = createTcpServer((socket) => {
      socket.on('error', () => {})
      socket.once('data', () => (next === '' ? socket.resetAndDestroy() : socket.end(next)))
    })
    await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve))
    const url = `http://127.0.0.1:${(server.address() as AddressInfo).port}`
    await using gateway = await startGateway(open({ url }, { breaker: { failures: 100 } }))
    for (const answer of answers) {
      next = answer
      assert.equal((await fetch(`${gateway.url}/echo`, { method: 'POST' })).status, 502, JSON.stringify(answer))
      next = good
      assert.equal(await (await fetch(`${gateway.url}/echo`)).text(), 'ok')
    }
    await new Promise((resolve) => server.close(resolve))
  })

  test('breaks off in the middle is a broken answer, not a short one', async () => {
    await using backend = await startBackend((_req, res) => {
      res.writeHead(200, { 'Content-Length': '100' })
      res.write('half')
      setTimeout(() => res.destroy(), 50)
    })
    await using gateway = await startGateway(open(backend))
    await assert.rejects(fetch(`${gateway.url}/echo`).then((answer) => answer.text()))
    const failed = await eventually('the log says so', () => gateway.log.find(({ upstream }) => upstream?.failure))
    assert.match(failed['upstream'].failure, /^upstream body/)
  })

  test('says what it runs on, or speaks for the gateway, is not repeated', async () => {
    await using backend = await startBackend((_req, res) => {
      res.setHeader('Server', 'secret/1.0')
      res.setHeader('X-Powered-By', 'magic')
      res.setHeader('X-Request-ID', 'theirs')
      res.setHeader('Set-Cookie', ['a=1', 'b=2'])
      res.setHeader('Connection', 'X-Secret')
      res.setHeader('X-Secret', '1')
      res.end('{}')
    })
    await using gateway = await startGateway(open(backend))
    const { headers } = await fetch(`${gateway.url}/echo`)
    for (const name of ['server', 'x-powered-by', 'x-secret']) assert.equal(headers.get(name), null)
    assert.notEqual(headers.get('x-request-id'), 'theirs')
    assert.deepEqual(headers.getSetCookie(), ['a=1', 'b=2'])
  })

  test('sends clients to its own address sends them to the gateway', async () => {
    await using backend = await startBackend((req, res) => {
      res.writeHead(302, { Location: `http://${req.headers.host}/login?next=1` }).end()
    })
    await using gateway = await startGateway(open(backend))
    const answer = await fetch(`${gateway.url}/echo`, { redirect: 'manual' })
    assert.equal(answer.headers.get('location'), '/echo/login?next=1')
  })

  test('sends the request back to where it came from is stopped before it goes round for ever', async () => {
    const server = createServer()
    await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve))
    const { port } = server.address() as AddressInfo
    await using gateway = await startGateway(open({ url: `http://127.0.0.1:${port}` }))
    server.on('request', (req, res) => {
      const { port: back } = new URL(gateway.url)
      httpRequest({ host: '127.0.0.1', port: back, path: `/echo${req.url}`, headers: req.headers }, (answer) => {
        res.writeHead(answer.statusCode!)
        answer.pipe(res)
      }).end()
    })
    assert.equal((await fetch(`${gateway.url}/echo`)).status, 508)
    server.close()
    server.closeAllConnections()
  })
})

test('the process lives through all of it: two hundred requests to a service that comes and goes', async () => {
  let up = true
  await using backend = await startBackend((req, res) => (up ? res.end('ok') : req.socket.destroy()))
  await using gateway = await startGateway(open(backend, { breaker: { failures: 1_000 } }))
  const statuses = new Set<number>()
  for (let round = 0; round < 10; round += 1) {
    up = round % 2 === 0
    const answers = await Promise.all(
      Array.from({ length: 20 }, () => fetch(`${gateway.url}/echo`, { method: 'POST' })),
    )
    for (const answer of answers) {
      statuses.add(answer.status)
      await answer.arrayBuffer()
    }
    await sleep(5)
  }
  assert.deepEqual([...statuses].sort(), [200, 502])
  assert.deepEqual(
    gateway.log.filter(({ level }) => level === 'error'),
    [],
  )
})
