import { randomBytes } from 'node:crypto'
import type { Plugin } from './plugin.ts'

/** Where this request stands in a distributed trace (W3C Trace Context). */
export interface Trace {
  /** The whole trace, the same in every service: 32 hexadecimal digits. */
  readonly traceId: string
  /** This service's part of it, new for each request: 16 hexadecimal digits. The next service sees it as its parent. */
  readonly spanId: string
  /** The caller's part; absent where the trace begins. */
  readonly parentId?: string
  /** Whether the caller records this trace. */
  readonly sampled: boolean
  /** `tracestate`, untouched. */
  readonly state?: string
}

// W3C Trace Context §3.2: a later version may append members after the flags; version 00 may not, and ff is not a version.
const traceparentForm = /^(?!ff)([\da-f]{2})-([\da-f]{32})-([\da-f]{16})-([\da-f]{2})(?:-.*)?$/
const nothing = /^0+$/
const sampledFlag = 0b1

/** `traceparent` and `tracestate`: the caller's trace is continued, or one begins here. */
export function trace(): Plugin<Trace> {
  return {
    read(fields) {
      const spanId = identifier(8)
      const received = parseTraceparent(fields.get('traceparent'))
      // Begun as sampled: samplers that ask the parent (the default of OpenTelemetry) would otherwise record nothing downstream.
      if (!received) return { traceId: identifier(16), spanId, sampled: true }
      const state = fields.get('tracestate')
      return { ...received, spanId, ...(state !== undefined && { state }) }
    },
    carry: {
      names: ['traceparent', 'tracestate'],
      fields: ({ traceId, spanId, sampled, state }) => ({
        traceparent: `00-${traceId}-${spanId}-${sampled ? '01' : '00'}`,
        ...(state !== undefined && { tracestate: state }),
      }),
    },
  }
}

function parseTraceparent(text: string | undefined): Pick<Trace, 'traceId' | 'parentId' | 'sampled'> | undefined {
  const match = traceparentForm.exec(text ?? '')
  if (!match) return undefined
  const [whole, version, traceId, parentId, flags] = match as unknown as [string, string, string, string, string]
  if (version === '00' && whole.length !== 55) return undefined
  if (nothing.test(traceId) || nothing.test(parentId)) return undefined
  return { traceId, parentId, sampled: (Number.parseInt(flags, 16) & sampledFlag) !== 0 }
}

/** Random and never all zeros, which the specification reserves. */
function identifier(bytes: number): string {
  const text = randomBytes(bytes).toString('hex')
  return nothing.test(text) ? identifier(bytes) : text
}
