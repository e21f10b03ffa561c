import assert from 'node:assert/strict'
import { spawn } from 'node:child_process'
import { once } from 'node:events'
import { createServer } from 'node:https'
import type { AddressInfo } from 'node:net'
import { describe, test } from 'node:test'
import { setTimeout as sleep } from 'node:timers/promises'
import WebSocket, { WebSocketServer } from 'ws'
import { type Backend, startBackend } from '../backend.ts'
import { eventually, startGateway } from '../sallyport.ts'
import { certificate, key } from '../upstream/certificate.ts'

const service = (name: string, targets: readonly string[], more: object = {}) => ({
  name,
  path: `/${name}`,
  targets,
  openapi: false,
  security: [],
  ...more,
})

describe('a service that is told how long it will be waited for', () => {
  test('gets the time that is left; a client that sends the field can only shorten it', async () => {
    await using backend = await startBackend()
    await using gateway = await startGateway({
      services: [
        service('orders', [backend.url], {
          timeouts: { response: '30s', total: '5s' },
          deadline: 'X-Time-Left',
          routes: [{ match: '/quick', timeouts: { total: '1s' } }],
        }),
      ],
    })
    const told = async (path: string, field?: string) => {
      const answer = await fetch(
        `${gateway.url}/orders${path}`,
        field === undefined ? {} : { headers: { 'X-Time-Left': field } },
      )
      assert.equal(answer.status, 200)
      const raw = backend.received.at(-1)!.raw
      assert.equal(raw.filter((text) => text.toLowerCase() === 'x-time-left').length, 1, 'said once')
      return Number(raw[raw.indexOf('X-Time-Left') + 1])
    }
    const within = (value: number, most: number) =>
      assert.ok(value <= most && value > most - 900, `${value} of ${most}`)
    within(await told('/'), 5_000)
    within(await told('/quick'), 1_000)
    within(await told('/', '2000'), 2_000)
    within(await told('/', '60000'), 5_000)
    within(await told('/', 'soon'), 5_000)
  })

  test('and takes longer is left at once when the client would have', async () => {
    await using backend = await startBackend(() => {})
    await using gateway = await startGateway({
      services: [service('orders', [backend.url], { deadline: 'X-Time-Left' })],
    })
    const answer = await fetch(`${gateway.url}/orders`, { headers: { 'X-Time-Left': '150' } })
    assert.equal(answer.status, 504)
    assert.equal(((await answer.json()) as { code: string }).code, 'upstream-timeout')
  })
})

test('one of two instances is killed with -9 under load: no GET fails', async (t) => {
  const spawnBackend = async () => {
    const code = `
      const server = require('node:http').createServer((req, res) => setTimeout(() => res.end('ok'), 3))
      server.listen(0, '127.0.0.1', () => console.log(server.address().port))`
    const child = spawn(process.execPath, ['-e', code], { stdio: ['ignore', 'pipe', 'inherit'] })
    t.after(() => child.kill('SIGKILL'))
    const [line] = await once(child.stdout, 'data')
    return { child, url: `http://127.0.0.1:${Number(String(line))}` }
  }
  const [doomed, living] = await Promise.all([spawnBackend(), spawnBackend()])
  const targets = [doomed.url, living.url]
  await using gateway = await startGateway({
    services: [service('orders', targets, { limits: { rate: [{ requests: 1_000_000, per: '1s', by: 'address' }] } })],
  })
  const seen = new Map<number, number>()
  let answers = 0
  let stop = false
  const clients = Array.from({ length: 20 }, async () => {
    while (!stop) {
      const answer = await fetch(`${gateway.url}/orders/${answers}`)
      await answer.arrayBuffer()
      answers += 1
      seen.set(answer.status, (seen.get(answer.status) ?? 0) + 1)
    }
  })
  try {
    await eventually('load', () => answers > 300, 20_000)
    doomed.child.kill('SIGKILL')
    const killedAt = answers
    await eventually('load after the kill', () => answers > killedAt + 500, 20_000)
  } finally {
    stop = true
    await Promise.all(clients)
  }
  assert.deepEqual([...seen.keys()], [200])
})

test('an answer that came while the gateway stood still is no late answer', async (t) => {
  const program = `require('node:http').createServer((req, res) => setTimeout(() => res.end('in time'), 100))
    .listen(0, '127.0.0.1', function () { console.log(this.address().port) })`
  const child = spawn(process.execPath, ['-e', program], { stdio: ['ignore', 'pipe', 'ignore'] })
  t.after(() => child.kill('SIGKILL'))
  const [port] = await once(child.stdout, 'data')
  await using gateway = await startGateway({
    services: [
      {
        ...{ name: 'open', path: '/open', openapi: false, security: [] },
        targets: [`http://127.0.0.1:${String(port).trim()}`],
        timeouts: { response: '1s' },
      },
    ],
  })
  assert.equal((await fetch(`${gateway.url}/open/`)).status, 200)
  const answer = fetch(`${gateway.url}/open/`)
  await sleep(60)
  // Just before timers are looked at, and with them whose time is up.
  setImmediate(() => Atomics.wait(new Int32Array(new SharedArrayBuffer(4)), 0, 0, 1_500))
  assert.equal((await answer).status, 200)
})

test('the log says why a service gave no answer', async (t) => {
  const server = createServer({ key, cert: certificate }, (_req, res) => res.end()).listen(0, 'localhost')
  await once(server, 'listening')
  t.after(() => server.close())
  const { port } = server.address() as AddressInfo
  await using nonsense = await startBackend((_req, res) => {
    res.socket!.end('HTTP/1.1 200 OK\r\nTransfer-Encoding: sideways\r\n\r\n')
  })
  await using gateway = await startGateway({
    services: [
      service('strangers', [`https://localhost:${port}`]),
      service('nobody', ['http://127.0.0.1:1']),
      service('nonsense', [nonsense.url]),
    ],
  })
  for (const [name, failure, reason] of [
    ['strangers', 'upstream connect', 'self-signed certificate'],
    ['nobody', 'upstream connect', 'connect ECONNREFUSED 127.0.0.1:1'],
    ['nonsense', 'upstream head', 'the transfer coding is not one "chunked"'],
  ] as const) {
    assert.equal((await fetch(`${gateway.url}/${name}`)).status, 502)
    const isIt = (line: (typeof gateway.log)[number]) => line.message === 'request' && line['path'] === `/${name}`
    await eventually('it is logged', () => gateway.log.some(isIt))
    const { upstream } = gateway.log.find(isIt) as unknown as { upstream: Record<string, unknown> }
    assert.equal(upstream['failure'], failure)
    assert.ok(String(upstream['reason']).startsWith(reason), String(upstream['reason']))
  }
})

test('targets and places are measured', async () => {
  await using one = await startBackend()
  await using sick = await startBackend((_req, res) => res.writeHead(503).end())
  await using gateway = await startGateway({
    services: [service('orders', [one.url, sick.url], { breaker: { failures: 1 }, limits: { concurrent: 10 } })],
  })
  for (let call = 0; call < 4; call += 1) await (await fetch(`${gateway.url}/orders`)).arrayBuffer()
  const metrics = await (await fetch(`${gateway.adminUrl}/metrics`)).text()
  const line = (name: string, { url }: Backend) =>
    Number(
      new RegExp(`^sallyport_target_${name}\\{service="orders",target="${url}"\\} (\\d+)$`, 'm').exec(metrics)?.[1],
    )
  assert.deepEqual(
    ['available', 'requests_total', 'failures_total', 'in_flight'].map((name) => [line(name, one), line(name, sick)]),
    [
      [1, 0],
      [3, 1],
      [0, 1],
      [0, 0],
    ],
  )
  assert.match(metrics, /^sallyport_concurrent_requests\{service="orders"\} 0$/m)
})

describe('WebSockets of what a reload has removed', () => {
  async function startEcho() {
    const backend = await startBackend((_req, res) => res.end())
    const server = new WebSocketServer({ server: backend.server })
    server.on('connection', (socket) => {
      socket.on('error', () => {})
      socket.on('message', (data) => socket.send(data))
    })
    return backend
  }
  const gone = 'http://127.0.0.1:9'
  const soon = () => ({ signal: AbortSignal.timeout(15_000) })

  test('are closed after the grace: 1001 with the service, 1012 with the target; the others stay', async (t) => {
    await using chat = await startEcho()
    await using news = await startEcho()
    await using games = await startEcho()
    const base = { gateway: { shutdown: '1500ms' } }
    await using gateway = await startGateway({
      ...base,
      services: [service('chat', [chat.url]), service('news', [news.url]), service('games', [games.url])],
    })
    const open = async (name: string) => {
      const socket = new WebSocket(`${gateway.url.replace('http', 'ws')}/${name}`)
      t.after(() => socket.terminate())
      await once(socket, 'open')
      const closed = new Promise<number>((resolve) => socket.on('close', (code) => resolve(code)))
      return { socket, closed }
    }
    const [talk, feed, game] = [await open('chat'), await open('news'), await open('games')]
    await gateway.rewrite({ ...base, services: [service('news', [gone]), service('games', [games.url, gone])] })
    assert.equal(await gateway.running.reload(), true)
    assert.equal(talk.socket.readyState, WebSocket.OPEN, 'not before the grace is over')
    assert.equal(await talk.closed, 1001)
    assert.equal(await feed.closed, 1012)
    game.socket.send('still here')
    const [message] = await once(game.socket, 'message', soon())
    assert.equal(String(message), 'still here')
  })

  test('stay when the service is back before the grace is over', async (t) => {
    await using chat = await startEcho()
    const base = { gateway: { shutdown: '3s' } }
    const both = { ...base, services: [service('chat', [chat.url]), service('news', [gone])] }
    await using gateway = await startGateway(both)
    const socket = new WebSocket(`${gateway.url.replace('http', 'ws')}/chat`)
    t.after(() => socket.terminate())
    await once(socket, 'open')
    const removing = Date.now()
    await gateway.rewrite({ ...base, services: [service('news', [gone])] })
    assert.equal(await gateway.running.reload(), true)
    await gateway.rewrite(both)
    assert.equal(await gateway.running.reload(), true)
    if (Date.now() - removing > 2_500) return t.skip('this machine is too busy to read two files within the grace')
    await sleep(3_500)
    socket.send('still here')
    const [message] = await once(socket, 'message', soon())
    assert.equal(String(message), 'still here')
  })
})
