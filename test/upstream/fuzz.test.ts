import assert from 'node:assert/strict'
import { test } from 'node:test'
import fc from 'fast-check'
import { gatewayTo, get, rawBackend, rawRequest, until, upstreamTo } from './scene.ts'

/** How many broken answers; `FUZZ=20000` for a longer night. */
const runs = Number(process.env['FUZZ'] ?? 400)

const wholesome = [
  'HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nhello',
  'HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5;ext=1\r\nhello\r\n0\r\nTrailer: x\r\n\r\n',
  'HTTP/1.1 204 No Content\r\nX-A: 1\r\n\r\n',
  'HTTP/1.1 103 Early Hints\r\nLink: </a>; rel=preload\r\n\r\nHTTP/1.1 302 Found\r\nLocation: /x\r\nContent-Length: 0\r\n\r\n',
  'HTTP/1.0 200 OK\r\nConnection: close\r\n\r\nto the end',
  'HTTP/1.1 304 Not Modified\r\nETag: "1"\r\nSet-Cookie: a=1\r\nSet-Cookie: b=2\r\n\r\n',
]
const pieces = [
  '\r\n',
  '\n',
  '\r',
  '\0',
  ':',
  ' ',
  '\t',
  '0',
  '-1',
  'ffffffffffffffff',
  'HTTP/1.1 ',
  'chunked',
  '\x7f',
  '\xff',
  ';',
  '\r\n\r\n',
]

/** A good answer with some of its bytes taken out, doubled, replaced, or something put in, and an end of some kind. */
const broken = fc.record({
  base: fc.constantFrom(...wholesome),
  edits: fc.array(
    fc.record({
      at: fc.double({ min: 0, max: 1, noNaN: true, maxExcluded: true }),
      length: fc.nat(12),
      what: fc.oneof(fc.constantFrom(...pieces), fc.string({ maxLength: 6 }), fc.constant('')),
    }),
    { minLength: 1, maxLength: 4 },
  ),
  split: fc.double({ min: 0, max: 1, noNaN: true }),
  end: fc.constantFrom('stay', 'fin', 'reset'),
})

test('whatever a service answers, the client gets HTTP or a broken connection, and the gateway goes on', async (t) => {
  const cases = fc.sample(broken, { numRuns: runs, seed: 20261122 })
  const defects: unknown[] = []
  const onDefect = (error: unknown) => defects.push(error)
  process.on('unhandledRejection', onDefect)
  t.after(() => process.off('unhandledRejection', onDefect))

  const backend = await rawBackend(t, (socket) =>
    socket.on('data', (chunk) => {
      const index = Number(/^GET \/(\d+)/.exec(chunk.toString('latin1'))?.[1] ?? -1)
      const one = cases[index]
      if (!one) {
        socket.write('HTTP/1.1 200 OK\r\nContent-Length: 4\r\n\r\ngood')
        return
      }
      let text = one.base
      for (const { at, length, what } of one.edits) {
        const start = Math.floor(at * text.length)
        text = text.slice(0, start) + what + text.slice(start + length)
      }
      const middle = Math.floor(one.split * text.length)
      socket.write(text.slice(0, middle), 'latin1')
      setImmediate(() => {
        if (socket.destroyed) return
        socket.write(text.slice(middle), 'latin1')
        if (one.end === 'fin') socket.end()
        if (one.end === 'reset') socket.resetAndDestroy()
      })
    }),
  )
  const upstream = upstreamTo(t, {
    targets: [backend.url],
    timeouts: { response: '150ms', idle: '150ms' },
    breaker: { failures: 1_000 },
    retry: { attempts: 0 },
  })
  const gateway = await gatewayTo(t, upstream)

  let next = 0
  const client = async () => {
    for (let index = next++; index < cases.length; index = next++) {
      const { text, status } = await rawRequest(gateway.port, get(`/${index}`, 'Connection: close'), 500)
      assert.match(text, /^(?:$|HTTP\/1\.1 [1-5]\d\d )/, JSON.stringify(cases[index]))
      assert.notEqual(status, 500, JSON.stringify(cases[index]))
    }
  }
  await Promise.all(Array.from({ length: 40 }, client))
  await until(() => gateway.outcomes.length === cases.length)
  const { content } = await rawRequest(gateway.port, get('/good'))
  assert.equal(content, 'good')
  assert.equal(upstream.describe()[0]!.inFlight, 0)
  assert.deepEqual(defects, [])
})
