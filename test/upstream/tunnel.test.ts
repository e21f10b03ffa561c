import assert from 'node:assert/strict'
import { createHash, randomBytes } from 'node:crypto'
import { once } from 'node:events'
import { type AddressInfo, connect, createServer, type Socket } from 'node:net'
import { describe, type TestContext, test } from 'node:test'
import WebSocket, { WebSocketServer } from 'ws'
import { Problem } from '../../src/http/problem.ts'
import { Ending } from '../../src/upstream/ending.ts'
import { Tunnel } from '../../src/upstream/tunnel.ts'
import { createUpstreams } from '../../src/upstream/upstream.ts'
import { closeFrame, FrameBorders } from '../../src/upstream/websocket.ts'
import {
  type Backend,
  forwardOf,
  get,
  httpBackend,
  rawBackend,
  rawRequest,
  responseFields,
  settingsOf,
  sleep,
  tunnelTo,
  until,
  upstreamTo,
} from './scene.ts'

const key = 'dGhlIHNhbXBsZSBub25jZQ=='
const accept = 's3pPLMBiTxaQ9kYGzzhZRbK+xOo='

function handshake(...fields: string[]): string {
  const own = fields.length > 0 ? fields : [`Sec-WebSocket-Key: ${key}`, 'Sec-WebSocket-Version: 13']
  return get('/chat?room=1', 'Upgrade: websocket', 'Connection: Upgrade', ...own)
}

/** A backend of raw bytes that agrees to every handshake. */
function agreeing(t: TestContext, then: (socket: Socket, head: string) => void): Promise<Backend> {
  return rawBackend(t, (socket) =>
    socket.once('data', (chunk) => {
      const head = chunk.toString('latin1')
      const asked = /^sec-websocket-key: (.*)\r$/im.exec(head)![1]!
      const digest = createHash('sha1').update(`${asked}258EAFA5-E914-47DA-95CA-C5AB0DC85B11`).digest('base64')
      socket.write(
        `HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Accept: ${digest}\r\nX-From: backend\r\n\r\n`,
      )
      then(socket, head)
    }),
  )
}

/** A backend of `ws` that says back what it hears. */
async function echoing(t: TestContext, options: object = {}) {
  const closes: { code: number; reason: string }[] = []
  const server = new WebSocketServer({ noServer: true, ...options })
  const backend = await httpBackend(t, (_req, res) => res.end())
  // `httpBackend` has the server; its upgrade event is all that `ws` needs.
  backend.server.on('upgrade', (req, socket, head) =>
    server.handleUpgrade(req, socket, head, (ws) => {
      ws.on('message', (data, binary) => ws.send(data, { binary }))
      ws.on('close', (code, reason) => closes.push({ code, reason: String(reason) }))
      ws.on('error', () => {})
    }),
  )
  return { ...backend, closes, server }
}

async function opened(
  t: TestContext,
  port: number,
  protocols: string[] = [],
  options: object = {},
): Promise<WebSocket> {
  const ws = new WebSocket(`ws://127.0.0.1:${port}/chat?room=1`, protocols, options)
  t.after(() => ws.terminate())
  await once(ws, 'open')
  return ws
}

describe('a WebSocket through the gateway', { concurrency: true, timeout: 30_000 }, () => {
  test('carries text, binary and large messages both ways', async (t) => {
    const backend = await echoing(t)
    const gateway = await tunnelTo(t, upstreamTo(t, { targets: [backend.url] }))
    const ws = await opened(t, gateway.port)
    for (const message of ['hello', 'ü', randomBytes(3_000_000)]) {
      ws.send(message)
      const [data] = await once(ws, 'message')
      assert.ok(Buffer.from(message as string).equals(data))
    }
    ws.close(1000, 'done')
    await once(ws, 'close')
    await until(() => gateway.outcomes.length === 1)
    const [outcome] = gateway.outcomes
    assert.equal(outcome!.status, 101)
    assert.equal(outcome!.failure, undefined)
    assert.ok(outcome!.sent > 3_000_000 && outcome!.received > 3_000_000)
    await until(() => backend.closes.length === 1)
    assert.deepEqual(backend.closes, [{ code: 1000, reason: 'done' }])
  })

  test('keeps path, subprotocol and compression end to end, and does not inflate', async (t) => {
    const backend = await echoing(t, {
      perMessageDeflate: { threshold: 0 },
      handleProtocols: (offered: Set<string>) => [...offered][1],
    })
    const urls: string[] = []
    backend.server.on('connection', () => {})
    backend.server.on('headers', (_lines: string[], req: { url: string }) => urls.push(req.url))
    const gateway = await tunnelTo(t, upstreamTo(t, { targets: [backend.url] }))
    const ws = await opened(t, gateway.port, ['one', 'two'], { perMessageDeflate: { threshold: 0 } })
    assert.equal(ws.protocol, 'two')
    assert.match(ws.extensions, /permessage-deflate/)
    ws.send('x'.repeat(1_000_000))
    const [data] = await once(ws, 'message')
    assert.equal(data.length, 1_000_000)
    ws.close()
    await until(() => gateway.outcomes.length === 1)
    assert.ok(gateway.outcomes[0]!.sent < 20_000, 'what was compressed stays compressed')
    assert.deepEqual(urls, ['/chat?room=1'])
  })

  test('sends the handshake as the field function says, and the answer without hop-by-hop fields', async (t) => {
    let seen = ''
    const backend = await agreeing(t, (_socket, head) => {
      seen = head
    })
    const gateway = await tunnelTo(t, upstreamTo(t, { targets: [`${backend.url}/ws`] }))
    const { head } = await rawRequest(gateway.port, handshake())
    assert.match(seen, /^GET \/ws\/chat\?room=1 HTTP\/1\.1\r\n/)
    assert.match(seen, /^connection: upgrade\r\nupgrade: websocket\r$/im)
    assert.match(seen, new RegExp(`^Sec-WebSocket-Key: ${key}\r$`, 'm'))
    assert.match(head, /^HTTP\/1\.1 101 Switching Protocols\r\n/)
    assert.equal(head.match(/^connection: upgrade$/gim)?.length, 1)
    assert.match(head, new RegExp(`^Sec-WebSocket-Accept: ${accept.replace('+', '\\+')}$`, 'm'))
    assert.match(head, /^X-From: backend$/m)
  })

  test('holds back what the client sends at once until the service has agreed', async (t) => {
    let before = ''
    let agreed = false
    let after = ''
    const backend = await rawBackend(t, (socket) =>
      socket.on('data', (chunk) => {
        if (agreed) {
          after += chunk.toString('latin1')
          return
        }
        before += chunk.toString('latin1')
        setTimeout(() => {
          agreed = true
          socket.write(
            `HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Accept: ${accept}\r\n\r\nat once`,
          )
        }, 50)
      }),
    )
    const gateway = await tunnelTo(t, upstreamTo(t, { targets: [backend.url] }))
    const smuggled = 'GET /admin HTTP/1.1\r\nHost: x\r\n\r\n'
    const answer = rawRequest(gateway.port, handshake() + smuggled)
    await until(() => after !== '')
    assert.ok(before.endsWith('\r\n\r\n') && !before.includes('/admin'))
    assert.equal(after, smuggled)
    assert.equal((await answer).content, 'at once')
  })

  test('is transparent to frames that no endpoint should accept', async (t) => {
    let heard = Buffer.alloc(0)
    const backend = await agreeing(t, (socket) => {
      socket.on('data', (chunk) => {
        heard = Buffer.concat([heard, chunk])
        socket.write(chunk)
      })
    })
    const gateway = await tunnelTo(t, upstreamTo(t, { targets: [backend.url] }))
    const client = connect(gateway.port, '127.0.0.1')
    t.after(() => client.destroy())
    client.write(handshake())
    await once(client, 'data')
    const frames = Buffer.concat([
      Buffer.from([0xf1, 0x00]), // reserved bits
      Buffer.from([0x8b, 0x00]), // unknown opcode
      Buffer.from([0x08, 0x02, 0x03, 0xed]), // fragmented control, close 1005
      Buffer.from([0x81, 0x02, 0xc3, 0x28]), // bad UTF-8
      Buffer.from([0x82, 0x7f, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff]), // 2^64 - 1 bytes announced
      randomBytes(1_000),
    ])
    let back = Buffer.alloc(0)
    client.on('data', (chunk: Buffer) => {
      back = Buffer.concat([back, chunk])
    })
    client.write(frames)
    await until(() => back.length === frames.length)
    assert.ok(heard.equals(frames) && back.equals(frames))
  })

  test('a service that answers otherwise is passed on, and the connection closes', async (t) => {
    const backend = await httpBackend(t, (_req, res) => res.end('no tunnel'))
    backend.server.on('upgrade', (_req, socket) => {
      socket.resume().on('end', () => socket.end())
      socket.write('HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\nno tunnel')
    })
    const gateway = await tunnelTo(t, upstreamTo(t, { targets: [backend.url] }))
    const { status, head, content, end } = await rawRequest(gateway.port, handshake(), 2_000)
    assert.equal(status, 200)
    assert.equal(content, 'no tunnel')
    assert.match(head, /^connection: close$/im)
    assert.equal(end, 'closed')
    assert.equal(gateway.outcomes[0]!.status, 200)
    await until(() => backend.sockets[0]!.destroyed)
  })

  for (const [what, lines] of [
    ['a wrong Sec-WebSocket-Accept', ['Upgrade: websocket', 'Sec-WebSocket-Accept: AAAA']],
    ['no Sec-WebSocket-Accept', ['Upgrade: websocket']],
    ['two of them', ['Upgrade: websocket', `Sec-WebSocket-Accept: ${accept}`, `Sec-WebSocket-Accept: ${accept}`]],
    ['another protocol', ['Upgrade: h2c', `Sec-WebSocket-Accept: ${accept}`]],
  ] as const) {
    test(`a 101 with ${what} is a 502`, async (t) => {
      const answer = ['HTTP/1.1 101 Switching Protocols', 'Connection: Upgrade', ...lines, '', ''].join('\r\n')
      const backend = await rawBackend(t, (socket) => socket.on('data', () => socket.write(answer)))
      const gateway = await tunnelTo(t, upstreamTo(t, { targets: [backend.url] }))
      assert.equal((await rawRequest(gateway.port, handshake())).status, 502)
      await until(() => backend.sockets[0]!.readableEnded || backend.sockets[0]!.destroyed)
    })
  }

  for (const [what, request, status] of [
    ['version 777', handshake(`Sec-WebSocket-Key: ${key}`, 'Sec-WebSocket-Version: 777'), 426],
    ['no version', handshake(`Sec-WebSocket-Key: ${key}`), 426],
    ['no key', handshake('Sec-WebSocket-Version: 13'), 400],
    ['a key that is too short', handshake('Sec-WebSocket-Key: AAAA', 'Sec-WebSocket-Version: 13'), 400],
    ['POST', handshake().replace('GET', 'POST'), 400],
    ['HTTP/1.0', handshake().replace('HTTP/1.1', 'HTTP/1.0'), 400],
    ['content', handshake('Sec-WebSocket-Version: 13', `Sec-WebSocket-Key: ${key}`, 'Content-Length: 3'), 400],
    ['h2c', handshake().replace('Upgrade: websocket', 'Upgrade: h2c'), 400],
    ['two protocols', handshake().replace('Upgrade: websocket', 'Upgrade: websocket, h2c'), 400],
  ] as const) {
    test(`a handshake with ${what} is a ${status}, and the service hears nothing`, async (t) => {
      const backend = await agreeing(t, () => {})
      const gateway = await tunnelTo(t, upstreamTo(t, { targets: [backend.url] }))
      const answer = await rawRequest(gateway.port, request, 2_000)
      assert.equal(answer.status, status)
      if (status === 426) assert.match(answer.head, /^Sec-WebSocket-Version: 13$/m)
      assert.equal(answer.end, 'closed')
      assert.equal(backend.sockets.length, 0)
    })
  }

  test('a service that never answers the handshake is a 504; one that is not there a 502', async (t) => {
    const backend = await rawBackend(t, (socket) => socket.resume())
    const upstream = upstreamTo(t, { targets: [backend.url], timeouts: { response: '150ms' } })
    const gateway = await tunnelTo(t, upstream)
    assert.equal((await rawRequest(gateway.port, handshake(), 1_000)).status, 504)
    await backend.kill()
    assert.equal((await rawRequest(gateway.port, handshake(), 1_000)).status, 502)
    assert.equal(upstream.describe()[0]!.inFlight, 0)
  })

  test('a client that leaves during the handshake frees the service', async (t) => {
    const backend = await rawBackend(t, (socket) => socket.resume())
    const gateway = await tunnelTo(t, upstreamTo(t, { targets: [backend.url] }))
    const client = connect(gateway.port, '127.0.0.1')
    client.write(handshake())
    await until(() => backend.sockets.length === 1)
    client.destroy()
    assert.ok((await until(() => backend.sockets[0]!.readableEnded)) < 100)
    assert.equal(gateway.outcomes[0]!.failure?.who, 'client')
  })
})

describe('the end of a tunnel', { concurrency: true, timeout: 30_000 }, () => {
  test('the service dies: the client is closed within a second', async (t) => {
    const backend = await echoing(t)
    const gateway = await tunnelTo(t, upstreamTo(t, { targets: [backend.url] }))
    const ws = await opened(t, gateway.port)
    const closed = once(ws, 'close')
    const started = performance.now()
    for (const socket of backend.sockets) socket.resetAndDestroy()
    const [code] = await closed
    assert.equal(code, 1006)
    assert.ok(performance.now() - started < 1_000)
  })

  test('the client dies: the service is closed within a second', async (t) => {
    const backend = await echoing(t)
    const gateway = await tunnelTo(t, upstreamTo(t, { targets: [backend.url] }))
    const ws = await opened(t, gateway.port)
    ws.terminate()
    assert.ok((await until(() => backend.closes.length === 1)) < 1_000)
    assert.equal(backend.closes[0]!.code, 1006)
  })

  test('half a close is passed on as half a close', async (t) => {
    let ended = false
    const backend = await agreeing(t, (socket) => {
      socket.on('data', () => {})
      socket.on('end', () => {
        ended = true
        setTimeout(() => socket.end('last words'), 50)
      })
    })
    const gateway = await tunnelTo(t, upstreamTo(t, { targets: [backend.url] }))
    const client = connect({ port: gateway.port, host: '127.0.0.1', allowHalfOpen: true })
    let heard = ''
    client.on('data', (chunk) => {
      heard += chunk.toString('latin1')
    })
    client.write(handshake())
    await until(() => heard.includes('101'))
    client.end()
    await until(() => ended && heard.endsWith('last words'))
    await until(() => client.closed)
  })

  test('half a close is no reason to wait for ever', { timeout: 20_000 }, async (t) => {
    const ends: Socket[] = []
    const server = createServer({ allowHalfOpen: true }, (socket) => void ends.push(socket)).listen(0, '127.0.0.1')
    await once(server, 'listening')
    t.after(() => server.close())
    const { port } = server.address() as AddressInfo
    // What the gateway has of both, and who is there.
    const [client, backend] = [1, 2].map(() => connect({ port, host: '127.0.0.1', allowHalfOpen: true }))
    t.after(() => [client!, backend!, ...ends].forEach((socket) => void socket.destroy()))
    await until(() => ends.length === 2)
    const done = Promise.withResolvers<void>()
    const [theirs, service] = ends
    const tunnel = new Tunnel(theirs!, service!, done.resolve, 300)
    tunnel.begin([])
    backend!.resume()
    client!.resume().end()
    // Whoever still has something to say is heard.
    for (let n = 0; n < 4; n += 1) {
      await sleep(150)
      backend!.write('x')
    }
    await until(() => tunnel.sent === 4)
    await done.promise
  })

  test('a client that does not read holds the service back, and costs no memory', async (t) => {
    const piece = Buffer.alloc(65_536)
    let pushed = 0
    const backend = await agreeing(t, (socket) => {
      const push = () => {
        while (!socket.destroyed && socket.write(piece)) pushed += piece.length
      }
      socket.on('drain', push)
      push()
    })
    const gateway = await tunnelTo(t, upstreamTo(t, { targets: [backend.url] }))
    const client = connect(gateway.port, '127.0.0.1')
    client.write(handshake())
    client.pause()
    await sleep(400)
    assert.ok(pushed < 24 * 1_048_576, `${pushed} bytes pushed`)
    client.destroy()
    assert.ok((await until(() => backend.sockets[0]!.destroyed)) < 1_200)
  })

  test('by the gateway: both ends hear the code and the reason', async (t) => {
    const tunnels: Tunnel[] = []
    const backend = await echoing(t)
    const gateway = await tunnelTo(t, upstreamTo(t, { targets: [backend.url] }), {
      onOpen: (tunnel) => tunnels.push(tunnel),
    })
    const ws = await opened(t, gateway.port)
    const closed = once(ws, 'close')
    tunnels[0]!.close(1008, 'token expired')
    const [code, reason] = await closed
    assert.equal(code, 1008)
    assert.equal(String(reason), 'token expired')
    await until(() => backend.closes.length === 1)
    assert.deepEqual(backend.closes, [{ code: 1008, reason: 'token expired' }])
    await until(() => gateway.outcomes.length === 1)
  })

  test('by the gateway in the middle of a message: the message ends first', async (t) => {
    const tunnels: Tunnel[] = []
    let service: Socket | undefined
    const backend = await agreeing(t, (socket) => {
      service = socket
      socket.resume()
    })
    const gateway = await tunnelTo(t, upstreamTo(t, { targets: [backend.url] }), {
      onOpen: (tunnel) => tunnels.push(tunnel),
    })
    const ws = await opened(t, gateway.port)
    const messages: string[] = []
    ws.on('message', (data) => messages.push(String(data)))
    const closed = once(ws, 'close')
    service!.write(Buffer.concat([Buffer.from([0x81, 11]), Buffer.from('hello ')]))
    await until(() => tunnels[0]?.sent === 8)
    tunnels[0]!.close(1008, 'revoked')
    service!.write(Buffer.concat([Buffer.from('world'), Buffer.from([0x81, 3]), Buffer.from('not')]))
    const [code] = await closed
    assert.equal(code, 1008)
    assert.deepEqual(messages, ['hello world'])
  })

  test('by the gateway, though neither end cares: cut within a second', async (t) => {
    const tunnels: Tunnel[] = []
    const backend = await agreeing(t, (socket) => socket.write(Buffer.from([0x81, 100, 1, 2, 3])))
    const gateway = await tunnelTo(t, upstreamTo(t, { targets: [backend.url] }), {
      onOpen: (tunnel) => tunnels.push(tunnel),
    })
    const client = connect({ port: gateway.port, host: '127.0.0.1', allowHalfOpen: true })
    client.on('error', () => {})
    client.resume()
    client.write(handshake())
    await until(() => tunnels[0]?.sent === 5)
    tunnels[0]!.close(1008, '')
    assert.ok((await until(() => gateway.outcomes.length === 1)) < 1_200)
    client.destroy()
  })

  test('by whoever holds its ending, such as the end of a token', async (t) => {
    const ending = new Ending()
    const backend = await echoing(t)
    const gateway = await tunnelTo(t, upstreamTo(t, { targets: [backend.url] }), { ending })
    const ws = await opened(t, gateway.port)
    const closed = once(ws, 'close')
    ending.end(new Problem('token-expired', 'The access token has expired'))
    const [code, reason] = await closed
    assert.equal(code, 1008)
    assert.equal(String(reason), 'The access token has expired')
  })

  test('at shutdown every tunnel hears 1001, and nothing is left', async (t) => {
    const upstreams = createUpstreams({
      log: { debug() {}, info() {}, warn() {}, error() {} },
      clock: () => performance.now(),
      chance: Math.random,
    })
    const backend = await echoing(t)
    const upstream = upstreams.acquire('chat', settingsOf({ targets: [backend.url] }))
    const gateway = await tunnelTo(t, upstream)
    const clients = await Promise.all(Array.from({ length: 20 }, () => opened(t, gateway.port)))
    assert.equal(upstreams.tunnels.size, 20)
    upstream.release()
    clients[0]!.send('still there')
    await once(clients[0]!, 'message')
    const codes = Promise.all(clients.map(async (ws) => (await once(ws, 'close'))[0]))
    upstreams.close()
    assert.deepEqual([...new Set(await codes)], [1001])
    assert.ok((await until(() => upstreams.tunnels.size === 0)) < 1_200)
  })

  test('a handshake that is tried again goes to the other target', async (t) => {
    const dead = await rawBackend(t, (socket) => socket.on('data', () => socket.destroy()))
    const backend = await echoing(t)
    const gateway = await tunnelTo(t, upstreamTo(t, { targets: [dead.url, backend.url] }))
    const ws = await opened(t, gateway.port)
    ws.send('hello')
    await once(ws, 'message')
    ws.close()
    await until(() => gateway.outcomes.length === 1)
    assert.equal(gateway.outcomes[0]!.attempts, 2)
  })
})

test('a request that only names Upgrade, without Connection, is a request', async (t) => {
  const backend = await echoing(t)
  const gateway = await tunnelTo(t, upstreamTo(t, { targets: [backend.url] }))
  const { status, content } = await rawRequest(gateway.port, get('/', 'Upgrade: websocket'))
  assert.equal(status, 200)
  assert.match(content, /not a websocket/)
})

test('an upgrade is never passed on as a field of an ordinary request', () => {
  const headers = { upgrade: 'websocket', connection: 'Upgrade' }
  const raw = Object.entries(headers).flat()
  const { fields } = forwardOf({ headers, rawHeaders: raw, method: 'GET', url: '/' } as never, {} as never)
  assert.deepEqual(fields, [])
  assert.deepEqual(responseFields(101, raw), [])
})

describe('frame borders', () => {
  const frame = (length: number, masked: boolean): Buffer => {
    const head = [0x82]
    const mask = masked ? 0x80 : 0
    if (length < 126) head.push(mask | length)
    else if (length < 65_536) head.push(mask | 126, length >> 8, length & 255)
    else
      head.push(
        mask | 127,
        0,
        0,
        0,
        0,
        (length >>> 24) & 255,
        (length >>> 16) & 255,
        (length >>> 8) & 255,
        length & 255,
      )
    if (masked) head.push(1, 2, 3, 4)
    return Buffer.concat([Buffer.from(head), Buffer.alloc(length, 0x81)])
  }

  test('are found however the bytes are cut', () => {
    const lengths = [0, 1, 125, 126, 127, 300, 65_535, 65_536, 70_000, 0, 0, 5]
    for (const masked of [false, true]) {
      const frames = lengths.map((length) => frame(length, masked))
      const borders = new Set<number>()
      let end = 0
      for (const one of frames) {
        end += one.length
        borders.add(end)
      }
      const all = Buffer.concat(frames)
      for (const step of [1, 7, 1_000, all.length]) {
        const follower = new FrameBorders()
        for (let at = 0; at < all.length; at += step) {
          const chunk = all.subarray(at, at + step)
          assert.equal(follower.advance(chunk), chunk.length)
          assert.equal(follower.between, borders.has(at + chunk.length), `at ${at + chunk.length} in steps of ${step}`)
        }
      }
      const stopping = new FrameBorders()
      const first = all.indexOf(frames[4]!) + 3
      stopping.advance(all.subarray(0, first))
      const rest = all.subarray(first)
      assert.ok(borders.has(first + stopping.advance(rest, true)))
      assert.ok(stopping.between)
    }
  })

  test('a Close frame is one frame, its reason at most 123 bytes and whole characters', () => {
    for (const masked of [false, true]) {
      for (const reason of ['', 'short', 'ü'.repeat(100), 'x'.repeat(500)]) {
        const bytes = closeFrame(1008, reason, masked)
        const follower = new FrameBorders()
        follower.advance(bytes.subarray(0, 1))
        assert.equal(follower.advance(bytes.subarray(1), true), bytes.length - 1)
        assert.ok(follower.between && bytes.length <= 131)
        const text = bytes.subarray(masked ? 8 : 4).toString()
        assert.ok(reason.startsWith(text) && !text.includes('\uFFFD'))
        assert.equal(bytes.readUInt16BE(masked ? 6 : 2), 1008)
      }
    }
  })
})
