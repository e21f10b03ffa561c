import { hash } from 'node:crypto'
import type { IncomingHttpHeaders } from 'node:http'

/** What reached a service of a request: how `/whoami` proves, from behind the gateway, what the gateway passes on. */
export interface Arrival {
  readonly service: string
  readonly subject: string | null
  readonly requestId: string | null
  readonly traceId: string | null
  /** The fingerprint of `Authorization`. */
  readonly authorization: string | null
  /** The fields about the caller, as they came. */
  readonly fields: Readonly<Record<string, string>>
}

const aboutTheCaller =
  /^(?:authorization|user-(?:id|email|roles?)|organization-id|permissions|auth-.+|token-.+|x-request-id|trace(?:parent|state)|forwarded|x-forwarded-.+)$/
const onlyThatItCame = new Set(['x-api-key', 'cookie'])

/** Reads the bare header section, not the context library, so that the two can be held against each other. */
export function describeArrival(service: string, headers: IncomingHttpHeaders): Arrival {
  const fields: Record<string, string> = {}
  for (const [name, value] of Object.entries(headers)) {
    if (onlyThatItCame.has(name)) fields[name] = 'present'
    else if (aboutTheCaller.test(name)) fields[name] = String(value)
  }
  return {
    service,
    subject: fields['user-id'] ?? null,
    requestId: fields['x-request-id'] ?? null,
    traceId: fields['traceparent']?.split('-')[1] ?? null,
    authorization: fingerprint(headers.authorization),
    fields,
  }
}

/** The beginning of a SHA-256 digest: enough to see that two services got the same token, useless to anybody else. */
export function fingerprint(authorization: string | undefined): string | null {
  return authorization ? hash('sha256', authorization).slice(0, 12) : null
}
