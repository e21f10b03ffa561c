import { connect, type Socket } from 'node:net'

/** What came back on a connection that was sent raw bytes. */
export interface Exchange {
  readonly text: string
  /** Status codes of all answers, interim ones included. */
  readonly statuses: readonly number[]
  readonly closed: boolean
}

const deadline = 15_000

/**
 * Sends bytes as they are and waits until the connection closes or `settled` says that everything is there; then a little longer
 * (`grace` milliseconds), for what should not come. Never longer than fifteen seconds.
 */
export async function exchange(
  port: number,
  bytes: Buffer | string,
  settled: (statuses: readonly number[]) => boolean,
  grace = 50,
): Promise<Exchange> {
  const socket = connect({ port, host: '127.0.0.1' })
  let text = ''
  let closed = false
  socket.setEncoding('latin1')
  socket.on('data', (chunk) => {
    text += chunk
  })
  socket.on('error', () => {})
  socket.on('close', () => {
    closed = true
  })
  socket.write(bytes)
  await until(() => closed || settled(statusesOf(text)))
  await new Promise((resolve) => setTimeout(resolve, grace))
  socket.destroy()
  return { text, statuses: statusesOf(text), closed }
}

/** Resolves when the condition holds, or after fifteen seconds: what was waited for is asserted by the caller. */
export async function until(condition: () => boolean): Promise<void> {
  const end = Date.now() + deadline
  while (!condition() && Date.now() < end) await new Promise((resolve) => setTimeout(resolve, 5))
}

function statusesOf(text: string): number[] {
  return [...text.matchAll(/HTTP\/1\.1 (\d{3}) /g)].map((match) => Number(match[1]))
}

/** Sends pieces with a pause between them, so that they arrive as packets of their own. */
export async function trickle(socket: Socket, pieces: readonly string[]): Promise<void> {
  for (const piece of pieces) {
    socket.write(piece, 'latin1')
    await new Promise((resolve) => setTimeout(resolve, 15))
  }
}
