import type { IncomingMessage } from 'node:http'

/** Whether a client waits for `100 Continue` before it sends its body; one of HTTP/1.0 never does (RFC 9110 §10.1.1). */
export function expectsContinue({ headers, httpVersion }: IncomingMessage): boolean {
  return headers.expect !== undefined && httpVersion === '1.1'
}
