import type { CaseName, Findings } from './cases.ts'
import type { PeerName } from './peers.ts'
import type { Figure } from './race.ts'

/** A promise about what the gateway costs, and the number that it stands or falls with. */
export interface Goal {
  readonly title: string
  readonly most: number
  readonly unit: string
  /** Undefined where the run did not have the cases. */
  readonly found: number | undefined
  /**
   * The same number of node:http + undici, the best we can write, which does nothing but pass on. Undefined where there
   * is none. What it misses, nobody meets who stands on node:http.
   */
  readonly bare: number | undefined
}

interface Row {
  readonly title: string
  readonly most: number
  readonly unit: '×' | 'µs' | 'KB' | 's' | 'MB'
  read(look: Look): number | undefined
  bare?(look: Look): number | undefined
}

/** Processor time of a case, in microseconds for an operation. */
interface Look {
  cpu(name: CaseName, who?: PeerName | 'sallyport' | 'sallyport beside tokens'): number | undefined
  figure(name: CaseName, who?: PeerName | 'sallyport'): Figure | undefined
  fact(name: string): number | undefined
}

const ratio = (one: number | undefined, other: number | undefined) =>
  one === undefined || other === undefined ? undefined : one / other
const difference = (one: number | undefined, other: number | undefined) =>
  one === undefined || other === undefined ? undefined : one - other
const times = (title: string, most: number, read: Row['read'], bare?: Row['read']): Row => ({
  ...{ title, most, unit: '×', read },
  ...(bare && { bare }),
})
const micros = (title: string, most: number, read: Row['read']): Row => ({ title, most, unit: 'µs', read })

const rows: readonly Row[] = [
  times('plain / the best bare node:http + undici', 1.05, ({ cpu }) => ratio(cpu('plain'), cpu('plain', 'best-bare'))),
  times(
    'plain / Fastify + @fastify/http-proxy',
    0.5,
    ({ cpu }) => ratio(cpu('plain'), cpu('plain', 'fastify')),
    ({ cpu }) => ratio(cpu('plain', 'best-bare'), cpu('plain', 'fastify')),
  ),
  times('everything on / our own plain', 1.25, ({ cpu }) => ratio(cpu('full'), cpu('plain'))),
  times(
    'everything on / nginx with log, limit and fields',
    1.7,
    ({ cpu }) => ratio(cpu('full'), cpu('full', 'nginx-full')),
    ({ cpu }) => ratio(cpu('plain', 'best-bare'), cpu('full', 'nginx-full')),
  ),
  times(
    'everything on / Caddy plain',
    0.75,
    ({ cpu }) => ratio(cpu('full'), cpu('plain', 'caddy')),
    ({ cpu }) => ratio(cpu('plain', 'best-bare'), cpu('plain', 'caddy')),
  ),
  times('everything on / Fastify with jwt, limit, log and proxy', 0.4, ({ cpu }) =>
    ratio(cpu('full'), cpu('full', 'fastify-full')),
  ),
  micros('a remembered token adds', 3, ({ cpu }) => difference(cpu('token'), cpu('plain'))),
  times("a new RS256 token adds / node:crypto's own verify", 1.3, ({ cpu, fact }) =>
    ratio(difference(cpu('new-RS256'), cpu('plain', 'sallyport beside tokens')), fact('verify-RS256')),
  ),
  micros('a policy adds', 2, ({ cpu }) => difference(cpu('policy'), cpu('token'))),
  micros('an API key adds', 4, ({ cpu }) => difference(cpu('key'), cpu('plain'))),
  micros('a session adds', 6, ({ cpu }) => difference(cpu('session'), cpu('plain'))),
  times('5,000 routes / 10', 1.03, ({ cpu }) => ratio(cpu('routes-5000'), cpu('routes-10'))),
  times('1,000 services / 1', 1.03, ({ cpu }) => ratio(cpu('services-1000'), cpu('services-1'))),
  times(
    '20 MB down / nginx',
    1.25,
    ({ cpu }) => ratio(cpu('down'), cpu('down', 'nginx')),
    ({ cpu }) => ratio(cpu('down', 'best-bare'), cpu('down', 'nginx')),
  ),
  times(
    '20 MB up / nginx',
    1.1,
    ({ cpu }) => ratio(cpu('up'), cpu('up', 'nginx')),
    ({ cpu }) => ratio(cpu('up', 'best-bare'), cpu('up', 'nginx')),
  ),
  {
    title: 'memory grows for 40 slow readers by',
    most: 64,
    unit: 'MB',
    read: ({ fact }) => fact('slow-growth sallyport'),
  },
  times('three merged / undici.request with .json()', 0.55, ({ cpu }) => ratio(cpu('three'), cpu('three', 'fan-out'))),
  times(
    'p99 at 5,000 a second / nginx with log, limit and fields',
    1.5,
    ({ figure }) => ratio(figure('open')?.p99, figure('open', 'nginx-full')?.p99),
    ({ figure }) => ratio(figure('open', 'best-bare')?.p99, figure('open', 'nginx-full')?.p99),
  ),
  times('two workers / one', 1.1, ({ cpu }) => ratio(cpu('workers-2'), cpu('workers-1'))),
  {
    title: 'an idle connection',
    most: 8,
    unit: 'KB',
    read: ({ figure }) => ratio(figure('idle')?.memory, 1_024),
    bare: ({ figure }) => ratio(figure('idle', 'best-bare')?.memory, 1_024),
  },
  {
    title: 'cold start to first answer, 100 services',
    most: 1,
    unit: 's',
    read: ({ fact }) => fact('start-seconds-median'),
  },
]

export function judge({ figures, facts }: Findings): readonly Goal[] {
  const figure: Look['figure'] = (name, who = 'sallyport') =>
    figures.find((one) => one.case === name && one.name === who)
  const look: Look = {
    figure,
    cpu: (name, who = 'sallyport') => figure(name, who as 'sallyport')?.cpu.median,
    fact: (name) => facts[name],
  }
  return rows.map(({ title, most, unit, read, bare }) => ({ title, most, unit, found: read(look), bare: bare?.(look) }))
}
