import type { Fields } from './request-head.ts'

/** The Via field (RFC 9110 §7.6.3), by which a gateway recognises a request that it has sent itself. */

/** Gateways of this kind that a request may pass one after the other. */
const mostGateways = 8

const gateway = /^1\.[01] sallyport-[\w-]{1,64}$/

/**
 * `id` tells this process from all others. Returns the function that makes the value of Via to send on: what other gateways of this
 * kind wrote, and this one. Everything else in the field is somebody's claim and left out.
 * It returns undefined when the request comes back to where it was, or has passed more than 8 of these gateways:
 * then it is going round in a loop.
 */
export function createVia(id: string) {
  const own = `1.1 sallyport-${id}`
  return function via(fields: Fields): string | undefined {
    const received = fields.get('via')
    if (received === undefined) return own
    const passed = received
      .split(',')
      .map((text) => text.trim())
      .filter((text) => gateway.test(text))
    if (passed.length >= mostGateways || passed.includes(own)) return undefined
    return [...passed, own].join(', ')
  }
}
