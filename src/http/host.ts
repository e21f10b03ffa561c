import { isIPv6 } from 'node:net'

const nameCharacter = /^[\w.-]{1,253}$/

/**
 * Whether a text is a host with an optional port, as the Host field holds it (RFC 9110 §7.2): a registered name of letters,
 * digits, `-`, `.` and `_`, an IPv4 address, or an IPv6 address in brackets; a port is a number up to 65535.
 * Stricter than the grammar of RFC 3986 §3.2.2, whose `,`, `;` or `%` are read differently by different servers.
 */
export function isHost(text: string): boolean {
  const bracket = text.charCodeAt(0) === 0x5b ? text.indexOf(']') : -1
  const colon = text.indexOf(':', bracket + 1)
  const name = colon < 0 ? text : text.slice(0, colon)
  if (colon >= 0 && !isPort(text, colon + 1)) return false
  if (text.charCodeAt(0) === 0x5b)
    return bracket === name.length - 1 && isIPv6(name.slice(1, -1)) && !name.includes('%')
  return nameCharacter.test(name)
}

function isPort(text: string, from: number): boolean {
  const digits = text.length - from
  if (digits < 1 || digits > 5) return false
  let port = 0
  for (let i = from; i < text.length; i++) {
    const code = text.charCodeAt(i)
    if (code < 0x30 || code > 0x39) return false
    port = port * 10 + code - 0x30
  }
  return port <= 65_535
}
