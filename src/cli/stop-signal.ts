const signals = ['SIGTERM', 'SIGINT'] as const
export type StopSignal = (typeof signals)[number]

/** Resolves at the first SIGTERM or SIGINT; at the second one `atOnce` is called, which ends the process. */
export function stopSignal(atOnce: () => unknown = () => process.exit(1)): Promise<StopSignal> {
  return new Promise((done) => {
    const stop = (signal: StopSignal) => {
      for (const each of signals) {
        process.off(each, stop)
        process.once(each, atOnce)
      }
      done(signal)
    }
    for (const each of signals) process.once(each, stop)
  })
}
