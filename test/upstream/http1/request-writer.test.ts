import assert from 'node:assert/strict'
import type { Socket } from 'node:net'
import { Writable } from 'node:stream'
import { describe, test } from 'node:test'
import { setImmediate } from 'node:timers/promises'
import { UnsendableRequest } from '../../../src/upstream/failure.ts'
import {
  type BodySink,
  type BodySource,
  BodyWriter,
  requestHead,
  type WireRequest,
  writeWhole,
} from '../../../src/upstream/http1/request-writer.ts'

/** A socket that keeps what is written. With `room` for so many bytes nobody reads what is in it. */
function listening(room?: number): { readonly socket: Socket; readonly written: () => string } {
  const chunks: Buffer[] = []
  const socket = new Writable({
    ...(room !== undefined && { highWaterMark: room }),
    write(chunk, encoding, done) {
      chunks.push(Buffer.isBuffer(chunk) ? chunk : Buffer.from(chunk, encoding))
      if (room === undefined) done()
    },
  })
  return { socket: socket as unknown as Socket, written: () => Buffer.concat(chunks).toString('latin1') }
}

function onTheWire(request: Partial<WireRequest>): string {
  const { socket, written } = listening()
  const whole = { method: 'GET', path: '/', fields: [], body: null, ...request }
  writeWhole(socket, requestHead(whole, 'orders.test:81'), whole.body as Buffer | null)
  return written()
}

describe('a request on the wire', () => {
  test('is what it was, to the byte', () => {
    assert.equal(
      onTheWire({ path: '/a;b=%2e%2E/?q=\xe4|"', fields: ['X-A', '1', 'x-a', '\xfc', 'Empty', ''] }),
      'GET /a;b=%2e%2E/?q=\xe4|" HTTP/1.1\r\nHost: orders.test:81\r\nConnection: keep-alive\r\n' +
        'X-A: 1\r\nx-a: \xfc\r\nEmpty: \r\n\r\n',
    )
  })

  test('says how long its content is, and that there is none where some is expected', () => {
    const endOf = (request: Partial<WireRequest>) => onTheWire(request).split('keep-alive\r\n')[1]
    assert.equal(
      endOf({ method: 'POST', body: Buffer.from('h\xe4llo', 'latin1') }),
      'Content-Length: 5\r\n\r\nh\xe4llo',
    )
    assert.equal(endOf({ method: 'GET', body: Buffer.from('x') }), 'Content-Length: 1\r\n\r\nx')
    assert.equal(endOf({ method: 'POST' }), 'Content-Length: 0\r\n\r\n')
    assert.equal(endOf({ method: 'DELETE' }), '\r\n')
    const large = Buffer.alloc(50_000, 'x')
    assert.equal(endOf({ method: 'PUT', body: large }), `Content-Length: 50000\r\n\r\n${large}`)
  })

  test('is the last of its connection, or changes its protocol', () => {
    assert.match(onTheWire({ method: 'HEAD' }), /^Connection: close\r$/m)
    assert.match(onTheWire({ upgrade: 'websocket' }), /^Connection: Upgrade\r\nUpgrade: websocket\r$/m)
  })

  for (const [what, request] of [
    ['a line break in the path', { path: '/a\r\nX: 1' }],
    ['a space in the path', { path: '/a HTTP/1.1' }],
    ['a character beyond latin1 in the path', { path: '/\u010d\u010a' }],
    ['a line break in the method', { method: 'GET / HTTP/1.1\r\n' }],
    ['no method', { method: '' }],
    ['a line break in a value', { fields: ['X', 'a\r\nY: b'] }],
    ['a bare LF in a value', { fields: ['X', 'a\nY: b'] }],
    ['a NUL in a value', { fields: ['X', '\0'] }],
    ['a character beyond latin1 in a value, whose low byte is a line break', { fields: ['X', 'a\u010d\u010aY: b'] }],
    ['a line break in a long value', { fields: ['X', `${'x'.repeat(300)}\nY: b`] }],
    ['a bare CR in a long value', { fields: ['X', `${'x'.repeat(300)}\r`] }],
    ['a NUL in a long value', { fields: ['X', `\0${'x'.repeat(300)}`] }],
    ['a character beyond latin1 in a long value', { fields: ['X', `${'x'.repeat(300)}\u010aY: b`] }],
    ['a colon in a name', { fields: ['X: 1\r\nY', 'b'] }],
    ['a space in a name', { fields: ['X ', 'b'] }],
    ['a transfer coding', { fields: ['transfer-encoding', 'chunked'] }],
    ['a length of its own', { fields: ['Content-Length', '0'] }],
    ['another host', { fields: ['HOST', 'other.test'] }],
    ['a word about the connection', { fields: ['Connection', 'close'] }],
    ['no name', { fields: ['', 'b'] }],
  ] as const) {
    test(`is not written at all with ${what}`, () => {
      const wrong = { method: 'GET', path: '/', fields: [], body: null, ...request }
      assert.throws(() => requestHead(wrong, 'x'), UnsendableRequest)
    })
  }
})

describe('content that comes piece by piece', () => {
  /** Content of the length that was announced, which the test brings. */
  function content(length?: number, room?: number) {
    const { socket, written } = listening(room)
    let sink: BodySink | undefined
    const calls: string[] = []
    const source: BodySource = {
      length,
      flow: (to) => {
        sink = to
      },
      resume: () => calls.push('resume'),
      destroy: () => calls.push('destroy'),
    }
    const results: (string | undefined)[] = []
    const head = requestHead({ method: 'POST', path: '/', fields: [], body: source }, 'x')
    const writer = new BodyWriter(socket, head, source, (error) => results.push(error?.name))
    writer.begin()
    const body = () => written().split('\r\n\r\n').slice(1).join('\r\n\r\n')
    return { sink: sink!, writer, results, written, body, calls }
  }

  test('of a known length is written as it is', () => {
    const { sink, results, written, body } = content(5)
    assert.equal(sink.write(Buffer.from('he')), true)
    assert.match(written(), /^Content-Length: 5\r$/m)
    sink.write(Buffer.from('llo'))
    assert.deepEqual(results, [])
    sink.end()
    assert.equal(body(), 'hello')
    assert.deepEqual(results, [undefined])
  })

  test('of an unknown length is written in chunks', () => {
    const { sink, results, written, body } = content()
    sink.write(Buffer.from('he'))
    assert.match(written(), /^Transfer-Encoding: chunked\r$/m)
    sink.write(Buffer.alloc(26, 'l'))
    sink.end()
    assert.equal(body(), `2\r\nhe\r\n1a\r\n${'l'.repeat(26)}\r\n0\r\n\r\n`)
    assert.deepEqual(results, [undefined])
    const empty = content()
    empty.sink.end()
    assert.equal(empty.body(), '0\r\n\r\n')
  })

  test('is never longer than was announced, and when it is shorter that is no end', () => {
    const long = content(3)
    long.sink.write(Buffer.from('hello'))
    assert.deepEqual([long.written(), ...long.results], ['', 'UnsendableRequest'])
    const short = content(3)
    short.sink.write(Buffer.from('he'))
    short.sink.end()
    assert.deepEqual(short.results, ['UnsendableRequest'])
  })

  test('has its head sent by itself when it is late, and not at all when it was given up', async () => {
    const [late, early] = [content(5), content(5)]
    early.writer.stop()
    assert.equal(late.written(), '')
    await setImmediate()
    assert.match(late.written(), /Content-Length: 5\r\n\r\n$/)
    late.sink.write(Buffer.from('hello'))
    late.sink.end()
    assert.equal(late.body(), 'hello')
    assert.equal(early.written(), '')
  })

  test('waits while the service takes nothing', () => {
    const { sink, writer, calls } = content(100, 10)
    assert.equal(sink.write(Buffer.alloc(50)), false)
    writer.resume()
    writer.stop()
    assert.deepEqual(calls, ['resume', 'destroy'])
  })
})
