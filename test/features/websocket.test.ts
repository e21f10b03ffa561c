import assert from 'node:assert/strict'
import { createHmac, hash, randomBytes } from 'node:crypto'
import { once } from 'node:events'
import type { IncomingMessage } from 'node:http'
import { connect, type Socket } from 'node:net'
import { after, describe, test } from 'node:test'
import WebSocket, { type ClientOptions, WebSocketServer } from 'ws'
import { startBackend } from '../backend.ts'
import { eventually, type GatewayUnderTest, type Options, startGateway } from '../sallyport.ts'
import { skipWithoutShared, vectors } from '../vectors.ts'

const secret = 'a secret of thirty-two bytes and more, for tests'
const issuer = 'https://issuer.example'
const app = 'https://app.example'
const nobody = 'http://127.0.0.1:9'

function token(claims: object = {}, now = Date.now()): string {
  const seconds = Math.floor(now / 1_000)
  const encode = (part: object) => Buffer.from(JSON.stringify(part)).toString('base64url')
  const content = `${encode({ alg: 'HS256', typ: 'at+jwt' })}.${encode({
    iss: issuer,
    aud: 'api',
    sub: 'ann',
    iat: seconds,
    exp: seconds + 600,
    jti: randomBytes(9).toString('base64url'),
    ...claims,
  })}`
  return `${content}.${createHmac('sha256', secret).update(content).digest('base64url')}`
}

const definition = (target: string, more: object = {}) => ({
  gateway: { cors: { origins: [app] } },
  issuers: { old: { type: 'secret', issuer, audience: 'api', algorithms: ['HS256'], secret } },
  securitySchemes: {
    bearer: { type: 'http', scheme: 'bearer' },
    cookie: { type: 'apiKey', in: 'cookie', name: 'token', issuers: ['old'] },
    key: { type: 'apiKey', in: 'header', name: 'X-API-Key', keys: [{ sha256: hash('sha256', 'key'), subject: 'bob' }] },
  },
  services: [
    {
      name: 'chat',
      path: '/chat',
      targets: [target],
      openapi: false,
      security: [{ bearer: [] }, { cookie: [] }, { key: [] }],
      timeouts: { response: '400ms' },
      routes: [
        { match: '/open', security: [] },
        { match: '/admins', security: [{ bearer: ['admin'] }] },
      ],
      ...more,
    },
  ],
})

/** A backend that says back what it hears, and remembers who asked. */
async function startEcho(options: object = {}) {
  const requests: IncomingMessage[] = []
  const closes: number[] = []
  const sockets = new Set<Socket>()
  const wss = new WebSocketServer({ noServer: true, ...options })
  const backend = await startBackend((_req, res) => res.end('not a websocket'))
  backend.server.on('connection', (socket: Socket) => sockets.add(socket))
  backend.server.on('upgrade', (req, socket, head) => {
    requests.push(req)
    wss.handleUpgrade(req, socket, head, (ws) => {
      ws.on('error', () => {})
      ws.on('message', (data, binary) => ws.send(data, { binary }))
      ws.on('close', (code) => closes.push(code))
    })
  })
  return {
    url: backend.url,
    requests,
    closes,
    sockets,
    async [Symbol.asyncDispose]() {
      for (const socket of sockets) socket.destroy()
      await backend[Symbol.asyncDispose]()
    },
  }
}

type Echo = Awaited<ReturnType<typeof startEcho>>

const bearer = (text = token()) => ({ headers: { Authorization: `Bearer ${text}` } })

interface Attempt {
  readonly ws?: WebSocket
  readonly status: number
  readonly code?: string
  readonly headers: IncomingMessage['headers']
}

/** Opens, or says how it was refused. */
async function open(
  gateway: Pick<GatewayUnderTest, 'url'>,
  path = '/chat',
  options: ClientOptions = bearer(),
  protocols: string[] = [],
): Promise<Attempt> {
  const ws = new WebSocket(gateway.url.replace('http', 'ws') + path, protocols, options)
  ws.on('error', () => {})
  return new Promise((resolve, reject) => {
    ws.once('upgrade', ({ headers }) => ws.once('open', () => resolve({ ws, status: 101, headers })))
    ws.once('close', () => reject(new Error('closed before it was open')))
    ws.once('unexpected-response', async (_req, res) => {
      let text = ''
      for await (const chunk of res) text += chunk
      const isProblem = res.headers['content-type'] === 'application/problem+json'
      resolve({
        status: res.statusCode ?? 0,
        headers: res.headers,
        ...(isProblem && { code: JSON.parse(text).code as string }),
      })
    })
  })
}

async function echo(ws: WebSocket, text: string): Promise<string> {
  const heard = once(ws, 'message')
  ws.send(text)
  return String((await heard)[0])
}

async function withGateway(
  run: (gateway: GatewayUnderTest, backend: Echo) => Promise<void>,
  more: object = {},
  options: Options = {},
): Promise<void> {
  await using backend = await startEcho()
  await using gateway = await startGateway(definition(backend.url, more), options)
  await run(gateway, backend)
}

let shared: { readonly gateway: GatewayUnderTest; readonly backend: Echo } | undefined
after(async () => {
  await shared?.gateway[Symbol.asyncDispose]()
  await shared?.backend[Symbol.asyncDispose]()
})

/** The same gateway for all tests that leave it as they found it. */
async function withSharedGateway(run: (gateway: GatewayUnderTest, backend: Echo) => Promise<void>): Promise<void> {
  if (!shared) {
    await using opened = new AsyncDisposableStack()
    const backend = opened.use(await startEcho())
    shared = { backend, gateway: await startGateway(definition(backend.url)) }
    opened.move()
  }
  const { gateway, backend } = shared
  for (const list of [gateway.log, backend.requests, backend.closes]) list.length = 0
  await run(gateway, backend)
}

/** Raw bytes; the answer as far as it came when `until` matches or the connection closes. */
function raw(gateway: GatewayUnderTest, bytes: string, until = /\r\n\r\n[\s\S]*\}/): Promise<string> {
  const { hostname, port } = new URL(gateway.url)
  return new Promise((resolve) => {
    const socket = connect(Number(port), hostname, () => socket.write(bytes, 'latin1'))
    let text = ''
    const done = () => {
      clearTimeout(timer)
      socket.destroy()
      resolve(text)
    }
    const timer = setTimeout(done, 3_000)
    socket.on('error', done).on('close', done)
    socket.on('data', (chunk) => {
      text += chunk.toString('latin1')
      if (until.test(text)) done()
    })
  })
}

const handshake = (path: string, ...fields: string[]) =>
  [
    `GET ${path} HTTP/1.1`,
    'Host: gw.test',
    'Upgrade: websocket',
    'Connection: Upgrade',
    'Sec-WebSocket-Version: 13',
    'Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==',
    ...fields,
    '',
    '',
  ].join('\r\n')

/** What one test below shows of each shared case; every id of the file must be here. */
const covered = new Map<string, string>([
  ['ws-003', 'a token among the subprotocols'],
  ['ws-004', 'a token in the query'],
  ['ws-006', 'malformed handshakes'],
  ['ws-007', 'a request that only names Upgrade'],
  ['ws-012', 'a service that does not agree'],
  ['ws-014', 'a service that never answers'],
  ['ws-015', 'a service that dies'],
  ['ws-017', 'test/upstream/tunnel.test.ts: half a close is passed on as half a close'],
  ['ws-021', 'bytes right behind the request'],
  ['ws-023', 'idle tunnels'],
  ['ws-025', 'frames that no endpoint would take'],
  ['ws-026', 'compression between the ends'],
  ['ws-028', 'rates'],
  ['ws-029', 'identity fields of the client'],
  ['ws-030', 'path tricks'],
])

test('every shared case is met by a test', { skip: skipWithoutShared }, () => {
  const { cases } = vectors('websocket-cases.json') as { cases: { id: string }[] }
  assert.deepEqual(
    cases.map(({ id }) => id).filter((id) => !covered.has(id)),
    [],
  )
})

describe('a WebSocket', () => {
  test('is opened to the service, which learns who calls, and carries messages both ways', () =>
    withSharedGateway(async (gateway, backend) => {
      const { ws, headers } = await open(gateway, '/chat/rooms/1?since=2', {
        headers: { Authorization: `Bearer ${token({ roles: ['editor'] })}`, 'User-ID': 'root', 'X-User-Id': 'root' },
      })
      assert(ws)
      assert.equal(await echo(ws, 'hello'), 'hello')
      const [request] = backend.requests
      assert.equal(request?.url, '/rooms/1?since=2')
      assert.equal(request?.headers['user-id'], 'ann')
      assert.equal(request?.headers['x-user-id'], undefined)
      assert.equal(request?.headers['user-roles'], 'editor')
      assert.match(String(headers['x-request-id']), /./)
      assert.equal(request?.headers['x-request-id'], headers['x-request-id'])
      ws.close(4_001)
      const line = await eventually('it is on the log', () => gateway.log.find(({ message }) => message === 'request'))
      assert.equal(line['status'], 101)
      assert.equal(line['subject'], 'ann')
      assert.equal(line['upstream'].status, 101)
      await eventually('the service hears of it', () => backend.closes.length > 0)
      assert.deepEqual(backend.closes, [4_001])
    }))

  test('compression is agreed on between the ends; the gateway passes it on', async () => {
    await using backend = await startEcho({ perMessageDeflate: { threshold: 0 } })
    await using gateway = await startGateway(definition(backend.url))
    const { ws, headers } = await open(gateway, '/chat', { ...bearer(), perMessageDeflate: { threshold: 0 } })
    assert(ws)
    assert.match(String(headers['sec-websocket-extensions']), /permessage-deflate/)
    assert.equal(await echo(ws, 'x'.repeat(10_000)), 'x'.repeat(10_000))
    ws.terminate()
  })

  test('bytes right behind the request reach the service after 101, and are never another request', () =>
    withSharedGateway(async (gateway, backend) => {
      // A text frame "hi", masked with zeros.
      const frame = '\x81\x82\x00\x00\x00\x00hi'
      const bytes = handshake('/chat', `Authorization: Bearer ${token()}`) + frame
      const text = await raw(gateway, bytes, /hi$/)
      assert.match(text, /^HTTP\/1\.1 101 /)
      assert(text.endsWith('\x81\x02hi'), 'the echo, unmasked')
      const smuggled = `GET /chat/open HTTP/1.1\r\nHost: gw.test\r\n\r\n`
      const answers = await raw(gateway, handshake('/chat') + smuggled, /HTTP[\s\S]*HTTP/)
      assert.equal(answers.match(/HTTP\/1\.1 /g)?.length, 1)
      assert.match(answers, /^HTTP\/1\.1 401 /)
      assert.equal(backend.requests.length, 1)
    }))

  test('frames that no endpoint would take pass untouched, and the gateway lives', () =>
    withSharedGateway(async (gateway) => {
      const frames = [
        '\xf1\x80\x00\x00\x00\x00', // reserved bits
        '\x83\x80\x00\x00\x00\x00', // unknown opcode
        '\x82\xff\x80\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00', // a length of 2^63
        '\x09\x80\x00\x00\x00\x00', // a fragmented ping
        '\x81\x82\x00\x00\x00\x00\xff\xff', // text that is not UTF-8
        '\x88\x82\x00\x00\x00\x00\x03\xed', // a close with code 1005
      ]
      for (const frame of frames) {
        const head = handshake('/chat', `Authorization: Bearer ${token()}`)
        // `ws` at the service closes with a protocol error, which comes back as it was said.
        const text = await raw(gateway, head + frame, /\r\n\r\n\x88[\s\S]{3}/)
        assert.match(text, /\r\n\r\n\x88/, JSON.stringify(frame))
      }
      const { ws } = await open(gateway)
      assert.equal(await echo(ws!, 'still there'), 'still there')
      ws!.terminate()
    }))
})

describe('a WebSocket is refused like any request, and the service hears nothing', () => {
  test('no credential, a bad one, an expired one, a missing role, nothing there', () =>
    withSharedGateway(async (gateway, backend) => {
      const seconds = Math.floor(Date.now() / 1_000)
      const cases: [string, object, number, string][] = [
        ['/chat', {}, 401, 'no-credentials'],
        ['/chat', bearer(`${token()}x`), 401, 'invalid-token'],
        ['/chat', bearer(token({ iat: seconds - 900, exp: seconds - 600 })), 401, 'token-expired'],
        ['/chat', { headers: { 'X-API-Key': 'wrong' } }, 401, 'invalid-api-key'],
        ['/chat/admins', bearer(), 403, 'insufficient-role'],
        ['/nowhere', bearer(), 404, 'not-found'],
      ]
      for (const [path, options, status, code] of cases) {
        const attempt = await open(gateway, path, options)
        assert.deepEqual([attempt.status, attempt.code], [status, code], path)
        if (status === 401) assert.match(String(attempt.headers['www-authenticate']), /Bearer/)
        assert.match(String(attempt.headers['x-request-id']), /./)
      }
      const { code } = await open(gateway, `/chat?access_token=${token()}`, {})
      assert.equal(code, 'no-credentials', 'a token in the query is none')
      assert.equal(backend.requests.length, 0)
    }))

  test('path tricks have the same answer as without an upgrade', () =>
    withSharedGateway(async (gateway, backend) => {
      const tricks = ['/chat/../nowhere', '/chat/open/..%2fadmins', '/chat/%2e%2e/x', '/chat//admins', '/chat/%252e']
      for (const path of tricks) {
        const first = (text: string) => text.split('\r\n')[0]
        const plain = await raw(gateway, `GET ${path} HTTP/1.1\r\nHost: gw.test\r\nConnection: close\r\n\r\n`)
        assert.equal(first(await raw(gateway, handshake(path))), first(plain), path)
        assert.match(plain, /^HTTP\/1\.1 4/, path)
      }
      assert.equal(backend.requests.length, 0)
    }))

  test('rates and places count WebSockets as well', () =>
    withGateway(
      async (gateway) => {
        const attempts: (Attempt | undefined)[] = []
        for (let count = 0; count < 3; count += 1) attempts.push(await open(gateway))
        assert.deepEqual(
          attempts.map((attempt) => attempt?.status),
          [101, 503, 429],
        )
        assert.match(String(attempts[0]?.headers['ratelimit']), /r=1/)
        assert.match(String(attempts[2]?.headers['retry-after']), /\d/)
        attempts[0]?.ws?.terminate()
        const other = { headers: { 'X-API-Key': 'key' } }
        const next = await eventually('the place is free again', async () => {
          const attempt = await open(gateway, '/chat/open', other)
          return attempt.ws
        })
        next.terminate()
      },
      {
        limits: { rate: [{ requests: 2, per: '1h' }], concurrent: { limit: 1, queue: 0 } },
        routes: [{ match: '/open', limits: { rate: [] } }],
      },
    ))

  test('malformed handshakes, with a good credential: 400 or 426', () =>
    withSharedGateway(async (gateway, backend) => {
      const authorization = `Authorization: Bearer ${token()}`
      const good = handshake('/chat', authorization)
      const cases: [string, number][] = [
        [good.replace('Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n', ''), 400],
        [good.replace('dGhlIHNhbXBsZSBub25jZQ==', 'short'), 400],
        [good.replace('Version: 13', 'Version: 777'), 426],
        [good.replace('GET ', 'POST '), 400],
        [good.replace('\r\n\r\n', '\r\nContent-Length: 3\r\n\r\nabc'), 400],
      ]
      for (const [bytes, status] of cases)
        assert.match(await raw(gateway, bytes), new RegExp(`^HTTP/1\\.1 ${status} `), bytes)
      assert.equal(backend.requests.length, 0)
    }))

  test('any other protocol, and a request that only names Upgrade, is an ordinary request', () =>
    withSharedGateway(async (gateway, backend) => {
      const authorization = `Authorization: Bearer ${token()}`
      const h2c = handshake('/chat', authorization).replace('Upgrade: websocket', 'Upgrade: h2c')
      assert.match(await raw(gateway, h2c, /not a websocket/), /^HTTP\/1\.1 200 [\s\S]*not a websocket/)
      const named = handshake('/chat').replace('Connection: Upgrade', 'Connection: close')
      assert.match(await raw(gateway, named), /^HTTP\/1\.1 401 /)
      assert.equal(backend.requests.length, 0)
    }))

  test('an endpoint of the gateway itself answers as always', () =>
    withSharedGateway(async (gateway) => {
      assert.equal((await open(gateway, '/livez', {})).status, 200)
      const { hostname, port } = new URL(gateway.adminUrl)
      const admin = { ...gateway, url: `http://${hostname}:${port}` }
      assert.equal((await open(admin, '/services', {})).status, 200)
    }))
})

describe('a page that opens a WebSocket', () => {
  const cookie = () => ({ Cookie: `token=${token()}` })

  test('of another origin is refused, whatever the browser sends along', () =>
    withSharedGateway(async (gateway, backend) => {
      const strangers = ['https://evil.example', 'null', `${app}.evil.example`, 'http://app.example', '*']
      for (const origin of strangers) {
        for (const headers of [cookie(), bearer().headers]) {
          const attempt = await open(gateway, '/chat', { headers: { ...headers, Origin: origin } })
          assert.deepEqual([attempt.status, attempt.code], [403, 'cross-site-request'], origin)
        }
        assert.equal((await open(gateway, '/chat/open', { headers: { Origin: origin } })).status, 403, origin)
      }
      assert.equal(backend.requests.length, 0)
    }))

  test("of the gateway's own origin, or of one that is listed, is let in", () =>
    withSharedGateway(async (gateway) => {
      for (const origin of [app, gateway.url, gateway.running.publicUrl]) {
        const { ws } = await open(gateway, '/chat', { headers: { ...cookie(), Origin: origin } })
        assert.equal(await echo(ws!, origin), origin)
        ws!.terminate()
      }
    }))

  test('may send its token as a subprotocol, which neither the service nor the log sees', () =>
    withSharedGateway(async (gateway, backend) => {
      const text = token()
      const { ws } = await open(gateway, '/chat', { headers: { Origin: app } }, [
        'chat.v2',
        `bearer.${text}`,
        'chat.v1',
      ])
      assert.equal(ws?.protocol, 'chat.v2', 'what the service chose')
      assert.equal(backend.requests[0]?.headers['sec-websocket-protocol'], 'chat.v2, chat.v1')
      assert.equal(backend.requests[0]?.headers['user-id'], 'ann')
      ws!.close()
      await eventually('it is on the log', () => gateway.log.some(({ message }) => message === 'request'))
      assert(!JSON.stringify(gateway.log).includes(text))
      assert(!JSON.stringify(gateway.log).includes('bearer.'))
    }))

  test('with a bad token, with two, or with nothing else to choose, is told so', () =>
    withSharedGateway(async (gateway, backend) => {
      const cases: [string[], ClientOptions, number, string][] = [
        [['chat', 'bearer.nonsense'], {}, 401, 'invalid-token'],
        [['chat', 'bearer.'], {}, 401, 'invalid-token'],
        [['chat', `bearer.${token()}`, `bearer.${token()}`], {}, 400, 'ambiguous-credentials'],
        [['chat', `bearer.${token()}`], bearer(), 400, 'ambiguous-credentials'],
        [[`bearer.${token()}`], {}, 400, 'bad-request'],
      ]
      for (const [protocols, options, status, code] of cases) {
        const attempt = await open(gateway, '/chat', options, protocols)
        assert.deepEqual([attempt.status, attempt.code], [status, code], protocols.join())
      }
      assert.equal(backend.requests.length, 0)
    }))

  test('an ordinary request with a token among its subprotocols has none', () =>
    withSharedGateway(async (gateway) => {
      const headers = { 'Sec-WebSocket-Protocol': `chat, bearer.${token()}` }
      assert.equal((await fetch(`${gateway.url}/chat`, { headers })).status, 401)
    }))
})

describe('an open WebSocket is closed with 1008 within a second', () => {
  async function closedWithin(ws: WebSocket, limit: number): Promise<[number, string]> {
    const started = performance.now()
    const [code, reason] = (await once(ws, 'close')) as [number, Buffer]
    assert(performance.now() - started < limit, `${performance.now() - started} ms`)
    return [code, String(reason)]
  }

  test('when its token expires', async () => {
    let ahead = 0
    const now = () => Date.now() + ahead
    await withGateway(
      async (gateway, backend) => {
        const { ws } = await open(gateway, '/chat', bearer(token({}, now())))
        const { ws: other } = await open(gateway, '/chat/open', {})
        assert.equal(await echo(ws!, 'one'), 'one')
        ahead = 601_000
        assert.deepEqual(await closedWithin(ws!, 1_500), [1_008, 'The token that opened the connection has expired'])
        await eventually('the service heard the same', () => backend.closes.includes(1_008))
        assert.equal(await echo(other!, 'public'), 'public', 'who showed no credential has none that could end')
        other!.terminate()
      },
      {},
      { now },
    )
  })

  test('when its token, or everything of its subject, is revoked', () =>
    withGateway(async (gateway) => {
      const revoke = async (revocation: object) => {
        const answer = await fetch(`${gateway.adminUrl}/revocations`, {
          method: 'POST',
          headers: { 'Content-Type': 'application/json' },
          body: JSON.stringify(revocation),
        })
        assert(answer.ok, await answer.text())
      }
      const { ws: one } = await open(gateway, '/chat', bearer(token({ jti: 'one' })))
      const { ws: other } = await open(gateway, '/chat', bearer(token({ jti: 'other' })))
      const first = closedWithin(one!, 1_500)
      await revoke({ tokenId: 'one' })
      assert.equal((await first)[0], 1_008)
      assert.equal(await echo(other!, 'mine is good'), 'mine is good')
      const second = closedWithin(other!, 1_500)
      await revoke({ subject: 'ann' })
      assert.equal((await second)[0], 1_008)
    }))

  test('when its API key is revoked', () =>
    withSharedGateway(async (gateway) => {
      const post = async (path: string, body: object) => {
        const headers = { 'Content-Type': 'application/json' }
        const answer = await fetch(gateway.adminUrl + path, { method: 'POST', headers, body: JSON.stringify(body) })
        assert(answer.ok, `${answer.status} ${path}`)
        return answer
      }
      const { text, key } = (await (await post('/keys', { owner: 'carol' })).json()) as {
        text: string
        key: { id: string }
      }
      const { ws } = await open(gateway, '/chat', { headers: { 'X-API-Key': text } })
      assert.equal(await echo(ws!, 'one'), 'one')
      const closed = closedWithin(ws!, 1_500)
      const revoked = await fetch(`${gateway.adminUrl}/keys/${key.id}`, { method: 'DELETE' })
      assert(revoked.ok, String(revoked.status))
      assert.equal((await closed)[0], 1_008)
    }))
})

describe('a service', () => {
  test('that does not agree has its answer passed on; one that is silent is a 504, one that is gone a 502', async () => {
    await using plain = await startBackend((_req, res) => res.end('no websocket here'))
    await using gateway = await startGateway(definition(plain.url))
    assert.equal((await open(gateway)).status, 200)
    await using silent = await startBackend(() => {})
    silent.server.on('upgrade', (_req, socket) => socket.on('end', () => socket.destroy()).resume())
    await using waiting = await startGateway(definition(silent.url))
    assert.deepEqual((({ status, code }) => [status, code])(await open(waiting)), [504, 'upstream-timeout'])
    silent.server.closeAllConnections()
    await using lonely = await startGateway(definition(nobody))
    assert.deepEqual((({ status, code }) => [status, code])(await open(lonely)), [502, 'upstream-unreachable'])
  })

  test('that dies takes its WebSockets with it within a second', () =>
    withGateway(async (gateway, backend) => {
      const { ws } = await open(gateway)
      const closed = once(ws!, 'close')
      const started = performance.now()
      for (const socket of backend.sockets) socket.resetAndDestroy()
      assert.equal((await closed)[0], 1_006)
      assert(performance.now() - started < 1_000)
    }))
})

describe('the gateway', () => {
  test('tells WebSockets that it goes away, lets requests finish, and is gone', async () => {
    await using backend = await startEcho()
    const gateway = await startGateway(definition(backend.url))
    const { ws } = await open(gateway)
    const closed = once(ws!, 'close')
    const started = performance.now()
    await gateway[Symbol.asyncDispose]()
    assert(performance.now() - started < 3_000, 'long before `gateway.shutdown`')
    assert.equal((await closed)[0], 1_001)
    await eventually('the service heard it', () => backend.closes[0] === 1_001)
  })

  test('keeps WebSockets over a reload', () =>
    withGateway(async (gateway, backend) => {
      const { ws } = await open(gateway)
      await gateway.rewrite(definition(backend.url, { limits: { body: '1kb' } }))
      assert.equal(await gateway.running.reload(), true)
      assert.equal(await echo(ws!, 'the same'), 'the same')
      ws!.terminate()
    }))

  test('survives clients that leave at any moment of the handshake', () =>
    withGateway(async (gateway) => {
      const { hostname, port } = new URL(gateway.url)
      const bytes = handshake('/chat', `Authorization: Bearer ${token()}`)
      for (let round = 0; round < 40; round += 1) {
        const socket = connect(Number(port), hostname)
        socket.on('error', () => {})
        await once(socket, 'connect')
        socket.write(bytes)
        await new Promise((resolve) => setTimeout(resolve, round / 8))
        if (round % 2) socket.destroy()
        else socket.resetAndDestroy()
      }
      const { ws } = await open(gateway)
      assert.equal(await echo(ws!, 'fine'), 'fine')
      ws!.terminate()
      await eventually('nothing is under way any more', async () => {
        const metrics = await (await fetch(`${gateway.adminUrl}/metrics`)).text()
        return /^sallyport_requests_in_flight 0$/m.test(metrics)
      })
      assert.deepEqual(
        gateway.log.filter(({ level }) => level === 'error'),
        [],
      )
    }))

  test('holds hundreds of idle WebSockets, and nothing of them after they close', () =>
    withGateway(async (gateway, backend) => {
      const count = 300
      const { ws: first } = await open(gateway)
      const wss = await Promise.all(Array.from({ length: count }, () => open(gateway)))
      assert(wss.every(({ status }) => status === 101))
      for (const { ws } of wss) ws!.terminate()
      first!.terminate()
      await eventually('all are gone at the service', () => backend.closes.length === count + 1)
      await eventually('and at the gateway', async () => {
        const { services } = (await (await fetch(`${gateway.adminUrl}/services`)).json()) as {
          services: { targets: { inFlight: number; connections: number }[] }[]
        }
        return services[0]?.targets[0]?.inFlight === 0
      })
    }))
})
