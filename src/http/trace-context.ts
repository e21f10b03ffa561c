import type { Fields } from './request-head.ts'

/** Where a request stands in a distributed trace (W3C Trace Context, Recommendation of 23 November 2021). */
export interface TraceContext {
  /** 32 hexadecimal digits, the same in every service. */
  readonly traceId: string
  /** 16 hexadecimal digits: the gateway's own part, which the service sees as its parent. */
  readonly spanId: string
  /** The caller's part; absent where the trace begins here. */
  readonly parentId?: string
  /** Whether this trace is recorded. */
  readonly sampled: boolean
  /** The field to send: version 00. */
  readonly traceparent: string
  /** The field to send, as it came; absent when there was none or it was not valid. */
  readonly tracestate?: string
}

export interface Traceparent {
  readonly traceId: string
  readonly parentId: string
  readonly sampled: boolean
}

// §3.2.2: lower-case hexadecimal; a version after 00 may append more after another hyphen, and ff is not a version.
const form = /^(?!ff)([\da-f]{2})-(?!0{32})([\da-f]{32})-(?!0{16})([\da-f]{16})-([\da-f]{2})(?:-.*)?$/
const versionZeroLength = 55
const sampledFlag = 0b1

/** Undefined when the text is not a valid `traceparent`: the trace then begins anew (§3.2.2.5, §4.3). */
export function parseTraceparent(text: string): Traceparent | undefined {
  const match = form.exec(text)
  if (!match || (match[1] === '00' && text.length !== versionZeroLength)) return undefined
  return { traceId: match[2]!, parentId: match[3]!, sampled: (Number.parseInt(match[4]!, 16) & sampledFlag) !== 0 }
}

// §3.3.1: key "=" value; a key may have a tenant before "@"; a value is printable, without comma and equals, and ends in no space.
const stateKey = /^(?:[a-z][\w\-*/]{0,255}|[a-z0-9][\w\-*/]{0,240}@[a-z][\w\-*/]{0,13})$/
const stateValue = /^[ !-+\--<>-~]{0,255}[!-+\--<>-~]$/
const longestState = 512
const mostMembers = 32

/** Whether a `tracestate` may be passed on: at most 32 members and 512 bytes, each well formed, no key twice (§3.3.1). */
export function isTracestate(text: string): boolean {
  if (text.length > longestState) return false
  const keys = new Set<string>()
  for (const part of text.split(',')) {
    const member = part.replace(/^[ \t]+|[ \t]+$/g, '')
    if (member === '') continue
    const equals = member.indexOf('=')
    const key = member.slice(0, Math.max(equals, 0))
    if (!stateKey.test(key) || key !== key.toLowerCase() || !stateValue.test(member.slice(equals + 1))) return false
    if (keys.has(key)) return false
    keys.add(key)
  }
  return keys.size > 0 && keys.size <= mostMembers
}

/**
 * Returns the function that places a request in its trace: a child of the caller's span when there is a valid one, else a new trace.
 * A new trace is marked as sampled unless told otherwise: samplers that ask the parent (the default of OpenTelemetry) would
 * record nothing in any service behind the gateway if it were not.
 */
export function createTracing(randomBytes: (size: number) => Uint8Array, options: { readonly sampled?: boolean } = {}) {
  const digits = createDigits(randomBytes)
  const begun = options.sampled ?? true

  return function trace(fields: Fields): TraceContext {
    const lines = fields.all('traceparent')
    const spanId = digits(16)
    const received = lines.length === 1 ? parseTraceparent(lines[0]!) : undefined
    if (!received) {
      const traceId = digits(32)
      return { traceId, spanId, sampled: begun, traceparent: traceparent(traceId, spanId, begun) }
    }
    const state = fields.get('tracestate')
    return {
      ...received,
      spanId,
      traceparent: traceparent(received.traceId, spanId, received.sampled),
      ...(state !== undefined && isTracestate(state) && { tracestate: state }),
    }
  }
}

function traceparent(traceId: string, spanId: string, sampled: boolean): string {
  return `00-${traceId}-${spanId}-${sampled ? '01' : '00'}`
}

const poolSize = 2_048

/** Random hexadecimal digits, never all zero. One call for random bytes serves 85 requests; alone it would cost 1.5 µs in each. */
function createDigits(randomBytes: (size: number) => Uint8Array): (count: number) => string {
  let pool = ''
  let used = 0
  return function digits(count) {
    for (;;) {
      if (used + count > pool.length) {
        pool = Buffer.from(randomBytes(poolSize)).toString('hex')
        used = 0
      }
      const text = pool.slice(used, used + count)
      used += count
      // A pool's worth of zeros to compare with: a regular expression costs more than all the rest.
      if (text !== zeros.slice(0, count)) return text
    }
  }
}

const zeros = '0'.repeat(32)
