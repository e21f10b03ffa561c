import { mkdtemp, rm, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { type RunningGateway, start } from '../src/cli/start.ts'
import type { Log } from '../src/telemetry/log.ts'

export interface GatewayUnderTest extends AsyncDisposable {
  readonly url: string
  readonly adminUrl: string
  readonly running: RunningGateway
  /** Folder of its services.json. */
  readonly folder: string
  /** What it logged, oldest first. */
  readonly log: LogLine[]
  /** Write another services.json over the one that runs; the gateway notices by itself. */
  rewrite(definition: object | string): Promise<void>
}

export interface LogLine {
  readonly level: string
  readonly message: string
  // biome-ignore lint/suspicious/noExplicitAny: each message has facts of its own; tests name those they read
  readonly [fact: string]: any
}

export interface Options {
  readonly environment?: Readonly<Record<string, string>>
  readonly now?: () => number
  /** Files beside services.json, by name. */
  readonly files?: Readonly<Record<string, string>>
}

/**
 * A real gateway on free ports with a folder of its own. The store is in memory and the admin port is free unless the
 * definition says otherwise.
 */
export async function startGateway(definition: object, options: Options = {}): Promise<GatewayUnderTest> {
  const folder = await mkdtemp(join(tmpdir(), 'sallyport-'))
  const file = join(folder, 'services.json')
  const text = JSON.stringify({ store: { type: 'memory' }, ...definition }, null, 2)
  await writeFile(file, text)
  for (const [name, content] of Object.entries(options.files ?? {})) await writeFile(join(folder, name), content)

  const log: LogLine[] = []
  const environment = { PORT: '0', ADMIN_PORT: '0', ...options.environment }
  let running: RunningGateway
  try {
    running = await start({
      config: file,
      environment,
      log: recorder(log),
      ...(options.now && { now: options.now }),
    })
  } catch (error) {
    await rm(folder, { recursive: true })
    throw error
  }
  return {
    url: running.url,
    adminUrl: running.adminUrl,
    running,
    folder,
    log,
    rewrite: (next) =>
      writeFile(
        file,
        typeof next === 'string' ? next : JSON.stringify({ store: { type: 'memory' }, ...next }, null, 2),
      ),
    async [Symbol.asyncDispose]() {
      await running.close()
      await rm(folder, { recursive: true })
    },
  }
}

function recorder(lines: LogLine[]): Log {
  const write = (level: string) => (facts: object, message: string) => {
    lines.push({ ...facts, level, message })
  }
  return { debug: write('debug'), info: write('info'), warn: write('warn'), error: write('error') }
}

/** Wait until something is so, looking every 20 ms; fails with `what` when it is not after `limit` milliseconds. */
export async function eventually<T>(what: string, look: () => T | Promise<T>, limit = 5_000): Promise<NonNullable<T>> {
  const end = Date.now() + limit
  for (;;) {
    const found = await look()
    if (found) return found as NonNullable<T>
    if (Date.now() > end) throw new Error(`not within ${limit} ms: ${what}`)
    await new Promise((resolve) => setTimeout(resolve, 20))
  }
}
