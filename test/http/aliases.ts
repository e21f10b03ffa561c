import { once } from 'node:events'
import { type Agent, type IncomingMessage, request } from 'node:http'

/** Where a client may put a field by which it wants to be taken for somebody: once, twice, named in Connection, behind the content. */
export const positions = ['plain', 'twice', 'nominated', 'trailer'] as const

export interface AliasRequest {
  readonly port: number
  readonly agent: Agent
  readonly path: string
  /** The name of the field; its value is `admin`. */
  readonly header: string
  readonly position: (typeof positions)[number]
  /** Name, value, name, value, ... besides. */
  readonly more?: readonly string[]
}

/** Resolves with the status of the answer. */
export async function sendAlias({ port, agent, path, header, position, more = [] }: AliasRequest): Promise<number> {
  const headers = ['Host', 'gw.test', ...more]
  if (position !== 'trailer') headers.push(header, 'admin')
  if (position === 'twice') headers.push(header, 'admin')
  headers.push('Connection', position === 'nominated' ? `keep-alive, ${header}` : 'keep-alive')
  if (position === 'trailer') headers.push('Trailer', header, 'Transfer-Encoding', 'chunked')
  const method = position === 'trailer' ? 'POST' : 'GET'
  const req = request({ host: '127.0.0.1', port, agent, path, method, headers })
  if (position === 'trailer') {
    req.write('abc')
    req.addTrailers([[header, 'admin']])
  }
  req.end()
  const [res] = (await once(req, 'response')) as [IncomingMessage]
  res.resume()
  await once(res, 'end')
  return res.statusCode ?? 0
}
