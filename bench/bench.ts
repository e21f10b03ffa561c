/**
 * `npm run bench`: what the gateway costs, beside its peers, in one run. See README.md in this folder.
 *
 *   --quick            one minute instead of ten: the cases and peers that matter most, in few rounds
 *   --case a,b         only these cases
 *   --peer a,b         only these peers; "none" for the gateway alone
 *   --out folder       where the results go; default: bench/results
 *   --json             print the results as JSON instead of tables
 */
import { execFileSync } from 'node:child_process'
import { existsSync, mkdirSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join, resolve } from 'node:path'
import { parseArgs } from 'node:util'
import { ensurePrograms, programPath } from '../test/requirements.ts'
import { type CaseName, cases, runCases } from './cases.ts'
import { chart } from './chart.ts'
import { chooseCores, describeMachine } from './machine.ts'
import { chosen, optionsOf } from './options.ts'
import { type PeerName, peers } from './peers.ts'
import { median } from './race.ts'
import { markdown, report } from './report.ts'
import { Signer } from './tokens.ts'

const here = import.meta.dirname
const say = (line: string) => process.stderr.write(`${line}\n`)

/** What matters most, and can be had in a minute. */
const quickly = {
  cases: 'plain,full',
  peers: 'best-bare,nginx,caddy,fastify,nginx-full,fastify-full',
} as const

process.exitCode = await main()

async function main(): Promise<number> {
  const options = optionsOf('bench', read)
  if (!options) return 2
  if (process.platform !== 'linux') {
    say('bench: processor time is read from /proc, so this runs on Linux')
    return 2
  }
  const missing = ensurePrograms('bench', say)
  if (missing.includes('wrk') || missing.includes('nginx')) {
    say('bench: nothing can be measured without wrk and nginx')
    return 1
  }
  if (options.peers.size > 0 && !installPeers()) return 1

  const folder = mkdtempSync(join(tmpdir(), 'sallyport-bench-'))
  const started = performance.now()
  const foreign: number[] = []
  const failures: string[] = []
  const programs = {
    nginx: programPath('nginx'),
    haproxy: programPath('haproxy'),
    caddy: programPath('caddy'),
    wrk: programPath('wrk'),
  }
  try {
    const findings = await runCases({
      ...{ folder, programs, say, signer: new Signer(), cores: chooseCores() },
      ...{ quick: options.quick, cases: options.cases, peers: options.peers },
      late: () => performance.now() - started > (options.quick ? 55_000 : 570_000),
      foreign: (used) => foreign.push(used),
      failed(line) {
        failures.push(line)
        say(line)
      },
    })
    const result = report(findings, {
      date: new Date().toISOString(),
      commit: commit(),
      duration: (performance.now() - started) / 60_000,
      machine: describeMachine(programs),
      foreign: { median: median(foreign), most: Math.max(...foreign) },
      failures,
    })
    mkdirSync(options.out, { recursive: true })
    writeFileSync(join(options.out, 'results.json'), `${JSON.stringify(result, null, 2)}\n`)
    writeFileSync(join(options.out, 'results.md'), markdown(result))
    if (result.figures.some(({ case: what }) => what === 'plain'))
      writeFileSync(join(options.out, 'chart.svg'), chart(result))
    process.stdout.write(options.json ? `${JSON.stringify(result)}\n` : markdown(result))
    say(`written to ${options.out}`)
    return failures.length > 0 ? 1 : 0
  } finally {
    rmSync(folder, { recursive: true, force: true, maxRetries: 3 })
  }
}

function read(words: readonly string[]) {
  const { values } = parseArgs({
    args: [...words],
    options: {
      quick: { type: 'boolean', default: false },
      json: { type: 'boolean', default: false },
      case: { type: 'string' },
      peer: { type: 'string' },
      out: { type: 'string', default: join(here, 'results') },
    },
  })
  return {
    quick: values.quick,
    json: values.json,
    out: resolve(values.out),
    cases: some('case', values.case ?? (values.quick ? quickly.cases : undefined), Object.keys(cases) as CaseName[]),
    peers: some('peer', values.peer ?? (values.quick ? quickly.peers : undefined), Object.keys(peers) as PeerName[]),
  }
}

function some<Name extends string>(what: string, words: string | undefined, all: readonly Name[]): ReadonlySet<Name> {
  return words === 'none' ? new Set() : chosen(what, words, all)
}

/** The peers of package.json in this folder, as its lock file says, when they are not there yet. */
function installPeers(): boolean {
  const lock = readFileSync(join(here, 'package-lock.json'), 'utf8')
  const mark = join(here, 'node_modules/.installed')
  if (existsSync(mark) && readFileSync(mark, 'utf8') === lock) return true
  say('installing the peers of bench/package.json')
  try {
    execFileSync('npm', ['ci', '--ignore-scripts', '--no-audit', '--no-fund'], {
      cwd: here,
      stdio: ['ignore', 'ignore', 'pipe'],
    })
    writeFileSync(mark, lock)
    return true
  } catch (error) {
    say(
      `missing: the peers. Install them with "npm ci" in ${here}; it said: ${String(
        (error as { stderr?: Buffer }).stderr,
      )
        .trim()
        .slice(-400)}`,
    )
    return false
  }
}

function commit(): string {
  try {
    return execFileSync('git', ['describe', '--always', '--dirty'], { cwd: here, encoding: 'utf8' }).trim()
  } catch {
    return 'unknown'
  }
}
