import { watch } from 'node:fs'
import { stat } from 'node:fs/promises'
import { basename, dirname, resolve } from 'node:path'
import type { Worker } from 'node:worker_threads'
import { createAdmin } from '../admin/admin.ts'
import { readAdminPage } from '../admin/page.ts'
import { alone, type Peers } from '../admin/peers.ts'
import { createApp } from '../app.ts'
import { type Environment, InvalidConfiguration, loadDefinition } from '../config/load.ts'
import type { Definition } from '../config/schema.ts'
import { createDecisionArchive } from '../gateway/decision-archive.ts'
import { createDecisions } from '../gateway/decisions.ts'
import type { Gateway } from '../gateway/gateway.ts'
import type { Live } from '../gateway/live.ts'
import { createLinter } from '../openapi/linter.ts'
import { filesFor, Listener } from '../server.ts'
import { CannotShare, StoreUnavailable } from '../store/store.ts'
import type { Log } from '../telemetry/log.ts'
import { createLogger } from '../telemetry/logger.ts'
import { assemble, hostInUrl } from './assemble.ts'

export interface StartOptions {
  /** Path of services.json. */
  readonly config: string
  readonly environment: Environment
  readonly log?: Log
  /** Milliseconds since the epoch. */
  readonly now?: () => number
  /** The thread of the documents, where it has been begun already. */
  readonly thread?: Worker
  /** The other processes that serve the same ports; none by default. */
  readonly peers?: Peers
}

export interface RunningGateway {
  /** What clients see, without a trailing slash. */
  readonly publicUrl: string
  /** Where it listens: `http://127.0.0.1:8080`. */
  readonly url: string
  readonly adminUrl: string
  readonly live: Live<Gateway>
  /** Read services.json again now; true when it is in use. */
  reload(): Promise<boolean>
  /** Look at the services' documents now instead of when it is due. */
  refreshDocuments(): Promise<void>
  /** Lets running requests end for as long as `gateway.shutdown` says, then closes everything. */
  close(): Promise<void>
  /** Says for `gateway.notice` that it goes, to load balancers by `/readyz` and to clients by closing, then closes. */
  retire(): Promise<void>
  /** Connections of clients that stand. */
  readonly connections: number
  /** Milliseconds that `retire` takes at most. */
  readonly patience: number
}

/**
 * Make everything, from the ports up, and hand it to each other. Whatever was opened is closed again when a later step
 * fails. Rejects with `InvalidConfiguration` or `CannotListen` for what an operator can mend.
 */
export async function start(options: StartOptions): Promise<RunningGateway> {
  const { config, environment, now = Date.now, thread, peers = alone } = options
  const logger = options.log ? undefined : createLogger(environment['LOG_LEVEL'], peers.number)
  const log = options.log ?? logger!
  const lost = logger?.lost
  const opened: (() => unknown)[] = []
  const closeAll = async () => {
    for (const close of opened.splice(0).reverse()) await close()
  }
  try {
    const written = await stampOf(config)
    const definition = await loadDefinition(config, environment)
    const { listen, admin, limits, shutdown, notice } = definition.gateway
    if (peers.count > 0 && definition.store.type === 'memory') {
      throw new CannotShare(
        'several workers cannot share the store "memory", which is part of one process: set "store" to sqlite or redis in services.json',
      )
    }
    const front = await Listener.listen({ ...listen, variable: 'PORT', upgrades: true, limits, log })
    opened.push(() => front.close(shutdown))
    const [possible, wanted] = [front.mostConnections, limits.connections]
    if (possible < wanted) {
      log.warn(
        { possible, wanted },
        `the system allows too few open files for so many connections: raise the limit to ${filesFor(wanted)} (ulimit -Hn), or lower gateway.limits.connections`,
      )
    }
    const back = await Listener.listen({ ...admin, variable: 'ADMIN_PORT', upgrades: false, limits, log })
    opened.push(() => back.close(500))

    const assembly = await patiently(log, () =>
      assemble(definition, { config, port: front.port, log, now, ...(thread && { thread }) }),
    )
    opened.push(() => assembly.close())
    const { live, metrics } = assembly

    const reload = serially(async () => {
      try {
        const next = await loadDefinition(config, environment)
        const remaining = unchangeable(definition, next)
        if (remaining.length > 0) log.warn({ keys: remaining }, 'these keys take effect at the next start')
        await assembly.swap({ ...next, store: definition.store })
        metrics.configurationStale(false)
        log.info({ file: config }, 'services.json was read again and is in use')
        return true
      } catch (error) {
        metrics.configurationStale(true)
        if (error instanceof InvalidConfiguration) {
          log.error(
            { file: error.file, mistakes: error.mistakes },
            'services.json is broken, so the configuration before it stays in use',
          )
        } else log.error({ err: error }, 'services.json could not be put to use, so the configuration before it stays')
        return false
      }
    })
    const unwatch = watchFile(config, reload, log)
    opened.push(unwatch)
    // What was written while everything was made has been seen by nobody.
    if ((await stampOf(config)) !== written) await reload()

    const archive = definition.store.type === 'redis' ? createDecisionArchive({}, assembly) : undefined
    const decisions = createDecisions(archive)
    const linter = createLinter()
    opened.push(() => linter.close())
    const page = await readAdminPage()
    back.serve(createAdmin({ ...assembly, decisions, peers, linter, host: admin.host, page }).callback())
    const leaving = () => front.leaving
    front.serve(createApp({ live, metrics, decisions, leaving, limits, log, now }).callback(), () =>
      metrics.alarm('connections-refused', 'clients'),
    )
    if (lost) metrics.logLost(lost)
    // Running requests need all of the above, so this comes first. Tunnels would never end by themselves.
    opened.push(() => {
      assembly.upstreams.tunnels.close()
      return front.close(shutdown)
    })
    return {
      publicUrl: live.current.publicUrl,
      url: `http://${hostInUrl(listen.host)}:${front.port}`,
      adminUrl: `http://${hostInUrl(admin.host)}:${back.port}`,
      live,
      reload,
      refreshDocuments: () => live.current.documents.refresh(),
      close: closeAll,
      async retire() {
        front.leave()
        await new Promise((resolve) => setTimeout(resolve, notice))
        await closeAll()
      },
      get connections() {
        return front.connections
      },
      patience: notice + shutdown + 1_000,
    }
  } catch (error) {
    await closeAll()
    throw error
  }
}

/** What is decided once, when the process starts. */
function unchangeable(before: Definition, after: Definition): readonly string[] {
  const pairs = [
    ['/store', before.store, after.store],
    ['/gateway/listen', before.gateway.listen, after.gateway.listen],
    ['/gateway/admin', before.gateway.admin, after.gateway.admin],
    ['/gateway/limits', before.gateway.limits, after.gateway.limits],
    ['/gateway/publicUrl', before.gateway.publicUrl, after.gateway.publicUrl],
  ] as const
  return pairs.filter(([, one, other]) => JSON.stringify(one) !== JSON.stringify(other)).map(([pointer]) => pointer)
}

/** Starting is hard work, and a store in the middle of it may seem slower than it is: it is asked again before we give up. */
async function patiently<T>(log: Log, work: () => Promise<T>): Promise<T> {
  for (let attempt = 1; ; attempt += 1) {
    try {
      return await work()
    } catch (error) {
      if (!(error instanceof StoreUnavailable) || error.lasting || attempt === 3) throw error
      log.warn({ err: error, attempt }, 'the store did not answer at the start; trying again')
      await new Promise((resolve) => setTimeout(resolve, 300))
    }
  }
}

/** One at a time, each after the one before it. */
function serially<T>(work: () => Promise<T>): () => Promise<T> {
  let last: Promise<unknown> = Promise.resolve()
  return () => {
    const next = last.then(work)
    last = next.catch(() => {})
    return next
  }
}

/** Another text for every change of a file; a file that is not there has none. */
async function stampOf(file: string): Promise<string> {
  const found = await stat(file).catch(() => undefined)
  return found ? `${found.ino} ${found.size} ${found.mtimeMs}` : ''
}

/**
 * Call `changed` once after each change of a file. The folder is watched, because editors replace files instead of
 * writing into them, and a short silence is awaited, because they do it in several steps.
 */
function watchFile(file: string, changed: () => unknown, log: Log): () => void {
  const path = resolve(file)
  let timer: NodeJS.Timeout | undefined
  const watcher = watch(dirname(path), { persistent: false }, (_event, name) => {
    // A mounted ConfigMap changes through a link of another name.
    if (name !== null && name !== basename(path) && name !== '..data') return
    clearTimeout(timer)
    timer = setTimeout(changed, 100)
  })
  watcher.on('error', (error) =>
    log.warn({ err: error }, 'services.json is not watched any more; restart to have changes read'),
  )
  return () => {
    clearTimeout(timer)
    watcher.close()
  }
}
