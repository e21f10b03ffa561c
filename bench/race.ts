import { setTimeout as sleep } from 'node:timers/promises'
import { machineWork } from './machine.ts'
import type { Subject } from './subject.ts'

/** One bar of a case: somebody who does the work of the case. */
export interface Contender {
  /** `plain`, `full`, ...; see cases.ts. */
  readonly case: string
  /** Who: `sallyport`, `nginx`, ... */
  readonly name: string
  readonly subject: Subject
  /** How many share the work, each with compilers of its own; 1 by default. */
  readonly processes?: number
  /** Seconds of warming at most, where it takes longer than the others. */
  readonly warmUps?: number
  /** Works for about so many seconds, and says how many operations that were. */
  work(seconds: number): Promise<Work>
}

export interface Work {
  /** Requests, messages or bytes: what the processor time is divided by. */
  readonly operations: number
  readonly seconds: number
  /** Microseconds, where latencies were taken. */
  readonly p50?: number
  readonly p99?: number
}

/** What was measured of one contender in one case. */
export interface Figure {
  readonly case: string
  readonly name: string
  /** Microseconds of processor time for one operation: the quiet rounds' median and their range. */
  readonly cpu: Range
  /** Operations a second. */
  readonly throughput: number
  readonly p50?: number
  readonly p99?: number
  /** Bytes resident at most while it worked. */
  readonly memory: number
  /** Every round, in order. */
  readonly rounds: readonly number[]
}

/** Two contenders that worked at the same time. */
export interface Duel {
  readonly one: Pick<Contender, 'case' | 'name'>
  readonly other: Pick<Contender, 'case' | 'name'>
  /** Processor time for an operation of the one, divided by that of the other. */
  readonly ratio: Range
  /** What the one takes more, in microseconds. */
  readonly more: Range
}

export interface Range {
  readonly median: number
  readonly low: number
  readonly high: number
}

export interface RaceOptions {
  readonly rounds: number
  /** Of each contender in each round. */
  readonly seconds: number
  /**
   * Seconds that a contender works before each time that it is measured. While the others worked, its engine has given
   * back what it had of young memory, and thrown away code: what is asked is what a gateway costs that is in use.
   */
  readonly lead?: number
  /** Of each contender before the first round, so many times at most. */
  readonly warmUp: number
  readonly warmUps: number
  readonly say: (line: string) => void
  /** Whether the time for everything is used up: two rounds are played all the same. */
  readonly late: () => boolean
  readonly failed: (line: string) => void
  /** Microseconds of processor time that load and backend have used so far. */
  readonly ours: () => number
  /** Told how many cores others used, each time. */
  readonly foreign: (cores: number) => void
}

interface Sample extends Work {
  readonly cpu: number
  readonly memory: number
}

/** Requests before what is hot can have been compiled. */
const enough = 25_000

/**
 * Everybody works in every round, one after the other, so that whatever else the machine is busy with falls on all.
 * Noise only ever adds to processor time; so the cheaper half of a contender's rounds are its quiet ones.
 */
export async function race(contenders: readonly Contender[], options: RaceOptions): Promise<readonly Figure[]> {
  const { rounds, seconds, say, failed } = options
  const samples = new Map<Contender, Sample[]>(contenders.map((contender) => [contender, []]))
  // Who fails is out; the others are still worth something.
  const attempt = async (contender: Contender, play: () => Promise<unknown>) => {
    try {
      await play()
    } catch (error) {
      samples.delete(contender)
      failed(`${contender.case} ${contender.name} is left out: ${(error as Error).message}`)
    }
  }
  for (const contender of contenders) {
    await attempt(contender, () => warm(contender, options))
  }
  for (let round = 0; round < rounds && (round < 2 || !options.late()); round += 1) {
    // Backwards every other time: nobody is always the one who comes after the same other.
    const order = round % 2 === 0 ? [...samples.keys()] : [...samples.keys()].reverse()
    for (const contender of order) {
      await attempt(contender, async () => {
        if (options.lead) await contender.work(options.lead)
        const sample = await measure(contender, seconds, options)
        // On a machine that is too busy a large body may not arrive in the time.
        if (sample.operations > 0) samples.get(contender)!.push(sample)
      })
    }
    say(`round ${round + 1} of ${rounds}`)
  }
  return [...samples].flatMap(([contender, all]) => {
    if (all.length === 0) return []
    const quiet = quietest(all, ({ cpu }) => cpu)
    const figure = {
      case: contender.case,
      name: contender.name,
      cpu: rangeOf(quiet.map(({ cpu }) => cpu)),
      throughput: median(quiet.map(({ operations, seconds }) => operations / seconds)),
      memory: Math.max(...all.map(({ memory }) => memory)),
      rounds: all.map(({ cpu }) => cpu),
    }
    if (quiet[0]?.p50 === undefined) return figure
    return { ...figure, p50: median(quiet.map(({ p50 }) => p50!)), p99: median(quiet.map(({ p99 }) => p99!)) }
  })
}

/** Until it has become no cheaper twice, and has done enough for optimizing compilers or had the time for it. */
async function warm({ subject, processes = 1, warmUps, work }: Contender, options: RaceOptions): Promise<void> {
  const { warmUp } = options
  const most = warmUps ?? options.warmUps
  let operations = 0
  let least = Number.POSITIVE_INFINITY
  for (let played = 0, same = 0; played < most; ) {
    const before = subject.work()
    const done = await work(warmUp)
    const cost = (subject.work() - before) / done.operations
    played += 1
    operations += done.operations
    same = cost > least * 0.95 ? same + 1 : 0
    least = Math.min(least, cost)
    if (same >= 2 && (played >= 5 || operations >= enough * processes)) return
  }
}

/**
 * Both work at the same time and on the same core. What else happens on the machine falls on both alike, down to parts
 * of a millisecond: a ratio is steady that way where the numbers it is made of are not.
 */
export async function duel(one: Contender, other: Contender, windows: number): Promise<Duel> {
  const both = [one, other] as const
  const ratios: number[] = []
  const differences: number[] = []
  // The first is to warm up.
  for (let window = 0; window <= windows; window += 1) {
    const before = both.map(({ subject }) => subject.work())
    const done = await Promise.all(both.map(({ work }) => work(1)))
    const [cost, otherCost] = both.map(({ subject }, at) => (subject.work() - before[at]!) / done[at]!.operations)
    if (window === 0) continue
    ratios.push(cost! / otherCost!)
    differences.push(cost! - otherCost!)
  }
  const named = ({ case: what, name }: Contender) => ({ case: what, name })
  return { one: named(one), other: named(other), ratio: rangeOf(ratios), more: rangeOf(differences) }
}

async function measure({ subject, work }: Contender, seconds: number, options: RaceOptions): Promise<Sample> {
  subject.forgetPeak()
  const others = machineWork() - options.ours() / 1_000
  const started = performance.now()
  const before = subject.work()
  const done = await work(seconds)
  // The last answers are written down, and garbage is collected, after the load has ended.
  await sleep(50)
  const used = subject.work() - before
  const passed = performance.now() - started
  options.foreign(Math.max(0, (machineWork() - options.ours() / 1_000 - others - used / 1_000) / passed))
  return { ...done, cpu: used / done.operations, memory: subject.memory().peak }
}

/** The cheaper half. */
export function quietest<T>(samples: readonly T[], cost: (sample: T) => number): readonly T[] {
  return samples.toSorted((one, other) => cost(one) - cost(other)).slice(0, Math.ceil(samples.length / 2))
}

export function median(values: readonly number[]): number {
  const sorted = values.toSorted((one, other) => one - other)
  const middle = sorted.length >> 1
  return sorted.length % 2 === 1 ? sorted[middle]! : (sorted[middle - 1]! + sorted[middle]!) / 2
}

export function rangeOf(values: readonly number[]): Range {
  return { median: median(values), low: Math.min(...values), high: Math.max(...values) }
}
