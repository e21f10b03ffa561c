import type { IncomingMessage } from 'node:http'

/** Whether a request has content: what announces it (RFC 9112 §6.3). */
export function hasContent({ headers }: Pick<IncomingMessage, 'headers'>): boolean {
  const length = headers['content-length']
  return headers['transfer-encoding'] !== undefined || (length !== undefined && length !== '0')
}
