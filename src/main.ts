#!/usr/bin/env node
import cluster from 'node:cluster'
import { enableCompileCache } from 'node:module'
import { join } from 'node:path'

// To parse a thousand files is an eighth of the start, and to take the types off two hundred a third: what comes of it
// is kept beside what it is made of, where nobody else can write. Where we cannot either, there is none.
const root = join(import.meta.dirname, import.meta.filename.endsWith('.ts') ? '..' : '../..')
enableCompileCache(join(root, 'node_modules', '.cache', 'sallyport'))

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
