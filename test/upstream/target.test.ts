import assert from 'node:assert/strict'
import { type ChildProcess, spawn } from 'node:child_process'
import { once } from 'node:events'
import type { LookupFunction } from 'node:net'
import { describe, type TestContext, test } from 'node:test'
import type { Log } from '../../src/telemetry/log.ts'
import { Prober } from '../../src/upstream/health.ts'
import { createUpstreams } from '../../src/upstream/upstream.ts'
import {
  answering,
  ask,
  gatewayTo,
  get,
  httpBackend,
  rawBackend,
  rawRequest,
  settingsOf,
  sleep,
  until,
  upstreamTo,
} from './scene.ts'

const ok = 'HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok'

/** A backend in a process of its own, to be killed. */
async function spawnBackend(t: TestContext, port = 0): Promise<{ process: ChildProcess; url: string; port: number }> {
  const code = `
    const server = require('node:http').createServer((req, res) => setTimeout(() => res.end('ok'), 5))
    server.listen(${port}, '127.0.0.1', () => console.log(server.address().port))`
  const child = spawn(process.execPath, ['-e', code], { stdio: ['ignore', 'pipe', 'inherit'] })
  t.after(() => child.kill('SIGKILL'))
  const [line] = await once(child.stdout, 'data')
  const bound = Number(String(line))
  return { process: child, url: `http://127.0.0.1:${bound}`, port: bound }
}

function remembering(): { log: Log; messages: string[] } {
  const messages: string[] = []
  const remember = (_facts: object, message: string) => messages.push(message)
  return { log: { debug() {}, info: remember, warn: remember, error: remember }, messages }
}

describe('one of two instances', { concurrency: true, timeout: 30_000 }, () => {
  test('is killed under load: every GET is answered, and it serves again within a second of its return', async (t) => {
    const [doomed, living] = await Promise.all([spawnBackend(t), spawnBackend(t)])
    const upstream = upstreamTo(t, { targets: [doomed!.url, living!.url], breaker: { cooldown: '60s' } })
    const gateway = await gatewayTo(t, upstream)
    let stop = false
    const failures: number[] = []
    let answers = 0
    const client = async () => {
      while (!stop) {
        const { status } = await ask(gateway.port)
        answers += 1
        if (status !== 200) failures.push(status)
      }
    }
    const clients = Array.from({ length: 20 }, client)
    await until(() => answers > 100, 5_000)
    doomed!.process.kill('SIGKILL')
    const killedAt = answers
    await until(() => answers > killedAt + 200, 5_000)
    assert.equal(upstream.describe()[0]!.available, false)
    await spawnBackend(t, doomed!.port)
    const back = await until(() => upstream.describe()[0]!.breaker === 'closed', 3_000)
    stop = true
    await Promise.all(clients)
    assert.deepEqual(failures, [])
    assert.ok(back < 1_000, `back after ${back} ms`)
  })

  test('that answers only 503 is left out; when all do, their answers pass', async (t) => {
    let sick = 0
    const one = await httpBackend(t, (_req, res) => {
      sick += 1
      res.writeHead(503).end('sick')
    })
    let well = true
    const other = await httpBackend(t, (_req, res) => res.writeHead(well ? 200 : 503).end())
    const upstream = upstreamTo(t, { targets: [one.url, other.url], breaker: { failures: 3 } })
    const gateway = await gatewayTo(t, upstream)
    for (let i = 0; i < 30; i++) await ask(gateway.port)
    assert.equal(sick, 3)
    well = false
    for (let i = 0; i < 10; i++) assert.equal((await ask(gateway.port)).status, 503)
    assert.equal(gateway.outcomes.filter(({ failure }) => failure).length, 0, 'all of them answers of the service')
  })
})

describe('all instances are gone', { concurrency: true, timeout: 30_000 }, () => {
  test('the answer is a 503 with Retry-After within milliseconds, not after timeouts', async (t) => {
    const hanging = await rawBackend(t, (socket) => socket.resume())
    const settings = { targets: [hanging.url], timeouts: { response: '100ms' }, breaker: { failures: 3 } }
    const gateway = await gatewayTo(t, upstreamTo(t, settings))
    await Promise.all([1, 2, 3].map(() => ask(gateway.port)))
    const started = performance.now()
    const { status, headers, content } = await ask(gateway.port)
    assert.ok(performance.now() - started < 50)
    assert.equal(status, 503)
    assert.equal(headers['retry-after'], '1')
    assert.equal(content.toString(), 'problem no-healthy-target')
  })

  test('a hanging one is tried after its cooldown, not as soon as it accepts a connection', async (t) => {
    let hang = true
    const backend = await httpBackend(t, (_req, res) => {
      if (!hang) res.end('ok')
    })
    const settings = {
      targets: [backend.url],
      timeouts: { response: '100ms' },
      breaker: { failures: 1, cooldown: '900ms' },
    }
    const gateway = await gatewayTo(t, upstreamTo(t, settings))
    assert.equal((await ask(gateway.port)).status, 504)
    hang = false
    await sleep(700)
    assert.equal((await ask(gateway.port)).status, 503)
    await sleep(300)
    assert.equal((await ask(gateway.port)).status, 200)
  })
})

describe('health probes', { concurrency: true, timeout: 30_000 }, () => {
  test('take an instance out before a request has to find out, and bring it back', async (t) => {
    let healthy = true
    const probes: string[] = []
    const one = await httpBackend(t, (req, res) => {
      if (req.url === '/api/health') {
        probes.push(req.headers['user-agent']!)
        res.writeHead(healthy ? 200 : 500).end()
      } else res.end('one')
    })
    const other = await httpBackend(t, (_req, res) => res.end('other'))
    const { log, messages } = remembering()
    const health = { path: '/health', interval: '30ms', unhealthyAfter: 2, healthyAfter: 2 }
    const upstream = upstreamTo(t, { targets: [`${one.url}/api`, other.url], health }, log)
    const gateway = await gatewayTo(t, upstream)
    await until(() => probes.length > 2)
    assert.deepEqual([...new Set(probes)], ['sallyport-health'])
    healthy = false
    await until(() => !upstream.describe()[0]!.available)
    for (let i = 0; i < 6; i++) assert.equal((await ask(gateway.port)).content.toString(), 'other')
    healthy = true
    await until(() => upstream.describe()[0]!.available)
    assert.deepEqual(messages, ['target taken out: unhealthy', 'target healthy'])
    assert.equal(upstream.describe()[0]!.healthy, true)
  })

  test('that hang count as failed, and all instances unhealthy is a 503', async (t) => {
    const backend = await httpBackend(t, (req, res) => {
      if (req.url !== '/health') res.end('ok')
    })
    const health = { path: '/health', interval: '20ms', timeout: '50ms' }
    const upstream = upstreamTo(t, { targets: [backend.url], health })
    const gateway = await gatewayTo(t, upstream)
    assert.equal((await ask(gateway.port)).status, 200, 'healthy until proven otherwise')
    await until(() => !upstream.available)
    assert.equal((await ask(gateway.port)).status, 503)
  })

  test('say what is wrong also when none of several addresses answers', async (t) => {
    // Nobody listens at either.
    const lookup: LookupFunction = (_name, _options, found) =>
      process.nextTick(found, null, [
        { address: '127.0.0.8', family: 4 },
        { address: '127.0.0.9', family: 4 },
      ])
    const settings = { path: '/', interval: 60_000, timeout: 5_000, unhealthyAfter: 1, healthyAfter: 1 }
    let why: string | undefined
    const prober = new Prober('http://orders.example:1', settings, { lookup, chance: Math.random }, (told) => {
      why = told
    })
    t.after(() => prober.stop())
    await until(() => why !== undefined)
    assert.equal(why, 'ECONNREFUSED')
  })
})

describe('a new configuration', { concurrency: true, timeout: 30_000 }, () => {
  const registry = (t: TestContext) => {
    const upstreams = createUpstreams({
      log: { debug() {}, info() {}, warn() {}, error() {} },
      clock: () => performance.now(),
      chance: Math.random,
    })
    t.after(() => upstreams.close())
    return upstreams
  }

  test('keeps the connections and the health of the targets it does not change', async (t) => {
    const backend = await answering(t, ok)
    const upstreams = registry(t)
    const before = upstreams.acquire('orders', settingsOf({ targets: [backend.url] }))
    const old = await gatewayTo(t, before)
    await ask(old.port)
    const other = await answering(t, ok)
    const targets = [{ url: backend.url, weight: 7 }, other.url]
    const after = upstreams.acquire(
      'orders',
      settingsOf({ targets, balance: 'random-two', timeouts: { response: '1s' } }),
    )
    before.release()
    before.release()
    assert.equal(after.targets[0]!.state, before.targets[0]!.state)
    const current = await gatewayTo(t, after)
    for (let i = 0; i < 8; i++) await ask(current.port)
    assert.equal(backend.sockets.length, 1)
    assert.equal(backend.sockets[0]!.destroyed, false)
  })

  test('closes the connections to targets that nobody uses any more: idle ones now, busy ones when they are done', async (t) => {
    let finish: () => void = () => {}
    const backend = await httpBackend(t, (req, res) => {
      if (req.url === '/slow') finish = () => res.end('done')
      else res.end('ok')
    })
    const upstreams = registry(t)
    const upstream = upstreams.acquire('orders', settingsOf({ targets: [backend.url] }))
    const gateway = await gatewayTo(t, upstream)
    const slow = rawRequest(gateway.port, get('/slow'), 1_000)
    await until(() => backend.sockets.length === 1)
    await ask(gateway.port)
    assert.equal(backend.sockets.length, 2)
    upstream.release()
    await until(() => backend.sockets[1]!.destroyed)
    assert.equal(backend.sockets[0]!.destroyed, false)
    finish()
    assert.match((await slow).content, /done/)
    await until(() => backend.sockets[0]!.destroyed)
  })

  test('a service keeps its connections to itself, though another has the same target', async (t) => {
    const backend = await answering(t, ok)
    const upstreams = registry(t)
    const settings = settingsOf({ targets: [backend.url] })
    const [orders, reports] = ['orders', 'reports'].map((name) => upstreams.acquire(name, settings))
    assert.notEqual(orders!.targets[0]!.state, reports!.targets[0]!.state)
  })
})

describe('targets that are taken out for what they answer', { concurrency: true, timeout: 30_000 }, () => {
  const breaker = { failures: 1, cooldown: '60s' } as const

  async function threeSick(t: TestContext, maxEjected: number) {
    const asked = [0, 0, 0]
    const backends = await Promise.all(
      asked.map((_, index) =>
        httpBackend(t, (_req, res) => {
          asked[index]! += 1
          res.writeHead(index === 2 ? 200 : 503).end()
        }),
      ),
    )
    const upstream = upstreamTo(t, { targets: backends.map(({ url }) => url), breaker: { ...breaker, maxEjected } })
    const gateway = await gatewayTo(t, upstream)
    for (let i = 0; i < 30; i++) await ask(gateway.port)
    return { asked, upstream }
  }

  test('are no more than the part that may be out', async (t) => {
    const { asked } = await threeSick(t, 0.5)
    assert.ok(asked[0]! >= 8 && asked[1]! >= 8, `two of three are more than half: ${asked}`)
  })

  test('are all of them where they may be', async (t) => {
    const { asked, upstream } = await threeSick(t, 0.7)
    assert.deepEqual(asked, [1, 1, 28])
    assert.deepEqual(
      upstream.describe().map(({ requests, failures }) => [requests, failures]),
      [
        [1, 1],
        [1, 1],
        [28, 0],
      ],
    )
  })
})

test('a target that comes back gets its share of requests little by little, as long as its slow start lasts', async (t) => {
  let now = 0
  let sick = true
  const asked = [0, 0]
  const [one, other] = await Promise.all([
    httpBackend(t, (_req, res) => {
      asked[0]! += 1
      res.writeHead(sick ? 503 : 200).end()
    }),
    httpBackend(t, (_req, res) => {
      asked[1]! += 1
      res.end()
    }),
  ])
  const settings = {
    targets: [one!.url, other!.url],
    breaker: { failures: 1, cooldown: '1s', slowStart: '100s' },
  }
  const upstream = upstreamTo(t, settings, undefined, () => now)
  const gateway = await gatewayTo(t, upstream)
  for (let i = 0; i < 4; i++) await ask(gateway.port)
  sick = false
  now = 1_500
  while (upstream.describe()[0]!.breaker !== 'closed') await ask(gateway.port)
  const shareAfter = async (milliseconds: number) => {
    now = 1_500 + milliseconds
    asked.fill(0)
    for (let i = 0; i < 40; i++) await ask(gateway.port)
    return asked[0]! / 40
  }
  assert.ok((await shareAfter(0)) <= 0.15)
  const half = await shareAfter(50_000)
  assert.ok(half > 0.25 && half < 0.4, String(half))
  assert.equal(await shareAfter(100_000), 0.5)
})
