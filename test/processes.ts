import { type ChildProcess, spawn } from 'node:child_process'
import { once } from 'node:events'
import { readFileSync } from 'node:fs'
import { mkdtemp, rm, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { setTimeout as delay } from 'node:timers/promises'
import { freePort } from './free-port.ts'

/** `sallyport start` as a process of its own, as an operator runs it. */
export interface GatewayProcess extends AsyncDisposable {
  readonly pid: number
  readonly url: string
  readonly adminUrl: string
  readonly folder: string
  /** What it has written so far. */
  readonly out: () => string
  readonly err: () => string
  /** What it has logged so far. */
  // biome-ignore lint/suspicious/noExplicitAny: each message has facts of its own
  readonly log: () => readonly any[]
  readonly child: ChildProcess
  /** Its exit code, once it has ended; null when a signal ended it. */
  readonly ended: Promise<number | null>
  /** Processes it has started itself. */
  children(): readonly number[]
  rewrite(definition: object | string): Promise<void>
}

export interface ProcessOptions {
  readonly words?: readonly string[]
  /** A command that starts it, such as `["sh", "-c", "ulimit -n 256; exec \"$@\"", "sh"]`. */
  readonly under?: readonly string[]
  readonly environment?: Readonly<Record<string, string>>
  /** Files beside services.json, by name. */
  readonly files?: Readonly<Record<string, string>>
  /** Do not wait until it serves. */
  readonly soon?: boolean
  readonly stdout?: 'ignore' | number
}

const main = join(import.meta.dirname, '..', 'src', 'main.ts')

/** Starts it on free ports with a folder of its own, and waits until it answers. */
export async function startProcess(definition: object, options: ProcessOptions = {}): Promise<GatewayProcess> {
  const folder = await mkdtemp(join(tmpdir(), 'sallyport-process-'))
  const file = join(folder, 'services.json')
  const rewrite = (next: object | string) =>
    writeFile(file, typeof next === 'string' ? next : JSON.stringify(next, null, 2))
  await rewrite(definition)
  for (const [name, content] of Object.entries(options.files ?? {})) await writeFile(join(folder, name), content)
  const [port, adminPort] = [await freePort(), await freePort()]
  const [command, ...words] = [
    ...(options.under ?? []),
    process.execPath,
    main,
    'start',
    '--config',
    file,
    ...(options.words ?? []),
  ]
  const child = spawn(command!, words, {
    env: { ...process.env, PORT: String(port), ADMIN_PORT: String(adminPort), ...options.environment },
    stdio: ['ignore', options.stdout ?? 'pipe', 'pipe'],
  })
  const killNow = () => child.kill('SIGKILL')
  process.once('exit', killNow)
  const said = { out: '', err: '' }
  child.stdout?.setEncoding('utf8').on('data', (text) => {
    said.out += text
  })
  child.stderr!.setEncoding('utf8').on('data', (text) => {
    said.err += text
  })
  const ended = once(child, 'exit').then(([code]) => {
    process.off('exit', killNow)
    return code as number | null
  })
  const running: GatewayProcess = {
    pid: child.pid!,
    url: `http://127.0.0.1:${port}`,
    adminUrl: `http://127.0.0.1:${adminPort}`,
    folder,
    out: () => said.out,
    err: () => said.err,
    log: () =>
      said.out
        .split('\n')
        .filter((line) => line.startsWith('{') && line.endsWith('}'))
        .map((line) => JSON.parse(line)),
    child,
    ended,
    children: () => childrenOf(child.pid!),
    rewrite,
    async [Symbol.asyncDispose]() {
      if (child.exitCode === null && child.signalCode === null) {
        // Stopped ones could not even end; those it has started end when it is gone.
        child.kill('SIGCONT')
        child.kill('SIGKILL')
      }
      await ended
      await rm(folder, { recursive: true, force: true })
    },
  }
  if (options.soon) return running
  for (let attempt = 0; ; attempt += 1) {
    const answer = await fetch(`${running.url}/readyz`, { headers: { Connection: 'close' } }).catch(() => undefined)
    if (answer?.ok) return running
    if (child.exitCode !== null || attempt > 600) {
      await running[Symbol.asyncDispose]()
      throw new Error(`the gateway did not start: ${said.err || said.out}`)
    }
    await delay(50)
  }
}

function childrenOf(pid: number): readonly number[] {
  const text = readFileSync(`/proc/${pid}/task/${pid}/children`, 'utf8').trim()
  return text === '' ? [] : text.split(' ').map(Number)
}

/** Whether a process is there and not a zombie. */
export function lives(pid: number): boolean {
  try {
    return !/^State:\s+Z/m.test(readFileSync(`/proc/${pid}/status`, 'utf8'))
  } catch {
    return false
  }
}
