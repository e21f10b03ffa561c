import type { Caller } from '../authentication/caller.ts'
import type { ConcurrencyDefinition } from '../throttling/concurrency.ts'
import type { RateLimitsDescription } from '../throttling/rate-limits.ts'
import type { Limits } from './gateway.ts'

/** The limits of a row of the table, in plain values. */
export interface LimitsDescription extends RateLimitsDescription {
  /** Bytes. */
  readonly body: number
  /** With the requests under way and waiting now. */
  readonly concurrent?: ConcurrencyDefinition & { readonly active: number; readonly waiting: number }
}

/** What a caller may do here: what of it is used up is told by the fields of its answers. A guest when nobody is named. */
export function describeLimits({ body, rate, concurrent }: Limits, caller?: Caller): LimitsDescription {
  return {
    body,
    ...rate.describe(caller),
    ...(concurrent && {
      concurrent: { ...concurrent.definition, active: concurrent.active, waiting: concurrent.waiting },
    }),
  }
}
