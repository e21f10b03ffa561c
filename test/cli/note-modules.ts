import { appendFileSync } from 'node:fs'
import { registerHooks } from 'node:module'
import { isMainThread } from 'node:worker_threads'

/** Read before a program (`--import`): writes down every file that it reads, and in which of its threads. */
const list = process.env['NOTE_MODULES']
if (list !== undefined) {
  registerHooks({
    load(url, context, next) {
      appendFileSync(list, `${isMainThread ? 'main' : 'thread'} ${url}\n`)
      return next(url, context)
    },
  })
}
