import { beginThread } from '../openapi/press.ts'
import { type Command, parseOptions, UsageError } from './command.ts'
import { stopSignal } from './stop-signal.ts'

export const startCommand: Command = {
  usage: 'start [--workers <n>]',
  summary: 'run the gateway',
  details: [
    '--workers <n>   several processes on one port, each replaced when it dies; "auto" for one a processor core.',
    '                They share what the store keeps: it must be sqlite or redis.',
    'SIGTERM and Ctrl-C let running requests end; the second one ends everything at once.',
  ],
  async run(words, { config }, terminal) {
    const { values, positionals } = parseOptions(words, { workers: { type: 'string' } })
    if (positionals.length > 0) throw new UsageError(`start takes no "${positionals[0]}"`)
    const { environment, out } = terminal
    if (values.workers !== undefined) {
      const { countWorkers, runWorkers } = await import('./workers.ts')
      return runWorkers({ count: countWorkers(values.workers), config, environment }, terminal)
    }
    // The documents' thread begins while all the rest is read: where there is a second processor, that costs no time.
    const thread = beginThread()
    const { start } = await import('./start.ts')
    const running = await start({ config, environment, thread })
    out(
      `Sallyport serves ${running.publicUrl}, its documentation at ${running.publicUrl}/docs; admin at ${running.adminUrl}`,
    )
    // A person at the keyboard waits for nobody; a load balancer has to be told first.
    if ((await stopSignal()) === 'SIGTERM') await running.retire()
    else await running.close()
    return 0
  },
}
