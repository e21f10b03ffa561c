import type { Client, Fields } from './request-head.ts'

/** The request id: one name for a request in every log and answer it leaves behind (X-Request-ID). */

const wellFormed = /^[A-Za-z0-9][\w.:=-]{0,127}$/

/** Whether a text can be a request id: 1 to 128 letters, digits and `. _ : = -`, the first a letter or digit. Safe in logs, paths and fields. */
export function isRequestId(text: string): boolean {
  return wellFormed.test(text)
}

/**
 * Returns the function that names requests. `randomBytes` is asked once, for the 16 digits that tell this process from all
 * others; a counter follows, so an id costs next to nothing and requests of one process sort by their arrival.
 * The client's own id is kept when a trusted proxy vouches for it and it is well formed.
 */
export function createRequestIds(randomBytes: (size: number) => Uint8Array) {
  const prefix = Buffer.from(randomBytes(8)).toString('hex')
  let count = 0

  return function requestId(fields: Fields, client: Pick<Client, 'viaTrustedProxy'>): string {
    if (client.viaTrustedProxy) {
      const received = fields.get('x-request-id')
      if (received !== undefined && isRequestId(received)) return received
    }
    count++
    return `${prefix}-${count.toString(36).padStart(6, '0')}`
  }
}
