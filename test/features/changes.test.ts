import assert from 'node:assert/strict'
import { once } from 'node:events'
import { Agent, createServer, request } from 'node:http'
import type { AddressInfo } from 'node:net'
import { test } from 'node:test'
import { setTimeout as delay } from 'node:timers/promises'
import { WebSocket, WebSocketServer } from 'ws'
import { closeServer } from '../backend.ts'
import { startProcess } from '../processes.ts'
import { eventually, startGateway } from '../sallyport.ts'

/** Two configurations that differ in two places which a request passes at different times. */
const revision = (target: string, mark: 'one' | 'two') => ({
  services: [
    {
      name: 'marked',
      path: '/marked',
      targets: [`${target}/${mark}`],
      openapi: false,
      security: [],
      forward: { headers: { 'X-Mark': mark } },
    },
  ],
})

test('reloads under load lose no request and mix no two configurations; broken files change nothing', async () => {
  // Says which of the two it saw, in the path and in the field.
  const server = createServer((req, res) => res.end(`${req.url!.split('/')[1]} ${req.headers['x-mark']}`))
  await once(server.listen(0, '127.0.0.1'), 'listening')
  const target = `http://127.0.0.1:${(server.address() as AddressInfo).port}`
  const gateway = await startGateway(revision(target, 'one'))
  const agent = new Agent({ keepAlive: true, maxSockets: 16 })
  const seen = new Map<string, number>()
  let sent = 0
  let over = false
  const ask = () =>
    new Promise<void>((resolve, reject) => {
      sent += 1
      const req = request(`${gateway.url}/marked/${sent}`, { agent }, (res) => {
        let text = ''
        res.setEncoding('utf8').on('data', (part) => {
          text += part
        })
        res.on('error', reject)
        res.on('end', () => {
          const what = `${res.statusCode} ${text}`
          seen.set(what, (seen.get(what) ?? 0) + 1)
          resolve()
        })
      })
      req.on('error', reject).end()
    })
  try {
    const load = Array.from({ length: 8 }, async () => {
      while (!over) {
        await ask()
        // A few hundred a second: enough to be in the middle of every change, and others work on this machine too.
        await delay(10)
      }
    })
    // Whoever fails is heard of below.
    for (const part of load) part.catch(() => {})
    let current: 'one' | 'two' = 'one'
    for (let change = 1; change <= 30; change += 1) {
      const { running } = gateway
      if (change % 10 === 0) {
        await gateway.rewrite('{ "services": [')
        assert.equal(await running.reload(), false)
        assert.equal(running.live.current.definition.services[0]!.targets[0]!.url, `${target}/${current}`)
      } else {
        current = current === 'one' ? 'two' : 'one'
        await gateway.rewrite({ store: { type: 'memory' }, ...revision(target, current) })
        assert.equal(await running.reload(), true)
      }
    }
    over = true
    await Promise.all(load)
    const answered = [...seen.values()].reduce((sum, count) => sum + count, 0)
    assert.equal(answered, sent, 'every request was answered')
    assert.deepEqual([...seen.keys()].sort(), ['200 one one', '200 two two'], JSON.stringify([...seen]))
    assert.ok(sent > 100 && [...seen.values()].every((count) => count > 10), `${sent} requests`)
  } finally {
    over = true
    agent.destroy()
    await gateway[Symbol.asyncDispose]()
    await closeServer(server)
  }
})

test('SIGTERM: readiness goes first, and uploads, streams, tunnels and keep-alive connections end well, every time', {
  skip: process.platform === 'win32' && 'needs signals',
}, async () => {
  const server = createServer((req, res) => {
    if (req.url === '/stream') {
      res.write('begun ')
      setTimeout(() => res.end('ended'), 900)
      return
    }
    let bytes = 0
    req.on('data', (chunk) => {
      bytes += chunk.length
    })
    req.on('end', () => res.end(String(bytes)))
  })
  const sockets = new WebSocketServer({ server, path: '/tunnel' })
  await once(server.listen(0, '127.0.0.1'), 'listening')
  const target = `http://127.0.0.1:${(server.address() as AddressInfo).port}`
  const definition = {
    store: { type: 'memory' },
    gateway: { notice: '600ms', shutdown: '10s' },
    services: [{ name: 'open', path: '/open', targets: [target], openapi: false, security: [] }],
  }
  const agent = new Agent({ keepAlive: true, maxSockets: 4 })
  try {
    for (let round = 1; round <= 2; round += 1) {
      await using gateway = await startProcess(definition)
      const { url } = gateway
      let leaving = false
      let lost = 0
      let answered = 0
      let farewells = 0
      // A load balancer: it looks at /readyz and sends nothing any more once that is not 200.
      const load = Array.from({ length: 4 }, async () => {
        while (!leaving) {
          await new Promise<void>((resolve) => {
            const req = request(`${url}/open/`, { agent, method: 'POST' }, (res) => {
              if (res.headers.connection === 'close') farewells += 1
              res.on('error', () => {
                lost += 1
              })
              res.resume().on('close', resolve)
              answered += 1
            })
            req.on('error', () => {
              lost += 1
              resolve()
            })
            req.end('a body')
          })
          await delay(5)
        }
      })
      const upload = new Promise<string>((resolve, reject) => {
        const req = request(`${url}/open/upload`, { method: 'POST', agent: false }, (res) => {
          let text = ''
          res.setEncoding('utf8').on('data', (part) => {
            text += part
          })
          res.on('end', () => resolve(text))
        }).on('error', reject)
        req.write('a'.repeat(1_000))
        setTimeout(() => req.end('b'.repeat(1_000)), 1_000)
      })
      const stream = fetch(`${url}/open/stream`).then((response) => response.text())
      const tunnel = new WebSocket(`${url.replace('http', 'ws')}/open/tunnel`)
      const closed = once(tunnel, 'close')
      await once(tunnel, 'open')
      await eventually('there is load', () => answered > 10)

      gateway.child.kill('SIGTERM')
      await eventually('readiness goes first', async () => {
        const answer = await fetch(`${url}/readyz`, { headers: { Connection: 'close' } })
        return answer.status === 503 && ((await answer.json()) as { status: string }).status === 'leaving'
      })
      await eventually('connections are told to close', () => farewells > 0)
      leaving = true
      await Promise.all(load)
      assert.equal(await upload, '2000')
      assert.equal(await stream, 'begun ended')
      assert.equal((await closed)[0], 1001)
      assert.equal(await gateway.ended, 0)
      assert.equal(lost, 0, `round ${round}: ${answered} answered`)
      assert.equal(gateway.err(), '')
    }
  } finally {
    agent.destroy()
    sockets.close()
    await closeServer(server)
  }
})
