import assert from 'node:assert/strict'
import { type ChildProcess, execFile, spawn } from 'node:child_process'
import { once } from 'node:events'
import { request } from 'node:http'
import { createServer } from 'node:net'
import { join } from 'node:path'
import { text } from 'node:stream/consumers'
import { after, before, describe, test } from 'node:test'
import { setTimeout as delay } from 'node:timers/promises'
import { promisify } from 'node:util'
import { demoKey } from '../../examples/demo.ts'

const root = join(import.meta.dirname, '..', '..')
const anyPorts = { PORT: '0', ADMIN_PORT: '0', ORDERS_PORT: '0', INVENTORY_PORT: '0', REPORTS_PORT: '0' }
const started: ChildProcess[] = []
after(() => {
  for (const child of started) child.kill('SIGKILL')
})

/** `npm start`, without npm in between: its signals are npm's own business. */
function npmStart(environment: Readonly<Record<string, string>> = {}): ChildProcess {
  const env = { ...process.env, ...anyPorts, ...environment }
  const child = spawn(process.execPath, ['examples/start.ts'], { cwd: root, env, stdio: ['ignore', 'pipe', 'pipe'] })
  started.push(child)
  return child
}

interface Demo {
  readonly child: ChildProcess
  readonly screen: string
  readonly gateway: string
  /** Everything that listens: the services, the gateway, its admin port. */
  readonly urls: readonly string[]
}

/** Waits for the last line of the welcome. */
async function ready(child: ChildProcess): Promise<Demo> {
  const errors = text(child.stderr!)
  let screen = ''
  for await (const chunk of child.stdout!.iterator({ destroyOnReturn: false })) {
    screen += chunk
    if (screen.includes('Ctrl-C ends everything')) {
      child.stdout!.resume()
      const urls = [...new Set([...screen.matchAll(/http:\/\/[\w.]+:\d+/g)].map(([url]) => url))]
      const gateway = /(http:\S+)\/docs/.exec(screen)?.[1]
      assert.ok(gateway, screen)
      return { child, screen, gateway, urls }
    }
  }
  throw new Error(`npm start ended: ${screen}${await errors}`)
}

const reachable = (url: string) =>
  fetch(url, { signal: AbortSignal.timeout(1_000) }).then(
    () => true,
    () => false,
  )

/** Waits, at most 10 s, until nothing listens any more. */
async function silence(urls: readonly string[]): Promise<boolean> {
  for (const deadline = Date.now() + 10_000; Date.now() < deadline; await delay(20)) {
    if (!(await Promise.all(urls.map(reachable))).includes(true)) return true
  }
  return false
}

test('npm start ends with the shell that npm has put in between', { timeout: 60_000 }, async () => {
  const env = { ...process.env, ...anyPorts, npm_lifecycle_event: 'start' }
  const command = `"${process.execPath}" examples/start.ts; true`
  const shell = spawn('sh', ['-c', command], { cwd: root, env, stdio: ['ignore', 'pipe', 'pipe'] })
  started.push(shell)
  const { urls } = await ready(shell)
  shell.kill('SIGTERM')
  assert.equal(await silence(urls), true)
})

describe('npm start', () => {
  let demo: Demo
  before(
    async () => {
      demo = await ready(npmStart())
    },
    { timeout: 60_000 },
  )

  const token = async (username: string, password: string): Promise<string> => {
    const response = await fetch(`${demo.gateway}/token`, {
      method: 'POST',
      body: new URLSearchParams({ grant_type: 'password', username, password, client_id: 'swagger-ui' }),
    })
    assert.equal(response.status, 200, await response.clone().text())
    return ((await response.json()) as { access_token: string }).access_token
  }

  test('prints a curl line that works when pasted', async () => {
    const line = /Try it +(curl .+)/.exec(demo.screen)?.[1]
    assert.ok(line, demo.screen)
    // Where there is no curl, its words are followed by hand.
    const [, key, url] = /^curl -H "X-API-Key: (\w+)" "(http:\S+)"$/.exec(line) ?? []
    assert.ok(key && url, line)
    const byHand = async () => (await fetch(url, { headers: { 'x-api-key': key } })).text()
    const answer = await promisify(execFile)('sh', ['-c', line.replace('curl', 'curl --silent --fail')]).then(
      ({ stdout }) => stdout,
      (error: { code?: unknown }) => (error.code === 127 || error.code === 'ENOENT' ? byHand() : Promise.reject(error)),
    )
    assert.equal((JSON.parse(answer) as { items: object[] }).items.length, 2)
    assert.equal(key, demoKey)
  })

  test('prints users who can sign in with the passwords printed beside them', async () => {
    const users = [...demo.screen.matchAll(/(\w+) +(\w+-demo) +(\w+) +(acme|globex)$/gm)]
    assert.deepEqual(
      users.map(([, name, , role]) => `${name}: ${role}`),
      ['ada: admin', 'kenji: editor', 'sofia: viewer'],
    )
    for (const [, username, password, role, organization] of users) {
      const authorization = `Bearer ${await token(username!, password!)}`
      const response = await fetch(`${demo.gateway}/orders/whoami`, { headers: { authorization } })
      const { fields } = (await response.json()) as { fields: Record<string, string> }
      assert.deepEqual([fields['user-role'], fields['organization-id']], [role, organization])
      assert.equal(fields['authorization'], authorization)
    }
  })

  test('takes one token through three services, under one request id and one trace', async () => {
    const authorization = `Bearer ${await token('ada', 'ada-demo')}`
    const response = await fetch(`${demo.gateway}/reports/summary`, { headers: { authorization } })
    assert.equal(response.status, 200, await response.clone().text())
    const { hops } = (await response.json()) as { hops: Record<string, string>[] }
    assert.deepEqual(
      hops.map(({ service }) => service),
      ['reports', 'orders', 'inventory'],
    )
    for (const name of ['subject', 'requestId', 'traceId', 'authorization']) {
      assert.equal(new Set(hops.map((hop) => hop[name])).size, 1, name)
      assert.ok(hops[0]?.[name], name)
    }
    assert.equal(hops[0]?.['subject'], 'user-ada')
    assert.equal(response.headers.get('x-request-id'), hops[0]?.['requestId'])
  })

  test('ends everything with Ctrl-C', async () => {
    demo.child.kill('SIGINT')
    assert.deepEqual(await once(demo.child, 'exit'), [0, null])
    assert.equal(await silence(demo.urls), true)
  })
})

describe('npm start, when something is in the way', () => {
  for (const [variable, what] of Object.entries({ ORDERS_PORT: 'orders', PORT: '' })) {
    test(`names the port that is taken and ${variable}, and leaves nothing running`, async () => {
      const occupant = createServer().listen(0, '127.0.0.1')
      await once(occupant, 'listening')
      const { port } = occupant.address() as { port: number }
      try {
        const child = npmStart({ [variable]: String(port) })
        const [screen, errors, [code]] = await Promise.all([
          text(child.stdout!),
          text(child.stderr!),
          once(child, 'exit'),
        ])
        assert.equal(code, 1)
        assert.match(errors, new RegExp(`^${what}[^\\n]*\\b${port}\\b[^\\n]*\\b${variable}\\b`, 'm'))
        assert.doesNotMatch(errors, /\n +at /)
        assert.equal(await silence([...screen.matchAll(/http:\/\/[\w.]+:\d+/g)].map(([url]) => url)), true)
      } finally {
        occupant.close()
      }
    })
  }

  test('takes the services along when it is killed', async () => {
    const { child, urls } = await ready(npmStart())
    assert.deepEqual(await Promise.all(urls.map(reachable)), Array(urls.length).fill(true))
    child.kill('SIGKILL')
    assert.equal(await silence(urls), true)
  })

  test('lets a request end before it does, unless Ctrl-C comes a second time', async () => {
    const { child, gateway, urls } = await ready(npmStart())
    const headers = { 'x-api-key': demoKey, 'content-type': 'application/octet-stream' }
    const upload = request(`${gateway}/orders/1/attachments`, { method: 'POST', headers })
    upload.on('error', () => {})
    await new Promise((flushed) => upload.write('the first half', flushed))
    // Answered later than the head of the upload was read.
    await fetch(`${gateway}/orders?limit=1`, { headers: { 'x-api-key': demoKey } }).then((response) => response.text())
    child.kill('SIGINT')
    await delay(300)
    assert.equal(child.exitCode, null)
    const gone = once(child, 'exit')
    child.kill('SIGINT')
    assert.deepEqual(await gone, [1, null])
    assert.equal(await silence(urls), true)
  })
})
