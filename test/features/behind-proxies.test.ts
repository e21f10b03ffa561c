import assert from 'node:assert/strict'
import { createHash } from 'node:crypto'
import { once } from 'node:events'
import { Agent, createServer, type IncomingMessage, request } from 'node:http'
import type { AddressInfo } from 'node:net'
import { describe, test } from 'node:test'
import { closeServer } from '../backend.ts'
import type { Received } from '../http/front.ts'
import { exchange } from '../http/raw.ts'
import type { RequestCase } from '../http/verdicts.ts'
import { type ProxyName, type RunningProxy, startProxy } from '../proxies.ts'
import { skipWithout } from '../requirements.ts'
import { type GatewayUnderTest, startGateway } from '../sallyport.ts'
import { skipWithoutShared, vectors } from '../vectors.ts'

/**
 * The raw requests of the shared vectors through a proxy that others have written, which reads and writes them in its
 * own way, and on connections that it shares between its clients. What it makes of them is its business: a request
 * that it repairs may pass. But one must not become two, nobody may get another's answer, and nothing protected be reached.
 */

const { cases } = skipWithoutShared ? { cases: [] } : (vectors('http-requests.json') as { cases: RequestCase[] })

const mark = 'x-test-mark'

/** A backend that answers with what it was asked, and remembers all of it. */
async function startEcho() {
  const received: Received[] = []
  const record = (req: IncomingMessage, method: string, body: string) =>
    received.push({ method, url: req.url ?? '', raw: req.rawHeaders, trailers: req.rawTrailers, body })
  const server = createServer({ requireHostHeader: false, maxHeaderSize: 1 << 20 }, (req, res) => {
    const chunks: Buffer[] = []
    req.on('data', (chunk) => chunks.push(chunk))
    req.on('error', () => {})
    req.on('end', () => {
      const body = Buffer.concat(chunks).toString('latin1')
      record(req, req.method ?? '', body)
      res.end(JSON.stringify([req.method, req.url, req.headers[mark] ?? '', body]))
    })
  })
  server.on('upgrade', (req, socket) => {
    record(req, 'UPGRADE', '')
    socket.destroy()
  })
  server.on('clientError', (error: Error & { code?: string }, socket) => {
    received.push({ method: 'PARSE-ERROR', url: error.code ?? '', raw: [], trailers: [], body: '' })
    socket.destroy()
  })
  server.listen(0, '127.0.0.1')
  await once(server, 'listening')
  const { port } = server.address() as AddressInfo
  return { url: `http://127.0.0.1:${port}`, received, [Symbol.asyncDispose]: () => closeServer(server) }
}

interface Ground {
  readonly proxy: RunningProxy
  readonly gateway: GatewayUnderTest
  readonly received: Received[]
}

async function behind(name: ProxyName, story: (ground: Ground) => Promise<void>): Promise<void> {
  await using backend = await startEcho()
  const sha256 = createHash('sha256').update('a key').digest('hex')
  await using gateway = await startGateway({
    gateway: { trustedProxies: ['127.0.0.1'] },
    securitySchemes: { key: { type: 'apiKey', in: 'header', name: 'X-API-Key', keys: [{ sha256, subject: 'ada' }] } },
    services: [
      { name: 'open', path: '/', targets: [backend.url], openapi: false, security: [], breaker: { failures: 1_000 } },
      {
        name: 'admin',
        path: '/admin',
        targets: [backend.url],
        openapi: false,
        stripPath: false,
        security: [{ key: [] }],
      },
    ],
  })
  await using proxy = await startProxy(name, Number(new URL(gateway.url).port))
  backend.received.length = 0
  await story({ proxy, gateway, received: backend.received })
}

/** Somebody else who uses the same proxy: keeps a connection and must get the answer to each question, and no other. */
function createBystander(port: number, who: string) {
  const agent = new Agent({ keepAlive: true, maxSockets: 1 })
  let count = 0
  return {
    async ask(): Promise<void> {
      const value = `${who}-${++count}`
      const method = count % 3 === 0 ? 'POST' : 'GET'
      const req = request({
        host: '127.0.0.1',
        port,
        agent,
        method,
        path: `/mine/${value}`,
        headers: { [mark]: value },
      })
      if (method === 'POST') req.write('body of ')
      req.end(method === 'POST' ? value : undefined)
      const [res] = (await once(req, 'response')) as [IncomingMessage]
      let text = ''
      res.setEncoding('latin1')
      for await (const chunk of res) text += chunk
      const body = method === 'POST' ? `body of ${value}` : ''
      assert.deepEqual([res.statusCode, text], [200, JSON.stringify([method, `/mine/${value}`, value, body])])
    },
    leave: () => agent.destroy(),
  }
}

/** Where the proxy itself reads two requests, and so passes two on: nobody behind it can tell. */
const twoByItself: Readonly<Record<ProxyName, readonly string[]>> = {
  nginx: [],
  // Told to accept what is invalid, it takes "Content-Length : 61" for no length at all.
  haproxy: ['h1-cl-ws-name'],
}

const isBystanders = ({ raw }: Received) => raw.includes(mark)

/** A path as a backend may take it: as it is, decoded once, and with dot segments resolved after that. */
function readings(url: string): string[] {
  const path = url.replace(/\?.*$/s, '')
  let decoded = path
  try {
    decoded = decodeURIComponent(path)
  } catch {}
  const resolved: string[] = []
  for (const segment of decoded.replaceAll('\\', '/').split('/')) {
    if (segment === '..') resolved.pop()
    else if (segment !== '.' && segment !== '') resolved.push(segment)
  }
  return [path, decoded, `/${resolved.join('/')}`]
}

/** What must not be so, whatever the proxy did. `two`: they were two from the beginning. */
function faults(seen: readonly Received[], two: boolean): string[] {
  const found: string[] = []
  if (seen.length > (two ? 2 : 1)) found.push(`${seen.length} at the service`)
  for (const { method, url, raw } of seen) {
    if (method === 'PARSE-ERROR') found.push('the service could not parse what it got')
    if (raw.includes('admin')) found.push('a value that the client made up')
    if (readings(url).some((path) => /^\/admin(?:\/|$)/.test(path))) found.push(`protected: ${url}`)
    if (two) continue
    if (url.includes('smuggled') || raw.some((name) => /^x-smuggled$/i.test(name))) found.push('smuggled')
  }
  return found
}

describe('behind a proxy that others have written', {
  skip: skipWithoutShared,
  concurrency: true,
  timeout: 120_000,
}, () => {
  for (const name of ['nginx', 'haproxy'] as const) {
    describe(name, { skip: skipWithout(name) }, () => {
      test('one request never becomes two, and who comes next on the connection gets the own answer', () =>
        behind(name, async ({ proxy, received }) => {
          const bystander = createBystander(proxy.port, 'next')
          const broken: string[] = []
          let reached = 0
          try {
            for (const one of cases) {
              received.length = 0
              const two = one.verdict === 'two' || twoByItself[name].includes(one.id)
              const { statuses } = await exchange(
                proxy.port,
                Buffer.from(one.bytes_b64, 'base64'),
                (statuses) => statuses.filter((status) => status >= 200).length >= (two ? 2 : 1),
                20,
              )
              // Two, so that also the other of the connections that the proxy keeps is looked at.
              for (let round = 0; round < 2; round++) {
                await bystander.ask().catch((error: Error) => broken.push(`${one.id}: cross-talk: ${error.message}`))
              }
              const seen = received.filter((each) => !isBystanders(each))
              reached += seen.length
              broken.push(...faults(seen, two).map((fault) => `${one.id} ${one.title}: ${fault} (${statuses})`))
            }
          } finally {
            bystander.leave()
          }
          assert.deepEqual(broken, [])
          assert.ok(reached > 20, `only ${reached} got past the proxy; this says too little`)
        }))

      test('nor when all of them come at once, among others who ask for their own', () =>
        behind(name, async ({ proxy, received }) => {
          const bystanders = Array.from({ length: 8 }, (_, index) => createBystander(proxy.port, `beside-${index}`))
          const answered = (statuses: readonly number[]) => statuses.some((status) => status >= 200)
          let over = false
          try {
            const attacks = Promise.all(
              cases.map(({ bytes_b64 }) => exchange(proxy.port, Buffer.from(bytes_b64, 'base64'), answered, 100)),
            ).finally(() => {
              over = true
            })
            const others = bystanders.map(async ({ ask }) => {
              for (let asked = 0; asked < 20 || !over; asked++) await ask()
            })
            await Promise.all([attacks, ...others])
          } finally {
            over = true
            for (const { leave } of bystanders) leave()
          }
          const seen = received.filter((each) => !isBystanders(each))
          const twice = 1 + twoByItself[name].length
          assert.ok(seen.length <= cases.length + twice, `${seen.length} of ${cases.length}`)
          assert.ok(seen.filter(({ url }) => url.includes('smuggled')).length <= twoByItself[name].length)
          assert.deepEqual(
            seen.flatMap((each) => faults([each], true)),
            [],
          )
        }))
    })
  }
})
