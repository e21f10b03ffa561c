import { type Lines, lineOf } from '../http/fields.ts'

/** What RFC 9111 says of one request and one answer, as pure functions. Times are milliseconds. */

/** Directives by lower-case name; the value is empty where there is none. The first of two equal names counts (RFC 9111 §4.2.1). */
export type Directives = ReadonlyMap<string, string>

const directive = /([!#$%&'*+.^`|~\w-]+)(?:=(?:"((?:[^"\\]|\\.)*)"|([^,;\s"]*)))?/g

/** `Cache-Control` (RFC 9111 §5.2). */
export function parseDirectives(field: string | undefined): Directives {
  const found = new Map<string, string>()
  for (const [, name, quoted, plain] of (field ?? '').matchAll(directive)) {
    const key = name!.toLowerCase()
    if (!found.has(key)) found.set(key, quoted ?? plain ?? '')
  }
  return found
}

/** Seconds of a directive, in milliseconds; what is no number makes a thing stale (RFC 9111 §4.2.1). */
function secondsOf(directives: Directives, name: string): number | undefined {
  const text = directives.get(name)
  if (text === undefined) return undefined
  return /^\d+$/.test(text) ? Math.min(Number(text), 2_147_483_648) * 1_000 : 0
}

export interface AnswerHead {
  readonly status: number
  readonly fields: Lines
}

/** Who an answer may be given to again. */
export type Audience = 'everybody' | 'guests' | 'caller'

/** How long an answer is good, and for whom. */
export interface Lifetime {
  readonly audience: Audience
  /** How old it was when it came. */
  readonly age: number
  /** How old it may become and still be fresh; 0 where each use must be asked for. */
  readonly fresh: number
  /** How much older it may be given when the service fails (RFC 5861 §4). */
  readonly staleIfError: number
}

export interface Asking {
  /** Somebody whom the gateway knows. */
  readonly known: boolean
  /** A guest who shows the service something of its own, such as a cookie: nobody can say whom the answer is for. */
  readonly unclear: boolean
  readonly directives: Directives
  /** Whether a field is one that the gateway takes off or writes: what a client sends there says nothing. */
  personal(name: string): boolean
}

/** Statuses whose answers are kept at all; the second says whether also where the service gives no time. */
const kept: ReadonlyMap<number, boolean> = new Map([
  [200, true],
  [203, true],
  [204, false],
  [300, false],
  [301, false],
  [308, false],
  [404, false],
  [410, false],
])

/** Whether an answer may be kept (RFC 9111 §3), and how long it is good (§4.2.1); undefined when it may not. */
export function lifetimeOf(asking: Asking, answer: AnswerHead, fallback: number | undefined): Lifetime | undefined {
  const { status, fields } = answer
  const mayFallBack = kept.get(status)
  if (mayFallBack === undefined || asking.directives.has('no-store')) return undefined
  const directives = parseDirectives(lineOf(fields, 'cache-control'))
  if (directives.has('no-store') || lineOf(fields, 'set-cookie') !== undefined) return undefined
  const vary = varyOf(fields)
  if (vary === '*' || isStream(fields)) return undefined

  const audience = audienceOf(asking, directives, vary)
  if (!audience) return undefined
  const stated = statedLifetime(fields, directives, audience)
  const fresh = directives.has('no-cache') ? 0 : (stated ?? (mayFallBack ? fallback : undefined))
  if (fresh === undefined) return undefined
  const age = ageOf(fields)
  const staleIfError = mustAsk(directives) ? 0 : (secondsOf(directives, 'stale-if-error') ?? 0)
  if (fresh <= age && staleIfError === 0 && !hasValidator(fields)) return undefined
  return { audience, age, fresh, staleIfError }
}

/** Whoever asks for events wants each when it comes, and there may be no end to wait for. */
function isStream(fields: Lines): boolean {
  return /^text\/event-stream\s*(?:;|$)/i.test(lineOf(fields, 'content-type') ?? '')
}

function audienceOf(
  { known, unclear, personal }: Asking,
  directives: Directives,
  vary: readonly string[],
): Audience | undefined {
  if (directives.has('private')) return known ? 'caller' : undefined
  const open = directives.has('public') || directives.has('s-maxage')
  if (open && !vary.some(personal)) return 'everybody'
  if (known) return 'caller'
  return unclear ? undefined : 'guests'
}

function statedLifetime(fields: Lines, directives: Directives, audience: Audience): number | undefined {
  const shared = audience === 'caller' ? undefined : secondsOf(directives, 's-maxage')
  const stated = shared ?? secondsOf(directives, 'max-age')
  if (stated !== undefined) return stated
  const expires = lineOf(fields, 'expires')
  if (expires === undefined) return undefined
  const [until, from] = [parseDate(expires), parseDate(lineOf(fields, 'date'))]
  return Number.isNaN(until) || Number.isNaN(from) ? 0 : Math.max(0, until - from)
}

/** An HTTP date (RFC 9110 §5.6.7); NaN for any other text, of which `Date.parse` makes something too. */
function parseDate(text: string | undefined): number {
  return /^[A-Z][a-z]{2}, \d{2} [A-Z][a-z]{2} \d{4} \d{2}:\d{2}:\d{2} GMT$/.test(text ?? '')
    ? Date.parse(text!)
    : Number.NaN
}

function mustAsk(directives: Directives): boolean {
  return ['must-revalidate', 'proxy-revalidate', 'no-cache', 's-maxage'].some((name) => directives.has(name))
}

function ageOf(fields: Lines): number {
  const text = lineOf(fields, 'age') ?? ''
  return /^\d{1,10}$/.test(text) ? Number(text) * 1_000 : 0
}

function hasValidator(fields: Lines): boolean {
  return lineOf(fields, 'etag') !== undefined || lineOf(fields, 'last-modified') !== undefined
}

/** The names in `Vary` in lower case, or `*` (RFC 9110 §12.5.5). */
export function varyOf(fields: Lines): readonly string[] | '*' {
  const names = (lineOf(fields, 'vary') ?? '')
    .toLowerCase()
    .split(',')
    .map((name) => name.trim())
    .filter((name) => name !== '')
  return names.includes('*') ? '*' : [...new Set(names)].sort()
}

/** Whether a request takes an answer of this age (RFC 9111 §5.2.1). */
export function accepts(directives: Directives, age: number, fresh: number): boolean {
  if (directives.has('no-cache')) return false
  const [oldest, remaining] = [secondsOf(directives, 'max-age'), secondsOf(directives, 'min-fresh') ?? 0]
  return age < fresh && fresh - age >= remaining && (oldest === undefined || age <= oldest)
}

/** Whether the client has the answer already (RFC 9110 §13.1.2, §13.1.3). */
export function isUnchanged(request: { get(name: string): string | undefined }, fields: Lines): boolean {
  const tags = request.get('if-none-match')
  if (tags !== undefined) {
    const etag = opaque(lineOf(fields, 'etag') ?? '')
    return tags.trim() === '*' || (etag !== '' && tags.split(',').some((tag) => opaque(tag) === etag))
  }
  const since = parseDate(request.get('if-modified-since'))
  const modified = parseDate(lineOf(fields, 'last-modified'))
  return !Number.isNaN(since) && !Number.isNaN(modified) && modified <= since
}

const opaque = (tag: string) => tag.trim().replace(/^W\//, '')

/** The fields that ask whether an answer is still good (RFC 9111 §4.3.1); empty when it cannot be asked. */
export function conditionsOf(fields: Lines): string[] {
  const etag = lineOf(fields, 'etag')
  const modified = lineOf(fields, 'last-modified')
  return [
    ...(etag === undefined ? [] : ['If-None-Match', etag]),
    ...(modified === undefined ? [] : ['If-Modified-Since', modified]),
  ]
}

/** Fields of a request that ask for less than the whole answer. */
export function isCondition(name: string): boolean {
  return /^(?:if-(?:none-match|modified-since))$/i.test(name)
}

const perMessage: ReadonlySet<string> = new Set(['content-length', 'content-encoding', 'content-type', 'content-range'])

/** An answer after a 304: what it says counts, the content and what describes it stays (RFC 9111 §3.2). */
export function refreshed(kept: Lines, news: Lines): string[] {
  const told = new Set<string>()
  for (let i = 0; i < news.length; i += 2) {
    const name = news[i]!.toLowerCase()
    if (!perMessage.has(name)) told.add(name)
  }
  const merged: string[] = []
  for (let i = 0; i < kept.length; i += 2) if (!told.has(kept[i]!.toLowerCase())) merged.push(kept[i]!, kept[i + 1]!)
  for (let i = 0; i < news.length; i += 2) if (told.has(news[i]!.toLowerCase())) merged.push(news[i]!, news[i + 1]!)
  return merged
}
