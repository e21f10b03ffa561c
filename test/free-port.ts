import { once } from 'node:events'
import { createServer } from 'node:net'

/** Two who ask at the same time would be given one port, and HAProxy listens beside another (SO_REUSEPORT) without a word. */
const given = new Set<number>()

/** A port of this machine that nobody listens on just now, and that nobody in this process was given before. */
export async function freePort(): Promise<number> {
  for (;;) {
    const server = createServer().listen(0, '127.0.0.1')
    await once(server, 'listening')
    const { port } = server.address() as { port: number }
    server.close()
    await once(server, 'close')
    if (given.has(port)) continue
    given.add(port)
    return port
  }
}
