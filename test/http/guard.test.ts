import assert from 'node:assert/strict'
import { once } from 'node:events'
import { createServer, type IncomingMessage, type Server, type ServerResponse } from 'node:http'
import { type AddressInfo, connect, type Socket } from 'node:net'
import { after, before, describe, test } from 'node:test'
import { createGuard, guardLimits, serverOptions } from '../../src/http/guard.ts'
import { answerParserError, closingResponse, parserProblem } from '../../src/http/refusal.ts'
import { isLooseRequestLine } from '../../src/http/request-line.ts'
import { exchange, trickle, until } from './raw.ts'

const guard = createGuard()
let server: Server
let port: number
/** What the guard let pass. */
let passed: string[] = []

before(async () => {
  server = createServer(serverOptions, answer)
  server.on('checkContinue', answer)
  server.on('checkExpectation', answer)
  server.on('clientError', (error, socket) => answerParserError(error, socket, 'test-1'))
  server.listen(0, '127.0.0.1')
  await once(server, 'listening')
  port = (server.address() as AddressInfo).port
})
after(() => {
  server.close()
  server.closeAllConnections()
})

function answer(req: IncomingMessage, res: ServerResponse): void {
  const problem = guard(req)
  if (!problem) passed.push(`${req.method} ${req.url}`)
  res.writeHead(problem?.status ?? 200, { ...problem?.fields, 'Content-Type': 'application/json' } as Record<
    string,
    string
  >)
  if (!problem) req.resume()
  res.end(problem ? JSON.stringify(problem.body('test-1')) : '{}')
}

async function send(
  bytes: string,
): Promise<{ statuses: readonly number[]; code: string | undefined; text: string; closed: boolean }> {
  passed = []
  const sent = await exchange(port, Buffer.from(bytes, 'latin1'), (statuses) => statuses.length > 0, 20)
  return { ...sent, code: /"code":"([^"]+)"/.exec(sent.text)?.[1] }
}

const head = (...lines: string[]) => `${lines.join('\r\n')}\r\n\r\n`
const get = (...fields: string[]) => head('GET / HTTP/1.1', 'Host: gw.test', ...fields)

describe('the guard lets pass', () => {
  const requests: Record<string, string> = {
    'a common request': get('Accept: */*', 'User-Agent: x', 'Authorization: Bearer a'),
    'HTTP/1.0, with a Host and without': `${head('GET / HTTP/1.0', 'Host: gw.test')}`,
    'HTTP/1.0 without a Host': head('GET / HTTP/1.0'),
    'fields written without the customary space': head('GET / HTTP/1.1', 'Host:gw.test', 'A:b  ', 'C:  d'),
    'an empty line before the request': `\r\n${get()}`,
    'chunked bodies': `${head('POST / HTTP/1.1', 'Host: gw.test', 'Transfer-Encoding: Chunked')}1\r\na\r\n0\r\n\r\n`,
    'bodies of known length': `${head('POST / HTTP/1.1', 'Host: gw.test', 'Content-Length: 3')}abc`,
    'an empty body': head('POST / HTTP/1.1', 'Host: gw.test', 'Content-Length: 0'),
    'Expect: 100-continue in any case': `${head('POST / HTTP/1.1', 'Host: gw.test', 'Expect: 100-Continue', 'Content-Length: 3')}abc`,
    'an IPv6 literal as Host': head('GET / HTTP/1.1', 'Host: [::1]:8080'),
    'unusual names that are no alias': get('X.Custom: 1', "A!#$%&'*+.^`|~-z: 1", 'Hosts: x', 'X-Host: a b'),
    'as many fields as allowed': get(...Array.from({ length: guardLimits.fields - 1 }, (_, i) => `a${i}: b`)),
  }
  for (const [what, bytes] of Object.entries(requests)) {
    test(what, async () => {
      const { statuses, text } = await send(bytes)
      assert.deepEqual(statuses, [200], text)
    })
  }
})

describe('the guard refuses', () => {
  const requests: Record<string, readonly [string, number, string?]> = {
    'HTTP/0.9': ['GET /\r\n\r\n', 505, 'version-not-supported'],
    'HTTP/2.0 in text': [head('GET / HTTP/2.0', 'Host: gw.test'), 505, 'version-not-supported'],
    'HTTP/1.2': [head('GET / HTTP/1.2', 'Host: gw.test'), 505, 'version-not-supported'],
    'the preface of HTTP/2': ['PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n', 505, 'version-not-supported'],
    'two spaces before the version': [head('GET /a  HTTP/1.1', 'Host: gw.test'), 400, 'bad-request'],
    'two spaces before the target': [head('GET  /a HTTP/1.1', 'Host: gw.test'), 400, 'bad-request'],
    'two spaces made up for by a missing one': [head('GET /a  HTTP/1.1', 'Host:gw.test', 'A:  b'), 400, 'bad-request'],
    TRACE: [head('TRACE / HTTP/1.1', 'Host: gw.test', 'Cookie: a=secret'), 405, 'method-not-allowed'],
    'methods it does not serve': [head('PROPFIND / HTTP/1.1', 'Host: gw.test'), 501, 'method-not-implemented'],
    'methods nobody knows': [head('FOO / HTTP/1.1', 'Host: gw.test'), 501, 'method-not-implemented'],
    'methods in lower case': [head('get / HTTP/1.1', 'Host: gw.test'), 501, 'method-not-implemented'],
    'a target that is too long': [
      head(`GET /${'a'.repeat(guardLimits.target)} HTTP/1.1`, 'Host: gw.test'),
      414,
      'target-too-long',
    ],
    'a head that is too large': [get(`A: ${'a'.repeat(20_000)}`), 431, 'fields-too-large'],
    'too many fields': [get(...Array.from({ length: guardLimits.fields }, () => 'a: b')), 431, 'fields-too-large'],
    'very many fields': [get(...Array.from({ length: 2_500 }, () => 'a:b')), 431, 'fields-too-large'],
    'HTTP/1.1 without a Host': [head('GET / HTTP/1.1'), 400],
    'two Hosts': [get('host: gw.test'), 400, 'bad-request'],
    'an empty Host': [head('GET / HTTP/1.1', 'Host:'), 400, 'bad-request'],
    'a Host with user': [head('GET / HTTP/1.1', 'Host: gw.test@evil.test'), 400, 'bad-request'],
    'a Host with a path': [head('GET / HTTP/1.1', 'Host: gw.test/admin'), 400, 'bad-request'],
    'a Host that is a list': [head('GET / HTTP/1.1', 'Host: gw.test, evil.test'), 400, 'bad-request'],
    'a Host with a bad port': [head('GET / HTTP/1.1', 'Host: gw.test:99999'), 400, 'bad-request'],
    'a bad Host in HTTP/1.0': [head('GET / HTTP/1.0', 'Host: a b'), 400, 'bad-request'],
    'Transfer-Encoding in HTTP/1.0': [
      `${head('POST / HTTP/1.0', 'Host: gw.test', 'Connection: keep-alive', 'Transfer-Encoding: chunked')}0\r\n\r\n${get()}`,
      400,
    ],
    'gzip as transfer coding': [
      `${head('POST / HTTP/1.1', 'Host: gw.test', 'Transfer-Encoding: gzip, chunked')}0\r\n\r\n`,
      501,
    ],
    'chunked with parameters': [
      `${head('POST / HTTP/1.1', 'Host: gw.test', 'Transfer-Encoding: chunked;q=1')}0\r\n\r\n`,
      501,
    ],
    'both lengths': [
      `${head('POST / HTTP/1.1', 'Host: gw.test', 'Content-Length: 5', 'Transfer-Encoding: chunked')}0\r\n\r\n`,
      400,
    ],
    'a length with leading zeros': [
      `${head('POST / HTTP/1.1', 'Host: gw.test', 'Content-Length: 010')}0123456789`,
      400,
      'bad-request',
    ],
    'two Authorization fields': [
      get('Authorization: Bearer a', 'authorization: Bearer b'),
      400,
      'ambiguous-credentials',
    ],
    'names with an underscore': [get('X_User_Id: admin'), 400, 'underscore-field'],
    'an expectation in disguise': [
      `${head('POST / HTTP/1.1', 'Host: gw.test', 'Expect: y 100-continue', 'Content-Length: 3')}abc`,
      417,
    ],
    'unknown expectations': [get('Expect: 200-ok'), 417, 'expectation-failed'],
    'two expectations': [get('Expect: 100-continue', 'Expect: 100-continue'), 417, 'expectation-failed'],
    'a body that is only gzip': [`${head('POST / HTTP/1.1', 'Host: gw.test', 'Transfer-Encoding: gzip')}`, 501],
  }
  for (const [what, [bytes, status, code]] of Object.entries(requests)) {
    test(what, async () => {
      const sent = await send(bytes)
      assert.deepEqual([...new Set(sent.statuses)], [status], sent.text)
      if (code) assert.equal(sent.code, code)
      assert.deepEqual(passed, [])
    })
  }

  test('and closes the connection when it cannot tell where the next request begins', async () => {
    const two = head('POST / HTTP/1.0', 'Connection: keep-alive', 'Transfer-Encoding: chunked')
    const { closed, text } = await send(`${two}0\r\n\r\n${get()}`)
    assert.ok(closed)
    assert.match(text, /^Connection: close\r$/m)
    assert.deepEqual(passed, [])
  })

  test('and says which methods there are, never what was sent', async () => {
    const { text } = await send(head('TRACE /secret HTTP/1.1', 'Host: gw.test', 'Cookie: a=secret'))
    assert.match(text, /^Allow: GET, HEAD, POST, PUT, PATCH, DELETE, OPTIONS\r$/m)
    assert.ok(!text.includes('secret'))
  })

  const request = (method: string, url: string, ...rawHeaders: string[]) => ({
    httpVersion: '1.1',
    method,
    url,
    rawHeaders: ['Host', 'a', ...rawHeaders],
  })

  test('in the limits it was given', () => {
    const narrow = createGuard({ methods: ['GET', 'QUERY'], fields: 2, target: 5 })
    assert.equal(narrow(request('QUERY', '/')), undefined)
    assert.equal(narrow(request('POST', '/'))?.code, 'method-not-implemented')
    assert.equal(narrow(request('GET', '/12345'))?.code, 'target-too-long')
    assert.equal(narrow(request('GET', '/', 'a', 'b', 'c', 'd'))?.code, 'fields-too-large')
  })

  test('also what the parser of this Node refuses already and that of another may not', () => {
    assert.equal(guard({ ...request('GET', '/'), rawHeaders: [] })?.code, 'bad-request')
    const twice = ['Transfer-Encoding', 'chunked', 'transfer-encoding', 'chunked']
    assert.equal(guard(request('POST', '/', ...twice))?.code, 'bad-request')
    assert.equal(guard(request('CONNECT', 'a:80'))?.code, 'method-not-allowed')
  })
})

describe('on one connection', () => {
  test('a request line is judged after bodies, in pipelines and in pieces', async () => {
    passed = []
    const socket = connect({ port, host: '127.0.0.1', noDelay: true })
    socket.on('error', () => {})
    socket.resume()
    await trickle(socket, [
      `${head('POST /1 HTTP/1.1', 'Host: gw.test', 'Content-Length: 10')}01234`,
      `56789${get().replace('/', '/2')}`,
      head('GET /3 HTTP/1.1', 'Host:gw.test') + head('GET /4 HTTP/1.1', 'Host: gw.test'),
      'GET /5 HT',
      `TP/1.1\r\nHost: gw.test\r\n\r\n`,
      // In pieces the witness is gone: RFC 9112 §3 allows to read this line, and it is never passed on as it is.
      'GET /6  ',
      `HTTP/1.1\r\nHost: gw.test\r\n\r\n`,
      head('GET /7  HTTP/1.1', 'Host: gw.test'),
      head('GET /8 HTTP/1.1', 'Host: gw.test'),
    ])
    await until(() => socket.destroyed)
    assert.deepEqual(passed, ['POST /1', 'GET /2', 'GET /3', 'GET /4', 'GET /5', 'GET /6'])
  })
})

test('common requests cost no copy of what is being parsed', () => {
  let copies = 0
  const socket = {
    bytesRead: 0,
    parser: {
      getCurrentBuffer() {
        copies++
        return Buffer.from('')
      },
    },
  }
  const line = 'GET /a HTTP/1.1\r\nHost: gw.test\r\n\r\n'
  const fieldBytes = 'Host: gw.test\r\n'.length
  const read = (bytes: number) => {
    socket.bytesRead += bytes
    return isLooseRequestLine({ method: 'GET', url: '/a', socket: socket as unknown as Socket }, fieldBytes)
  }
  for (let i = 0; i < 3; i++) assert.equal(read(line.length), false)
  assert.equal(copies, 0)
  assert.equal(read(line.length + 1), false)
  assert.equal(copies, 1)
})

describe('what never became a request', () => {
  const error = (code: string) => Object.assign(new Error('Parse Error: secret'), { code })
  test('is answered by what the parser says', () => {
    assert.equal(parserProblem(error('HPE_HEADER_OVERFLOW')).status, 431)
    assert.equal(parserProblem(error('HPE_CHUNK_EXTENSIONS_OVERFLOW')).status, 413)
    assert.equal(parserProblem(error('ERR_HTTP_REQUEST_TIMEOUT')).status, 408)
    assert.equal(parserProblem(error('HPE_INVALID_VERSION')).status, 505)
    assert.equal(parserProblem(error('HPE_ANYTHING_ELSE')).status, 400)
    assert.equal(parserProblem(new Error('x')).status, 400)
  })

  test('is answered with a whole response that closes the connection', () => {
    const [fields, body] = closingResponse(parserProblem(error('HPE_INVALID_URL')), 'id-1').split('\r\n\r\n')
    assert.match(fields!, /^HTTP\/1\.1 400 Bad Request\r\n/)
    assert.match(fields!, /\r\nConnection: close(\r\n|$)/)
    assert.match(fields!, new RegExp(`\\r\\nContent-Length: ${Buffer.byteLength(body!)}\\r\\n`))
    assert.equal(JSON.parse(body!).instance, 'id-1')
    assert.ok(!body!.includes('secret'))
  })
})
