import { createServer, type RequestListener } from 'node:http'
import type { AddressInfo } from 'node:net'

export interface Place {
  readonly service: string
  /** The environment variable that changes the port. */
  readonly variable: string
  readonly port: number
}

/**
 * Listen, say so in one line (and to the parent, when there is one), and end with a signal or with the parent.
 * A port that is taken ends the process with one clear line.
 */
export function serve({ service, variable, port: usual }: Place, answer: RequestListener): void {
  const host = process.env['HOST'] ?? '127.0.0.1'
  const port = Number(process.env[variable] ?? usual)
  if (!Number.isInteger(port) || port < 0 || port > 65_535) fail(`${variable} is not a port: ${process.env[variable]}`)

  const server = createServer(answer)
  server.on('error', (error: NodeJS.ErrnoException) => {
    const taken = `port ${port} is taken. Set ${variable} to another one, such as ${variable}=${usual + 1000}.`
    fail(`${service} cannot listen: ${error.code === 'EADDRINUSE' ? taken : error.message}`)
  })
  server.listen(port, host, () => {
    const url = `http://${host}:${(server.address() as AddressInfo).port}`
    console.log(`${service} listens on ${url}`)
    process.send?.({ listening: url })
  })

  function end() {
    server.close(() => process.exit(0))
    server.closeIdleConnections()
    setTimeout(() => process.exit(0), 2_000).unref()
  }
  process.once('SIGTERM', end)
  // Ctrl-C reaches every process of a terminal at once; a parent that lets the gateway finish first ends us itself.
  process.on('SIGINT', process.send ? () => {} : end)
  // Also when the parent was killed: the operating system closes the channel then.
  process.once('disconnect', () => process.exit(0))
}

function fail(message: string): never {
  console.error(message)
  process.exit(1)
}
