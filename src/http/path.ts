import { Problem } from './problem.ts'

/**
 * The request target (RFC 9112 §3.2) as one unambiguous pair of path and query (RFC 3986).
 *
 * A gateway decides about a path and a service acts on it: where the two read it differently, the decision is void.
 * So there is one canonical string that is matched, authorised, logged and sent, and whatever a backend could read
 * in a second way is refused instead of repaired:
 *
 * - raw control characters, spaces, non-ASCII bytes, `\`, `#`, and everything else that RFC 3986 §3.3 has no place for;
 * - malformed escapes, and escapes of control characters, `/`, `\`, `;` or of another escape (`%25` and two digits);
 * - `;`, at which some servers cut a segment off and others do not;
 * - empty segments (`//`) and the segments `.` and `..`, however they are spelled;
 * - escapes that are no UTF-8, that hide (a zero-width space), or that Unicode's compatibility form (NFKC) turns into a dot
 *   segment or a separator.
 *
 * Of what remains, escaped unreserved characters are decoded and the digits of the other escapes written in capitals
 * (§6.2.2.1, §6.2.2.2). The query is checked for bytes that may not stand there, and otherwise left as it came.
 */
export interface Target {
  /** Begins with `/`. */
  readonly path: string
  /** Without the question mark; empty when there is none. */
  readonly query: string
}

/** Longest path and query that are read, in bytes. */
export const targetLimits = { path: 4_096, query: 8_192 } as const

/** Longest request target of any form: scheme and authority of the absolute form stand before path and query. */
export const longestTarget = targetLimits.path + targetLimits.query + 512

const slash = 0x2f
const dot = 0x2e
const question = 0x3f

// RFC 3986 §3.3: pchar without pct-encoded, and without the semicolon (see above).
const pchar = new Uint8Array(128)
for (const character of "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-._~!$&'()*+,=:@") {
  pchar[character.charCodeAt(0)] = 1
}

/**
 * Reads `req.url`. `host` is the value of the Host field, in lower case: a target in absolute form must name the same
 * authority and is reduced to path and query (RFC 9112 §3.2.2); the gateway is no forward proxy.
 * Returns the `Problem` to answer when the target is refused.
 */
export function canonicalTarget(raw: string, host: string): Target | Problem {
  if (raw.charCodeAt(0) !== slash) {
    const originForm = reduceAbsoluteForm(raw, host)
    return typeof originForm === 'string' ? canonicalTarget(originForm, host) : originForm
  }
  const plain = plainLength(raw)
  const clean = plain === raw.length || raw.charCodeAt(plain) === question
  const mark = clean ? plain : endOfPath(raw, plain)
  if (mark > targetLimits.path) return tooLong('path', targetLimits.path)
  const path = clean ? raw.slice(0, mark) : canonicalPath(raw.slice(0, mark))
  if (typeof path !== 'string') return path
  if (mark === raw.length) return { path, query: '' }

  if (raw.length - mark - 1 > targetLimits.query) return tooLong('query', targetLimits.query)
  for (let i = mark + 1; i < raw.length; i++) {
    const code = raw.charCodeAt(i)
    if (code <= 0x20 || code >= 0x7f || code === 0x23) return misplaced('query', code)
  }
  return { path, query: raw.slice(mark + 1) }
}

/** How much of a target is plainly canonical: one scan that nearly every request ends at its question mark or its end. */
function plainLength(raw: string): number {
  let i = 0
  for (; i < raw.length; i++) {
    const code = raw.charCodeAt(i)
    if (code === slash) {
      const next = raw.charCodeAt(i + 1)
      if (next === slash || next === dot) break
    } else if (pchar[code] !== 1) break
  }
  return i
}

/** The target to send to a backend: `base` is the path of the target's URL (`/`, `/api`, `/api/`), `path` begins with `/` or is empty. */
export function joinTarget(base: string, path: string, query: string): string {
  const prefix = base.endsWith('/') ? base.slice(0, -1) : base
  const joined = path === '' ? base || '/' : prefix + path
  return query === '' ? joined : `${joined}?${query}`
}

/** The value of a segment of a canonical path, decoded (RFC 3986 §2.1). */
export function decodeSegment(segment: string): string {
  return segment.includes('%') ? decodeURIComponent(segment) : segment
}

/**
 * A value as one path segment: everything but unreserved characters is escaped.
 * Throws a `Problem` for a value that no escaping makes safe, such as `..` or one with a slash: a canonical path cannot hold it.
 */
export function encodeSegment(value: string): string {
  // encodeURIComponent leaves these four, reserved characters since RFC 3986.
  const encoded = encodeURIComponent(value.toWellFormed()).replace(
    /[!'()*]/g,
    (character) => `%${character.charCodeAt(0).toString(16).toUpperCase()}`,
  )
  const refusal = value === '' ? ambiguous('An empty value cannot be a path segment') : canonicalSegment(encoded)
  if (refusal instanceof Problem) throw refusal
  return encoded
}

function endOfPath(raw: string, from: number): number {
  const mark = raw.indexOf('?', from)
  return mark < 0 ? raw.length : mark
}

/** The absolute form without scheme and authority; every other form is refused. */
function reduceAbsoluteForm(raw: string, host: string): string | Problem {
  if (raw === '') return new Problem('bad-request', 'The request target is empty')
  if (raw === '*') return new Problem('bad-request', 'The asterisk form concerns no resource; name a path')
  const scheme = /^https?:\/\//i.exec(raw)?.[0]
  if (scheme === undefined) return new Problem('bad-request', 'A request target begins with a slash')
  let end = scheme.length
  while (end < raw.length && !'/?#'.includes(raw[end]!)) end++
  if (raw.slice(scheme.length, end).toLowerCase() !== host || host === '') {
    return new Problem('misdirected-request', 'The request target names another host than the Host field')
  }
  return raw.charCodeAt(end) === slash ? raw.slice(end) : `/${raw.slice(end)}`
}

function canonicalPath(raw: string): string | Problem {
  const segments = raw.split('/')
  const last = segments.length - 1
  for (let i = 1; i <= last; i++) {
    const segment = segments[i]!
    if (segment === '') {
      if (i === last) break
      return ambiguous('The path has an empty segment (//)')
    }
    const canonical = canonicalSegment(segment)
    if (typeof canonical !== 'string') return canonical
    segments[i] = canonical
  }
  return segments.join('/')
}

const escapes = /%([\dA-Fa-f]{2})?/g
const doubleEscape = /%25[\dA-Fa-f]{2}/
/** C1 controls, zero-width space, line and paragraph separators, word joiner, byte order mark. */
const hidden = /[\u0080-\u009f\u200b\u2028\u2029\u2060\ufeff]/

/** One segment that is not empty. */
function canonicalSegment(raw: string): string | Problem {
  for (let i = 0; i < raw.length; i++) {
    const code = raw.charCodeAt(i)
    if (pchar[code] !== 1 && code !== 0x25) {
      return code === 0x3b ? ambiguous('The path has a semicolon') : misplaced('path', code)
    }
  }
  if (raw.includes('%')) {
    let refusal: Problem | undefined
    let unicode = false
    const canonical = raw.replace(escapes, (whole: string, digits: string | undefined) => {
      const byte = digits === undefined ? -1 : Number.parseInt(digits, 16)
      if (byte < 0)
        refusal ??= new Problem(
          'bad-request',
          'The path has a malformed escape: % is followed by two hexadecimal digits',
        )
      else if (byte < 0x20 || byte === 0x7f) refusal ??= ambiguous('The path escapes a control character')
      else if (byte === slash || byte === 0x5c || byte === 0x3b) refusal ??= ambiguous(`The path escapes ${whole}`)
      else if (byte >= 0x80) unicode = true
      return isUnreserved(byte) ? String.fromCharCode(byte) : whole.toUpperCase()
    })
    // Asked of the result, because %25%36%31 becomes the double escape %2561.
    if (refusal === undefined && doubleEscape.test(canonical)) refusal = ambiguous('The path is escaped twice')
    if (refusal === undefined && unicode) refusal = doubtfulUnicode(canonical)
    if (refusal !== undefined) return refusal
    raw = canonical
  }
  return raw === '.' || raw === '..' ? ambiguous('The path has a dot segment') : raw
}

function doubtfulUnicode(segment: string): Problem | undefined {
  let text: string
  try {
    text = decodeURIComponent(segment)
  } catch {
    return new Problem('bad-request', 'The path has escapes that are not UTF-8')
  }
  if (hidden.test(text)) return ambiguous('The path has invisible characters')
  const compatible = text.normalize('NFKC')
  const separates = /[/\\]/.test(compatible) || compatible === '.' || compatible === '..'
  return separates
    ? ambiguous('The path has characters that are read as separators or dots by some servers')
    : undefined
}

/** RFC 3986 §2.3: ALPHA / DIGIT / "-" / "." / "_" / "~" */
function isUnreserved(byte: number): boolean {
  return (
    (byte >= 0x61 && byte <= 0x7a) ||
    (byte >= 0x41 && byte <= 0x5a) ||
    (byte >= 0x30 && byte <= 0x39) ||
    byte === 0x2d ||
    byte === dot ||
    byte === 0x5f ||
    byte === 0x7e
  )
}

function ambiguous(detail: string): Problem {
  return new Problem('ambiguous-target', detail)
}

function misplaced(part: 'path' | 'query', code: number): Problem {
  const what =
    code > 0x20 && code < 0x7f ? `"${String.fromCharCode(code)}"` : 'a space, a control or a non-ASCII character'
  return new Problem('bad-request', `The ${part} has ${what}, which must be escaped`)
}

function tooLong(part: 'path' | 'query', limit: number): Problem {
  return new Problem('target-too-long', `The ${part} may have ${limit} bytes`)
}
