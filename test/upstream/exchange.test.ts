import assert from 'node:assert/strict'
import { createHash, randomBytes } from 'node:crypto'
import type { ServerResponse } from 'node:http'
import { connect } from 'node:net'
import { describe, test } from 'node:test'
import { Problem } from '../../src/http/problem.ts'
import { silent } from '../../src/telemetry/log.ts'
import { Ending } from '../../src/upstream/ending.ts'
import { skipWithoutShared, vectors } from '../vectors.ts'
import {
  answering,
  ask,
  forwardOf,
  gatewayTo,
  get,
  httpBackend,
  rawBackend,
  rawRequest,
  responseFields,
  sleep,
  until,
  upstreamTo,
} from './scene.ts'

const ok = 'HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok'

describe('what reaches the service', { concurrency: true, timeout: 30_000 }, () => {
  for (const target of [
    '/public/%2e%2e/admin',
    '//evil.test/x',
    '/\\evil.test/x',
    '/@evil.test',
    '/a;b=c/%2F%5c?x=%26&y=a|b"c#'.replace('#', ''),
    '/?q=1&q=2',
  ]) {
    test(`the path as it was authorised, byte for byte: ${target}`, async (t) => {
      const heads: string[] = []
      const backend = await rawBackend(t, (socket) =>
        socket.on('data', (chunk) => {
          heads.push(chunk.toString('latin1'))
          socket.write(ok)
        }),
      )
      const upstream = upstreamTo(t, { targets: [`${backend.url}/api/`] })
      const gateway = await gatewayTo(t, upstream)
      await rawRequest(gateway.port, get(target))
      assert.equal(heads[0]!.split('\r\n')[0], `GET /api${target} HTTP/1.1`)
      assert.match(heads[0]!, new RegExp(`^Host: 127\\.0\\.0\\.1:${backend.port}\r$`, 'm'))
    })
  }

  test('no target of the url-join vectors leaves the host or the path of the target', {
    skip: skipWithoutShared,
  }, async (t) => {
    const heads: string[] = []
    const backend = await rawBackend(t, (socket) =>
      socket.on('data', (chunk) => {
        heads.push(chunk.toString('latin1'))
        socket.write(ok)
      }),
    )
    const upstream = upstreamTo(t, { targets: [`${backend.url}/api`] })
    for (const { target } of vectors('url-join.json').cases as { target: string }[]) {
      const gateway = await gatewayTo(t, upstream, { target })
      const { status } = await rawRequest(gateway.port, get('/'), 100)
      if (status === 200) assert.equal(heads.pop()!.split(' ')[1], `/api${target}`)
      else assert.equal(status, 400, target)
      assert.equal(status === 200, target.startsWith('/'), target)
      assert.equal(heads.length, 0)
    }
  })

  test('field lines in their order and spelling, twice when they came twice', async (t) => {
    let lines: string[] = []
    const backend = await httpBackend(t, (req, res) => {
      lines = req.rawHeaders
      res.end('ok')
    })
    const gateway = await gatewayTo(t, upstreamTo(t, { targets: [backend.url] }))
    await rawRequest(gateway.port, get('/', 'X-One: 1', 'x-TWO: a', 'x-TWO: b', 'Cookie: c=\xe4'))
    assert.deepEqual(
      lines.filter((_, i) => i > 3),
      ['X-One', '1', 'x-TWO', 'a', 'x-TWO', 'b', 'Cookie', 'c=\xe4'],
    )
  })

  test('a body of known length with that length, a chunked one chunked, none without framing', async (t) => {
    const seen: object[] = []
    const backend = await httpBackend(t, (req, res) => {
      let bytes = 0
      req.on('data', (chunk: Buffer) => {
        bytes += chunk.length
      })
      req.on('end', () => {
        const { 'content-length': length, 'transfer-encoding': coding } = req.headers
        seen.push({ method: req.method, length, coding, bytes })
        res.end('ok')
      })
    })
    const gateway = await gatewayTo(t, upstreamTo(t, { targets: [backend.url] }))
    const big = randomBytes(200_000)
    const chunked = { 'transfer-encoding': 'chunked' }
    await ask(gateway.port, { method: 'POST', body: big, headers: { 'content-length': '200000' } })
    await ask(gateway.port, { method: 'POST', body: 'small', headers: { 'content-length': '5' } })
    await ask(gateway.port, { method: 'PUT', body: big, headers: chunked })
    await ask(gateway.port, { method: 'DELETE', body: 'x', headers: { 'content-length': '1' } })
    await ask(gateway.port, { method: 'GET', body: 'x', headers: chunked })
    await ask(gateway.port, { method: 'POST', headers: { 'content-length': '0' } })
    await ask(gateway.port, { method: 'GET' })
    await ask(gateway.port, { method: 'DELETE' })
    assert.deepEqual(seen, [
      { method: 'POST', length: '200000', coding: undefined, bytes: 200_000 },
      { method: 'POST', length: '5', coding: undefined, bytes: 5 },
      { method: 'PUT', length: undefined, coding: 'chunked', bytes: 200_000 },
      { method: 'DELETE', length: '1', coding: undefined, bytes: 1 },
      { method: 'GET', length: undefined, coding: 'chunked', bytes: 1 },
      { method: 'POST', length: '0', coding: undefined, bytes: 0 },
      { method: 'GET', length: undefined, coding: undefined, bytes: 0 },
      { method: 'DELETE', length: undefined, coding: undefined, bytes: 0 },
    ])
    assert.deepEqual(
      gateway.outcomes.map(({ received, sent, attempts }) => [received, sent, attempts]),
      [200_000, 5, 200_000, 1, 1, 0, 0, 0].map((received) => [received, 2, 1]),
    )
  })

  test('an upload streams: the service has the first part while the client still holds the rest', async (t) => {
    let arrived = 0
    const backend = await httpBackend(t, (req, res) => {
      req.on('data', (chunk: Buffer) => {
        arrived += chunk.length
      })
      req.on('end', () => res.end('ok'))
    })
    const gateway = await gatewayTo(t, upstreamTo(t, { targets: [backend.url] }))
    const client = connect(gateway.port, '127.0.0.1')
    client.write('POST / HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nfirst\r\n')
    await until(() => arrived === 5)
    client.end('4\r\nlast\r\n0\r\n\r\n')
    await until(() => arrived === 9)
  })

  test('Expect: 100-continue is answered when the service takes the body, not before', async (t) => {
    let bodies = 0
    const backend = await httpBackend(t, (req, res) => {
      assert.equal(req.headers.expect, undefined)
      req.on('data', () => {
        bodies += 1
      })
      req.on('end', () => res.end('ok'))
    })
    const head = 'POST / HTTP/1.1\r\nHost: x\r\nExpect: 100-continue\r\nContent-Length: 4\r\n\r\n'
    const gateway = await gatewayTo(t, upstreamTo(t, { targets: [backend.url] }))
    const client = connect(gateway.port, '127.0.0.1')
    t.after(() => client.destroy())
    let heard = ''
    client.on('data', (chunk) => {
      heard += chunk.toString('latin1')
    })
    client.write(head)
    await until(() => heard.startsWith('HTTP/1.1 100 Continue\r\n\r\n'))
    assert.equal(bodies, 0)
    client.write('body')
    await until(() => heard.includes('200 OK'))

    await backend.kill()
    const refused = await rawRequest(gateway.port, head)
    assert.equal(refused.status, 502, 'who cannot be reached asks for no body')
  })
})

describe('what reaches the client', { concurrency: true, timeout: 30_000 }, () => {
  test('small, large, chunked and endless content, unchanged and with its framing', async (t) => {
    const content = randomBytes(3_000_000)
    const backend = await httpBackend(t, (req, res) => {
      const size = Number(req.url!.slice(2))
      if (req.url![1] === 'l') res.setHeader('content-length', size)
      if (req.url![1] === 'c') res.write(content.subarray(0, Math.min(size, 10)))
      if (req.url![1] === 'e') res.useChunkedEncodingByDefault = false
      res.end(content.subarray(req.url![1] === 'c' ? Math.min(size, 10) : 0, size))
    })
    const gateway = await gatewayTo(t, upstreamTo(t, { targets: [backend.url] }))
    for (const kind of ['l', 'c', 'e']) {
      for (const size of [0, 1, 5_000, 12_288, 12_289, 65_536, 65_537, 3_000_000]) {
        const { status, headers, content: got } = await ask(gateway.port, { path: `/${kind}${size}` })
        assert.equal(status, 200)
        assert.ok(content.subarray(0, size).equals(got), `${kind}${size}`)
        if (kind === 'l') assert.equal(headers['content-length'], String(size))
      }
    }
  })

  test('HEAD, 204 and 304 without content and without invented framing', async (t) => {
    const backend = await httpBackend(t, (req, res) => {
      const status = Number(req.url!.slice(1))
      if (status === 204) return res.writeHead(204).end()
      res.writeHead(status, { 'content-length': '1000', etag: '"1"' })
      if (req.method === 'HEAD' || status === 304) res.end()
      else res.end('x'.repeat(1_000))
    })
    const gateway = await gatewayTo(t, upstreamTo(t, { targets: [backend.url] }))
    const head = await rawRequest(gateway.port, get('/200').replace('GET', 'HEAD'))
    assert.match(head.head, /^content-length: 1000$/im)
    assert.doesNotMatch(head.head, /transfer-encoding/i)
    assert.equal(head.content, '')
    const empty = await rawRequest(gateway.port, get('/204'))
    assert.doesNotMatch(empty.head, /transfer-encoding|content-length/i)
    assert.equal(empty.content, '')
    const unchanged = await rawRequest(gateway.port, get('/304'))
    assert.match(unchanged.head, /^etag: "1"$/im)
    assert.equal(unchanged.content, '')
  })

  test('a 204 that announces content says nothing of it', async (t) => {
    const backend = await answering(t, 'HTTP/1.1 204 No Content\r\nContent-Length: 0\r\n\r\n')
    const gateway = await gatewayTo(t, upstreamTo(t, { targets: [backend.url] }))
    assert.doesNotMatch((await rawRequest(gateway.port, get('/'))).head, /content-length/i)
  })

  test('an HTTP/1.0 client gets no chunks, and a broken answer as a reset', async (t) => {
    const backend = await rawBackend(t, (socket) =>
      socket.on('data', (chunk) => {
        socket.write('HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n')
        setTimeout(() => (chunk.includes('/whole') ? socket.write('0\r\n\r\n') : socket.destroy()), 30)
      }),
    )
    const gateway = await gatewayTo(t, upstreamTo(t, { targets: [backend.url] }))
    const whole = await rawRequest(gateway.port, 'GET /whole HTTP/1.0\r\n\r\n', 2_000)
    assert.equal(whole.content, 'hello')
    assert.equal(whole.end, 'closed')
    assert.doesNotMatch(whole.head, /transfer-encoding/i)
    const broken = await rawRequest(gateway.port, 'GET /broken HTTP/1.0\r\n\r\n', 2_000)
    assert.equal(broken.end, 'reset')
  })

  test('Connection: close is honoured, and without it the connection stays', async (t) => {
    const backend = await answering(t, ok)
    const gateway = await gatewayTo(t, upstreamTo(t, { targets: [backend.url] }))
    assert.equal((await rawRequest(gateway.port, get('/', 'Connection: close'), 2_000)).end, 'closed')
    assert.equal((await rawRequest(gateway.port, get('/'))).end, 'open')
    assert.equal(backend.sockets.length, 1, 'the service sees one connection for both')
  })

  test('events as they happen, not when the stream ends', async (t) => {
    let stream: ServerResponse | undefined
    const backend = await httpBackend(t, (_req, res) => {
      stream = res
      res.writeHead(200, { 'content-type': 'text/event-stream' })
      res.flushHeaders()
    })
    const gateway = await gatewayTo(t, upstreamTo(t, { targets: [backend.url] }))
    const client = connect(gateway.port, '127.0.0.1')
    t.after(() => client.destroy())
    let heard = ''
    client.on('data', (chunk) => {
      heard += chunk.toString('latin1')
    })
    client.write(get('/'))
    await until(() => heard.includes('200 OK'))
    for (const event of ['data: 1\n\n', 'data: 2\n\n']) {
      stream!.write(event)
      await until(() => heard.includes(event))
    }
    assert.doesNotMatch(heard, /\r\n0\r\n\r\n$/)
  })

  test('Early Hints pass, other interim answers do not, and not thousands of them', async (t) => {
    const hints = 'HTTP/1.1 103 Early Hints\r\nLink: </a.css>; rel=preload; as=style\r\nSet-Cookie: a=1\r\n\r\n'
    const processing = 'HTTP/1.1 102 Processing\r\n\r\n'
    const backend = await rawBackend(t, (socket) =>
      socket.on('data', (chunk) =>
        socket.write(chunk.includes('/many') ? processing.repeat(2_000) : processing + hints + ok),
      ),
    )
    const gateway = await gatewayTo(t, upstreamTo(t, { targets: [backend.url] }))
    const { text } = await rawRequest(gateway.port, get('/'))
    assert.match(
      text,
      /^HTTP\/1\.1 103 Early Hints\r\nLink: <\/a\.css>; rel=preload; as=style\r\n\r\nHTTP\/1\.1 200 OK/,
    )
    assert.doesNotMatch(text, /102/)
    assert.match((await rawRequest(gateway.port, 'GET / HTTP/1.0\r\n\r\n')).text, /^HTTP\/1\.1 200 OK/)
    assert.equal((await rawRequest(gateway.port, get('/many'))).status, 502)
  })

  test('no trailers: nothing that comes after the content is taken for a field', async (t) => {
    const backend = await answering(
      t,
      'HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nok\r\n0\r\nDigest: abc\r\nSet-Cookie: a=1\r\n\r\n',
    )
    const gateway = await gatewayTo(t, upstreamTo(t, { targets: [backend.url] }))
    const { text } = await rawRequest(gateway.port, get('/', 'TE: trailers', 'Connection: TE'))
    assert.match(text, /ok/)
    assert.doesNotMatch(text, /Digest|Set-Cookie/)
  })

  test('the answer of a service that answers before it has read everything', async (t) => {
    const backend = await rawBackend(t, (socket) =>
      socket.once('data', () => socket.write('HTTP/1.1 401 Unauthorized\r\nContent-Length: 2\r\n\r\nno')),
    )
    const gateway = await gatewayTo(t, upstreamTo(t, { targets: [backend.url] }))
    const client = connect(gateway.port, '127.0.0.1')
    t.after(() => client.destroy())
    let heard = ''
    client.on('data', (chunk) => {
      heard += chunk.toString('latin1')
    })
    client.write('POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 500000\r\n\r\n')
    const writing = setInterval(() => client.write(Buffer.alloc(1_000)), 5)
    t.after(() => clearInterval(writing))
    await until(() => heard.includes('401') && heard.endsWith('no'))
    await until(() => gateway.outcomes.length === 1)
    assert.equal(gateway.outcomes[0]!.failure, undefined)
  })

  test('an answer that comes while content lies unsent is the last of its connection', async (t) => {
    const backend = await rawBackend(t, (socket) =>
      socket.once('data', () => {
        socket.pause()
        socket.write('HTTP/1.1 401 Unauthorized\r\nContent-Length: 2\r\n\r\nno')
      }),
    )
    const upstream = upstreamTo(t, { targets: [backend.url] })
    const loaded = await gatewayTo(t, upstream, { method: 'POST', content: Buffer.alloc(20_000_000) })
    assert.equal((await ask(loaded.port)).status, 401)
    const gateway = await gatewayTo(t, upstream)
    assert.equal((await ask(gateway.port)).status, 401)
    assert.equal(backend.sockets.length, 2)
  })

  test('an answer that comes long after an interim one has its idle time all the same', async (t) => {
    const backend = await rawBackend(t, (socket) =>
      socket.once('data', async () => {
        socket.write('HTTP/1.1 102 Processing\r\n\r\n')
        await sleep(1_200)
        socket.write('HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\n')
        await sleep(500)
        socket.write('ok')
      }),
    )
    const gateway = await gatewayTo(t, upstreamTo(t, { targets: [backend.url], timeouts: { idle: '1s' } }))
    assert.equal((await ask(gateway.port)).content.toString(), 'ok')
  })

  test('an answer that is refused while its fields are made is a 500 of ours, not of the service', async (t) => {
    const backend = await answering(t, ok)
    const upstream = upstreamTo(t, { targets: [backend.url] })
    const failing = { responseFields: () => (undefined as unknown as string[]).slice() }
    const errors: unknown[] = []
    const front = await httpBackend(t, (req, res) => {
      upstream.exchange({ ...forwardOf(req, res), ...failing }).catch((error) => {
        errors.push(error)
        res.writeHead(500).end()
      })
    })
    assert.equal((await rawRequest(front.port, get('/'))).status, 500)
    assert.ok(errors[0] instanceof TypeError)
    assert.equal(upstream.describe()[0]!.inFlight, 0)
  })
})

describe('answers that are refused', { concurrency: true, timeout: 30_000 }, () => {
  const many = (count: number) => Array.from({ length: count }, (_, i) => `X-${i}: 1\r\n`).join('')
  for (const [what, bytes] of [
    ['status 000', 'HTTP/1.1 000 Nothing\r\nContent-Length: 2\r\n\r\nok'],
    ['status 600', 'HTTP/1.1 600 Beyond\r\nContent-Length: 2\r\n\r\nok'],
    ['status 1000', 'HTTP/1.1 1000 More\r\nContent-Length: 2\r\n\r\nok'],
    ['a 101 that nobody asked for', 'HTTP/1.1 101 Switching Protocols\r\nUpgrade: h2c\r\nConnection: Upgrade\r\n\r\n'],
    ['3,000 header lines', `HTTP/1.1 200 OK\r\n${many(3_000)}Content-Length: 2\r\n\r\nok`],
    ['300 header lines', `HTTP/1.1 200 OK\r\n${many(300)}Content-Length: 2\r\n\r\nok`],
    [
      'a coding that is nearly chunked',
      'HTTP/1.1 200 OK\r\nTransfer-Encoding: xchunked\r\nConnection: close\r\n\r\nok',
    ],
    [
      'a bad chunk before anything was passed on',
      'HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\nok\r\n0\r\n\r\n',
    ],
  ] as const) {
    test(`${what} → 502`, async (t) => {
      const backend = await answering(t, bytes)
      const gateway = await gatewayTo(t, upstreamTo(t, { targets: [backend.url] }))
      const { status, content } = await rawRequest(gateway.port, get('/'))
      assert.equal(status, 502, content.slice(0, 100))
      assert.match(content, /problem upstream-invalid-response/)
      await until(() => backend.sockets[0]!.destroyed || backend.sockets[0]!.readableEnded)
    })
  }

  test('200 header lines pass, and so do chunks of one byte each', async (t) => {
    const ones = '1\r\nx\r\n'.repeat(60_000)
    const backend = await answering(
      t,
      `HTTP/1.1 200 OK\r\n${many(200)}Transfer-Encoding: chunked\r\n\r\n${ones}0\r\n\r\n`,
    )
    const gateway = await gatewayTo(t, upstreamTo(t, { targets: [backend.url] }))
    const { status, content, headers } = await ask(gateway.port)
    assert.equal(status, 200)
    assert.equal(headers['x-199'], '1')
    assert.equal(content.length, 60_000)
  })

  test('a chunk extension of 70 KB is refused, or breaks what had begun', async (t) => {
    const extended = `2;${'x'.repeat(70_000)}\r\nok\r\n0\r\n\r\n`
    const backend = await answering(t, `HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n${extended}`)
    const gateway = await gatewayTo(t, upstreamTo(t, { targets: [backend.url] }))
    const { content } = await rawRequest(gateway.port, get('/'))
    assert.equal(gateway.outcomes[0]!.failure?.code, 'upstream-invalid-response')
    assert.doesNotMatch(content, /^2\r\nok\r\n0\r\n\r\n$/)
  })

  test('an endless chunk extension is cut while it comes', async (t) => {
    const backend = await rawBackend(t, (socket) =>
      socket.once('data', () => {
        socket.write('HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nok\r\n2;')
        const flood = setInterval(() => socket.write('x'.repeat(10_000)), 2)
        socket.on('close', () => clearInterval(flood))
        socket.on('end', () => socket.destroy())
      }),
    )
    const gateway = await gatewayTo(t, upstreamTo(t, { targets: [backend.url] }))
    const { end } = await rawRequest(gateway.port, get('/'), 3_000)
    assert.notEqual(end, 'open')
    assert.equal(gateway.outcomes[0]!.failure?.code, 'upstream-invalid-response')
    assert.ok(gateway.outcomes[0]!.total < 2_000)
  })
})

describe('when somebody leaves or dawdles', { concurrency: true, timeout: 30_000 }, () => {
  for (const [when, head] of [
    ['before the head', ''],
    ['in the middle of the content', 'HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\nsome'],
  ] as const) {
    for (const method of ['GET', 'POST']) {
      test(`a client that leaves ${when} of a ${method} frees the service within 100 ms`, async (t) => {
        let closed = false
        let asked = false
        const backend = await rawBackend(t, (socket) => {
          socket.on('data', () => {
            asked = true
            socket.write(head)
          })
          socket.on('close', () => {
            closed = true
          })
          socket.on('end', () => socket.end())
        })
        const gateway = await gatewayTo(t, upstreamTo(t, { targets: [backend.url] }))
        const client = connect(gateway.port, '127.0.0.1')
        const body = method === 'POST' ? 'Content-Length: 2\r\n\r\nok' : '\r\n'
        client.write(`${method} / HTTP/1.1\r\nHost: x\r\n${body}`)
        await until(() => asked)
        await sleep(30)
        client.destroy()
        const took = await until(() => closed)
        assert.ok(took < 100, `${took} ms`)
        const [outcome] = gateway.outcomes
        assert.equal(outcome!.failure?.who, 'client')
        assert.equal(outcome!.failure?.stage, head ? 'body' : 'head')
      })
    }
  }

  test('a client that leaves in the middle of its upload frees the service', async (t) => {
    let closed = false
    const backend = await rawBackend(t, (socket) => {
      socket.on('data', () => {})
      socket.on('end', () => socket.end())
      socket.on('close', () => {
        closed = true
      })
    })
    const gateway = await gatewayTo(t, upstreamTo(t, { targets: [backend.url] }))
    const client = connect(gateway.port, '127.0.0.1')
    client.write('POST / HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nfirst\r\n')
    await until(() => backend.sockets.length === 1)
    await sleep(20)
    client.destroy()
    assert.ok((await until(() => closed)) < 100)
    assert.equal(gateway.outcomes[0]!.failure?.who, 'client')
  })

  test('a service that accepts and never answers is a 504 at the limit', async (t) => {
    const backend = await rawBackend(t, (socket) => socket.resume())
    const gateway = await gatewayTo(t, upstreamTo(t, { targets: [backend.url], timeouts: { response: '300ms' } }))
    const answer = rawRequest(gateway.port, get('/'))
    await until(() => backend.sockets.length === 1)
    const took = await until(() => gateway.outcomes.length === 1)
    assert.ok(gateway.outcomes[0]!.total >= 300)
    assert.ok(took < 500, `${took} ms`)
    assert.equal((await answer).status, 504)
    assert.match((await answer).content, /problem upstream-timeout/)
    await until(() => backend.sockets[0]!.readableEnded)
  })

  test('a service that stops in the middle of the content breaks the answer after the idle time', async (t) => {
    const backend = await answering(t, 'HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\nsome')
    const gateway = await gatewayTo(t, upstreamTo(t, { targets: [backend.url], timeouts: { idle: '200ms' } }))
    const { content, end } = await rawRequest(gateway.port, get('/'), 2_000)
    assert.equal(content, 'some')
    assert.equal(end, 'closed')
    assert.deepEqual(
      gateway.outcomes.map(({ failure }) => [failure?.who, failure?.stage, failure?.code]),
      [['upstream', 'body', 'upstream-timeout']],
    )
  })

  test('a service that goes on a byte at a time is not cut', async (t) => {
    const backend = await httpBackend(t, async (_req, res) => {
      res.writeHead(200, { 'content-length': '6' })
      for (const letter of 'slowly') {
        res.write(letter)
        await sleep(200)
      }
      res.end()
    })
    const gateway = await gatewayTo(t, upstreamTo(t, { targets: [backend.url], timeouts: { idle: '900ms' } }))
    const { content } = await ask(gateway.port)
    assert.equal(content.toString(), 'slowly')
    assert.ok(gateway.outcomes[0]!.total > 900)
  })

  test('nobody listens: 502 at once; no such host: 502', async (t) => {
    const backend = await answering(t, ok)
    await backend.kill()
    const gateway = await gatewayTo(t, upstreamTo(t, { targets: [backend.url] }))
    const refused = await rawRequest(gateway.port, get('/'))
    assert.equal(refused.status, 502)
    assert.match(refused.content, /problem upstream-unreachable/)
    assert.equal(gateway.outcomes[0]!.failure?.stage, 'connect')
    const lost = await gatewayTo(t, upstreamTo(t, { targets: ['http://no-such-host.invalid'] }))
    assert.match((await rawRequest(lost.port, get('/'), 3_000)).content, /problem upstream-(unreachable|timeout)/)
  })

  test('a service that resets without an answer is a 502', async (t) => {
    const backend = await rawBackend(t, (socket) => socket.on('data', () => socket.resetAndDestroy()))
    const gateway = await gatewayTo(t, upstreamTo(t, { targets: [backend.url] }))
    assert.match((await rawRequest(gateway.port, get('/'))).content, /problem upstream-disconnected/)
  })

  test('a reset is no end, not even for content that ends with the connection', async (t) => {
    const backend = await rawBackend(t, (socket) =>
      socket.on('data', () => {
        socket.write('HTTP/1.1 200 OK\r\nConnection: close\r\n\r\nsome of it')
        setTimeout(() => socket.resetAndDestroy(), 30)
      }),
    )
    const gateway = await gatewayTo(t, upstreamTo(t, { targets: [backend.url] }))
    const { content, end } = await rawRequest(gateway.port, get('/'), 2_000)
    assert.equal(end, 'closed')
    assert.doesNotMatch(content, /\r\n0\r\n\r\n$/)
    assert.equal(gateway.outcomes[0]!.failure?.code, 'upstream-disconnected')
  })

  test('a client that stops reading is cut after the idle time, and costs no memory meanwhile', async (t) => {
    let pushed = 0
    const chunk = Buffer.alloc(65_536)
    const backend = await httpBackend(t, (_req, res) => {
      res.writeHead(200, { 'content-length': String(200 * 1_048_576) })
      const push = () => {
        while (!res.destroyed && res.write(chunk)) pushed += chunk.length
      }
      res.on('drain', push)
      push()
    })
    const gateway = await gatewayTo(t, upstreamTo(t, { targets: [backend.url], timeouts: { idle: '400ms' } }))
    const client = connect(gateway.port, '127.0.0.1')
    t.after(() => client.destroy())
    client.pause()
    client.write(get('/'))
    await until(() => gateway.outcomes.length === 1, 3_000)
    const [outcome] = gateway.outcomes
    assert.equal(outcome!.failure?.who, 'client')
    assert.ok(outcome!.total >= 400 && outcome!.total < 1_500, `${outcome!.total} ms`)
    assert.ok(outcome!.sent < 16 * 1_048_576, `${outcome!.sent} bytes taken from the service`)
    assert.ok(pushed < 32 * 1_048_576, `${pushed} bytes pushed by the service`)
    // By a reset: after an orderly close the system would keep megabytes for it until it reads, for minutes.
    const end = new Promise((resolve) => {
      client.once('end', () => resolve('an orderly end'))
      client.once('error', (error: NodeJS.ErrnoException) => resolve(error.code))
    })
    client.resume()
    assert.equal(await end, 'ECONNRESET')
  })

  test('a client that reads slowly but steadily gets all of it', async (t) => {
    const content = randomBytes(4 * 1_048_576)
    const backend = await httpBackend(t, (_req, res) => res.end(content))
    const gateway = await gatewayTo(t, upstreamTo(t, { targets: [backend.url], timeouts: { idle: '500ms' } }))
    const client = connect(gateway.port, '127.0.0.1')
    const digest = createHash('sha256')
    let bytes = 0
    client.on('data', (chunk: Buffer) => {
      bytes += chunk.length
      digest.update(chunk)
      client.pause()
      setTimeout(() => client.resume(), 2)
    })
    client.write(get('/', 'Connection: close'))
    await until(() => bytes > content.length && client.readableEnded, 5_000)
    assert.equal(gateway.outcomes[0]!.failure, undefined)
    assert.equal(gateway.outcomes[0]!.sent, content.length)
    // Though it was not read for a while, its connection serves the next.
    assert.equal((await ask(gateway.port)).content.length, content.length)
    assert.equal(backend.sockets.length, 1)
  })

  test('a body larger than the limit is refused: at once by its length, while it streams without', async (t) => {
    let requests = 0
    const backend = await rawBackend(t, (socket) => socket.on('data', () => requests++))
    const gateway = await gatewayTo(t, upstreamTo(t, { targets: [backend.url] }), { bodyLimit: 100_000 })
    const announced = await rawRequest(gateway.port, 'POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 100001\r\n\r\n')
    assert.equal(announced.status, 413)
    assert.equal(requests, 0)
    const chunk = `2710\r\n${'x'.repeat(10_000)}\r\n`
    const head = 'POST / HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n'
    const streamed = await rawRequest(gateway.port, head + chunk.repeat(11))
    assert.equal(streamed.status, 413)
    assert.match(streamed.content, /problem body-too-large/)
    await until(() => backend.sockets[0]?.readableEnded === true)
    const exact = `${head}${chunk.repeat(10)}0\r\n\r\n`
    const before = gateway.outcomes.length
    const through = connect(gateway.port, '127.0.0.1')
    t.after(() => through.destroy())
    through.write(exact)
    await until(() => requests > 1)
    await sleep(50)
    assert.equal(gateway.outcomes.length, before, 'exactly the limit goes through')
  })

  test('a body that stops arriving is a 408, and the service is freed', async (t) => {
    const backend = await rawBackend(t, (socket) => socket.on('data', () => {}))
    const gateway = await gatewayTo(t, upstreamTo(t, { targets: [backend.url], timeouts: { idle: '200ms' } }))
    const small = await rawRequest(gateway.port, 'POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 10\r\n\r\nhalf', 600)
    assert.equal(small.status, 408)
    assert.equal(backend.sockets.length, 0, 'a small body never reached the service')
    const large = await rawRequest(
      gateway.port,
      'POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 100000\r\n\r\nhalf',
      600,
    )
    assert.equal(large.status, 408)
    await until(() => backend.sockets[0]?.readableEnded === true)
  })

  for (const [kind, head] of [
    ['small', 'Content-Length: 10000'],
    ['large', 'Content-Length: 100000'],
    ['chunked', 'Transfer-Encoding: chunked'],
  ]) {
    test(`a ${kind} body that trickles in below 500 bytes a second is a 408 after a grace of five seconds`, async (t) => {
      let skipped = 0
      const clock = () => performance.now() + skipped
      const backend = await rawBackend(t, (socket) => socket.resume())
      const gateway = await gatewayTo(t, upstreamTo(t, { targets: [backend.url] }, silent, clock))
      const client = connect(gateway.port, '127.0.0.1')
      t.after(() => client.destroy())
      let heard = ''
      client.on('data', (chunk) => {
        heard += chunk.toString('latin1')
      })
      client.write(`POST / HTTP/1.1\r\nHost: x\r\n${head}\r\n\r\n`)
      await sleep(50)
      for (let second = 1; second <= 5; second++) {
        client.write(kind === 'chunked' ? '1\r\nx\r\n' : 'x')
        await sleep(20)
        skipped += 900
      }
      assert.equal(heard, '')
      skipped += 1_000
      await until(() => heard.includes('408'))
      assert.equal(gateway.outcomes[0]!.failure?.code, 'request-timeout')
      assert.equal(gateway.outcomes[0]!.received, 5)
    })
  }

  test('a service that takes nothing of an upload is a 504, whatever the client could send', async (t) => {
    const backend = await rawBackend(t, (socket) => socket.pause())
    const gateway = await gatewayTo(t, upstreamTo(t, { targets: [backend.url], timeouts: { response: '300ms' } }))
    const head = 'POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 50000000\r\n\r\n'
    const { status } = await rawRequest(
      gateway.port,
      Buffer.concat([Buffer.from(head), Buffer.alloc(50_000_000)]),
      2_000,
    )
    assert.equal(status, 504)
  })

  test('whoever holds its ending ends an exchange', async (t) => {
    const backend = await rawBackend(t, (socket) => socket.resume())
    const ending = new Ending()
    const gateway = await gatewayTo(t, upstreamTo(t, { targets: [backend.url] }), { ending })
    const answer = rawRequest(gateway.port, get('/'), 1_000)
    await until(() => backend.sockets.length === 1)
    await sleep(20)
    ending.end(new Problem('token-expired', 'The token ended while the request was under way'))
    assert.match((await answer).content, /problem token-expired/)
    await until(() => backend.sockets[0]?.readableEnded === true)
  })
})

describe('connections to a service', { concurrency: true, timeout: 30_000 }, () => {
  test('are used again, also when sixty clients ask at once', async (t) => {
    const backend = await httpBackend(t, (req, res) => res.end(req.url))
    const upstream = upstreamTo(t, { targets: [backend.url] })
    const gateway = await gatewayTo(t, upstream)
    for (let round = 0; round < 3; round++) {
      const answers = await Promise.all(
        Array.from({ length: 60 }, (_, i) => ask(gateway.port, { path: `/${round}/${i}` })),
      )
      answers.forEach(({ content }, i) => {
        assert.equal(content.toString(), `/${round}/${i}`)
      })
    }
    assert.ok(backend.sockets.length <= 60, `${backend.sockets.length} connections for 180 requests`)
    assert.equal(upstream.describe()[0]!.inFlight, 0)
  })

  test('that a service has closed while idle cost nobody an error', async (t) => {
    const backend = await httpBackend(t, (_req, res) => res.end('ok'))
    const gateway = await gatewayTo(t, upstreamTo(t, { targets: [backend.url] }))
    for (let i = 0; i < 5; i++) {
      assert.equal((await ask(gateway.port, { method: i % 2 ? 'POST' : 'GET' })).status, 200)
      for (const socket of backend.sockets) socket.destroy()
      await sleep(10)
    }
  })

  test('are all given back: nothing is in flight after a storm of every kind of end', async (t) => {
    const backend = await rawBackend(t, (socket) =>
      socket.on('data', (chunk) => {
        const kind = chunk.toString('latin1').split(' ')[1]
        if (kind === '/ok') socket.write(ok)
        if (kind === '/reset') socket.resetAndDestroy()
        if (kind === '/bad') socket.write('nonsense\r\n\r\n')
        if (kind === '/half') socket.end('HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\nhalf')
      }),
    )
    const upstream = upstreamTo(t, {
      targets: [backend.url],
      timeouts: { response: '100ms' },
      breaker: { failures: 1_000 },
    })
    const gateway = await gatewayTo(t, upstream)
    const kinds = ['/ok', '/reset', '/bad', '/half', '/hang']
    await Promise.all(Array.from({ length: 100 }, (_, i) => rawRequest(gateway.port, get(kinds[i % 5]!), 300)))
    await until(() => gateway.outcomes.length === 100)
    const [report] = upstream.describe()
    assert.equal(report!.inFlight, 0)
    assert.ok(report!.connections <= 20, `${report!.connections} connections left`)
    assert.equal((await rawRequest(gateway.port, get('/ok'))).content, 'ok')
  })
})

test("what a gateway sends is the field function's business, framing is not", async (t) => {
  const backend = await answering(t, 'HTTP/1.1 200 OK\r\nServer: secret\r\nContent-Length: 2\r\n\r\nok')
  const gateway = await gatewayTo(t, upstreamTo(t, { targets: [backend.url] }), {
    responseFields: (status, raw) => [...responseFields(status, raw).slice(2), 'X-Status', String(status)],
  })
  const { head } = await rawRequest(gateway.port, get('/'))
  assert.doesNotMatch(head, /secret/)
  assert.match(head, /^X-Status: 200$/m)
  assert.match(head, /^Content-Length: 2$/m)
})
