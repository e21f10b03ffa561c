import { execFileSync } from 'node:child_process'
import { readFileSync } from 'node:fs'
import { cpus, release, totalmem } from 'node:os'

/** Which cores what runs on, as taskset writes them. */
export interface Cores {
  readonly gateway: string
  readonly load: string
  readonly backend: string
  /** Every core that any of them has. */
  readonly all: string
}

/** What is measured stands on a core of its own; load and backend share one where there are only two. */
export function chooseCores(): Cores {
  const list = /^Cpus_allowed_list:\s*(\S+)/m.exec(readFileSync('/proc/self/status', 'utf8'))?.[1] ?? '0'
  const allowed = list.split(',').flatMap((range) => {
    const [first, last = first] = range.split('-').map(Number)
    return Array.from({ length: last! - first! + 1 }, (_, index) => first! + index)
  })
  const gateway = allowed.at(-1)!
  const load = allowed.at(-2) ?? gateway
  const backend = allowed.at(-3) ?? load
  return {
    gateway: String(gateway),
    load: String(load),
    backend: String(backend),
    all: [...new Set([backend, load, gateway])].join(),
  }
}

export interface Machine {
  readonly processor: string
  readonly cores: number
  readonly memory: string
  readonly system: string
  readonly versions: Readonly<Record<string, string>>
}

export function describeMachine(programs: Readonly<Record<string, string | undefined>>): Machine {
  const system = /^PRETTY_NAME="?([^"\n]+)/m.exec(readText('/etc/os-release'))?.[1] ?? 'Linux'
  return {
    processor: cpus()[0]?.model ?? 'unknown',
    cores: cpus().length,
    memory: `${Math.round(totalmem() / 2 ** 30)} GB`,
    system: `${system}, Linux ${release()}`,
    versions: {
      node: process.versions.node,
      nginx: versionOf(programs['nginx'], '-v'),
      haproxy: versionOf(programs['haproxy'], '-v'),
      caddy: versionOf(programs['caddy'], 'version'),
    },
  }
}

function versionOf(program: string | undefined, option: string): string {
  if (program === undefined) return 'absent'
  try {
    const said = execFileSync('sh', ['-c', `"$0" ${option} 2>&1`, program], { encoding: 'utf8' })
    return /\d+(?:\.\d+)+/.exec(said)?.[0] ?? 'unknown'
  } catch {
    return 'unknown'
  }
}

/** Milliseconds of processor time that the whole machine has worked so far. */
export function machineWork(): number {
  const [, ...ticks] = readText('/proc/stat').split('\n', 1)[0]!.split(/\s+/)
  const [user = 0, nice = 0, system = 0, _idle, _wait, interrupts = 0, soft = 0, stolen = 0] = ticks.map(Number)
  return (user + nice + system + interrupts + soft + stolen) * 10
}

function readText(file: string): string {
  try {
    return readFileSync(file, 'utf8')
  } catch {
    return ''
  }
}
