import assert from 'node:assert/strict'
import { spawnSync } from 'node:child_process'
import { closeSync, mkdirSync, mkdtempSync, openSync, readdirSync, rmSync } from 'node:fs'
import { Agent, request } from 'node:http'
import { connect, type Socket } from 'node:net'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { after, before, describe, test } from 'node:test'
import { setTimeout as delay } from 'node:timers/promises'
import { type Backend, startBackend } from '../backend.ts'
import { startProcess } from '../processes.ts'
import { sendRaw } from '../raw.ts'
import { eventually, type GatewayUnderTest, startGateway } from '../sallyport.ts'

const services = (target: string) => [{ name: 'open', path: '/open', targets: [target], openapi: false, security: [] }]

const get = (path: string, fields = '') => `GET ${path} HTTP/1.1\r\nHost: gateway\r\n${fields}Connection: close\r\n\r\n`
const code = (text: string) => JSON.parse(text.slice(text.indexOf('{'))).code

/** A connection that says nothing, or begins to. */
function hold(url: string, bytes = ''): Promise<Socket> {
  const { hostname, port } = new URL(url)
  return new Promise((resolve) => {
    const socket = connect(Number(port), hostname, () => {
      if (bytes) socket.write(bytes)
      resolve(socket)
    })
    // What the gateway does to it is what is looked at.
    socket.on('error', () => {})
    socket.resume()
  })
}

/** 0 when the connection is refused or cut. */
const status = (url: string) =>
  fetch(url, { headers: { Connection: 'close' } }).then(
    (answer) => answer.status,
    () => 0,
  )

describe('what a client may take up', () => {
  let backend: Backend
  let gateway: GatewayUnderTest
  before(async () => {
    backend = await startBackend()
    const limits = { connections: 20, head: '4kb', fields: 20, url: '1kb', headTimeout: '1s', keepAlive: '30s' }
    gateway = await startGateway({ gateway: { limits }, services: services(backend.url) })
  })
  after(async () => {
    await gateway?.[Symbol.asyncDispose]()
    await backend?.[Symbol.asyncDispose]()
  })

  for (const { what, request, expected } of [
    { what: 'a target', request: get(`/open/${'a'.repeat(1_100)}`), expected: [414, 'target-too-long'] },
    { what: 'a head', request: get('/open/', `X-Long: ${'a'.repeat(5_000)}\r\n`), expected: [431, 'fields-too-large'] },
    { what: 'the fields', request: get('/open/', 'X-One: 1\r\n'.repeat(25)), expected: [431, 'fields-too-large'] },
  ]) {
    test(`${what} that is too large is ${expected[0]}`, async () => {
      const answer = await sendRaw(gateway.url, request)
      assert.deepEqual([answer.status, code(answer.text)], expected)
    })
  }

  test('a head that does not come to its end is 408, and the connection is closed', async () => {
    const answer = await sendRaw(gateway.url, 'GET /open/ HTTP/1.1\r\nHost: gate', 10_000)
    assert.equal(answer.status, 408)
    assert.match(answer.text, /\r\nConnection: close\r\n/i)
  })

  test('more connections than are taken are told so, logged once, and all is well when they have gone', async () => {
    const held = await Promise.all(Array.from({ length: 20 }, () => hold(gateway.url, 'GET / HTTP/1.1\r\nHost: g')))
    await eventually('all have arrived', () => gateway.running.connections >= 20)
    try {
      const answer = await sendRaw(gateway.url, get('/open/'), 5_000)
      assert.deepEqual([answer.status, code(answer.text)], [503, 'overloaded'], answer.text)
      for (const field of [/\r\nRetry-After: 1\r\n/i, /\r\nConnection: close\r\n/i]) assert.match(answer.text, field)
      const flood = await Promise.all(Array.from({ length: 40 }, () => hold(gateway.url)))
      await eventually('those on top of it are cut', () => flood.some(({ destroyed }) => destroyed))
      for (const socket of flood) socket.destroy()
    } finally {
      for (const socket of held) socket.destroy()
    }
    await eventually('there is room', async () => (await status(`${gateway.url}/open/`)) === 200, 10_000)
    const told = gateway.log.filter(({ message }) => /more connections than are taken/.test(message))
    assert.equal(told.length, 1)
    await eventually('it is told', () => gateway.log.some(({ message }) => /there is room/.test(message)))
    const metrics = await (await fetch(`${gateway.adminUrl}/metrics`)).text()
    assert.match(metrics, /sallyport_alarms_total\{kind="connections-refused",name="clients"\} [1-9]/)
  })

  test('connections that only wait give way to those that come', async () => {
    await eventually('nobody is left of before', () => gateway.running.connections === 0)
    const before = backend.received.length
    const idle = await Promise.all(
      Array.from({ length: 20 }, () => hold(gateway.url, 'GET /open/ HTTP/1.1\r\nHost: g\r\n\r\n')),
    )
    await eventually('all wait for a next request', () => backend.received.length >= before + 20)
    await delay(200)
    const first = await status(`${gateway.url}/open/`)
    assert.ok([0, 200, 503].includes(first), String(first))
    await eventually('the next one is served', async () => (await status(`${gateway.url}/open/`)) === 200, 10_000)
    for (const socket of idle) socket.destroy()
  })
})

const processes = { skip: process.platform !== 'linux' && 'needs /proc' }

describe('a gateway that is short of what a machine has', processes, () => {
  let backend: Backend
  before(async () => {
    backend = await startBackend()
  })
  after(async () => {
    await backend?.[Symbol.asyncDispose]()
  })

  test('a log that nobody reads stops no request, costs bounded memory, and keeps nothing from ending', async () => {
    const definition = { store: { type: 'memory' }, gateway: { notice: '10ms' }, services: services(backend.url) }
    const gateway = await startProcess(definition)
    try {
      // The pipe fills up, then the four megabytes behind it.
      gateway.child.stdout!.pause()
      const path = `/open/${'a'.repeat(3_500)}`
      await Promise.all(
        Array.from({ length: 8 }, async () => {
          for (let n = 0; n < 165; n += 1) assert.equal((await fetch(gateway.url + path)).status, 200)
        }),
      )
      await eventually('lines are lost, and counted', async () => {
        const metrics = await (await fetch(`${gateway.adminUrl}/metrics`)).text()
        return Number(/^sallyport_log_lines_lost_total (\d+)$/m.exec(metrics)?.[1]) > 0
      })
      assert.equal(await status(`${gateway.url}/open/`), 200)
      gateway.child.stdout!.resume()
      await eventually('it is told when there is a reader again', () =>
        gateway.log().some(({ message, lines }) => /are lost/.test(message) && lines > 0),
      )
      gateway.child.stdout!.pause()
      for (let n = 0; n < 50; n += 1) await fetch(gateway.url + path)
      gateway.child.kill('SIGTERM')
      assert.equal(await Promise.race([gateway.ended, delay(20_000, 'still there')]), 0)
    } finally {
      await gateway[Symbol.asyncDispose]()
    }
  })

  test('few open files: a flood of connections is survived and over within a second of its end', async () => {
    const gateway = await startProcess(
      { store: { type: 'memory' }, services: services(backend.url) },
      { under: ['sh', '-c', 'ulimit -n 160; exec "$@"', 'sh'] },
    )
    try {
      const flood = await Promise.all(Array.from({ length: 400 }, () => hold(gateway.url)))
      await delay(500)
      for (const socket of flood) socket.destroy()
      await eventually('it serves', async () => (await status(`${gateway.url}/open/`)) === 200, 10_000)
      const warnings = () => gateway.log().filter(({ message }) => /too few open files/.test(message))
      await eventually('the warning is written', () => warnings().length > 0)
      assert.deepEqual(
        warnings().map(({ possible, message }) => [possible, /to 20064 \(ulimit/.test(message)]),
        [[48, true]],
        'once, with what would be enough',
      )
    } finally {
      await gateway[Symbol.asyncDispose]()
    }
  })
})

/** How many files a running process may have open; false when that cannot be changed here. */
function allowFiles(pid: number, most: number): boolean {
  return spawnSync('prlimit', ['--pid', String(pid), `--nofile=${most}:`]).status === 0
}

test('no file left: 503 while it lasts, no service is blamed for it, and all is well when there are some', {
  skip: process.platform !== 'linux' && 'needs /proc',
  timeout: 60_000,
}, async (t) => {
  await using backend = await startBackend()
  await using gateway = await startProcess({
    store: { type: 'memory' },
    services: ['open', 'other'].map((name) => ({ ...services(backend.url)[0], name, path: `/${name}` })),
  })
  const agent = new Agent({ keepAlive: true, maxSockets: 1 })
  t.after(() => agent.destroy())
  const ask = (path: string) =>
    new Promise<{ status: number; text: string }>((resolve, reject) => {
      const req = request(`${gateway.url}${path}`, { agent }, async (res) => {
        const text = (await res.setEncoding('utf8').toArray()).join('')
        resolve({ status: res.statusCode!, text })
      })
      req.on('error', reject).end()
    })
  assert.equal((await ask('/open/')).status, 200)
  const taken = new Set(readdirSync(`/proc/${gateway.pid}/fd`).map(Number))
  let free = 0
  while (taken.has(free)) free += 1
  if (!allowFiles(gateway.pid, free)) return t.skip('needs prlimit')
  // Twice as often as takes a target out, if it were the target's fault.
  for (let i = 0; i < 10; i += 1) {
    const { status, text } = await ask('/other/')
    assert.deepEqual([status, code(text)], [503, 'overloaded'])
  }
  // Who comes now is cut, or waits to be let in.
  const late = status(`${gateway.url}/open/`)
  assert.notEqual(await Promise.race([late, delay(200, 'waits')]), 200)
  assert.ok(allowFiles(gateway.pid, 1_024))
  const mended = Date.now()
  assert.equal((await ask('/other/')).status, 200)
  assert.equal(await status(`${gateway.url}/other/`), 200)
  assert.ok([0, 200].includes(await late))
  assert.ok(Date.now() - mended < 5_000)
  assert.equal(gateway.child.exitCode, null)
  assert.deepEqual(
    gateway.log().filter(({ level }) => level === 'error'),
    [],
  )
})

/** A disk of a few megabytes; only who may mount can have one. */
function smallDisk(): { readonly path: string; remove(): void } | undefined {
  const path = mkdtempSync(join(tmpdir(), 'sallyport-disk-'))
  if (spawnSync('mount', ['-t', 'tmpfs', '-o', 'size=3m', 'tmpfs', path]).status !== 0) {
    rmSync(path, { recursive: true })
    return undefined
  }
  return {
    path,
    remove() {
      spawnSync('umount', ['-l', path])
      rmSync(path, { recursive: true, force: true })
    },
  }
}

test('a disk that is full: reading goes on, writing is 503, and both work when there is room', async (t) => {
  const disk = smallDisk()
  if (!disk) return t.skip('needs to mount a small disk')
  t.after(() => disk.remove())
  await using backend = await startBackend()
  mkdirSync(join(disk.path, 'store'))
  const log = openSync(join(disk.path, 'log'), 'a')
  t.after(() => closeSync(log))
  const definition = {
    store: { type: 'sqlite', path: join(disk.path, 'store', 'sallyport.db') },
    securitySchemes: { key: { type: 'apiKey', in: 'header', name: 'X-API-Key' } },
    services: [{ ...services(backend.url)[0], security: [{ key: [] }] }],
  }
  await using gateway = await startProcess(definition, { stdout: log })
  const create = async () => {
    const init = {
      method: 'POST',
      headers: { 'Content-Type': 'application/json' },
      body: JSON.stringify({ owner: 'ada' }),
    }
    const answer = await fetch(`${gateway.adminUrl}/keys`, init)
    return { status: answer.status, body: (await answer.json()) as { readonly text: string; readonly code?: string } }
  }
  const made = await create()
  assert.equal(made.status, 201)
  const headers = { 'X-API-Key': made.body.text }
  const use = async () => (await fetch(`${gateway.url}/open/`, { headers })).status
  spawnSync('dd', ['if=/dev/zero', `of=${join(disk.path, 'filler')}`, 'bs=4k'])
  const full = await eventually('nothing can be written', async () => {
    const answer = await create()
    return answer.status === 503 ? answer : undefined
  })
  assert.equal(full.body.code, 'store-unavailable')
  for (let n = 0; n < 50; n += 1) assert.equal(await use(), 200)
  rmSync(join(disk.path, 'filler'))
  await eventually('keys can be made again', async () => (await create()).status === 201)
  assert.equal(await use(), 200)
})

test('the clock of the machine jumps, an hour back and five minutes on: nobody is cut, and rates go on as before', async () => {
  let jump = 0
  const now = () => Date.now() + jump
  await using backend = await startBackend(
    (req, res) => void setTimeout(() => res.end('done'), req.url === '/slow' ? 300 : 0),
  )
  const limited = { ...services(backend.url)[0], name: 'limited', path: '/limited' }
  await using gateway = await startGateway(
    {
      services: [
        { ...services(backend.url)[0], timeouts: { response: '2s', total: '3s' } },
        { ...limited, limits: { rate: [{ requests: 1, per: '3s', by: 'address' }] } },
      ],
    },
    { now },
  )
  for (const step of [-3_600_000, 300_000]) {
    await eventually('there is an allowance', async () => (await status(`${gateway.url}/limited/`)) === 200, 10_000)
    const running = status(`${gateway.url}/open/slow`)
    jump += step
    assert.equal(await status(`${gateway.url}/limited/`), 429, 'the jump brought an allowance')
    assert.equal(await running, 200)
  }
  await eventually('there is one again', async () => (await status(`${gateway.url}/limited/`)) === 200, 10_000)
})
