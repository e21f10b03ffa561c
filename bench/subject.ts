import { type ChildProcess, spawn } from 'node:child_process'
import { once } from 'node:events'
import { openSync, readdirSync, readFileSync, writeFileSync } from 'node:fs'
import { setTimeout as sleep } from 'node:timers/promises'

/** Of `/proc/PID/stat`: a hundredth of a second on every Linux that Node runs on. */
const tick = 10_000

export interface LaunchOptions {
  readonly name: string
  readonly command: string
  readonly words: readonly string[]
  /** As taskset writes them; undefined for all. */
  readonly cores: string | undefined
  readonly environment?: Readonly<Record<string, string>>
  /** File for what it says. */
  readonly output: string
  readonly port: number
  /** Asked until it answers; whatever it answers. Default: `/`. */
  readonly probe?: string
}

/** A process that is measured, with all that it started. */
export class Subject {
  readonly name: string
  readonly url: string
  readonly pid: number
  /** The code that it exits with; undefined when it was killed. */
  readonly ended: Promise<number | undefined>
  readonly #child: ChildProcess

  private constructor({ name, port }: LaunchOptions, child: ChildProcess) {
    this.name = name
    this.url = `http://127.0.0.1:${port}`
    this.pid = child.pid!
    this.#child = child
    this.ended = new Promise((resolve) => child.once('exit', (code) => resolve(code ?? undefined)))
  }

  /** Resolves when it answers. */
  static async launch(options: LaunchOptions): Promise<Subject> {
    const { name, command, words, cores, environment, output, port, probe = '/' } = options
    const file = openSync(output, 'a')
    const [program, ...rest] = [...(cores === undefined ? [] : ['taskset', '-c', cores]), command, ...words]
    const child = spawn(program!, rest, {
      env: { ...process.env, ...environment },
      stdio: ['ignore', file, file],
    })
    const gone = once(child, 'exit')
    const subject = new Subject(options, child)
    for (const end = Date.now() + 60_000; ; ) {
      if (child.exitCode !== null || child.signalCode !== null) {
        await gone
        throw new Error(`${name} did not start: ${readFileSync(output, 'utf8').trim().slice(-600)}`)
      }
      if (await answers(`http://127.0.0.1:${port}${probe}`)) return subject
      if (Date.now() > end) {
        await subject.stop()
        throw new Error(`${name} did not answer within a minute: ${readFileSync(output, 'utf8').trim().slice(-600)}`)
      }
      await sleep(5)
    }
  }

  /** Microseconds of processor time so far, of the whole tree: utime and stime. */
  work(): number {
    return treeOf(this.pid).reduce((sum, { ticks }) => sum + ticks * tick, 0)
  }

  /** Bytes resident now, and the most since `forgetPeak`, of the whole tree. */
  memory(): { readonly now: number; readonly peak: number } {
    const read = (line: string) => treeOf(this.pid).reduce((sum, { pid }) => sum + statusOf(pid, line), 0)
    return { now: read('VmRSS'), peak: read('VmHWM') }
  }

  forgetPeak(): void {
    for (const { pid } of treeOf(this.pid)) writeFileSync(`/proc/${pid}/clear_refs`, '5')
  }

  signal(signal: NodeJS.Signals): void {
    this.#child.kill(signal)
  }

  async stop(): Promise<void> {
    if (this.#child.exitCode !== null || this.#child.signalCode !== null) return
    const gone = once(this.#child, 'exit')
    const tree = treeOf(this.pid).map(({ pid }) => pid)
    this.#child.kill('SIGTERM')
    const stubborn = setTimeout(() => this.#child.kill('SIGKILL'), 3_000)
    await gone
    clearTimeout(stubborn)
    // What a master left behind when it had to be killed.
    for (const pid of tree.slice(1)) if (ownedBy(pid, tree)) process.kill(pid, 'SIGKILL')
  }
}

/** Microseconds of processor time of this process and of those that it started and that have ended. */
export function ownWork(): number {
  const fields = readFileSync('/proc/self/stat', 'utf8').split(') ', 2)[1]!.split(' ')
  return fields.slice(11, 15).reduce((sum, ticks) => sum + Number(ticks) * tick, 0)
}

async function answers(url: string): Promise<boolean> {
  try {
    const response = await fetch(url, { signal: AbortSignal.timeout(1_000) })
    await response.body?.cancel()
    return response.status !== 503
  } catch {
    return false
  }
}

interface Process {
  readonly pid: number
  readonly parent: number
  readonly ticks: number
}

/** A process and all below it, itself first. */
function treeOf(root: number): readonly Process[] {
  const all = readdirSync('/proc').flatMap((name) => (/^\d+$/.test(name) ? (statOf(Number(name)) ?? []) : []))
  const tree = all.filter(({ pid }) => pid === root)
  for (const { pid } of tree) tree.push(...all.filter(({ parent }) => parent === pid))
  return tree
}

function statOf(pid: number): Process | undefined {
  try {
    const text = readFileSync(`/proc/${pid}/stat`, 'utf8')
    // The name stands in parentheses and may hold anything.
    const [, parent, , , , , , , , , , user, system] = text.slice(text.lastIndexOf(')') + 2).split(' ')
    return { pid, parent: Number(parent), ticks: Number(user) + Number(system) }
  } catch {
    return undefined
  }
}

function ownedBy(pid: number, tree: readonly number[]): boolean {
  const process = statOf(pid)
  return process !== undefined && (tree.includes(process.parent) || process.parent === 1) && statusOf(pid, 'VmRSS') > 0
}

function statusOf(pid: number, line: string): number {
  try {
    const text = readFileSync(`/proc/${pid}/status`, 'utf8')
    return Number(new RegExp(`^${line}:\\s+(\\d+) kB`, 'm').exec(text)?.[1] ?? 0) * 1_024
  } catch {
    return 0
  }
}
