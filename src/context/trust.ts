/**
 * Who may be shown the token and the identity of a request:
 * an origin (`http://orders:4001`), a pattern that a whole origin must match (`/https:\/\/[\w-]+\.svc\.internal/`),
 * or a function that is asked with the URL.
 */
export type TrustedOrigin = string | RegExp | ((url: URL) => boolean)

/** Digests a list of trusted origins into one question. Throws a `TypeError` for an entry that could never match. */
export function compileTrust(trusted: readonly TrustedOrigin[]): (url: URL) => boolean {
  const origins = new Set<string>()
  const tests: ((url: URL) => boolean)[] = []
  for (const entry of trusted) {
    if (typeof entry === 'string') origins.add(parseOrigin(entry))
    else if (entry instanceof RegExp) tests.push(matchWhole(entry))
    else tests.push(entry)
  }
  return function isTrusted(url) {
    if (url.protocol !== 'http:' && url.protocol !== 'https:') return false
    return origins.has(url.origin) || tests.some((test) => test(url))
  }
}

function parseOrigin(text: string): string {
  const url = URL.canParse(text) ? new URL(text) : undefined
  const isOrigin =
    url &&
    !url.hostname.includes('*') &&
    /^https?:$/.test(url.protocol) &&
    url.pathname === '/' &&
    !url.search &&
    !url.hash &&
    !url.username &&
    !url.password
  if (isOrigin) return url.origin
  throw new TypeError(
    `"${text}" is not an origin. Write scheme, host and port, such as "http://orders:4001", or use a pattern.`,
  )
}

/** Trust is never given for a part: unanchored, /orders\.internal/ would also trust http://orders.internal.attacker.example. */
function matchWhole(pattern: RegExp): (url: URL) => boolean {
  const whole = new RegExp(`^(?:${pattern.source})$`, pattern.flags.replace(/[gmy]/g, ''))
  return (url) => whole.test(url.origin)
}
