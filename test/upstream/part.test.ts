import assert from 'node:assert/strict'
import { describe, test } from 'node:test'
import { Problem } from '../../src/http/problem.ts'
import { Ending } from '../../src/upstream/ending.ts'
import type { PartRequest } from '../../src/upstream/part.ts'
import { answering, httpBackend, rawBackend, until, upstreamTo } from './scene.ts'

const part = (request: Partial<PartRequest> = {}): PartRequest => ({
  method: 'GET',
  target: '/',
  fields: ['accept', 'application/json'],
  limit: 1_000,
  ...request,
})

const code = (expected: string) => (error: unknown) => error instanceof Problem && error.code === expected

describe('an answer fetched whole', { concurrency: true, timeout: 30_000 }, () => {
  test('comes with status, raw fields and content', async (t) => {
    const backend = await httpBackend(t, (req, res) => {
      let body = ''
      req.on('data', (chunk) => {
        body += chunk
      })
      req.on('end', () => {
        res.writeHead(201, ['X-One', '1', 'x-one', '2'])
        res.write('{"sent":')
        setTimeout(() => res.end(`"${req.method} ${req.url} ${body}"}`), 20)
      })
    })
    const upstream = upstreamTo(t, { targets: [`${backend.url}/api`] })
    const { status, fields, body } = await upstream.fetch(
      part({ method: 'POST', target: '/x?y', body: Buffer.from('hi') }),
    )
    assert.equal(status, 201)
    assert.deepEqual(fields.slice(0, 4), ['X-One', '1', 'x-one', '2'])
    assert.equal(body.toString(), '{"sent":"POST /api/x?y hi"}')
    assert.equal(upstream.describe()[0]!.inFlight, 0)
  })

  test('of no content is empty', async (t) => {
    const backend = await answering(t, 'HTTP/1.1 204 No Content\r\n\r\n')
    const { status, body } = await upstreamTo(t, { targets: [backend.url] }).fetch(part())
    assert.equal(status, 204)
    assert.equal(body.length, 0)
  })

  test('is refused when it is too large, by its length or as it grows, and the connection is not used again', async (t) => {
    const backend = await httpBackend(t, (req, res) => {
      if (req.url === '/length') res.writeHead(200, { 'content-length': '1001' }).write('x')
      else setInterval(() => res.write('x'.repeat(200)), 5).unref()
    })
    const upstream = upstreamTo(t, { targets: [backend.url] })
    for (const target of ['/length', '/growing']) {
      await assert.rejects(upstream.fetch(part({ target })), code('upstream-invalid-response'))
    }
    await until(() => backend.sockets.every((socket) => socket.destroyed))
  })

  test('is given up when somebody ends it, at a time limit, and when it breaks off', async (t) => {
    const hanging = await rawBackend(t, (socket) => socket.resume())
    const upstream = upstreamTo(t, { targets: [hanging.url] })
    const ending = new Ending()
    const given = upstream.fetch(part({ ending }))
    await until(() => hanging.sockets.length === 1)
    ending.end(undefined)
    await assert.rejects(given, code('client-closed-request'))
    const timeouts = { connect: 1_000, response: 100, idle: 100 }
    await assert.rejects(upstream.fetch(part({ timeouts })), code('upstream-timeout'))
    await assert.rejects(upstream.fetch(part({ ending })), code('client-closed-request'))
    await until(() => hanging.sockets.every((socket) => socket.readableEnded))
    const broken = await rawBackend(t, (socket) =>
      socket.on('data', () => socket.end('HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\nhalf')),
    )
    await assert.rejects(upstreamTo(t, { targets: [broken.url] }).fetch(part()), code('upstream-disconnected'))
  })
})
