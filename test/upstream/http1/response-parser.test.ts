import assert from 'node:assert/strict'
import { once } from 'node:events'
import { type IncomingMessage, request } from 'node:http'
import { Duplex } from 'node:stream'
import { describe, test } from 'node:test'
import fc from 'fast-check'
import { InvalidResponse } from '../../../src/upstream/failure.ts'
import { type ResponseHead, ResponseParser } from '../../../src/upstream/http1/response-parser.ts'

/** What a parser told. */
interface Reading {
  readonly interim: (readonly [status: number, fields: readonly string[]])[]
  head?: ResponseHead
  content: string
  ended: boolean
  /** Whether something stood behind the answer. */
  more: boolean
  upgrade?: { readonly fields: readonly string[]; readonly rest: string }
  error?: string
}

interface Asked {
  readonly method?: string
  readonly upgrade?: boolean
  /** Whether the connection ends in good order after the last piece. */
  readonly fin?: boolean
}

function read(
  pieces: readonly (string | Buffer)[],
  { method = 'GET', upgrade = false, fin = false }: Asked = {},
): Reading {
  const reading: Reading = { interim: [], content: '', ended: false, more: false }
  const parser = new ResponseParser({
    interim: (status, fields) => reading.interim.push([status, fields]),
    upgrade: (fields, bytes, from, to) => {
      reading.upgrade = { fields, rest: bytes.toString('latin1', from, to) }
    },
    head: (head) => {
      assert.equal(reading.head, undefined, 'one head')
      reading.head = head
    },
    data: (bytes, from, to) => {
      assert.ok(from < to && reading.head && !reading.ended)
      reading.content += bytes.toString('latin1', from, to)
    },
    end: (more) => {
      assert.equal(reading.ended, false, 'one end')
      reading.ended = true
      reading.more = more
    },
  })
  // As in life: what lies behind the bytes that came is left over from others.
  const landing = Buffer.alloc(70_000, 'stale\r\n\r\n')
  parser.begin(method, upgrade)
  try {
    for (const piece of pieces) {
      const length = typeof piece === 'string' ? landing.write(piece, 'latin1') : piece.copy(landing)
      const taken = parser.push(landing, length)
      if (reading.ended || reading.upgrade) {
        assert.ok(reading.upgrade || reading.more === taken < length)
        break
      }
      assert.equal(taken, length)
    }
    if (fin) parser.finish()
  } catch (error) {
    assert.ok(error instanceof InvalidResponse, String(error))
    reading.error = error.message
  }
  return reading
}

const answer = (...lines: string[]) => `HTTP/1.1 200 OK\r\n${lines.map((line) => `${line}\r\n`).join('')}\r\n`
const chunked = (text: string) => `${answer('Transfer-Encoding: chunked')}${text}`

describe('the head of an answer', () => {
  test('is read as it came, without the blanks around values', () => {
    const { head } = read([answer('X-One: 1', 'x-empty:', 'X-Umlaut:\t\xe4\xff \t', 'content-LENGTH: 0', 'a:b:c')])
    assert.deepEqual(head!.fields, [
      ...['X-One', '1', 'x-empty', '', 'X-Umlaut', '\xe4\xff'],
      ...['content-LENGTH', '0', 'a', 'b:c'],
    ])
    assert.equal(head!.status, 200)
    assert.deepEqual(read(['HTTP/1.1 404\r\n\r\n']).head!.status, 404)
    assert.deepEqual(read(['HTTP/1.1 200 \r\n\r\n']).head!.fields, [])
    assert.deepEqual(read(['HTTP/1.1 200 \xfcber alles\r\n\r\n']).head!.fields, [])
  })

  test('tells how the content ends', () => {
    const framing = (text: string, asked?: Asked) => {
      const { length, chunked, closeDelimited } = read([text], asked).head!
      return { length, chunked, closeDelimited }
    }
    const none = { length: 0, chunked: false, closeDelimited: false }
    const coded = { length: undefined, chunked: true, closeDelimited: false }
    assert.deepEqual(framing(answer('CONTENT-LENGTH: 007')), { length: 7, chunked: false, closeDelimited: false })
    assert.deepEqual(framing(answer('Transfer-Encoding: Chunked')), coded)
    assert.deepEqual(framing(answer('Server: x')), { length: undefined, chunked: false, closeDelimited: true })
    assert.deepEqual(framing(answer('Content-Length: 7'), { method: 'HEAD' }), none)
    assert.deepEqual(framing(answer('Transfer-Encoding: chunked'), { method: 'HEAD' }), none)
    assert.deepEqual(framing('HTTP/1.1 204 No Content\r\nContent-Length: 7\r\n\r\n'), none)
    assert.deepEqual(framing('HTTP/1.1 304 Not Modified\r\n\r\n'), none)
    assert.deepEqual(framing('HTTP/1.1 205 Reset Content\r\nContent-Length: 0\r\n\r\n'), none)
  })

  for (const [text, persistent, method] of [
    [answer('Content-Length: 0'), true],
    [answer('Transfer-Encoding: chunked'), true],
    [answer('Content-Length: 0', 'Connection: Close'), false],
    [answer('Content-Length: 0', 'Connection: x, close'), false],
    [answer('Content-Length: 0', 'Connection: close', 'Connection: keep-alive'), false],
    [answer('Content-Length: 0', 'X-Connection: close', 'Connection: closed'), true],
    [answer('Server: x'), false],
    ['HTTP/1.0 200 OK\r\nContent-Length: 0\r\n\r\n', false],
    ['HTTP/1.0 200 OK\r\nContent-Length: 0\r\nConnection: Keep-Alive\r\n\r\n', true],
    ['HTTP/1.1 204 No Content\r\n\r\n', true],
    // Content that somebody sends all the same, a little later, would be the next answer.
    ['HTTP/1.1 204 No Content\r\nContent-Length: 7\r\n\r\n', false],
    ['HTTP/1.1 304 Not Modified\r\nTransfer-Encoding: chunked\r\n\r\n', false],
    [answer('Content-Length: 7'), false, 'HEAD'],
    [answer('Content-Length: 0'), false, 'HEAD'],
  ] as const) {
    test(`leaves the connection ${persistent ? 'open' : 'closed'}: ${method ?? 'GET'} ${JSON.stringify(text)}`, () => {
      assert.equal(read([text], { method: method ?? 'GET' }).head!.persistent, persistent)
    })
  }

  test('tells for how long an idle connection is kept', () => {
    const kept = (value: string) => read([answer(`Keep-Alive: ${value}`)]).head!.kept
    assert.deepEqual(['timeout=5', 'max=100, Timeout=15 ', 'max=5', 'timeout=', 'xtimeout=5'].map(kept), [
      ...[5, 15, undefined, undefined, undefined],
    ])
  })

  for (const [what, text] of [
    ['another protocol', 'SSH-2.0-OpenSSH_9.2\r\n'],
    ['another protocol, cut short', 'RTSP/1'],
    ['an empty line before it', '\r\nHTTP/1.1 200 OK\r\n\r\n'],
    ['HTTP/2.0', 'HTTP/2.0 200 OK\r\n\r\n'],
    ['HTTP/1.2', 'HTTP/1.2 200 OK\r\n\r\n'],
    ['HTTP/1.10', 'HTTP/1.10 200 OK\r\n\r\n'],
    ['http/1.1', 'http/1.1 200 OK\r\n\r\n'],
    ['two spaces', 'HTTP/1.1  200 OK\r\n\r\n'],
    ['status 20', 'HTTP/1.1 20 OK\r\n\r\n'],
    ['status 2e2', 'HTTP/1.1 2e2 OK\r\n\r\n'],
    ['status 099', 'HTTP/1.1 099 OK\r\n\r\n'],
    ['status 600', 'HTTP/1.1 600 OK\r\n\r\n'],
    ['status 2000', 'HTTP/1.1 2000 OK\r\n\r\n'],
    ['a NUL in the reason', 'HTTP/1.1 200 O\0K\r\n\r\n'],
    ['a bare CR in the reason', 'HTTP/1.1 200 O\rK\r\n\r\n'],
    ['a bare LF behind the status line', 'HTTP/1.1 200 OK\nX: 1\r\n\r\n'],
    ['no colon', answer('X')],
    ['no name', answer(': 1')],
    ['a space before the colon', answer('X : 1')],
    ['a space before the name', answer(' X: 1')],
    ['a folded line', answer('X: 1', ' 2')],
    ['a line of blanks', answer('X: 1', '\t')],
    ['a name that is no token', answer('X(Y): 1')],
    ['a name beyond ASCII', answer('X\xe4: 1')],
    ['a NUL in a value', answer('X: a\0b')],
    ['a DEL in a value', answer('X: a\x7fb')],
    ['a bare CR in a value', answer('X: a\rSet-Cookie: b')],
    ['a bare LF in a value', answer('X: a\nSet-Cookie: b')],
    ['a bare CR before the empty line', 'HTTP/1.1 200 OK\r\nX: 1\r\n\rX\r\n\r\n'],
    ...['', '+1', '-1', '1 2', '1,1', '0x1', '1.0', '1e1', '9'.repeat(16)].map(
      (length) => [`Content-Length "${length}"`, answer(`Content-Length: ${length}`)] as const,
    ),
    ['two lengths', answer('Content-Length: 1', 'Content-Length: 2')],
    ['one length twice', answer('Content-Length: 1', 'content-length: 1')],
    ['a length and chunks', answer('Content-Length: 1', 'Transfer-Encoding: chunked')],
    ['chunks and a length', answer('Transfer-Encoding: chunked', 'Content-Length: 1')],
    ...['gzip', 'gzip, chunked', 'chunked, chunked', 'identity', 'chunked;q=1', '', 'xchunked'].map(
      (coding) => [`the transfer coding "${coding}"`, answer(`Transfer-Encoding: ${coding}`)] as const,
    ),
    ['two transfer codings', answer('Transfer-Encoding: chunked', 'Transfer-Encoding: chunked')],
    ['chunks in HTTP/1.0', 'HTTP/1.0 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n'],
    ['a 205 with content', 'HTTP/1.1 205 Reset Content\r\nContent-Length: 1\r\n\r\nx'],
    ['257 lines', answer(...Array.from({ length: 257 }, (_, i) => `X-${i}: 1`))],
    ['one long line', answer(`X: ${'x'.repeat(17_000)}`)],
    ['many long lines', answer(...Array.from({ length: 9 }, () => `X: ${'x'.repeat(2_000)}`))],
    ['a long reason', `HTTP/1.1 200 ${'x'.repeat(17_000)}\r\n\r\n`],
    ['a line without an end', `HTTP/1.1 200 OK\r\nX: ${'x'.repeat(17_000)}`],
  ] as const) {
    test(`is refused: ${what}`, () => {
      const whole = read([text], { fin: true })
      assert.notEqual(whole.error, undefined)
      assert.equal(whole.head, undefined)
      const dripping = read([...text].slice(0, 20_000), { fin: true })
      assert.notEqual(dripping.error, undefined, 'a byte at a time')
      assert.equal(dripping.head, undefined)
    })
  }

  test('of 256 lines or of 16 KiB is not', () => {
    assert.equal(read([answer(...Array.from({ length: 256 }, (_, i) => `X-${i}: 1`))]).head!.fields.length, 512)
    assert.equal(read([answer(`X: ${'x'.repeat(16_384 - answer('X: ').length)}`)]).error, undefined)
  })

  test('whose lines end otherwise is refused at once, and not waited for', () => {
    for (const text of ['HTTP/1.1 200 OK\nContent-Length: 2\n\nok', 'HTTP/1.1 200 OK\r\nA: b\n\n', '\n'])
      for (const pieces of [[text], [...text]])
        assert.match(read(pieces).error ?? '', /a LF without CR in its head|not HTTP/)
  })

  test('comes after interim ones', () => {
    const early = 'HTTP/1.1 103 Early Hints\r\nLink: </a>\r\n\r\n'
    const { interim, head } = read([`HTTP/1.1 100 Continue\r\n\r\n${early}${early}${answer('Content-Length: 0')}`])
    assert.deepEqual(interim, [
      [100, []],
      [103, ['Link', '</a>']],
      [103, ['Link', '</a>']],
    ])
    assert.equal(head!.status, 200)
  })

  test('may change the protocol, where that was asked for', () => {
    const switching = 'HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\n\r\n\x81\x02hi'
    assert.deepEqual(read([switching], { upgrade: true }).upgrade, {
      fields: ['Upgrade', 'websocket'],
      rest: '\x81\x02hi',
    })
    assert.match(read([switching]).error!, /nobody asked/)
    const refused = read([answer('Content-Length: 2'), 'no'], { upgrade: true })
    assert.deepEqual([refused.content, refused.ended, refused.upgrade], ['no', true, undefined])
  })
})

describe('the content of an answer', () => {
  test('is as long as was said, and what stands behind it is nobody’s', () => {
    const whole = read([`${answer('Content-Length: 5')}hello`])
    assert.deepEqual([whole.content, whole.ended, whole.more], ['hello', true, false])
    const long = read([`${answer('Content-Length: 2')}hello`])
    assert.deepEqual([long.content, long.ended, long.more], ['he', true, true])
    const short = read([`${answer('Content-Length: 9')}hello`], { fin: true })
    assert.deepEqual([short.content, short.ended], ['hello', false])
    const none = read([`${answer('Content-Length: 0')}${answer('Content-Length: 0')}`])
    assert.deepEqual([none.content, none.ended, none.more], ['', true, true])
    assert.equal(read([`${answer('Content-Length: 5')}hello`], { method: 'HEAD' }).more, true)
  })

  test('ends with the connection, when nothing else says so', () => {
    const text = `${answer('Server: x')}to the end`
    assert.deepEqual([read([text]).ended, read([text], { fin: true }).ended], [false, true])
    assert.equal(read([text, ' of it'], { fin: true }).content, 'to the end of it')
  })

  for (const [what, text, content] of [
    ['one', '2\r\nok\r\n0\r\n\r\n', 'ok'],
    ['none', '0\r\n\r\n', ''],
    ['two', '2\r\nok\r\n00A\r\n0123456789\r\n000\r\n\r\n', 'ok0123456789'],
    ['with sizes of a fixed width', `${'2'.padStart(20, '0')}\r\nok\r\n${'0'.repeat(16)}\r\n\r\n`, 'ok'],
    ['with extensions', '2;a=b;c="d\xe4 e"\r\nok\r\n0;last\r\n\r\n', 'ok'],
    ['with trailers', '2\r\nok\r\n0\r\nDigest: x\r\nX-Empty:\r\n\r\n', 'ok'],
  ] as const) {
    test(`comes in chunks: ${what}`, () => {
      const reading = read([chunked(text)])
      assert.deepEqual([reading.content, reading.ended, reading.more, reading.error], [content, true, false, undefined])
      assert.equal(read([`${chunked(text)}x`]).more, true)
    })
  }

  for (const [what, text] of [
    ['no size', '\r\nok\r\n0\r\n\r\n'],
    ['a size that is none', 'zz\r\nok\r\n'],
    ['0x2', '0x2\r\nok\r\n'],
    ['-2', '-2\r\nok\r\n'],
    ['a space before the size', ' 2\r\nok\r\n'],
    ['a space behind the size', '2 \r\nok\r\n'],
    ['a size beyond 2^53', '20000000000000\r\nok\r\n'],
    ['a size that is zero once it has overflown', '10000000000000000\r\n'],
    ['a bare LF behind the size', '2\nok\r\n0\r\n\r\n'],
    ['a bare CR behind the size', '2\rok\r\n0\r\n\r\n'],
    ['a bare LF in an extension', '2;a\nb\r\nok\r\n'],
    ['a NUL in an extension', '2;a\0b\r\nok\r\n'],
    ['more than the size', '2\r\nokay\r\n0\r\n\r\n'],
    ['less than the size', '3\r\nok\r\n0\r\n\r\n'],
    ['a bare LF behind the content', '2\r\nok\n0\r\n\r\n'],
    ['a bare LF at the end', '0\r\n\n'],
    ['a trailer without a name', '0\r\n: x\r\n\r\n'],
    ['a trailer without a colon', '0\r\nDigest\r\n\r\n'],
    ['a folded trailer', '0\r\nDigest: x\r\n y\r\n\r\n'],
    ['a NUL in a trailer', '0\r\nDigest: \0\r\n\r\n'],
    ['an endless extension', `2;${'x'.repeat(50_000)}`],
    ['endless trailers', `0\r\n${'X: y\r\n'.repeat(9_000)}`],
    ['zeros without end', '0'.repeat(50_000)],
  ] as const) {
    test(`is refused: ${what}`, () => {
      for (const pieces of [[chunked(text)], [...chunked(text)]]) {
        const reading = read(pieces)
        assert.notEqual(reading.error, undefined)
        assert.equal(reading.ended, false)
      }
    })
  }

  test('may be framed with six bytes for each of its own, and some for the beginning, no more', () => {
    const ones = '1\r\nx\r\n'.repeat(9_000)
    assert.equal(read([chunked(`${ones}0\r\n\r\n`)]).content.length, 9_000)
    const extended = '1;abcdefgh\r\nx\r\n'.repeat(4_600)
    assert.equal(read([chunked(extended)]).error, undefined)
    const overdone = read([chunked(extended), extended, extended, extended, extended])
    assert.match(overdone.error!, /more framing than content/)
  })
})

test('whoever has had enough is told nothing more', () => {
  const told: string[] = []
  const text =
    'HTTP/1.1 103 Early Hints\r\n\r\nHTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nok\r\n2\r\nok\r\n0\r\n\r\n'
  for (const last of ['interim', 'head', 'data', 'nothing']) {
    const tell = (what: string) => {
      told.push(what)
      if (what === last) parser.stop()
    }
    const parser = new ResponseParser({
      interim: () => tell('interim'),
      upgrade: () => tell('upgrade'),
      head: () => tell('head'),
      data: () => tell('data'),
      end: () => tell('end'),
    })
    told.length = 0
    parser.begin('GET', false)
    parser.push(Buffer.from(text), text.length)
    const all = ['interim', 'head', 'data', 'data', 'end']
    assert.deepEqual(told, last === 'nothing' ? all : all.slice(0, all.indexOf(last) + 1))
  }
})

// Answers of every kind, good and slightly broken.
const lines = fc.constantFrom(
  ...[
    'Content-Length: 5',
    'Transfer-Encoding: chunked',
    'Connection: close',
    'X-A: 1',
    'x-b:',
    'Keep-Alive: timeout=5',
  ],
  ...['Content-Length: 05', 'Content-Length: 5, 5', 'transfer-encoding: CHUNKED', 'X-A : 1', 'X: \xff', ' folded'],
)
const rest = fc.constantFrom(
  ...[
    'hello',
    'hello!',
    'hell',
    '5\r\nhello\r\n0\r\n\r\n',
    '2\r\nhe\r\n3;x=y\r\nllo\r\n0\r\nT: x\r\n\r\n',
    '',
    '0\r\n\r\n',
  ],
  ...['5\r\nhello\r\n0\r\n', '5 \r\nhello\r\n0\r\n\r\n', '5\nhello\n0\n\n', '+5\r\nhello\r\n0\r\n\r\n'],
)
const start = fc.constantFrom(
  ...['HTTP/1.1 200 OK', 'HTTP/1.0 200 OK', 'HTTP/1.1 204 No Content', 'HTTP/1.1 304 Not Modified', 'HTTP/1.1 404'],
  ...['HTTP/1.1 103 Early Hints\r\n\r\nHTTP/1.1 200 OK', 'HTTP/1.1 200', 'HTTP/1.1 2000 OK', 'HTTP/2.0 200 OK'],
)
const change = fc.record({
  at: fc.double({ min: 0, max: 1, noNaN: true, maxExcluded: true }),
  length: fc.nat(2),
  what: fc.constantFrom('', '', '', '\r', '\n', '\0', ' ', ':', '1', '\r\n', ';', '\t', '\x7f', 'f'),
})
const text = fc
  .tuple(start, fc.array(lines, { maxLength: 4 }), rest, fc.array(change, { maxLength: 1 }))
  .map(([first, fields, content, changes]) => {
    let whole = `${first}\r\n${fields.map((line) => `${line}\r\n`).join('')}\r\n${content}`
    for (const { at, length, what } of changes) {
      const place = Math.floor(at * whole.length)
      whole = whole.slice(0, place) + what + whole.slice(place + length)
    }
    return whole
  })

test('however an answer is cut into pieces, it is the same answer', () => {
  const cut = fc.tuple(text, fc.array(fc.nat(120), { maxLength: 6 }), fc.boolean())
  fc.assert(
    fc.property(cut, ([whole, places, fin]) => {
      const borders = [0, ...places.filter((place) => place < whole.length), whole.length].toSorted((a, b) => a - b)
      const pieces = borders.slice(1).map((end, i) => whole.slice(borders[i], end))
      // How far it came before it was refused depends on the pieces; whether it is does not.
      const summary = ({ head, content, ended, error }: Reading) =>
        error === undefined ? { head, content, ended } : { refused: true }
      const expected = summary(read([whole], { fin }))
      assert.deepEqual(
        summary(
          read(
            pieces.filter((piece) => piece !== ''),
            { fin },
          ),
        ),
        expected,
      )
      assert.deepEqual(summary(read([...whole], { fin })), expected)
    }),
    { numRuns: 2_000, seed: 20261128 },
  )
})

/** What Node's own parser, llhttp, makes of an answer; undefined when it refuses it. */
async function oracle(whole: string): Promise<{ status: number; fields: string[]; content: string } | undefined> {
  const connection = new Duplex({ read() {}, write: (_chunk, _encoding, done) => done() })
  const asked = request({ createConnection: () => connection })
  asked.on('error', () => {}).end()
  connection.push(Buffer.from(whole, 'latin1'))
  connection.push(null)
  try {
    const [answer] = (await once(asked, 'response')) as [IncomingMessage]
    const chunks: Buffer[] = await answer.toArray()
    const fields = answer.rawHeaders
    return { status: answer.statusCode!, fields, content: Buffer.concat(chunks).toString('latin1') }
  } catch {
    return undefined
  } finally {
    connection.destroy()
  }
}

test('what it takes, Node’s own parser takes too, and understands the same', async () => {
  let taken = 0
  for (const whole of fc.sample(text, { numRuns: 4_000, seed: 20261128 })) {
    const { head, content, ended, more } = read([whole], { fin: true })
    if (!ended || more) continue
    taken += 1
    assert.deepEqual(
      await oracle(whole),
      { status: head!.status, fields: head!.fields, content },
      JSON.stringify(whole),
    )
  }
  assert.ok(taken > 300, `${taken} were taken`)
})
