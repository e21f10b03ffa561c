import { z } from 'zod'
import { isWrittenByGateway } from '../http/reserved-fields.ts'
import type { Timeouts } from './exchange.ts'

/** How a service is told how long its answer will be waited for. */
export interface Deadline {
  readonly header: string
  readonly format: 'milliseconds' | 'grpc'
}

/** The field of Envoy's router, which services behind a mesh know already. Time left, not a moment: clocks differ. */
const usual: Deadline = { header: 'X-Envoy-Expected-Rq-Timeout-Ms', format: 'milliseconds' }

const header = z
  .string()
  .regex(/^[!#$%&'*+.^`|~0-9A-Za-z-]+$/, 'a header field name is a token without "_" (RFC 9110 §5.1)')
  .refine((name) => !isWrittenByGateway(name), 'the gateway writes this field itself; choose another')

/** `deadline` of a service in services.json. */
export const deadline = z
  .union(
    [
      z.boolean().transform((wanted): Deadline | undefined => (wanted ? usual : undefined)),
      header.transform((name): Deadline => ({ header: name, format: 'milliseconds' })),
      z.strictObject({
        header: header.describe('The field that says it.'),
        format: z
          .enum(['milliseconds', 'grpc'])
          .default('milliseconds')
          .describe('"milliseconds": "1500"; "grpc": as in grpc-timeout, "1500m".'),
      }),
    ],
    {
      error: (issue) =>
        typeof issue.input === 'object' || typeof issue.input === 'string'
          ? undefined
          : 'deadline is true, the name of a header field, or { "header": …, "format": … }',
    },
  )
  .optional()
  .describe(
    'Tells the service how many milliseconds its answer will be waited for, so that it need not go on when nobody waits: ' +
      `true for the field ${usual.header}, or another name. A client that sends the field shortens the time.`,
  )

/** gRPC's limit on the digits of a timeout. */
const mostMilliseconds = 99_999_999

export function writeDeadline({ format }: Deadline, left: number): string {
  const whole = Math.min(mostMilliseconds, Math.max(0, Math.floor(left)))
  return format === 'grpc' ? `${whole}m` : String(whole)
}

/** gRPC over HTTP2, "Timeout". */
const units: Readonly<Record<string, number>> = { H: 3_600_000, M: 60_000, S: 1_000, m: 1, u: 0.001, n: 0.000_001 }

/** Milliseconds that a client says it will wait; undefined when it does not say, or says what cannot be read. */
export function readDeadline({ format }: Deadline, text: string | undefined): number | undefined {
  if (text === undefined) return undefined
  const match = format === 'grpc' ? /^(\d{1,8})([HMSmun])$/.exec(text) : /^(\d{1,8})$/.exec(text)
  return match ? Number(match[1]) * (units[match[2] ?? 'm'] ?? 1) : undefined
}

/** The service's times, but no longer than the client will wait: it can only shorten what concerns itself. */
export function withPatience(timeouts: Timeouts, patience: number | undefined): Timeouts {
  if (patience === undefined) return timeouts
  return { ...timeouts, total: Math.max(1, Math.min(timeouts.total ?? patience, patience)) }
}
