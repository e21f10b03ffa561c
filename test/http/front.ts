import { randomBytes } from 'node:crypto'
import { once } from 'node:events'
import { createServer, type IncomingMessage, request, type Server, type ServerResponse } from 'node:http'
import type { AddressInfo } from 'node:net'
import { bearerToken } from '../../src/http/credentials.ts'
import { createFields } from '../../src/http/fields.ts'
import { createClientReader, forwardedFields } from '../../src/http/forwarded.ts'
import { createGuard, serverOptions } from '../../src/http/guard.ts'
import { createRequestFields, createResponseFields } from '../../src/http/intermediary.ts'
import { canonicalTarget, joinTarget } from '../../src/http/path.ts'
import { Problem } from '../../src/http/problem.ts'
import { answerParserError, closingResponse } from '../../src/http/refusal.ts'
import { createRequestIds } from '../../src/http/request-id.ts'
import { createTracing } from '../../src/http/trace-context.ts'
import { createVia } from '../../src/http/via.ts'

/** What a backend got of one request. */
export interface Received {
  readonly method: string
  readonly url: string
  readonly raw: readonly string[]
  readonly trailers: readonly string[]
  readonly body: string
}

/** A backend that records whatever reaches it, and that it could not parse something. */
export async function startBackend() {
  const received: Received[] = []
  const record = (req: IncomingMessage, method: string, body: string) =>
    received.push({ method, url: req.url ?? '', raw: req.rawHeaders, trailers: req.rawTrailers, body })
  const server = createServer({ requireHostHeader: false, maxHeaderSize: 1 << 20 }, (req, res) => {
    const chunks: Buffer[] = []
    req.on('data', (chunk) => chunks.push(chunk))
    req.on('error', () => {})
    req.on('end', () => {
      record(req, req.method ?? '', Buffer.concat(chunks).toString('latin1'))
      res.end('ok')
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
  return { received, ...(await listen(server)) }
}

/** The identity that the front gives every request, as an open route would. */
export const guestFields = ['User-ID', 'anonymous', 'User-Role', 'guest', 'Auth-Status', 'no-token']

/** The smallest gateway that the protocol functions make: everything to one backend, no decisions. */
export async function startFront(backendPort: number) {
  const guard = createGuard()
  const readClient = createClientReader([])
  const requestFields = createRequestFields({ credentials: ['authorization'] })
  const responseFields = createResponseFields()
  const requestId = createRequestIds(randomBytes)
  const trace = createTracing(randomBytes)
  const via = createVia('front')

  function handle(req: IncomingMessage, res: ServerResponse): void {
    try {
      forward(req, res)
    } catch (error) {
      if (!(error instanceof Problem)) throw error
      refuse(req, res, error)
    }
  }

  function refuse(req: IncomingMessage, res: ServerResponse, problem: Problem): void {
    const fields = { ...problem.fields, 'Content-Type': 'application/problem+json' } as Record<string, string>
    if (!req.complete) fields['Connection'] = 'close'
    res.writeHead(problem.status, fields).end(JSON.stringify(problem.body('test')))
  }

  function forward(req: IncomingMessage, res: ServerResponse): void {
    const problem = guard(req)
    if (problem) throw problem
    const fields = createFields(req.rawHeaders)
    const client = readClient(req.socket.remoteAddress, false, fields)
    const target = canonicalTarget(req.url ?? '', client.host)
    if (target instanceof Problem) throw target
    const token = bearerToken(fields)
    if (token.outcome === 'malformed') throw token.problem
    const passed = via(fields)
    if (passed === undefined) throw new Problem('loop-detected', 'The request came back')

    if (fields.get('expect') !== undefined) res.writeContinue()
    const lines = requestFields(req.rawHeaders)
    lines.push('Host', `127.0.0.1:${backendPort}`, 'X-Request-ID', requestId(fields, client), 'Via', passed)
    lines.push('traceparent', trace(fields).traceparent, ...forwardedFields(client), ...guestFields)
    if (fields.get('transfer-encoding') !== undefined) lines.push('Transfer-Encoding', 'chunked')
    const upstream = request({
      host: '127.0.0.1',
      port: backendPort,
      method: req.method,
      path: joinTarget('/', target.path, target.query),
      headers: lines,
      agent: false,
    })
    upstream.on('response', (answer) => {
      res.writeHead(answer.statusCode ?? 502, responseFields(answer.rawHeaders))
      answer.pipe(res)
    })
    upstream.on('error', () => {
      if (res.headersSent) res.destroy()
      else refuse(req, res, new Problem('upstream-disconnected', 'The service closed the connection'))
    })
    res.on('close', () => upstream.destroy())
    req.on('error', () => upstream.destroy())
    if (req.readableEnded) upstream.end()
    else req.pipe(upstream)
  }

  const server = createServer(serverOptions, handle)
  server.on('checkContinue', handle)
  server.on('checkExpectation', handle)
  server.on('clientError', (error, socket) => answerParserError(error, socket, 'test'))
  server.on('upgrade', (req, socket) => {
    const problem = guard(req) ?? new Problem('upgrade-required', 'There is no tunnel here')
    // The parser is gone from this socket, and its error handler with it.
    socket.on('error', () => socket.destroy())
    socket.end(closingResponse(problem, 'test'))
  })
  return listen(server)
}

async function listen(server: Server) {
  server.listen(0, '127.0.0.1')
  await once(server, 'listening')
  return {
    port: (server.address() as AddressInfo).port,
    close() {
      server.close()
      server.closeAllConnections()
    },
  }
}
