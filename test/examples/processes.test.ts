import assert from 'node:assert/strict'
import { type ChildProcess, fork, spawn } from 'node:child_process'
import { once } from 'node:events'
import { createServer } from 'node:net'
import { text } from 'node:stream/consumers'
import { after, describe, test } from 'node:test'
import { setTimeout as delay } from 'node:timers/promises'
import { startBackends } from '../../examples/backends.ts'

const ports = { orders: 'ORDERS_PORT', inventory: 'INVENTORY_PORT', reports: 'REPORTS_PORT' }
const anyPorts = { ...process.env, ORDERS_PORT: '0', INVENTORY_PORT: '0', REPORTS_PORT: '0' }
const program = (service: string) => new URL(`../../examples/${service}/server.ts`, import.meta.url)

const started: ChildProcess[] = []
after(() => {
  for (const child of started) child.kill('SIGKILL')
})

async function answers(url: string): Promise<boolean> {
  return fetch(`${url}/health`, { signal: AbortSignal.timeout(1_000) }).then(
    (response) => response.ok,
    () => false,
  )
}

/** Waits, at most 10 s, until nobody answers any more. */
async function silence(urls: readonly string[]): Promise<boolean> {
  for (const deadline = Date.now() + 10_000; Date.now() < deadline; await delay(20)) {
    if (!(await Promise.all(urls.map(answers))).includes(true)) return true
  }
  return false
}

describe('a service of the demo, as a process', () => {
  for (const [service, variable] of Object.entries(ports)) {
    test(`${service} listens where ${variable} says, says so in one line and ends with SIGTERM`, async () => {
      const child = spawn(process.execPath, [program(service).pathname], {
        env: anyPorts,
        stdio: ['ignore', 'pipe', 'inherit'],
      })
      started.push(child)
      const [line] = (await once(child.stdout!, 'data')) as [Buffer]
      const url = new RegExp(`^${service} listens on (http://127\\.0\\.0\\.1:\\d+)\\n$`).exec(String(line))?.[1]
      assert.ok(url, String(line))
      assert.equal(await answers(url), true)
      child.kill('SIGTERM')
      assert.deepEqual(await once(child, 'exit'), [0, null])
    })
  }

  test('names the port that is taken and the variable that changes it, in one line', async () => {
    const occupant = createServer().listen(0, '127.0.0.1')
    await once(occupant, 'listening')
    const { port } = occupant.address() as { port: number }
    try {
      const child = spawn(process.execPath, [program('orders').pathname], {
        env: { ...process.env, ORDERS_PORT: String(port) },
        stdio: ['ignore', 'inherit', 'pipe'],
      })
      started.push(child)
      const [said, [code]] = await Promise.all([text(child.stderr!), once(child, 'exit')])
      assert.equal(said.trim().split('\n').length, 1, said)
      assert.match(said, new RegExp(`^orders cannot listen: port ${port} is taken\\. Set ORDERS_PORT`))
      assert.equal(code, 1)
    } finally {
      occupant.close()
    }
  })

  test('refuses a port that is none', async () => {
    const child = spawn(process.execPath, [program('orders').pathname], {
      env: { ...process.env, ORDERS_PORT: 'http' },
      stdio: ['ignore', 'inherit', 'pipe'],
    })
    started.push(child)
    const [said, [code]] = await Promise.all([text(child.stderr!), once(child, 'exit')])
    assert.equal(said, 'ORDERS_PORT is not a port: http\n')
    assert.equal(code, 1)
  })
})

describe('the services of the demo together', () => {
  const urlsOf = (env: Readonly<Record<string, string | undefined>>) =>
    ['ORDERS_URL', 'INVENTORY_URL', 'REPORTS_URL'].map((name) => env[name]!)

  test('know each other, stay on the loopback interface whatever HOST says, and end when asked to', async () => {
    const { env, close } = await startBackends({ ...anyPorts, HOST: '0.0.0.0', PORT: '1' })
    const urls = urlsOf(env)
    try {
      assert.deepEqual(await Promise.all(urls.map(answers)), [true, true, true])
      for (const url of urls) assert.match(url, /^http:\/\/127\.0\.0\.1:/)
      assert.equal(env['HOST'], '0.0.0.0')
      const summary = await fetch(`${env['REPORTS_URL']}/summary`, { headers: { authorization: 'Bearer token' } })
      assert.equal(summary.status, 200)
    } finally {
      await close()
    }
    assert.equal(await silence(urls), true)
  })

  test('leave nothing running when one of them cannot listen', async () => {
    const occupant = createServer().listen(0, '127.0.0.1')
    await once(occupant, 'listening')
    const { port } = occupant.address() as { port: number }
    const free = createServer().listen(0, '127.0.0.1')
    await once(free, 'listening')
    const { port: ordersPort } = free.address() as { port: number }
    await new Promise((resolve) => free.close(resolve))
    try {
      await assert.rejects(
        startBackends({ ...anyPorts, ORDERS_PORT: String(ordersPort), REPORTS_PORT: String(port) }),
        /reports did not start/,
      )
      assert.equal(await answers(`http://127.0.0.1:${ordersPort}`), false)
    } finally {
      occupant.close()
    }
  })

  test('end when the process that started them is killed', async () => {
    const parent = fork(new URL('backends-parent.ts', import.meta.url), { env: anyPorts })
    started.push(parent)
    const [{ env }] = (await once(parent, 'message')) as [{ env: Record<string, string> }]
    const urls = urlsOf(env)
    assert.deepEqual(await Promise.all(urls.map(answers)), [true, true, true])
    parent.kill('SIGKILL')
    assert.equal(await silence(urls), true)
  })
})
