import { createServer, type IncomingMessage, type RequestListener, type Server } from 'node:http'
import type { AddressInfo } from 'node:net'

/** One request as a backend got it. */
export interface Received {
  readonly method: string
  readonly url: string
  /** Name, value, name, value, ... */
  readonly raw: readonly string[]
  readonly headers: IncomingMessage['headers']
  readonly body: string
}

export interface Backend extends AsyncDisposable {
  readonly url: string
  readonly port: number
  readonly server: Server
  /** Everything that arrived, oldest first. */
  readonly received: Received[]
}

/** A real HTTP server that remembers what it got. Without a handler it answers 200 and says what it saw. */
export async function startBackend(handler?: RequestListener, port = 0): Promise<Backend> {
  const received: Received[] = []
  const server = createServer({ requireHostHeader: false, maxHeaderSize: 1 << 20 }, (req, res) => {
    if (handler) return handler(req, res)
    const chunks: Buffer[] = []
    req.on('data', (chunk) => chunks.push(chunk))
    req.on('end', () => {
      const { method = '', url = '', rawHeaders: raw, headers } = req
      const request = { method, url, raw, headers, body: Buffer.concat(chunks).toString('latin1') }
      received.push(request)
      res.setHeader('Content-Type', 'application/json')
      res.end(JSON.stringify(request))
    })
  })
  await new Promise<void>((resolve) => server.listen(port, '127.0.0.1', resolve))
  const bound = (server.address() as AddressInfo).port
  return {
    url: `http://127.0.0.1:${bound}`,
    port: bound,
    server,
    received,
    [Symbol.asyncDispose]: () => closeServer(server),
  }
}

export function closeServer(server: Server): Promise<void> {
  return new Promise((resolve) => {
    server.close(() => resolve())
    server.closeAllConnections()
  })
}
