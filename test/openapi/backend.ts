import { createServer, type IncomingMessage, type Server, type ServerResponse } from 'node:http'
import type { AddressInfo } from 'node:net'

export interface Backend extends AsyncDisposable {
  readonly url: string
  readonly port: number
  /** Requests so far. */
  readonly requests: readonly IncomingMessage[]
  answer(handler: Handler): void
  /** Stop listening and end every connection. The port can be taken again with `startBackend`. */
  stop(): Promise<void>
}

export type Handler = (request: IncomingMessage, response: ServerResponse) => void

/** A real server on loopback that answers whatever a test likes. */
export async function startBackend(handler: Handler, port = 0): Promise<Backend> {
  const requests: IncomingMessage[] = []
  let current = handler
  const server: Server = createServer((request, response) => {
    requests.push(request)
    current(request, response)
  })
  await new Promise<void>((resolve, reject) => {
    server.once('error', reject)
    server.listen(port, '127.0.0.1', resolve)
  })
  const address = server.address() as AddressInfo
  const stop = () =>
    new Promise<void>((resolve) => {
      server.close(() => resolve())
      server.closeAllConnections()
    })
  return {
    url: `http://127.0.0.1:${address.port}`,
    port: address.port,
    requests,
    answer(next) {
      current = next
    },
    stop,
    [Symbol.asyncDispose]: stop,
  }
}

/** Answers everything with one text. */
export const says =
  (body: string | Buffer, fields: Record<string, string> = {}): Handler =>
  (_, response) => {
    response.writeHead(200, { 'content-type': 'application/json', ...fields })
    response.end(body)
  }

/** Wait until something is so; fails with its name when that takes too long. */
export async function until(what: string, so: () => boolean, patience = 5_000): Promise<number> {
  const began = performance.now()
  while (!so()) {
    if (performance.now() - began > patience) throw new Error(`not within ${patience} ms: ${what}`)
    await new Promise((resolve) => setTimeout(resolve, 10))
  }
  return performance.now() - began
}
