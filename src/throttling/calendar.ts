import type { Period } from './limiter.ts'

/** One day or month of UTC. */
export interface CalendarPeriod {
  /** `2026-11-28` or `2026-11`. */
  readonly name: string
  /** Milliseconds since the epoch: when the next one begins. */
  readonly end: number
}

/** Tells which day or month it is, by reckoning once in each. */
export function createCalendar(period: Period): (now: number) => CalendarPeriod {
  let current = periodAt(period, 0)
  let begin = 0
  return function periodOf(now) {
    if (now >= current.end || now < begin) {
      current = periodAt(period, now)
      begin = now
    }
    return current
  }
}

function periodAt(period: Period, now: number): CalendarPeriod {
  const date = new Date(now)
  const [year, month, day] = [date.getUTCFullYear(), date.getUTCMonth(), date.getUTCDate()]
  return period === 'day'
    ? { name: date.toISOString().slice(0, 10), end: Date.UTC(year, month, day + 1) }
    : { name: date.toISOString().slice(0, 7), end: Date.UTC(year, month + 1, 1) }
}
