import assert from 'node:assert/strict'
import { type ChildProcess, spawn } from 'node:child_process'
import { createHmac } from 'node:crypto'
import { once } from 'node:events'
import { mkdirSync, mkdtempSync, readFileSync, rmSync, symlinkSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { after, before, test } from 'node:test'
import { type Backend, startBackend } from '../backend.ts'
import { freePort } from '../free-port.ts'
import { eventually, type GatewayUnderTest, startGateway } from '../sallyport.ts'

const root = join(import.meta.dirname, '..', '..')
const guide = readFileSync(join(root, 'docs', 'guides', 'context.md'), 'utf8')
/** The code of docs/guides/context.md, by the file name in its first line. */
const code = new Map(
  [...guide.matchAll(/^```ts\n\/\/ (\S+)\n([\s\S]*?)^```$/gm)].map(([, name, text]) => [name!, text!]),
)

const secret = 'a secret of thirty-two bytes and more, for tests'
function token(roles: readonly string[]): string {
  const now = Math.floor(Date.now() / 1_000)
  const encode = (part: object) => Buffer.from(JSON.stringify(part)).toString('base64url')
  const payload = { iss: 'https://old.example', aud: 'api', sub: 'grace', roles, iat: now, exp: now + 60 }
  const content = `${encode({ alg: 'HS256', typ: 'at+jwt' })}.${encode(payload)}`
  return `${content}.${createHmac('sha256', secret).update(content).digest('base64url')}`
}

const folder = mkdtempSync(join(tmpdir(), 'sallyport-guide-'))
const children: ChildProcess[] = []
const printed: string[] = []
let rates: Backend
let gateway: GatewayUnderTest

/** Runs a file of the guide as it stands there; the package is found by its own name, as it would be when installed. */
async function run(name: string, environment: Record<string, string>): Promise<string> {
  const port = await freePort()
  const child = spawn(process.execPath, ['--conditions=sallyport-source', join(folder, name)], {
    env: { ...process.env, ...environment, PORT: String(port) },
    stdio: ['ignore', 'pipe', 'pipe'],
  })
  children.push(child)
  for (const stream of [child.stdout, child.stderr]) stream.on('data', (chunk) => printed.push(String(chunk)))
  const url = `http://127.0.0.1:${port}`
  await eventually(
    `${name} answers: ${printed.join('')}`,
    async () => {
      assert.equal(child.exitCode, null, printed.join(''))
      return fetch(url).then(
        () => true,
        () => false,
      )
    },
    60_000,
  )
  return url
}

before(async () => {
  mkdirSync(join(folder, 'node_modules'))
  symlinkSync(root, join(folder, 'node_modules', 'sallyport'))
  for (const name of ['koa', 'express'])
    symlinkSync(join(root, 'node_modules', name), join(folder, 'node_modules', name))
  writeFileSync(join(folder, 'package.json'), '{ "type": "module" }')
  for (const [name, text] of code) writeFileSync(join(folder, name), text)

  rates = await startBackend((req, res) => {
    const { method = '', url = '', rawHeaders: raw, headers } = req
    rates.received.push({ method, url, raw, headers, body: '' })
    res.end('1.08')
  })
  const inventory = await run('inventory.ts', {})
  const orders = await run('orders.ts', { INVENTORY_URL: inventory, RATES_URL: rates.url })
  rates.received.length = 0
  gateway = await startGateway({
    issuers: { old: { type: 'secret', issuer: 'https://old.example', audience: 'api', secret } },
    securitySchemes: { bearer: { type: 'http', scheme: 'bearer' } },
    services: [{ name: 'orders', path: '/orders', targets: [orders], openapi: false, security: [{ bearer: [] }] }],
  })
})
after(async () => {
  await gateway?.[Symbol.asyncDispose]()
  for (const child of children) {
    if (child.exitCode !== null || child.signalCode !== null) continue
    child.kill('SIGKILL')
    await once(child, 'exit')
  }
  await rates?.[Symbol.asyncDispose]()
  rmSync(folder, { recursive: true })
})

test('the two services of docs/guides/context.md name the same caller and the same request', async () => {
  assert.deepEqual([...code.keys()], ['orders.ts', 'inventory.ts'])
  const bearer = token(['editor'])
  const response = await fetch(`${gateway.url}/orders/17`, { headers: { Authorization: `Bearer ${bearer}` } })
  const text = await response.text()
  assert.equal(response.status, 200, `${text} ${printed.join('')}`)
  const requestId = response.headers.get('x-request-id')
  assert.deepEqual(JSON.parse(text), {
    orderedBy: 'grace',
    requestId,
    stock: { order: '17', askedBy: 'grace', requestId },
    rate: '1.08',
  })
  // Whoever is not trusted gets nothing of it.
  const [stranger] = rates.received
  assert(stranger)
  const told = stranger.raw.join('\n')
  assert(!told.includes(bearer) && !told.includes('grace') && !told.includes(requestId!), told)
  // The token was carried on, and is concealed where it is printed.
  const line = await eventually('the line is printed', () => /^.*stock was asked for.*$/m.exec(printed.join(''))?.[0])
  assert.equal(JSON.parse(line).context.authorization, '[secret]')
  assert.equal(JSON.parse(line).context.requestId, requestId)
  assert(!printed.join('').includes(bearer))
})

test('the second service decides by the same caller', async () => {
  const response = await fetch(`${gateway.url}/orders/17`, {
    headers: { Authorization: `Bearer ${token(['viewer'])}` },
  })
  assert.equal(response.status, 500, 'orders does not handle the 403 of inventory')
  await response.body?.cancel()
  assert.equal(rates.received.length, 1, 'nobody was asked any further')
})
