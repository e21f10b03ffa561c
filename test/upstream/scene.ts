import { once } from 'node:events'
import {
  createServer as createHttpServer,
  type IncomingMessage,
  type RequestListener,
  type Server,
  type ServerResponse,
} from 'node:http'
import { type AddressInfo, connect, createServer, type Socket } from 'node:net'
import type { TestContext } from 'node:test'
import { z } from 'zod'
import { Problem } from '../../src/http/problem.ts'
import { type Log, silent } from '../../src/telemetry/log.ts'
import type { Outcome } from '../../src/upstream/exchange.ts'
import type { Forward } from '../../src/upstream/forward.ts'
import { type UpstreamSettings, upstreamSettings } from '../../src/upstream/settings.ts'
import { responseOn, type TunnelRequest } from '../../src/upstream/tunnel.ts'
import { createUpstreams, type Upstream } from '../../src/upstream/upstream.ts'

/** The scene of this room's tests: backends that misbehave to the byte, a gateway of one line, clients that do too. */

const schema = z.strictObject(upstreamSettings)

export function settingsOf(settings: z.input<typeof schema>): UpstreamSettings {
  return schema.parse(settings)
}

/** One upstream with its registry; closed when the test ends. */
export function upstreamTo(
  t: TestContext,
  settings: z.input<typeof schema>,
  log: Log = silent,
  clock: () => number = () => performance.now(),
): Upstream {
  const upstreams = createUpstreams({ log, clock, chance: Math.random })
  t.after(() => upstreams.close())
  return upstreams.acquire('orders', settingsOf(settings))
}

export interface Backend {
  readonly url: string
  readonly port: number
  /** Sockets that were ever accepted. */
  readonly sockets: Socket[]
  /** Stop listening and reset everything. */
  kill(): Promise<void>
}

async function listen(t: TestContext, server: Server | ReturnType<typeof createServer>, port = 0): Promise<Backend> {
  const sockets: Socket[] = []
  server.on('connection', (socket: Socket) => {
    socket.on('error', () => {})
    sockets.push(socket)
  })
  server.listen(port, '127.0.0.1')
  await once(server, 'listening')
  const bound = (server.address() as AddressInfo).port
  const kill = async () => {
    for (const socket of sockets) socket.destroy()
    if (server.listening) await new Promise((done) => server.close(done))
  }
  t.after(kill)
  return { url: `http://127.0.0.1:${bound}`, port: bound, sockets, kill }
}

/** A backend of raw bytes. */
export function rawBackend(
  t: TestContext,
  onConnection: (socket: Socket, index: number) => void,
  port = 0,
): Promise<Backend> {
  let index = 0
  return listen(
    t,
    createServer({ allowHalfOpen: true }, (socket) => onConnection(socket, index++)),
    port,
  )
}

/** A backend that answers every request on a connection with the same bytes. */
export function answering(t: TestContext, bytes: string | Buffer): Promise<Backend> {
  return rawBackend(t, (socket) => socket.on('data', () => socket.write(bytes)))
}

export async function httpBackend(
  t: TestContext,
  listener: RequestListener,
  port = 0,
): Promise<Backend & { readonly server: Server }> {
  const server = createHttpServer({ keepAliveTimeout: 60_000 }, listener)
  return { ...(await listen(t, server, port)), server }
}

const framing = new Set([
  'host',
  'connection',
  'keep-alive',
  'content-length',
  'transfer-encoding',
  'expect',
  'te',
  'upgrade',
])
const hopByHop = new Set(['connection', 'keep-alive', 'transfer-encoding', 'upgrade', 'trailer', 'proxy-authenticate'])

function without(raw: readonly string[], dropped: ReadonlySet<string>): string[] {
  const kept: string[] = []
  for (let i = 0; i < raw.length; i += 2) {
    if (!dropped.has(raw[i]!.toLowerCase())) kept.push(raw[i]!, raw[i + 1]!)
  }
  return kept
}

export function responseFields(_status: number, raw: readonly string[]): string[] {
  return without(raw, hopByHop)
}

export function forwardOf(req: IncomingMessage, res: ServerResponse): Forward {
  return {
    req,
    res,
    method: req.method!,
    target: req.url!,
    fields: without(req.rawHeaders, framing),
    hasBody: req.headers['transfer-encoding'] !== undefined || Number(req.headers['content-length'] ?? 0) > 0,
    expectsContinue: req.headers.expect !== undefined,
    responseFields,
  }
}

export interface Front extends Backend {
  /** One for every exchange that is over. */
  readonly outcomes: Outcome[]
}

/** A gateway with one service; a `Problem` becomes its status and `problem <code>` as the content. */
export async function gatewayTo(t: TestContext, upstream: Upstream, options: Partial<Forward> = {}): Promise<Front> {
  const outcomes: Outcome[] = []
  const onOutcome = (outcome: Outcome) => outcomes.push(outcome)
  const serve = async (req: IncomingMessage, res: ServerResponse) => {
    try {
      await upstream.exchange({ ...forwardOf(req, res), onOutcome, ...options })
    } catch (error) {
      if (!(error instanceof Problem)) throw error
      if (res.destroyed) return
      res.writeHead(error.status, { ...(error.fields as Record<string, string>), 'content-type': 'text/plain' })
      res.end(`problem ${error.code}`)
    }
  }
  const server = createHttpServer({ keepAliveTimeout: 60_000, optimizeEmptyRequests: true }, serve)
  server.on('checkContinue', serve)
  return { ...(await listen(t, server)), outcomes }
}

/** The same for WebSockets: what cannot be a tunnel is answered as a request would be. */
export async function tunnelTo(
  t: TestContext,
  upstream: Upstream,
  options: Partial<TunnelRequest> = {},
): Promise<Front> {
  const outcomes: Outcome[] = []
  const onOutcome = (outcome: Outcome) => outcomes.push(outcome)
  const server = createHttpServer((_req, res) => res.end('not a websocket'))
  server.on('upgrade', async (req, socket: Socket, head) => {
    const res = responseOn(req, socket)
    try {
      const { target, fields } = forwardOf(req, res)
      await upstream.tunnel({ req, res, socket, head, target, fields, responseFields, onOutcome, ...options })
    } catch (error) {
      if (!(error instanceof Problem)) throw error
      if (!socket.destroyed)
        res.writeHead(error.status, error.fields as Record<string, string>).end(`problem ${error.code}`)
    }
  })
  return { ...(await listen(t, server)), outcomes }
}

export interface RawAnswer {
  readonly text: string
  readonly status: number
  readonly head: string
  readonly content: string
  /** How the connection ended; `open` when it was still open after `patience`. */
  readonly end: 'closed' | 'reset' | 'open'
}

/** Sends bytes and takes everything that comes back until the other side ends, or nothing more came for `patience` ms. */
export function rawRequest(port: number, bytes: string | Uint8Array, patience = 100): Promise<RawAnswer> {
  return new Promise((resolve) => {
    const socket = connect(port, '127.0.0.1')
    const chunks: Buffer[] = []
    const done = (end: RawAnswer['end']) => {
      socket.destroy()
      const text = Buffer.concat(chunks).toString('latin1')
      const [head = '', ...rest] = text.split('\r\n\r\n')
      resolve({ text, status: Number(head.split(' ')[1] ?? 0), head, content: rest.join('\r\n\r\n'), end })
    }
    socket.on('data', (chunk: Buffer) => {
      chunks.push(chunk)
      socket.setTimeout(patience)
    })
    socket.setTimeout(Math.max(patience, 2_000), () => done('open'))
    socket.on('end', () => done('closed'))
    socket.on('error', () => done('reset'))
    socket.write(bytes, 'latin1')
  })
}

export function get(path: string, ...fields: string[]): string {
  return [`GET ${path} HTTP/1.1`, 'Host: gateway.example', ...fields, '', ''].join('\r\n')
}

/**
 * Waits until `condition` holds; fails after `limit` ms. Returns how long it took, without the time in which a busy
 * machine let nobody in this process do anything.
 */
export async function until(condition: () => boolean, limit = 5_000): Promise<number> {
  const started = performance.now()
  let stolen = 0
  while (!condition()) {
    const asleep = performance.now()
    if (asleep - started - stolen > limit) throw new Error(`not within ${limit} ms: ${condition}`)
    await sleep(5)
    stolen += Math.max(0, performance.now() - asleep - 10)
  }
  return performance.now() - started - stolen
}

export function sleep(ms: number): Promise<void> {
  return new Promise((resolve) => setTimeout(resolve, ms))
}

/** A request by node:http over a connection of its own: status, fields, content. Rejects when the answer breaks. */
export async function ask(
  port: number,
  options: {
    readonly method?: string
    readonly path?: string
    readonly headers?: Record<string, string>
    readonly body?: string | Buffer
  } = {},
): Promise<{
  status: number
  headers: IncomingMessage['headers']
  rawHeaders: string[]
  content: Buffer
  trailers: NodeJS.Dict<string>
}> {
  const { request } = await import('node:http')
  return new Promise((resolve, reject) => {
    const { method = 'GET', path = '/', headers = {}, body } = options
    const req = request({ port, host: '127.0.0.1', method, path, headers, agent: false }, (res) => {
      const chunks: Buffer[] = []
      res.on('data', (chunk: Buffer) => chunks.push(chunk))
      res.on('error', reject)
      res.on('end', () => {
        const { statusCode, rawHeaders, trailers } = res
        resolve({ status: statusCode!, headers: res.headers, rawHeaders, content: Buffer.concat(chunks), trailers })
      })
    })
    req.on('error', reject)
    req.end(body)
  })
}
