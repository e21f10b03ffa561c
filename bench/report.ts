import { type CaseName, cases, type Findings } from './cases.ts'
import { type Goal, judge } from './goals.ts'
import type { Machine } from './machine.ts'
import { type PeerName, peers } from './peers.ts'
import type { Figure } from './race.ts'

export interface Report extends Findings {
  readonly date: string
  readonly machine: Machine
  /** How much of the machine others used meanwhile, from 0 up: the median and the most. */
  readonly foreign: { readonly median: number; readonly most: number }
  /** Who failed and is not in the tables. */
  readonly failures: readonly string[]
  /** Minutes. */
  readonly duration: number
  readonly commit: string
  readonly goals: readonly Goal[]
}

export function report(findings: Findings, about: Omit<Report, keyof Findings | 'goals'>): Report {
  return { ...about, goals: judge(findings), ...findings }
}

export function titleOf(name: string): string {
  if (name === 'sallyport') return '**Sallyport**'
  return name in peers ? peers[name as PeerName].title : name
}

/** Cores that others may use: beyond it caches are cold and processor time is that of the others' company. */
const mostForeign = 0.5

/** The tables of a run. */
export function markdown({ date, machine, foreign, duration, commit, goals, figures, failures }: Report): string {
  const { processor, cores, memory, system, versions } = machine
  const lines = [
    '# What a request costs',
    '',
    `Measured on ${date.slice(0, 10)} at commit ${commit} in ${duration.toFixed(1)} minutes by \`npm run bench\`, which wrote this page.`,
    '',
    `- ${processor}, ${cores} cores, ${memory}; ${system}`,
    `- ${Object.entries(versions)
      .map(([name, version]) => `${name} ${version}`)
      .join(', ')}`,
    `- others used ${foreign.median.toFixed(2)} cores meanwhile (median; at most ${foreign.most.toFixed(2)})`,
    ...failures.map((line) => `- ${line}`),
    ...(foreign.median > mostForeign
      ? [
          '',
          '**The machine was too busy for these numbers to be believed, goals included. Run again when it is quiet.**',
        ]
      : []),
    '',
    'CPU is the processor time of the gateway process for one operation (utime and stime of the process tree): the median of the quieter half of the rounds, with their range. Ratios are the part to believe.',
    '',
    '## Goals',
    '',
    'Where a range stands behind it, a number is of two that worked at the same time on one core, so that whatever else the machine did fell on both; the others are of the tables below.',
    '',
    'Bare: what node:http + undici, the best we can write, comes to in the tables below. It passes requests on and does nothing else: where it misses a goal, the goal is beyond the usual way to write a proxy in Node.',
    '',
    '| | goal | measured | | bare |',
    '|---|---:|---:|---|---:|',
    ...goals.map(({ title, most, unit, found, range, bare }) =>
      [
        `| ${title}`,
        `≤ ${amount(most, unit)}`,
        found === undefined
          ? 'not run'
          : amount(found, unit) + (range ? ` (${range.low.toFixed(2)} – ${range.high.toFixed(2)})` : ''),
        verdict(found, most),
        `${bare === undefined ? '' : amount(bare, unit)} |`,
      ].join(' | '),
    ),
    '',
  ]
  for (const [name, { title, operation }] of Object.entries(cases)) {
    const rows = figures.filter((figure) => figure.case === name && figure.name !== 'sallyport beside tokens')
    if (rows.length === 0) continue
    lines.push(`## ${title}`, '', ...(name === 'idle' ? idleTable(rows) : table(name as CaseName, operation, rows)), '')
  }
  return `${lines.join('\n').trimEnd()}\n`
}

function table(name: CaseName, operation: string, rows: readonly Figure[]): string[] {
  const own = rows.find((row) => row.name === 'sallyport')?.cpu.median
  const timed = rows.some(({ p50 }) => p50 !== undefined)
  const sorted = rows.toSorted((one, other) => one.cpu.median - other.cpu.median)
  return [
    `| | CPU µs / ${operation} | range | × Sallyport | ${operation}s / s | ${timed ? 'p50 µs | p99 µs | ' : ''}memory MB |`,
    `|---|---:|---:|---:|---:|${timed ? '---:|---:|' : ''}---:|`,
    ...sorted.map(({ name: who, cpu, throughput, p50, p99, memory }) =>
      [
        `| ${titleOf(who)}`,
        fixed(cpu.median),
        `${fixed(cpu.low)} – ${fixed(cpu.high)}`,
        own === undefined ? '' : (cpu.median / own).toFixed(2),
        name === 'start' ? throughput.toFixed(2) : Math.round(throughput).toLocaleString('en'),
        ...(timed ? [whole(p50), whole(p99)] : []),
        `${Math.round(memory / 1_048_576)} |`,
      ].join(' | '),
    ),
  ]
}

function idleTable(rows: readonly Figure[]): string[] {
  return [
    '| | KB each |',
    '|---|---:|',
    ...rows.map(({ name, memory }) => `| ${titleOf(name)} | ${(memory / 1_024).toFixed(1)} |`),
  ]
}

const fixed = (value: number) => (value >= 1_000 ? Math.round(value).toLocaleString('en') : value.toFixed(1))
const whole = (value: number | undefined) => (value === undefined ? '' : Math.round(value).toLocaleString('en'))
const amount = (value: number, unit: string) => (unit === '×' ? `${value.toFixed(2)} ×` : `${value.toFixed(1)} ${unit}`)

function verdict(found: number | undefined, most: number): string {
  if (found === undefined) return ''
  // As it is printed: 1.052 is no better than 1.05 here.
  return Number(found.toFixed(2)) <= most ? 'met' : '**not met**'
}
