/** Who wants the gateway to be slow for others. Each way has a bound, so that the gateway is what is measured. */
import { connect, type Socket } from 'node:net'
import { answerQuestions } from './companion.ts'

/** The ways, with how many connections each holds. */
const ways = {
  'slow-heads': { connections: 300, attack: trickle(() => `GET /open/ HTTP/1.1\r\nHost: gateway\r\nX-Slow: `, 500) },
  'slow-bodies': {
    connections: 200,
    attack: trickle(() => 'POST /open/upload HTTP/1.1\r\nHost: gateway\r\nContent-Length: 100000\r\n\r\n', 500),
  },
  'slow-readers': { connections: 300, attack: readNothing },
  'header-flood': { connections: 8, attack: repeat(manyFields, 20) },
  'connection-flood': { connections: 400, attack: comeAndGo },
  'endless-bodies': { connections: 8, attack: pour },
} as const satisfies Record<string, { connections: number; attack: (socket: Socket) => void }>

export type Way = keyof typeof ways

/** Set by `attack`; whoever is cut comes again. */
let attacking = false
const open = new Set<Socket>()
let closed = 0
let refused = 0
const statuses: Record<string, number> = {}

function come(port: number, way: Way): void {
  if (!attacking) return
  const socket = connect({ port, host: '127.0.0.1' })
  open.add(socket)
  socket.on('connect', () => ways[way].attack(socket))
  socket.on('error', () => {
    refused += 1
  })
  if (way !== 'slow-readers') {
    socket.on('data', (bytes) => {
      const status = /^HTTP\/1\.1 (\d+)/.exec(bytes.toString('latin1', 0, 16))?.[1]
      if (status !== undefined) statuses[status] = (statuses[status] ?? 0) + 1
    })
  }
  socket.on('close', () => {
    open.delete(socket)
    closed += 1
    setTimeout(() => come(port, way), 100)
  })
}

/** The beginning, and then a byte at a time. */
function trickle(beginning: () => string, pause: number) {
  return (socket: Socket) => {
    socket.write(beginning())
    const timer = setInterval(() => socket.write('a'), pause)
    socket.on('close', () => clearInterval(timer))
  }
}

/** Asks for much and takes none of it. */
function readNothing(socket: Socket): void {
  socket.pause()
  socket.write('GET /open/large HTTP/1.1\r\nHost: gateway\r\n\r\n')
}

function manyFields(): string {
  return `GET /open/ HTTP/1.1\r\nHost: gateway\r\n${'X-Field: 1\r\n'.repeat(1_500)}\r\n`
}

function repeat(text: () => string, pause: number) {
  return (socket: Socket) => {
    const timer = setInterval(() => socket.write(text()), pause)
    socket.on('close', () => clearInterval(timer))
  }
}

function comeAndGo(socket: Socket): void {
  setTimeout(() => socket.resetAndDestroy(), 500)
}

/** Chunks without end, two megabytes a second. */
function pour(socket: Socket): void {
  socket.write('POST /open/upload HTTP/1.1\r\nHost: gateway\r\nTransfer-Encoding: chunked\r\n\r\n')
  const chunk = `8000\r\n${'x'.repeat(32_768)}\r\n`
  const timer = setInterval(() => socket.writableLength < 131_072 && socket.write(chunk), 16)
  socket.on('close', () => clearInterval(timer))
}

await answerQuestions({
  attack({ port, way }: { readonly port: number; readonly way: Way }) {
    attacking = true
    closed = refused = 0
    for (const status of Object.keys(statuses)) delete statuses[status]
    for (let i = 0; i < ways[way].connections; i += 1) setTimeout(() => come(port, way), i)
  },
  /** What they see. */
  look: () => ({ open: open.size, closed, refused, statuses }),
  leave() {
    attacking = false
    for (const socket of open) socket.destroy()
  },
})
