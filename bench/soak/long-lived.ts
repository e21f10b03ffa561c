import { request } from 'node:http'
import { setTimeout as sleep } from 'node:timers/promises'
import WebSocket from 'ws'

/** Something that is under way for longer than a moment. `end` says how it ended: "well", or what was wrong. */
export interface LongLived {
  readonly name: string
  readonly end: Promise<string>
}

/** A body in pieces for two seconds. */
export async function openUpload(url: string): Promise<LongLived> {
  const req = request(`${url}/upload`, { method: 'POST', agent: false })
  const pieces = 20
  const end = new Promise<string>((resolve) => {
    req.on('error', (error: NodeJS.ErrnoException) => resolve(error.code ?? error.message))
    req.on('response', async (res) => {
      const text = (await res.setEncoding('utf8').toArray()).join('')
      resolve(res.statusCode === 200 && text === String(pieces * 1_000) ? 'well' : `${res.statusCode} ${text}`)
    })
  })
  req.write('x'.repeat(1_000))
  const rest = async () => {
    for (let piece = 1; piece < pieces; piece += 1) {
      await sleep(100)
      req.write('x'.repeat(1_000))
    }
    req.end()
  }
  void rest()
  return { name: 'upload', end }
}

/** Twenty events, one each tenth of a second. */
export function openEvents(url: string): Promise<LongLived> {
  return new Promise((under, reject) => {
    const req = request(`${url}/events?count=20`, { agent: false }, (res) => {
      const end = res
        .setEncoding('utf8')
        .toArray()
        .then(
          (chunks) => (chunks.join('').endsWith('data: 20\n\ndata: over\n\n') ? 'well' : 'cut without a word'),
          (error: NodeJS.ErrnoException) => error.code ?? error.message,
        )
      under({ name: 'events', end })
    })
    req.on('error', reject)
    req.end()
  })
}

/** Messages that come back; the gateway has to tell it that it goes (RFC 6455 §7.4.1: 1001). */
export function openTunnel(url: string): Promise<LongLived> {
  return new Promise((under, reject) => {
    const socket = new WebSocket(`${url.replace('http', 'ws')}/socket`, { perMessageDeflate: false })
    /** When each message was sent. */
    const sent: number[] = []
    let heard = 0
    const timer = setInterval(() => {
      if (socket.readyState !== WebSocket.OPEN) return
      sent.push(performance.now())
      socket.send(String(sent.length))
    }, 50)
    const end = new Promise<string>((resolve) => {
      socket.on('message', (data) => {
        heard += 1
        if (String(data) !== String(heard)) resolve(`message ${data} instead of ${heard}`)
        under({ name: 'websocket', end })
      })
      socket.on('close', (code) => {
        clearInterval(timer)
        // What was sent in the last second may have been under way on a busy machine.
        const missing = sent.slice(heard).filter((at) => at < performance.now() - 1_000).length
        resolve(code === 1001 && missing === 0 ? 'well' : `closed with ${code}, ${missing} messages missing`)
      })
    })
    socket.on('error', reject)
  })
}
