import { Worker } from 'node:worker_threads'
import type { Finding } from './document.ts'
import type { LintOrder } from './lint.ts'

/** Lints documents where no request and no publication waits for it: one after the other, each in a thread of its own. */
export interface Linter {
  /** Rejects when the document took too long or too much memory, and after `close`. */
  lint(order: LintOrder): Promise<readonly Finding[]>
  close(): Promise<void>
}

export interface LinterSettings {
  /** Milliseconds for one document. Default 120,000; GitHub's takes three seconds. */
  readonly patience?: number
  /** Megabytes that a thread may use. Default 1,000. */
  readonly memory?: number
}

export function createLinter({ patience = 120_000, memory = 1_000 }: LinterSettings = {}): Linter {
  let last: Promise<unknown> = Promise.resolve()
  let closed = false
  let stop: ((reason: Error) => void) | undefined
  return {
    lint(order) {
      const result = last.then(() => inThread(order))
      last = result.catch(() => {})
      return result
    },
    async close() {
      closed = true
      stop?.(new Error('the linter is closed'))
      await last
    },
  }

  async function inThread(order: LintOrder): Promise<readonly Finding[]> {
    if (closed) throw new Error('the linter is closed')
    // The file beside this one, compiled or not.
    const file = new URL(import.meta.url.endsWith('.ts') ? './lint-thread.ts' : './lint-thread.js', import.meta.url)
    const limits = { maxOldGenerationSizeMb: memory }
    const thread = new Worker(file, { workerData: order, resourceLimits: limits, name: 'openapi lint' })
    try {
      return await new Promise((resolve, reject) => {
        stop = reject
        const timer = setTimeout(() => reject(new Error(`it took longer than ${patience / 1_000} s`)), patience)
        thread.on('exit', () => {
          clearTimeout(timer)
          reject(new Error('the thread ended'))
        })
        thread.on('error', reject)
        thread.on('message', resolve)
      })
    } finally {
      stop = undefined
      await thread.terminate()
    }
  }
}
