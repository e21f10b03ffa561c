import { parentPort, workerData } from 'node:worker_threads'
import { type LintOrder, lint } from './lint.ts'

/** The thread of a linter, for one document: `linter.ts` begins and ends it. */
parentPort!.postMessage(await lint(workerData as LintOrder))
