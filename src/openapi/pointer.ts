/** JSON pointers (RFC 6901) and the URI fragments that carry them (§6). */

/** `/paths/~1items/get` of `['paths', '/items', 'get']`. */
export function toPointer(tokens: readonly (string | number)[]): string {
  let pointer = ''
  for (const token of tokens) pointer += `/${escaped(String(token))}`
  return pointer
}

/** Few tokens have anything to escape, and there are a million of them in a large document. */
const escaped = (token: string): string =>
  token.includes('/') || token.includes('~') ? token.replaceAll('~', '~0').replaceAll('/', '~1') : token

/** The tokens of a pointer that starts with a slash, or none for the whole document. */
export function fromPointer(pointer: string): readonly string[] {
  if (pointer === '') return []
  const tokens = pointer.slice(1).split('/')
  return pointer.includes('~') ? tokens.map((token) => token.replaceAll('~1', '/').replaceAll('~0', '~')) : tokens
}

/** `#/components/schemas/A%20b`: what RFC 3986 §3.5 does not allow in a fragment is percent-encoded. */
export function toFragment(tokens: readonly (string | number)[]): string {
  return `#${toPointer(tokens).replace(/[^A-Za-z0-9\-._~!$&'()*+,;=:@/?]+/g, encodeURIComponent)}`
}

/** A fragment without its percent-encoding; as it is when the encoding is broken. A plus sign is a plus sign. */
export function decodeFragment(fragment: string): string {
  if (!fragment.includes('%')) return fragment
  try {
    return decodeURIComponent(fragment)
  } catch {
    return fragment
  }
}
