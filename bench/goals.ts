import type { CaseName, Findings } from './cases.ts'
import type { PeerName } from './peers.ts'
import type { Duel, Figure, Range } from './race.ts'

/** A promise about what the gateway costs, and the number that it stands or falls with. */
export interface Goal {
  readonly title: string
  readonly most: number
  readonly unit: string
  /** Undefined where the run did not have the cases. */
  readonly found: number | undefined
  /** Of those that worked side by side. */
  readonly range?: Range | undefined
  /**
   * The same number of node:http + undici, the best we can write, which does nothing but pass on; from its turns, not
   * side by side. Undefined where there is none.
   */
  readonly bare: number | undefined
}

interface Row {
  readonly title: string
  readonly most: number
  readonly unit: '×' | 'µs' | 'KB' | 's' | 'MB'
  read(look: Look): number | undefined
  /** The same, of two that worked side by side: it counts for more. */
  beside?(look: Look): Range | undefined
  bare?(look: Look): number | undefined
}

/** Processor time of a case, in microseconds for an operation. */
interface Look {
  cpu(name: CaseName, who?: PeerName | 'sallyport' | 'sallyport beside tokens'): number | undefined
  figure(name: CaseName, who?: PeerName | 'sallyport'): Figure | undefined
  fact(name: string): number | undefined
  /** A case of ours beside somebody, by default ourselves, with a case. */
  duel(what: CaseName, against: CaseName, who?: PeerName | 'sallyport'): Duel | undefined
}

const ratio = (one: number | undefined, other: number | undefined) =>
  one === undefined || other === undefined ? undefined : one / other
const difference = (one: number | undefined, other: number | undefined) =>
  one === undefined || other === undefined ? undefined : one - other

type Who = PeerName | 'sallyport'

const times = (title: string, most: number, read: Row['read'], more: Pick<Row, 'beside' | 'bare'> = {}): Row => ({
  ...{ title, most, unit: '×', read },
  ...more,
})

/** A case of ours divided by a case of somebody, who may be ourselves; and what bare Node comes to there. */
const divided = (title: string, most: number, what: CaseName, against: CaseName, who: Who, bare?: CaseName): Row =>
  times(title, most, ({ cpu }) => ratio(cpu(what), cpu(against, who)), {
    beside: ({ duel }) => duel(what, against, who)?.ratio,
    ...(bare && { bare: ({ cpu }) => ratio(cpu(bare, 'best-bare'), cpu(against, who)) }),
  })

/** What a case of ours takes more than another one of ours. */
const added = (title: string, most: number, what: CaseName, against: CaseName): Row => ({
  ...{ title, most, unit: 'µs' },
  read: ({ cpu }) => difference(cpu(what), cpu(against)),
  beside: ({ duel }) => duel(what, against)?.more,
})

const rows: readonly Row[] = [
  divided('plain / the best bare node:http + undici', 1.05, 'plain', 'plain', 'best-bare'),
  divided('plain / Fastify + @fastify/http-proxy', 0.5, 'plain', 'plain', 'fastify', 'plain'),
  divided('everything on / our own plain', 1.25, 'full', 'plain', 'sallyport'),
  divided('everything on / nginx with log, limit and fields', 1.7, 'full', 'full', 'nginx-full', 'plain'),
  divided('everything on / Caddy plain', 0.75, 'full', 'plain', 'caddy', 'plain'),
  divided('everything on / Fastify with jwt, limit, log and proxy', 0.4, 'full', 'full', 'fastify-full'),
  added('a remembered token adds', 3, 'token', 'plain'),
  times("a new RS256 token adds / node:crypto's own verify", 1.3, ({ cpu, fact }) =>
    ratio(difference(cpu('new-RS256'), cpu('plain', 'sallyport beside tokens')), fact('verify-RS256')),
  ),
  added('a policy adds', 2, 'policy', 'token'),
  added('an API key adds', 4, 'key', 'plain'),
  added('a session adds', 6, 'session', 'plain'),
  divided('5,000 routes / 10', 1.03, 'routes-5000', 'routes-10', 'sallyport'),
  divided('1,000 services / 1', 1.03, 'services-1000', 'services-1', 'sallyport'),
  divided('20 MB down / nginx', 1.25, 'down', 'down', 'nginx', 'down'),
  divided('20 MB up / nginx', 1.1, 'up', 'up', 'nginx', 'up'),
  {
    title: 'memory grows for 40 slow readers by',
    most: 64,
    unit: 'MB',
    read: ({ fact }) => fact('slow-growth sallyport'),
  },
  divided('three merged / undici.request with .json()', 0.55, 'three', 'three', 'fan-out'),
  times(
    'p99 at 5,000 a second / nginx with log, limit and fields',
    1.5,
    ({ figure }) => ratio(figure('open')?.p99, figure('open', 'nginx-full')?.p99),
    { bare: ({ figure }) => ratio(figure('open', 'best-bare')?.p99, figure('open', 'nginx-full')?.p99) },
  ),
  divided('two workers / one', 1.1, 'workers-2', 'workers-1', 'sallyport'),
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

export function judge({ figures, duels, facts }: Findings): readonly Goal[] {
  const figure: Look['figure'] = (name, who = 'sallyport') =>
    figures.find((one) => one.case === name && one.name === who)
  const look: Look = {
    figure,
    cpu: (name, who = 'sallyport') => figure(name, who as 'sallyport')?.cpu.median,
    fact: (name) => facts[name],
    duel: (what, against, who = 'sallyport') =>
      duels.find(({ one, other }) => one.case === what && other.case === against && other.name === who),
  }
  return rows.map(({ title, most, unit, read, beside, bare }) => {
    const range = beside?.(look)
    return { title, most, unit, found: range?.median ?? read(look), range, bare: bare?.(look) }
  })
}
