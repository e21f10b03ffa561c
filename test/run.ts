/**
 * `npm test`: makes sure of what the tests need, runs them, prints the counts last.
 *
 * `npm test -- test/http test/store` runs a part.
 */
import { globSync } from 'node:fs'
import { join, relative, resolve } from 'node:path'
import { Readable } from 'node:stream'
import { pipeline } from 'node:stream/promises'
import { run } from 'node:test'
import { spec, type TestEvent } from 'node:test/reporters'
import { ensurePrograms } from './requirements.ts'

const root = resolve(import.meta.dirname, '..')
const inCi = process.env['CI'] === 'true'

const missing = ensurePrograms('test', (line) => console.log(line))
if (missing.length > 0 && inCi) process.exit(1)
if (missing.length > 0) console.log('the tests that need them are skipped')

const wanted = process.argv.slice(2).map((path) => relative(root, resolve(path)))
const files = globSync('test/**/*.test.ts', { cwd: root })
  .filter((file) => wanted.length === 0 || wanted.some((path) => file === path || file.startsWith(`${path}/`)))
  .sort()
if (files.length === 0) {
  console.error(`no test file at or below ${wanted.join(', ')}`)
  process.exit(2)
}

// A browser is a dozen processes: one at a time, and alone. Building the image takes longest, so it begins first.
const inBrowser = (file: string) => file.startsWith('test/browser/')
const longest = 'test/packaging.test.ts'
const phases = [
  {
    files: files.filter((file) => !inBrowser(file)).sort((a, b) => Number(b === longest) - Number(a === longest)),
    atOnce: 2,
  },
  { files: files.filter(inBrowser), atOnce: 1 },
]

/** Longest time that one file may take, in milliseconds. What a test forgot to close would hold the run up for ever. */
const patience = 420_000

const stop = new AbortController()
for (const signal of ['SIGINT', 'SIGTERM'] as const) process.once(signal, () => stop.abort())

type Counts = Record<'tests' | 'suites' | 'passed' | 'failed' | 'cancelled' | 'skipped' | 'todo', number>
const counts: Counts = { tests: 0, suites: 0, passed: 0, failed: 0, cancelled: 0, skipped: 0, todo: 0 }
const overdue: string[] = []
const started = performance.now()

/** The events of all files as if they were one run: each file's own summary is added up instead of shown. */
async function* events() {
  for (const { files, atOnce } of phases) {
    const waiting = [...files]
    const running = new Map<string, Promise<{ file: string; said: TestEvent[] }>>()
    while (waiting.length > 0 || running.size > 0) {
      while (running.size < atOnce && waiting.length > 0 && !stop.signal.aborted) {
        const file = waiting.shift()!
        running.set(file, runFile(file))
      }
      if (running.size === 0) return
      const { file, said } = await Promise.race(running.values())
      running.delete(file)
      yield* said
    }
  }
}

async function runFile(file: string): Promise<{ file: string; said: TestEvent[] }> {
  const limit = new AbortController()
  const timer = setTimeout(() => limit.abort(), patience)
  const said: TestEvent[] = []
  const stream = run({ files: [join(root, file)], cwd: root, signal: AbortSignal.any([stop.signal, limit.signal]) })
  for await (const event of stream) {
    if (event.type === 'test:summary') {
      if (event.data.file === undefined) {
        for (const name of Object.keys(counts) as (keyof Counts)[]) counts[name] += event.data.counts[name] ?? 0
      }
    } else if (event.type !== 'test:diagnostic' || !isSummaryLine(event.data)) {
      said.push(event)
    }
  }
  clearTimeout(timer)
  if (limit.signal.aborted) overdue.push(file)
  return { file, said }
}

const summaryLine = /^(tests|suites|pass|fail|cancelled|skipped|todo|duration_ms) [\d.]+$/

function isSummaryLine(data: { readonly nesting: number; readonly message: string; readonly file?: string }): boolean {
  return data.nesting === 0 && data.file === undefined && summaryLine.test(data.message)
}

await pipeline(Readable.from(events()), new spec(), process.stdout, { end: false })

for (const file of overdue) console.log(`\n✖ ${file} did not end within ${patience / 1000} s and was stopped`)
console.log(`
ℹ tests ${counts.tests}
ℹ suites ${counts.suites}
ℹ pass ${counts.passed}
ℹ fail ${counts.failed}
ℹ cancelled ${counts.cancelled}
ℹ skipped ${counts.skipped}
ℹ todo ${counts.todo}
ℹ duration_ms ${(performance.now() - started).toFixed(3)}`)

const good =
  overdue.length === 0 && counts.failed === 0 && counts.cancelled === 0 && counts.tests > 0 && !stop.signal.aborted
process.exitCode = good ? 0 : 1
