/** The service behind the gateway: says what it was asked, sends and takes much, streams, and echoes WebSocket messages. */
import { createServer, type IncomingMessage, type ServerResponse } from 'node:http'
import { setTimeout as sleep } from 'node:timers/promises'
import { WebSocketServer } from 'ws'
import { answerQuestions } from './companion.ts'

const padding = 'x'.repeat(900)
const piece = Buffer.alloc(65_536, 'x')
const large = 50 * 1_048_576

const server = createServer(async (req, res) => {
  const { pathname, searchParams } = new URL(req.url!, 'http://origin')
  if (req.method === 'POST') return count(req, res)
  if (pathname.endsWith('/large')) return sendMuch(res)
  if (pathname.endsWith('/events')) return sendEvents(res, Number(searchParams.get('count')))
  res.setHeader('Content-Type', 'application/json')
  res.end(JSON.stringify({ target: req.url, release: req.headers['release'] ?? null, padding }))
})
server.keepAliveTimeout = 600_000
const sockets = new WebSocketServer({ server, perMessageDeflate: false })
sockets.on('connection', (socket) => socket.on('message', (data, binary) => socket.send(data, { binary })))

async function count(req: IncomingMessage, res: ServerResponse): Promise<void> {
  let bytes = 0
  try {
    for await (const chunk of req) bytes += (chunk as Buffer).length
    res.end(String(bytes))
  } catch {
    // The gateway has given the body up, as it shall when there is too much or too little of it.
  }
}

async function sendMuch(res: ServerResponse): Promise<void> {
  res.writeHead(200, { 'Content-Length': large })
  for (let sent = 0; sent < large && !res.destroyed; sent += piece.length) {
    if (!res.write(piece)) await Promise.race([eventOf(res, 'drain'), eventOf(res, 'close')])
  }
  res.end()
}

async function sendEvents(res: ServerResponse, most: number): Promise<void> {
  res.writeHead(200, { 'Content-Type': 'text/event-stream' })
  for (let event = 1; event <= most && !res.destroyed; event += 1) {
    res.write(`data: ${event}\n\n`)
    await sleep(100)
  }
  res.end('data: over\n\n')
}

const eventOf = (res: ServerResponse, name: string) => new Promise((resolve) => res.once(name, resolve))

await answerQuestions({
  listen: ({ port }: { port: number }) =>
    new Promise<void>((resolve) => server.listen(port, '127.0.0.1', 4_096, resolve)),
})
