import { Problem, type ProblemCode } from '../http/problem.ts'

/** Who made an exchange fail. */
export type Who = 'client' | 'gateway' | 'upstream'

/** How far it had come: connecting, sending the request, waiting for the head of the answer, passing its body on. */
export type Stage = 'connect' | 'request' | 'head' | 'body'

export interface Failure {
  readonly who: Who
  readonly stage: Stage
  readonly code: ProblemCode
  /** For the log, never for the caller. */
  readonly cause?: unknown
}

/** The answer of a service is not HTTP as a gateway may pass it on. */
export class InvalidResponse extends Error {
  constructor(message: string) {
    super(message)
    this.name = 'InvalidResponse'
  }
}

/** The service closed the connection before the answer was whole. */
export class ConnectionClosed extends Error {
  constructor() {
    super('the service closed the connection')
    this.name = 'ConnectionClosed'
  }
}

/** The gateway built a request that would be another one on the wire. */
export class UnsendableRequest extends Error {
  constructor(message: string) {
    super(message)
    this.name = 'UnsendableRequest'
  }
}

/** What the error codes of node:net, node:tls and node:http mean once a connection stands; else the service has left. */
const codes: Readonly<Record<string, ProblemCode>> = {
  ETIMEDOUT: 'upstream-timeout',
  // Node's response would not take a field of the answer.
  ERR_INVALID_CHAR: 'upstream-invalid-response',
}

/** Errors of our own lines: not the service's. */
const ours = new Set(['UnsendableRequest', 'TypeError', 'RangeError', 'ReferenceError'])

/** No connection could be made because this machine has none left: the service is not to blame. */
const exhausted = new Set(['EMFILE', 'ENFILE', 'ENOBUFS', 'ENOMEM', 'EADDRNOTAVAIL'])

/** Reads the error of an attempt that failed at `stage`. */
export function classify(error: Error & { readonly code?: unknown }, stage: Stage): ProblemCode {
  if (error instanceof Problem) return error.code
  if (error instanceof InvalidResponse) return 'upstream-invalid-response'
  // A code is what the outside has; an error without one comes from our own lines.
  const code = typeof error.code === 'string' ? error.code : error.name
  if (ours.has(code)) return 'internal-error'
  if (stage === 'connect' && exhausted.has(code)) return 'overloaded'
  if (stage === 'connect') return code === 'ETIMEDOUT' ? 'upstream-timeout' : 'upstream-unreachable'
  return codes[code] ?? 'upstream-disconnected'
}

/** What happened, in a line for whoever runs the gateway; undefined when there is no more to say than the code does. */
export function reasonOf(cause: unknown): string | undefined {
  if (!(cause instanceof Error)) return undefined
  // When several addresses were tried in vain there is no message of its own.
  return cause.message || String((cause as NodeJS.ErrnoException).code ?? cause.name)
}

const details: { readonly [Code in ProblemCode]?: (service: string) => string } = {
  'upstream-unreachable': (service) => `No connection to the service "${service}" could be made`,
  'upstream-disconnected': (service) => `The service "${service}" closed the connection before it had answered`,
  'upstream-invalid-response': (service) => `The answer of the service "${service}" is not valid HTTP`,
  'upstream-timeout': (service) => `The service "${service}" did not answer in time`,
  'no-healthy-target': (service) => `No instance of the service "${service}" is available right now`,
  overloaded: (service) => `Too many requests to the service "${service}" are under way`,
  'client-closed-request': () => 'The client closed the connection before the answer was there',
  'request-timeout': () => 'The request body did not arrive in time',
  'bad-request': () => 'The request target does not begin with a slash',
  'body-too-large': () => 'The request body is larger than this operation accepts',
}

/** Seconds after which a client may try again, for the codes that are likely to pass. */
const retryAfter: { readonly [Code in ProblemCode]?: string } = { 'no-healthy-target': '1', overloaded: '1' }

/** What a failed exchange is answered with: a problem that never names a target, or our own defect as it is. */
export function problemOf(failure: Failure, service: string): Error {
  if (failure.cause instanceof Problem) return failure.cause
  if (failure.code === 'internal-error' && failure.cause instanceof Error) return failure.cause
  const detail = details[failure.code]?.(service) ?? `The request could not be passed to the service "${service}"`
  const wait = retryAfter[failure.code]
  return new Problem(failure.code, detail, {
    cause: failure.cause,
    ...(wait === undefined ? {} : { fields: { 'Retry-After': wait } }),
  })
}
