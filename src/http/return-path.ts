/**
 * Where a browser may be sent back to: a path on the gateway's own origin, with its query and fragment; undefined for
 * everything else. Browsers read a backslash as a slash, skip tabs and line ends, and take `//host` for another host
 * (WHATWG URL §4.4), so none of these passes, neither as written nor as what dot segments leave over.
 */
export function returnPath(text: string | undefined, origin: string): string | undefined {
  if (text === undefined || text.length > longest || !visible.test(text) || !local.test(text)) return undefined
  if (!URL.canParse(text, origin)) return undefined
  const url = new URL(text, origin)
  const path = `${url.pathname}${url.search}${url.hash}`
  return url.origin === origin && local.test(path) ? path : undefined
}

const longest = 1_024
const visible = /^[!-[\]-~]+$/
const local = /^\/(?!\/)/
