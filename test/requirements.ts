import { spawnSync } from 'node:child_process'
import { accessSync, constants } from 'node:fs'
import { delimiter, join } from 'node:path'

/**
 * The programs besides Node that the tests (and, with `--bench`, the benchmark) use. Where apt-get can install what is
 * missing it does; otherwise one line says what to install. In CI a missing program is a failure, never a skipped test.
 */
const programs = {
  chromium: { commands: ['chromium', 'chromium-browser', 'google-chrome'], package: 'chromium', for: 'test' },
  redis: { commands: ['redis-server'], package: 'redis-server', for: 'test' },
  nginx: { commands: ['nginx'], package: 'nginx-light', for: 'both' },
  haproxy: { commands: ['haproxy'], package: 'haproxy', for: 'both' },
  caddy: { commands: ['caddy'], package: 'caddy', for: 'bench' },
  wrk: { commands: ['wrk'], package: 'wrk', for: 'bench' },
} as const satisfies Record<string, { commands: readonly string[]; package: string; for: 'test' | 'bench' | 'both' }>

export type Program = keyof typeof programs

/** Where a program is; undefined when it is not installed. `SALLYPORT_CHROMIUM` and the like name another place. */
export function programPath(program: Program): string | undefined {
  const named = process.env[`SALLYPORT_${program.toUpperCase()}`]
  if (named) return named
  const folders = [...(process.env['PATH'] ?? '').split(delimiter), '/usr/local/sbin', '/usr/sbin']
  for (const command of programs[program].commands) {
    for (const folder of folders) {
      const path = join(folder, command)
      if (isExecutable(path)) return path
    }
  }
  return undefined
}

export const chromiumPath = () => programPath('chromium')
export const redisServerPath = () => programPath('redis')

/** For `test(title, { skip: skipWithout('chromium') })`: a reason to skip, or false. Throws in CI instead. */
export function skipWithout(program: Program): string | false {
  if (programPath(program)) return false
  const reason = `${program} is not installed: ${howToInstall([program])}`
  if (process.env['CI'] === 'true') throw new Error(reason)
  return reason
}

/**
 * Makes sure of the programs for the tests or for the benchmark. Returns the ones that are still missing.
 * `say` receives one line for each thing a person should know.
 */
export function ensurePrograms(purpose: 'test' | 'bench', say: (line: string) => void): Program[] {
  const wanted = purpose === 'bench' ? ['bench', 'both'] : ['test', 'both']
  const needed = (Object.keys(programs) as Program[]).filter((program) => wanted.includes(programs[program].for))
  const absent = () => needed.filter((program) => !programPath(program))
  if (absent().length > 0 && process.getuid?.() === 0 && isExecutable('/usr/bin/apt-get')) {
    const packages = absent().map((program) => programs[program].package)
    say(`installing ${packages.join(', ')} with apt-get`)
    const updated = aptGet(['update'], 120_000)
    const installed = aptGet(['install', '-y', '--no-install-recommends', ...packages], 480_000)
    for (const complaint of [updated, installed]) if (complaint) say(complaint)
  }
  const missing = absent()
  if (missing.length > 0) say(`missing: ${missing.join(', ')}. Install with: ${howToInstall(missing)}`)
  return missing
}

/** Undefined when it went well, else the last thing it said. */
function aptGet(parameters: readonly string[], timeout: number): string | undefined {
  const result = spawnSync('apt-get', ['-q', '-o', 'DPkg::Lock::Timeout=60', ...parameters], {
    env: { ...process.env, DEBIAN_FRONTEND: 'noninteractive' },
    stdio: ['ignore', 'ignore', 'pipe'],
    encoding: 'utf8',
    timeout,
  })
  if (result.status === 0) return undefined
  const reason = result.error?.message ?? result.stderr.trim().split('\n').at(-1) ?? 'no reason given'
  return `apt-get ${parameters[0]} failed: ${reason}`
}

function howToInstall(missing: readonly Program[]): string {
  return `apt-get install ${missing.map((program) => programs[program].package).join(' ')}`
}

function isExecutable(path: string): boolean {
  try {
    accessSync(path, constants.X_OK)
    return true
  } catch {
    return false
  }
}

if (import.meta.main) {
  const missing = ensurePrograms(process.argv.includes('--bench') ? 'bench' : 'test', (line) => console.log(line))
  process.exitCode = missing.length > 0 ? 1 : 0
}
