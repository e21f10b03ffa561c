import { connect, type Socket } from 'node:net'

/** One HTTP/1.1 connection that sends the same bytes again and again and knows when the answer is whole. */
export class RawConnection {
  readonly #socket: Socket
  readonly #answered: () => void
  #text = ''
  #lengthOfAnswer = -1

  private constructor(socket: Socket, answered: () => void) {
    this.#socket = socket
    this.#answered = answered
    socket.setNoDelay(true)
    socket.setEncoding('latin1')
    socket.on('data', (text: string) => this.#read(text))
  }

  /** `answered` is called after each answer; `failed` when the connection ends or the answer is none. */
  static open(port: number, answered: () => void, failed: (error: Error) => void): Promise<RawConnection> {
    return new Promise((resolve, reject) => {
      const socket = connect({ port, host: '127.0.0.1' })
      socket.once('error', reject)
      socket.once('connect', () => {
        socket.off('error', reject)
        socket.on('error', failed)
        socket.on('close', () => failed(new Error('the connection was closed')))
        resolve(new RawConnection(socket, answered))
      })
    })
  }

  send(request: string): void {
    this.#socket.write(request, 'latin1')
  }

  close(): void {
    this.#socket.removeAllListeners('close')
    this.#socket.destroy()
  }

  #read(text: string): void {
    this.#text = this.#text === '' ? text : this.#text + text
    if (this.#lengthOfAnswer < 0) {
      const end = this.#text.indexOf('\r\n\r\n')
      if (end < 0) return
      const head = this.#text.slice(0, end)
      if (!head.startsWith('HTTP/1.1 200')) {
        this.#socket.destroy(new Error(`not 200 but ${head.slice(0, 40)}`))
        return
      }
      const length = /\r\ncontent-length: *(\d+)/i.exec(head)?.[1]
      if (length !== undefined) this.#lengthOfAnswer = end + 4 + Number(length)
      else if (!this.#text.endsWith('0\r\n\r\n') || this.#text.length === end + 4) return
      else this.#lengthOfAnswer = this.#text.length
    }
    if (this.#text.length < this.#lengthOfAnswer) return
    this.#text = ''
    this.#lengthOfAnswer = -1
    this.#answered()
  }
}

/** The head of a GET as it goes over the wire. */
export function rawGet(url: URL, headers: Readonly<Record<string, string>>): string {
  const lines = Object.entries({ Host: url.host, ...headers }).map(([name, value]) => `${name}: ${value}\r\n`)
  return `GET ${url.pathname}${url.search} HTTP/1.1\r\n${lines.join('')}\r\n`
}
