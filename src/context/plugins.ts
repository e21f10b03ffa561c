import { field, type Plugin } from './plugin.ts'
import type { Secret } from './secret.ts'

/** `Authorization` as it came, scheme included; carried on. A `Secret`: `context.get('authorization')?.reveal()`. */
export function authorization(): Plugin<Secret | undefined> {
  return field('Authorization', { secret: true, carry: true })
}

/** The caller's API key, a `Secret`. Not carried on unless you say so: the next service knows nothing of our keys. */
export function apiKey(
  options: { readonly field?: string; readonly carry?: boolean } = {},
): Plugin<Secret | undefined> {
  return field(options.field ?? 'X-API-Key', { secret: true, carry: options.carry ?? false })
}

/** `User-Agent` of the request. Behind a gateway it is still the client's. */
export function userAgent(): Plugin<string | undefined> {
  return field('User-Agent')
}

/**
 * The addresses of `X-Forwarded-For`, the client first, each proxy after it; empty when there is none.
 * Anybody can send this field: believe it only where nothing but the gateway can reach the service.
 */
export function forwardedFor(): Plugin<readonly string[]> {
  return {
    read: (fields) =>
      (fields.get('X-Forwarded-For') ?? '')
        .split(',')
        .map((address) => address.trim())
        .filter((address) => address !== ''),
  }
}

/** When the client says that it sent the request: the `Date` field (RFC 9110 §6.6.1). Undefined when absent or not a date. */
export function date(): Plugin<Date | undefined> {
  return {
    read(fields) {
      const sent = new Date(fields.get('Date') ?? Number.NaN)
      return Number.isNaN(sent.getTime()) ? undefined : sent
    },
  }
}
