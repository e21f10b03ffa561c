#!/usr/bin/env node
import cluster from 'node:cluster'
import { enableCompileCache } from 'node:module'
import { join } from 'node:path'
import { setFlagsFromString } from 'node:v8'

// To parse a thousand files is an eighth of the start, and to take the types off two hundred a third: what comes of it
// is kept beside what it is made of, where nobody else can write. Where we cannot either, there is none.
const root = join(import.meta.dirname, import.meta.filename.endsWith('.ts') ? '..' : '../..')
enableCompileCache(join(root, 'node_modules', '.cache', 'sallyport'))

// Every piece of a body is memory outside V8's heap. By default the whole heap is marked each time that 32 MB of it have
// come and gone: half of what a large body costs. So it is counted where V8 counts its own (docs/decisions/0022).
setFlagsFromString('--external-memory-accounted-in-global-limit')

// V8 makes objects among the old ones when those of the same place in the code have lived long, which at the start of a
// load they do. Then every request keeps the next alive, and each collection copies what has long been answered: a third
// more for each request, and pauses of 50 ms instead of 1, until the process ends (docs/decisions/0023).
setFlagsFromString('--no-allocation-site-pretenuring')

if (cluster.isWorker) await import('./cli/worker.ts')
else {
  const { run } = await import('./cli/run.ts')
  const { readSecret } = await import('./cli/read-secret.ts')
  process.exitCode = await run(process.argv.slice(2), {
    environment: process.env,
    out: (text) => process.stdout.write(`${text}\n`),
    err: (text) => process.stderr.write(`${text}\n`),
    readSecret: (prompt) => readSecret(prompt, process.stdin, process.stderr),
  })
}
