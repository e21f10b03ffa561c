import assert from 'node:assert/strict'
import { once } from 'node:events'
import { createServer as createHttpServer, type IncomingMessage, type ServerResponse } from 'node:http'
import { type AddressInfo, createServer, type Socket } from 'node:net'
import { describe, test } from 'node:test'
import { TLSSocket } from 'node:tls'
import { Problem } from '../../src/http/problem.ts'
import type { Outcome } from '../../src/upstream/exchange.ts'
import { responseOn } from '../../src/upstream/tunnel.ts'
import { certificate, key, trustCertificate } from './certificate.ts'
import { forwardOf, rawRequest, until, upstreamTo } from './scene.ts'

/**
 * What a service has said when it stops, `@@@` being different every time, and what is known of the answer then: not a
 * byte, no head yet, how its content is delimited, or all of it.
 */
const stages = {
  asked: ['nothing', ''],
  'mid head': ['no head', 'HTTP/1.1 200 OK\r\nX: '],
  interim: ['no head', 'HTTP/1.1 103 Early Hints\r\nX: 1\r\n\r\n'],
  'mid second head': ['no head', 'HTTP/1.1 103 Early Hints\r\nX: 1\r\n\r\nHTTP/1.1 2'],
  head: ['counted', 'HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\n'],
  'mid content': ['counted', 'HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\n@@@'],
  'mid size': ['chunked', 'HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n3\r\n@@@\r\n3'],
  'mid last chunk': ['chunked', 'HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n3\r\n@@@\r\n0\r\n'],
  'mid stream': ['to its end', 'HTTP/1.1 200 OK\r\n\r\n@@@'],
  whole: ['all', 'HTTP/1.1 200 OK\r\nContent-Length: 3\r\n\r\n@@@'],
  'whole in chunks': ['all', 'HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n3\r\n@@@\r\n0\r\n\r\n'],
  tunnel: [
    'all',
    'HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n' +
      'Sec-WebSocket-Accept: ICX+Yqv66kxgM0FcWaLWlFLwTAI=\r\n\r\n\x81\x03@@@',
  ],
  empty: ['all', 'HTTP/1.1 204 No Content\r\n\r\n'],
} as const

/** How it stops then. */
const ends = ['fin', 'reset', 'garbage', 'silence'] as const

/** `held`: an upload of which the client keeps the rest back. */
const kinds = ['GET', 'HEAD', 'POST', 'upload', 'held', 'upgrade'] as const

interface Case {
  readonly path: string
  readonly mark: string
  readonly stage: keyof typeof stages
  readonly end: (typeof ends)[number]
  readonly kind: (typeof kinds)[number]
}

const cases: readonly Case[] = Object.keys(stages)
  .flatMap((stage) => ends.flatMap((end) => kinds.map((kind) => ({ stage: stage as Case['stage'], end, kind }))))
  .map((one, index) => ({ ...one, path: `/${index}`, mark: index.toString(36).padStart(3, '_') }))

/** The failures that may come of it: undefined for none. */
function expected({ stage, end, kind }: Case): readonly (string | undefined)[] {
  const [known] = stages[stage]
  if (stage === 'tunnel' && kind !== 'upgrade') return ['upstream-invalid-response']
  const headless = known === 'nothing' || known === 'no head'
  if (known === 'all' || (kind === 'HEAD' && !headless)) return [undefined]
  if (end === 'garbage' && known !== 'counted' && known !== 'to its end') return ['upstream-invalid-response']
  // What is no framing may be content: of that there is never enough.
  if (end === 'garbage' || end === 'silence') {
    if (kind !== 'held') return ['upstream-timeout']
    return headless ? ['request-timeout'] : ['request-timeout', 'upstream-timeout']
  }
  return [end === 'fin' && known === 'to its end' ? undefined : 'upstream-disconnected']
}

function attempts({ stage, end, kind }: Case): number {
  const broken = stage === 'asked' && (end === 'fin' || end === 'reset')
  return broken && ['GET', 'HEAD', 'upgrade'].includes(kind) ? 2 : 1
}

function requestOf({ kind, path }: Case): string {
  const method = kind === 'upload' || kind === 'held' ? 'POST' : kind === 'upgrade' ? 'GET' : kind
  const lines: Partial<Record<Case['kind'], string[]>> = {
    POST: ['Content-Length: 3', '', 'abc'],
    upload: ['Transfer-Encoding: chunked', '', '3\r\nabc\r\n0\r\n\r\n'],
    held: ['Transfer-Encoding: chunked', '', '3\r\nabc\r\n'],
    upgrade: [
      ...['Connection: Upgrade', 'Upgrade: websocket', 'Sec-WebSocket-Version: 13'],
      ...[`Sec-WebSocket-Key: ${Buffer.alloc(16).toString('base64')}`, '', ''],
    ],
  }
  const close = kind === 'upgrade' ? [] : ['Connection: close']
  return [`${method} ${path} HTTP/1.1`, 'Host: x', ...close, ...(lines[kind] ?? ['', ''])].join('\r\n')
}

/** Answers `/n` as the case of that number says. */
function play(socket: Socket, raw: Socket): void {
  let heard = ''
  socket.on('error', () => {})
  socket.on('end', () => socket.end())
  socket.on('data', (chunk: Buffer) => {
    heard += chunk.toString('latin1')
    const asked = /(?:GET|HEAD|POST) \/(\d+) [\s\S]*?\r\n\r\n/.exec(heard)
    if (!asked) return
    heard = ''
    const { stage, end, mark } = cases[Number(asked[1])]!
    socket.write(stages[stage][1].replace('@@@', mark), 'latin1')
    setTimeout(() => {
      if (end === 'fin') socket.end()
      if (end === 'reset') raw.resetAndDestroy()
      if (end === 'garbage' && socket.writable) socket.write('\0\r\n\r\n')
    }, 20)
  })
}

describe('wherever and however a connection', { concurrency: true, timeout: 120_000 }, () => {
  for (const encrypted of [false, true]) {
    const over = encrypted ? 'TLS' : 'TCP'
    test(`of ${over} ends, its exchange ends once, as what it is`, async (t) => {
      const raws: Socket[] = []
      const backend = createServer({ allowHalfOpen: true }, (raw) => {
        raws.push(raw.on('error', () => {}))
        play(encrypted ? new TLSSocket(raw, { isServer: true, key, cert: certificate }) : raw, raw)
      })
      backend.listen(0, 'localhost')
      t.after(() => {
        for (const raw of raws) raw.destroy()
        backend.close()
      })
      await once(backend, 'listening')
      if (encrypted) trustCertificate(t)

      // One each: what comes late on a connection must not meet the next case.
      const target = `${encrypted ? 'https' : 'http'}://localhost:${(backend.address() as AddressInfo).port}`
      const timeouts = { response: '400ms', idle: '400ms', connect: '10s' } as const
      const upstreams = cases.map(() => upstreamTo(t, { targets: [target], timeouts }))
      const outcomes: Outcome[][] = cases.map(() => [])
      const sides = (req: IncomingMessage, res: ServerResponse) => {
        const index = Number(req.url!.slice(1))
        const onOutcome = (outcome: Outcome) => outcomes[index]!.push(outcome)
        return { upstream: upstreams[index]!, request: { ...forwardOf(req, res), onOutcome } }
      }
      const refused = (res: ServerResponse) => (error: unknown) => {
        if (!(error instanceof Problem)) throw error
        if (!res.destroyed) res.writeHead(error.status).end(`problem ${error.code}`)
      }
      const front = createHttpServer((req, res) => {
        const { upstream, request } = sides(req, res)
        upstream.exchange(request).catch(refused(res))
      })
      front.on('upgrade', (req, socket: Socket, head) => {
        const res = responseOn(req, socket)
        const { upstream, request } = sides(req, res)
        upstream.tunnel({ ...request, socket, head }).catch(refused(res))
      })
      front.listen(0, '127.0.0.1')
      t.after(() => {
        front.closeAllConnections()
        front.close()
      })
      await once(front, 'listening')
      const { port } = front.address() as AddressInfo

      const check = async (one: Case, index: number) => {
        const what = `${one.kind}, ${one.stage}, ${one.end}`
        const stays = one.kind === 'upgrade' && one.stage === 'tunnel'
        const answer = rawRequest(port, requestOf(one), stays ? 50 : 4_000)
        await until(() => outcomes[index]!.length > 0)
        const { failure, attempts: made } = outcomes[index]![0]!
        assert.ok(expected(one).includes(failure?.code), `${what}: ${failure?.code} (${String(failure?.cause)})`)
        assert.equal(failure?.who, failure && (failure.code === 'request-timeout' ? 'client' : 'upstream'), what)
        assert.equal(made, attempts(one), `${what}: attempts`)
        const { status, head, content, end } = await answer
        const whole = ({ empty: 204, tunnel: 101 } as Record<string, number>)[one.stage] ?? 200
        const refusal = { 'request-timeout': 408, 'upstream-timeout': 504 }[failure?.code as string] ?? 502
        if (!failure) assert.equal(status, whole, what)
        else if (status !== refusal) {
          // What came had been passed on before it broke: nobody may take it for all of it.
          assert.equal(status, whole, what)
          if (head.includes('Content-Length: 9')) assert.ok(content.length < 9, what)
          else assert.match(head, /transfer-encoding: chunked/i, what)
          assert.doesNotMatch(content, /(?:^|\n)0\r\n\r\n$/, what)
        }
        if (!stays) assert.notEqual(end, 'open', what)
        if (!failure && status !== 204 && one.kind !== 'HEAD') assert.ok(content.includes(one.mark), what)
        const { connections, inFlight } = upstreams[index]!.targets[0]!.state
        assert.equal(inFlight, 0, what)
        if (one.end === 'silence') assert.equal(connections.size, connections.idle, what)
        else await until(() => connections.size === 0)
        assert.equal(outcomes[index]!.length, 1, what)
      }
      const left = [...cases.entries()]
      const client = async () => {
        for (let next = left.pop(); next; next = left.pop()) await check(next[1], next[0])
      }
      await Promise.all(Array.from({ length: 24 }, client))
    })
  }
})
