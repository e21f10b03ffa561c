import type { RequestHead } from './request-head.ts'

/** Methods that change nothing (RFC 9110 §9.2.1). */
const safe: ReadonlySet<string> = new Set(['GET', 'HEAD', 'OPTIONS', 'TRACE'])

/**
 * Whether a request could be the doing of another site: browsers send cookies unasked, so a cookie says who calls but
 * not who wanted the call. Fetch Metadata decides where the browser sends it, `Origin` otherwise; what sends neither
 * is no browser. Only methods that change something matter.
 *
 * `own` is the gateway's URL, `trusts` says whose scripts may call besides (`gateway.cors.origins`).
 */
export function isCrossSite(
  { method, fields }: Pick<RequestHead, 'method' | 'fields'>,
  own: string,
  trusts: (origin: string) => boolean,
): boolean {
  if (safe.has(method)) return false
  const site = fields.get('sec-fetch-site')
  if (site === 'same-origin' || site === 'none') return false
  const origin = fields.get('origin')
  if (site === undefined && origin === undefined) return false
  if (origin === undefined) return true
  return !(trusts(origin) || (site === undefined && origin === new URL(own).origin))
}

/** Whether a person waits for a page: a browser that goes somewhere, not a script that asks for something. */
export function isNavigation({ method, fields }: Pick<RequestHead, 'method' | 'fields'>): boolean {
  if (method !== 'GET' && method !== 'HEAD') return false
  return expectsPage(fields)
}

/** The same for forms, whatever their method. */
export function expectsPage(fields: RequestHead['fields']): boolean {
  const mode = fields.get('sec-fetch-mode')
  if (mode !== undefined) return mode === 'navigate'
  return /(?:^|[,\s])text\/html(?:[;,\s]|$)/i.test(fields.get('accept') ?? '')
}
