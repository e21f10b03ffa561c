import { unescape as unescapeLeniently } from 'node:querystring'

/** Parameters of a query (RFC 3986 §3.4) as forms write them (application/x-www-form-urlencoded, WHATWG URL §5). */

/** Every value of a parameter, decoded, in order. Never throws: a malformed escape stays as it is. */
export function queryParameter(query: string, name: string): readonly string[] {
  if (query === '') return []
  const values: string[] = []
  for (const pair of query.split('&')) {
    const equals = pair.indexOf('=')
    if (decodeFormText(equals < 0 ? pair : pair.slice(0, equals)) === name) {
      values.push(equals < 0 ? '' : decodeFormText(pair.slice(equals + 1)))
    }
  }
  return values
}

/** Every parameter by its decoded name, values as they were written, in order. */
export function queryPairs(query: string): ReadonlyMap<string, readonly string[]> {
  const pairs = new Map<string, string[]>()
  if (query === '') return pairs
  for (const pair of query.split('&')) {
    if (pair === '') continue
    const equals = pair.indexOf('=')
    const name = decodeFormText(equals < 0 ? pair : pair.slice(0, equals))
    const value = equals < 0 ? '' : pair.slice(equals + 1)
    const values = pairs.get(name)
    if (values) values.push(value)
    else pairs.set(name, [value])
  }
  return pairs
}

/** A query without the named parameters in any spelling (`api%5Fkey`), and the rest byte for byte. */
export function withoutParameters(query: string, names: ReadonlySet<string>): string {
  if (query === '') return query
  const pairs = query.split('&')
  const kept = pairs.filter((pair) => {
    const equals = pair.indexOf('=')
    return !names.has(decodeFormText(equals < 0 ? pair : pair.slice(0, equals)))
  })
  return kept.length === pairs.length ? query : kept.join('&')
}

/** An address as it may stand in a log: without query and userinfo (RFC 3986 §3.2.1), which may hold secrets. */
export function withoutSecrets(url: string): string {
  if (!URL.canParse(url)) return url.replace(/[?#].*$/s, '')
  const { protocol, host, pathname } = new URL(url)
  return `${protocol}//${host}${pathname}`
}

/** A name or a value of a form, decoded. Never throws: a malformed escape stays as it is. */
export function decodeFormText(text: string): string {
  if (text.includes('+')) text = text.replaceAll('+', ' ')
  return text.includes('%') ? unescapeLeniently(text) : text
}
