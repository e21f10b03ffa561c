import { STATUS_CODES } from 'node:http'
import type { Duplex } from 'node:stream'
import { Problem, type ProblemCode } from './problem.ts'

/** Answers for the `clientError` event: bytes that never became a request, so there is no response object to answer with. */

/** Errors of Node's server and parser that are not simply a malformed request. */
const codes: Readonly<Record<string, readonly [ProblemCode, string]>> = {
  HPE_HEADER_OVERFLOW: ['fields-too-large', 'The request line and the header fields are too large'],
  HPE_CHUNK_EXTENSIONS_OVERFLOW: ['body-too-large', 'The chunk extensions are too large'],
  HPE_INVALID_VERSION: ['version-not-supported', 'Only HTTP/1.1 and HTTP/1.0 are served'],
  HPE_PAUSED_H2_UPGRADE: ['version-not-supported', 'HTTP/2 is not served on this port'],
  HPE_INVALID_METHOD: ['method-not-implemented', 'The method is not known here'],
  ERR_HTTP_REQUEST_TIMEOUT: ['request-timeout', 'The request did not arrive in time'],
}

/**
 * Listener for `clientError`: answers unless another answer has begun on this connection, and closes it.
 * `instance` is the id the answer names.
 */
export function answerParserError(error: Error, socket: Duplex, instance: string): void {
  // Node's own property, which its default listener asks too: the answer that the socket is busy with.
  const { _httpMessage: current } = socket as Duplex & {
    readonly _httpMessage?: { readonly headersSent: boolean } | null
  }
  if (socket.writable && !current?.headersSent) socket.write(closingResponse(parserProblem(error), instance))
  // At once: ending it would leave a connection open to whoever does not read.
  socket.destroy()
}

/** What to answer for an error of the `clientError` event. */
export function parserProblem(error: Error & { readonly code?: string }): Problem {
  const [code, detail] = codes[error.code ?? ''] ?? [
    'bad-request',
    'The bytes received are not a well-formed HTTP/1.1 request',
  ]
  return new Problem(code, detail, { cause: error })
}

/** A whole HTTP/1.1 response (RFC 9112 §4) that closes the connection, to be written to the socket as it is. */
export function closingResponse(problem: Problem, instance: string): string {
  const body = JSON.stringify(problem.body(instance))
  return [
    `HTTP/1.1 ${problem.status} ${STATUS_CODES[problem.status] ?? ''}`,
    'Content-Type: application/problem+json',
    `Content-Length: ${Buffer.byteLength(body)}`,
    'X-Content-Type-Options: nosniff',
    'Cache-Control: no-store',
    'Connection: close',
    '',
    body,
  ].join('\r\n')
}
