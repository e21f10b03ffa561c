import { setCookieName, withoutCookies } from './cookies.ts'
import { Problem } from './problem.ts'
import { foldName, isReserved } from './reserved-fields.ts'

/**
 * Which header fields an intermediary passes on (RFC 9110 §7.6), in both directions, as flat lists: name, value, name, value.
 *
 * Deciding about a name costs a lower-casing and several look-ups, so the decision is remembered by the name as it was spelled,
 * and a warm gateway pays one look-up per field.
 */

/** Fields that concern one connection only (RFC 9110 §7.6.1), and Trailer, because trailers are not passed on. */
const hopByHop: ReadonlySet<string> = new Set([
  ...[
    'connection',
    'keep-alive',
    'proxy-connection',
    'te',
    'trailer',
    'transfer-encoding',
    'upgrade',
    'http2-settings',
  ],
])

/** A sender may not have these taken off by naming them in Connection: without them the message is another message. */
const indispensable: ReadonlySet<string> = new Set(['host', 'content-length'])

/** Fields whose other spellings (`Content.Length`) are not passed on, because some server reads them as this one. */
const meaningful: ReadonlySet<string> = new Set([
  ...[
    'host',
    'content-length',
    'content-type',
    'content-encoding',
    'cookie',
    'authorization',
    'origin',
    'referer',
    'date',
  ],
])

export interface RequestFieldOptions {
  /** Header fields that carry credentials of any security scheme; taken off. What the service may see is added by propagation. */
  readonly credentials?: Iterable<string>
  /** Header fields that are set anew for this service, such as mapped identity names and `forward.headers`. */
  readonly owned?: Iterable<string>
  /** The gateway's own cookies; taken out of Cookie. */
  readonly cookies?: ReadonlySet<string>
  /** Whether the service gets the Host field of the client. Default: `drop`, so that the transport writes the target's own. */
  readonly host?: 'drop' | 'keep'
}

type Fate = 'keep' | 'drop' | 'connection' | 'cookie'

/**
 * Returns the function that makes of a request's fields those for the service: without hop-by-hop fields and those that Connection
 * names, without every spelling of a reserved, owned or credential name, without the gateway's cookies. The rest is byte for
 * byte and in order. Add the gateway's own lines afterwards: what a client nominated cannot touch them then.
 */
export function createRequestFields(options: RequestFieldOptions = {}) {
  const { cookies, host = 'drop' } = options
  const withheld = new Set([...(options.credentials ?? []), ...(options.owned ?? [])].map(foldName))
  const fateOf = remember(decide)

  return function requestFields(raw: readonly string[]): string[] {
    const lines: string[] = []
    let nominated: Set<string> | undefined
    for (let i = 0; i < raw.length; i += 2) {
      const name = raw[i]!
      const value = raw[i + 1]!
      switch (fateOf(name)) {
        case 'keep':
          lines.push(name, value)
          break
        case 'cookie': {
          const rest = cookies ? withoutCookies(value, cookies) : value
          if (rest !== '') lines.push(name, rest)
          break
        }
        case 'connection':
          nominated = nominate(nominated, value)
          break
      }
    }
    return nominated ? withoutNominated(lines, nominated) : lines
  }

  function decide(name: string): Fate {
    const lower = name.toLowerCase()
    const folded = foldName(name)
    if (lower === 'connection') return 'connection'
    if (hopByHop.has(folded) || folded === 'expect' || withheld.has(folded) || isReserved(folded)) return 'drop'
    if (lower !== folded && meaningful.has(folded)) return 'drop'
    if (folded === 'host') return host
    return folded === 'cookie' ? 'cookie' : 'keep'
  }
}

/** What a service says of itself, and what it says of an address that is not the gateway's (RFC 7838). */
const banners: ReadonlySet<string> = new Set([
  'server',
  'x-powered-by',
  'x-aspnet-version',
  'x-aspnetmvc-version',
  'alt-svc',
])

export interface ResponseFieldOptions {
  /** Header fields that the gateway itself sets on this answer: its word is the only one. */
  readonly owned?: Iterable<string>
  /** The gateway's own cookies; a service cannot set them. */
  readonly cookies?: ReadonlySet<string>
}

/**
 * Returns the function that makes of a service's fields those for the client: without hop-by-hop fields and those that Connection
 * names, without banners, owned fields and Set-Cookie of the gateway's cookies. The rest is byte for byte and in order.
 * Throws a `Problem` for a transfer coding other than `chunked`, which clients of HTTP let pass with the body in shreds.
 */
export function createResponseFields(options: ResponseFieldOptions = {}) {
  const { cookies } = options
  const owned = new Set([...(options.owned ?? [])].map((name) => name.toLowerCase()))
  const fateOf = remember(decide)

  return function responseFields(raw: readonly string[]): string[] {
    const lines: string[] = []
    let nominated: Set<string> | undefined
    let codings = 0
    for (let i = 0; i < raw.length; i += 2) {
      const name = raw[i]!
      const value = raw[i + 1]!
      switch (fateOf(name)) {
        case 'keep':
          lines.push(name, value)
          break
        case 'set-cookie':
          if (!cookies?.has(setCookieName(value))) lines.push(name, value)
          break
        case 'connection':
          nominated = nominate(nominated, value)
          break
        case 'transfer-encoding':
          if (++codings > 1 || value.toLowerCase() !== 'chunked') {
            throw new Problem(
              'upstream-invalid-response',
              'The service answered with a transfer coding that is not known',
            )
          }
          break
      }
    }
    return nominated ? withoutNominated(lines, nominated) : lines
  }

  function decide(name: string): Fate | 'set-cookie' | 'transfer-encoding' {
    const lower = name.toLowerCase()
    if (lower === 'connection' || lower === 'transfer-encoding' || lower === 'set-cookie') return lower
    if (hopByHop.has(lower) || lower.startsWith('proxy-') || banners.has(lower) || owned.has(lower)) return 'drop'
    return 'keep'
  }
}

/** The names in a Connection field, on top of those collected before (RFC 9110 §7.6.1). */
function nominate(names: Set<string> | undefined, value: string): Set<string> | undefined {
  const lower = value.toLowerCase()
  if (lower === 'keep-alive' || lower === 'close') return names
  const all = names ?? new Set()
  for (const option of lower.split(',')) {
    const name = option.trim()
    if (!indispensable.has(name)) all.add(name)
  }
  return all
}

function withoutNominated(lines: readonly string[], names: ReadonlySet<string>): string[] {
  const kept: string[] = []
  for (let i = 0; i < lines.length; i += 2) {
    if (!names.has(lines[i]!.toLowerCase())) kept.push(lines[i]!, lines[i + 1]!)
  }
  return kept
}

/** More spellings than honest clients use, few enough to be worth nothing to those who invent names. */
const mostSpellings = 512
const longestSpelling = 64

/** `decide`, asked once for each spelling. When the memory is full it starts over: whoever fills it cannot push others out for long. */
export function remember<T extends string>(decide: (name: string) => T): (name: string) => T {
  const known = new Map<string, T>()
  return function recall(name) {
    const before = known.get(name)
    if (before !== undefined) return before
    const fate = decide(name)
    if (name.length <= longestSpelling) {
      if (known.size >= mostSpellings) known.clear()
      known.set(name, fate)
    }
    return fate
  }
}
