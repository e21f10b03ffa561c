import { type ChildProcess, fork } from 'node:child_process'
import { once } from 'node:events'

type Environment = Readonly<Record<string, string | undefined>>

/** The services behind the gateway. Those of one stage start at once; the next stage asks them. */
const stages = [
  [
    { service: 'orders', variable: 'ORDERS' },
    { service: 'inventory', variable: 'INVENTORY' },
  ],
  [{ service: 'reports', variable: 'REPORTS' }],
] as const

export interface Backends {
  /** The environment with the ports on which the services really listen, for what is started next. */
  readonly env: Environment
  /** Ends them all; resolves when they are gone. */
  close(): Promise<void>
}

/** Longest time that one service may take to start, in milliseconds. */
const patience = 30_000

/**
 * Starts orders, inventory and reports as processes of their own and waits until all of them listen. They end with this
 * process, however it ends. Rejects, with nothing left running, when one does not come up; what went wrong it has
 * printed itself.
 */
export async function startBackends(env: Environment): Promise<Backends> {
  const children: ChildProcess[] = []
  const close = async () => void (await Promise.all(children.map(end)))
  // HOST and PORT are the gateway's: the services behind it stay on the loopback interface.
  const { HOST: _host, PORT: _port, ...shared } = env
  const found: Record<string, string | undefined> = shared
  try {
    for (const stage of stages) {
      const starting = stage.map(async ({ service, variable }) => {
        const child = fork(new URL(`${service}/server.ts`, import.meta.url), { env: found as NodeJS.ProcessEnv })
        children.push(child)
        const url = await listening(child, service)
        found[`${variable}_URL`] = url.origin
        found[`${variable}_PORT`] = url.port
      })
      await Promise.all(starting)
    }
  } catch (error) {
    await close()
    throw error
  }
  return { env: { ...env, ...found }, close }
}

async function listening(child: ChildProcess, service: string): Promise<URL> {
  const stop = AbortSignal.timeout(patience)
  const said = once(child, 'message', { signal: stop }).then(([message]) => new URL(message.listening))
  const ended = once(child, 'exit', { signal: stop }).then(() => {
    throw new Error(`${service} did not start`)
  })
  return Promise.race([said, ended]).catch((error: Error) => {
    throw error.name === 'AbortError' ? new Error(`${service} did not start within ${patience / 1000} seconds`) : error
  })
}

async function end(child: ChildProcess): Promise<void> {
  if (child.exitCode !== null || child.signalCode !== null) return
  const gone = once(child, 'exit')
  child.kill('SIGTERM')
  await gone
}
