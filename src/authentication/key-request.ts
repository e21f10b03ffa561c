import { z } from 'zod'
import { parseDuration } from '../values.ts'
import { newKey } from './key-store.ts'

/** A moment as people write it: a date, a date and time, or a length of time from now. */
const moment = z.union(
  [z.int().min(0), z.string()],
  'a time is "90d", "2027-01-31", "2027-01-31T12:00:00Z" or seconds since the epoch',
)

/** What `sallyport keys create` and `POST /keys` take: `newKey`, with times as people write them and a plan that exists. */
export function keyRequest(now: () => number, plans: () => readonly string[]) {
  const time = moment.transform((value, context) => {
    const seconds = typeof value === 'number' ? value : secondsOf(value, now())
    if (seconds !== undefined) return seconds
    context.addIssue({
      code: 'custom',
      message: `"${value}" is no time: write a length of time such as "90d", a date such as "2027-01-31", or a date and time such as "2027-01-31T12:00:00Z"`,
    })
    return z.NEVER
  })
  return newKey.extend({
    plan: newKey.shape.plan.refine((plan) => plan === undefined || plans().includes(plan), {
      error: () => {
        const known = plans()
        if (known.length === 0) return 'services.json names no plans; write them under "plans"'
        return `services.json has no such plan; there are ${known.map((name) => `"${name}"`).join(', ')}`
      },
    }),
    notBefore: time.optional(),
    expires: time
      .optional()
      .refine((seconds) => seconds === undefined || seconds > now() / 1_000, 'the key would have expired already'),
  })
}

const date = /^\d{4}-\d{2}-\d{2}(?:T\d{2}:\d{2}(?::\d{2}(?:\.\d{1,3})?)?(?:Z|[+-]\d{2}:\d{2}))?$/

/** Seconds since the epoch; a date alone is its beginning in UTC. */
function secondsOf(text: string, now: number): number | undefined {
  const length = parseDuration(text)
  if (length !== undefined) return Math.floor((now + length) / 1_000)
  const milliseconds = date.test(text) ? Date.parse(text) : Number.NaN
  return Number.isNaN(milliseconds) ? undefined : Math.floor(milliseconds / 1_000)
}

/** How long an old key goes on beside its successor: `"24h"`, in milliseconds once read. `"0s"` ends it at once. */
export const overlap = z
  .string('an overlap is a length of time such as "24h"')
  .transform((text, context) => {
    const milliseconds = parseDuration(text)
    if (milliseconds !== undefined) return milliseconds
    context.addIssue({ code: 'custom', message: 'an overlap is a length of time such as "24h" or "0s"' })
    return z.NEVER
  })
  .prefault('24h')
