import type { Received } from './front.ts'

/** One raw request of the shared vectors. */
export interface RequestCase {
  readonly id: string
  readonly cls: string
  readonly title: string
  readonly bytes_b64: string
  readonly verdict: 'refuse' | 'one' | 'two' | 'either'
}

/** What came of one. */
export interface Observation {
  readonly statuses: readonly number[]
  readonly closed: boolean
  readonly received: readonly Received[]
}

/** How many requests a backend must see. */
export const wanted = { one: 1, two: 2 } as const

/** Why a case is broken: the rules of the runner that comes with the vectors. */
export function faults(verdict: RequestCase['verdict'], { statuses, received }: Observation): string[] {
  const found: string[] = []
  const count = received.length
  if (received.some(({ method }) => method === 'PARSE-ERROR'))
    found.push('the backend could not parse what was forwarded')
  if (received.some(({ url, raw }) => url.includes('smuggled') || raw.some((name) => /^x-smuggled$/i.test(name)))) {
    found.push('a smuggled request was forwarded')
  }
  if (verdict === 'refuse' && count > 0) found.push(`${count} forwarded`)
  if (verdict === 'refuse' && statuses.some((status) => status >= 200 && status < 300))
    found.push('answered with success')
  if (verdict === 'one' || verdict === 'two') {
    if (count !== wanted[verdict]) found.push(`${count} forwarded, not ${wanted[verdict]}`)
    if (statuses.filter((status) => status === 200).length !== wanted[verdict]) found.push(`answered ${statuses}`)
  }
  if (verdict === 'either' && count > 1) found.push(`${count} forwarded`)
  if (statuses.includes(500)) found.push('answered 500')
  return found
}
