import type { Fields } from './request-head.ts'

/** The Cookie and Set-Cookie fields (RFC 6265bis), as far as a gateway reads them: values stay the bytes they are. */

/** Every value of every cookie name, in order: more than one value for a name is for the caller to refuse. */
export function cookies(fields: Fields): ReadonlyMap<string, readonly string[]> {
  const found = new Map<string, string[]>()
  for (const line of fields.all('cookie')) {
    eachPair(line, (name, value) => {
      const values = found.get(name)
      if (values) values.push(value)
      else found.set(name, [value])
    })
  }
  return found
}

/** The values of one cookie, in order; usually none or one. */
export function cookie(fields: Fields, name: string): readonly string[] {
  const values: string[] = []
  for (const line of fields.all('cookie')) {
    // Most requests carry none of ours, and then nothing is parsed.
    if (!line.includes(name)) continue
    eachPair(line, (found, value) => {
      if (found === name) values.push(value)
    })
  }
  return values
}

/** The pairs of a Cookie field; what has no "=" is none. */
function eachPair(line: string, take: (name: string, value: string) => void): void {
  for (const pair of line.split(';')) {
    const equals = pair.indexOf('=')
    if (equals >= 0) take(trim(pair.slice(0, equals)), trim(pair.slice(equals + 1)))
  }
}

/** The value of a Cookie field without the named cookies, and the rest byte for byte; empty when nothing is left. */
export function withoutCookies(value: string, names: ReadonlySet<string>): string {
  if (!mentions(value, names)) return value
  const pairs = value.split(';')
  const kept = pairs.filter((pair) => !names.has(pairName(pair)))
  return kept.length === pairs.length ? value : trim(kept.join(';'))
}

/**
 * The name under which the cookie of a Set-Cookie field will come back. A value without a name is sent back bare:
 * `Set-Cookie: =sid=x` and `Set-Cookie: sid` arrive as the cookie `sid` (RFC 6265bis §5.6), so they are that cookie.
 */
export function setCookieName(value: string): string {
  const semicolon = value.indexOf(';')
  return pairName((semicolon < 0 ? value : value.slice(0, semicolon)).replace(/^[ \t=]+/, ''))
}

/** Cheap, and nearly always the end of the matter: most requests carry many cookies and none of ours. */
function mentions(value: string, names: ReadonlySet<string>): boolean {
  for (const name of names) if (value.includes(name)) return true
  return false
}

function pairName(pair: string): string {
  const equals = pair.indexOf('=')
  return trim(equals < 0 ? pair : pair.slice(0, equals))
}

/** Only space and tab, not the further characters that JavaScript calls white space. */
function trim(text: string): string {
  let start = 0
  let end = text.length
  while (isBlank(text.charCodeAt(start))) start++
  while (end > start && isBlank(text.charCodeAt(end - 1))) end--
  return text.slice(start, end)
}

function isBlank(code: number): boolean {
  return code === 0x20 || code === 0x09
}
