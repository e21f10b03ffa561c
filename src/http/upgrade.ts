import type { IncomingMessage } from 'node:http'
import { Problem } from './problem.ts'
import type { Fields } from './request-head.ts'

/** What a gateway must know about requests that want another protocol on their connection (RFC 9110 §7.8, RFC 6455). */

/**
 * Whether Node has taken the request for an upgrade and let go of its connection. The property is Node's own and not
 * documented; without it the request is answered like any other.
 */
export function isUpgrade(req: IncomingMessage): boolean {
  return (req as { readonly upgrade?: boolean }).upgrade === true
}

const field = 'sec-websocket-protocol'
const prefix = 'bearer.'

/**
 * A script in a browser can set no header field when it opens a WebSocket; subprotocols are all it can name. So a token
 * may come as one of them, `new WebSocket(url, ['chat', `bearer.${token}`])`, and is put where tokens stand. What is left of the
 * list is for the service, which must choose one of it: browsers drop a connection whose server chooses none.
 *
 * Returns the same fields when there is no such entry. Throws a `Problem` (400) when it is not the only credential of
 * its kind, or nothing is left to choose from.
 */
export function withBearerSubprotocol(fields: Fields): readonly string[] {
  const names = fields.all(field).flatMap((line) => line.split(',').map((name) => name.trim()))
  const tokens = names.filter((name) => name.startsWith(prefix))
  const token = tokens[0]?.slice(prefix.length)
  if (token === undefined) return fields.raw
  if (tokens.length > 1 || fields.get('authorization') !== undefined)
    throw new Problem('ambiguous-credentials', 'Send one token: in Authorization, or as one of the subprotocols')
  const others = names.filter((name) => !name.startsWith(prefix))
  if (others.length === 0)
    throw new Problem('bad-request', 'Name a subprotocol of the service besides the token, for it to choose')

  const lines: string[] = []
  const { raw } = fields
  for (let index = 0; index < raw.length; index += 2)
    if (raw[index]!.toLowerCase() !== field) lines.push(raw[index]!, raw[index + 1]!)
  lines.push('Sec-WebSocket-Protocol', others.join(', '), 'Authorization', `Bearer ${token}`)
  return lines
}
