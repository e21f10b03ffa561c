import { spawn } from 'node:child_process'
import { once } from 'node:events'
import { existsSync } from 'node:fs'
import { join } from 'node:path'
import type { Command, ExitCode } from './command.ts'

/** The benchmark stands beside the sources, with peers of its own; the package does not carry it. */
export const bench: Command = {
  usage: 'bench',
  summary: 'what a request costs, measured beside other gateways',
  details: [
    '--quick          one minute instead of ten',
    '--case a,b       only these cases',
    '--peer a,b       only these peers; "none" for the gateway alone',
    '--out folder     where JSON, tables and chart go; default: bench/results',
  ],
  async run(words, { json }, { err }) {
    const program = ['../..', '../../..']
      .map((up) => join(import.meta.dirname, up, 'bench/bench.ts'))
      .find((path) => existsSync(path))
    if (program === undefined) {
      err('sallyport: the benchmark is part of the repository and not of the package; run it in a clone')
      return 1
    }
    const child = spawn(process.execPath, [program, ...words, ...(json ? ['--json'] : [])], { stdio: 'inherit' })
    const [code] = await once(child, 'exit')
    return code === 0 || code === 2 ? (code as ExitCode) : 1
  },
}
