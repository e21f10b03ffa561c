import { cookies } from '../http/cookies.ts'
import { parseJson } from '../http/json.ts'
import { decodeSegment } from '../http/path.ts'
import { decodeFormText, queryPairs } from '../http/query.ts'
import type { RequestHead } from '../http/request-head.ts'
import type { ParameterForm, ParameterLocation } from './contract.ts'
import type { Mistake } from './mistake.ts'

/** The parameters of one request: what could be read, by location and name, and what could not. */
export interface ReadParameters {
  readonly values: Readonly<Record<ParameterLocation, Record<string, unknown>>>
  readonly mistakes: readonly Mistake[]
}

const deepestJson = 64

/** Raw segments of the path, by the names that the template gives them. */
export type PathValues = ReadonlyMap<string, string>

/** Read parameters as their styles say (OpenAPI 3.1 §4.8.12.6, RFC 6570): texts, lists and members, not yet checked. */
export function readParameters(
  forms: readonly ParameterForm[],
  head: Pick<RequestHead, 'query' | 'fields'>,
  path: PathValues,
): ReadParameters {
  const values = { path: empty(), query: empty(), header: empty(), cookie: empty() }
  const mistakes: Mistake[] = []
  let query: ReadonlyMap<string, readonly string[]> | undefined
  let crumbs: ReadonlyMap<string, readonly string[]> | undefined
  for (const form of forms) {
    const read = readOne(form)
    if (read === absent) {
      if (form.required) mistakes.push({ in: form.in, name: form.name, pointer: '', detail: 'is required' })
    } else if (read instanceof Unreadable) {
      mistakes.push({ in: form.in, name: form.name, pointer: '', detail: read.detail })
    } else if (!(form.emptyAllowed && read === '')) {
      values[form.in][form.name] = read
    }
  }
  return { values, mistakes }

  function readOne(form: ParameterForm): unknown {
    switch (form.in) {
      case 'path':
        return fromPath(form, path.get(form.name))
      case 'header': {
        const value = head.fields.get(form.name.toLowerCase())
        return value === undefined ? absent : fromList(form, value, ',', (text) => text.trim())
      }
      case 'cookie':
        crumbs ??= cookies(head.fields)
        return fromPairs(form, crumbs)
      case 'query':
        query ??= queryPairs(head.query)
        return fromPairs(form, query)
    }
  }
}

const absent = Symbol('absent')

class Unreadable {
  readonly detail: string

  constructor(detail: string) {
    this.detail = detail
  }
}

const twice = new Unreadable('is given more than once')

function fromPath(form: ParameterForm, raw: string | undefined): unknown {
  if (raw === undefined) return absent
  const decode = (text: string) => decodeSegment(text)
  if (form.style === 'simple') return fromList(form, raw, ',', decode)
  const prefix = form.style === 'label' ? '.' : ';'
  if (!raw.startsWith(prefix)) return new Unreadable(`begins with "${prefix}"`)
  const rest = raw.slice(1)
  if (form.style === 'label') return fromList(form, rest, form.explode ? '.' : ',', decode)
  // matrix: ;id=1, ;id=1,2 or ;id=1;id=2 for a list, ;a=1;b=2 for members
  if (form.explode && form.shape === 'members') return membersOf(rest.split(';'), decode)
  const named = rest.split(';').map((part) => {
    const [name, value] = splitPair(part)
    return decode(name) === form.name ? value : undefined
  })
  if (named.includes(undefined)) return new Unreadable(`is written as ";${form.name}="`)
  if (form.explode && form.shape !== 'text') return named.map((value) => decode(value!))
  return named.length > 1 ? twice : fromList(form, named[0]!, ',', decode)
}

/** One text that holds the whole value. */
function fromList(form: ParameterForm, raw: string, separator: string, decode: (text: string) => string): unknown {
  switch (form.shape) {
    case 'json':
      return fromJson(decode(raw))
    case 'text':
      return decode(raw)
    case 'text-or-list':
      return raw.includes(separator) ? raw.split(separator).map(decode) : decode(raw)
    case 'list':
      return raw.split(separator).map(decode)
    case 'members':
      return form.explode ? membersOf(raw.split(separator), decode) : alternating(raw.split(separator), decode)
  }
}

/** Pairs of name and raw value, as they stand in the query and in cookies. */
function fromPairs(form: ParameterForm, pairs: ReadonlyMap<string, readonly string[]>): unknown {
  if (form.shape === 'members' && form.in === 'query') {
    if (form.style === 'deepObject') return deepObject(form, pairs)
    if (form.explode) return spread(form, pairs)
  }
  const raw = pairs.get(form.name)
  if (!raw) return absent
  const decode = form.in === 'query' ? decodeFormText : (text: string) => text
  if (form.explode && (form.shape === 'list' || (form.shape === 'text-or-list' && raw.length > 1)))
    return raw.map(decode)
  if (raw.length > 1) return twice
  const text = raw[0]!
  if (form.shape === 'text-or-list' && form.explode) return decode(text)
  if (form.style === 'spaceDelimited') return fromList(form, text.replaceAll(/%20|\+/g, ' '), ' ', decode)
  if (form.style === 'pipeDelimited') return fromList(form, text.replaceAll(/%7c/gi, '|'), '|', decode)
  return fromList(form, text, ',', decode)
}

/** Members that are parameters of their own: `?width=1&height=2`. */
function spread(form: ParameterForm, pairs: ReadonlyMap<string, readonly string[]>): unknown {
  const found = empty()
  for (const name of form.members) {
    const raw = pairs.get(name)
    if (raw) found[name] = raw.length === 1 ? decodeFormText(raw[0]!) : raw.map(decodeFormText)
  }
  return Object.keys(found).length > 0 ? found : absent
}

/** `?size[width]=1&size[height]=2` */
function deepObject(form: ParameterForm, pairs: ReadonlyMap<string, readonly string[]>): unknown {
  const found = empty()
  for (const [name, raw] of pairs) {
    if (!name.startsWith(`${form.name}[`) || !name.endsWith(']')) continue
    const member = name.slice(form.name.length + 1, -1)
    // Deeper ones have no agreed meaning.
    if (member.includes('[') || member === '__proto__') continue
    found[member] = raw.length === 1 ? decodeFormText(raw[0]!) : raw.map(decodeFormText)
  }
  return Object.keys(found).length > 0 ? found : absent
}

/** `width=1`, `height=2` */
function membersOf(parts: readonly string[], decode: (text: string) => string): Record<string, unknown> {
  const found = empty()
  for (const part of parts) {
    const [name, value] = splitPair(part)
    put(found, decode(name), decode(value))
  }
  return found
}

/** `width`, `1`, `height`, `2` */
function alternating(parts: readonly string[], decode: (text: string) => string): unknown {
  if (parts.length % 2 !== 0) return new Unreadable('is a list of names and values')
  const found = empty()
  for (let i = 0; i < parts.length; i += 2) put(found, decode(parts[i]!), decode(parts[i + 1]!))
  return found
}

function fromJson(text: string): unknown {
  const parsed = parseJson(Buffer.from(text), deepestJson)
  return parsed.outcome === 'read' ? parsed.value : new Unreadable('is not JSON')
}

function splitPair(part: string): readonly [string, string] {
  const equals = part.indexOf('=')
  return equals < 0 ? [part, ''] : [part.slice(0, equals), part.slice(equals + 1)]
}

/** Names come from the request: none of them is an inherited one. */
function empty(): Record<string, unknown> {
  return Object.create(null) as Record<string, unknown>
}

function put(members: Record<string, unknown>, name: string, value: unknown): void {
  if (name !== '__proto__') members[name] = value
}
