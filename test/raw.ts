import { connect } from 'node:net'

export interface RawAnswer {
  readonly status: number
  /** Everything that came, as latin1. */
  readonly text: string
  readonly closed: boolean
}

/** Send bytes as they are and collect what comes back, until the connection closes or `wait` milliseconds are over. */
export function sendRaw(url: string, bytes: string, wait = 1_000): Promise<RawAnswer> {
  const { hostname, port } = new URL(url)
  return new Promise((resolve) => {
    const socket = connect(Number(port), hostname)
    let text = ''
    const done = (closed: boolean) => {
      clearTimeout(timer)
      socket.destroy()
      resolve({ status: Number(/^HTTP\/1\.1 (\d{3})/.exec(text)?.[1] ?? 0), text, closed })
    }
    const timer = setTimeout(() => done(false), wait)
    socket.on('data', (chunk) => {
      text += chunk.toString('latin1')
      // An answer with a length is over when it is there; only tests of what comes after it wait.
      const [head, ...rest] = text.split('\r\n\r\n')
      const length = /\r\ncontent-length: (\d+)/i.exec(head ?? '')?.[1]
      if (length !== undefined && rest.join('\r\n\r\n').length >= Number(length)) done(false)
    })
    socket.on('close', () => done(true))
    socket.on('error', () => done(true))
    socket.write(bytes, 'latin1')
  })
}
