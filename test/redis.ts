import { type ChildProcess, spawn } from 'node:child_process'
import { once } from 'node:events'
import { mkdtempSync, rmSync } from 'node:fs'
import { connect } from 'node:net'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { setTimeout as delay } from 'node:timers/promises'
import { freePort } from './free-port.ts'
import { redisServerPath } from './requirements.ts'

/** A real Redis of our own: on a free loopback port, in an empty folder, remembering nothing. */
export interface RunningRedis {
  readonly url: string
  /** Of the process that runs now. */
  readonly pid: number
  /** Like a host that loses its power. */
  kill(): Promise<void>
  /** Starts again on the same port, empty. */
  start(): Promise<void>
  /** SIGSTOP: connections stay open and nothing answers. */
  pause(): void
  resume(): void
  /** Ends the process and removes its folder. */
  stop(): Promise<void>
}

/** The test must be skipped when `skipWithout('redis')` says so. */
export async function startRedis(): Promise<RunningRedis> {
  const program = redisServerPath()
  if (!program) throw new Error('redis-server is not installed')
  const folder = mkdtempSync(join(tmpdir(), 'sallyport-redis-'))
  let port = await freePort()
  let child: ChildProcess

  async function start(): Promise<void> {
    child = spawn(
      program!,
      ['--bind', '127.0.0.1', '--port', String(port), '--dir', folder, '--save', '', '--appendonly', 'no'],
      { stdio: 'ignore' },
    )
    process.once('exit', killNow)
    process.once('SIGTERM', endNow)
    for (let attempt = 0; attempt < 200; attempt += 1) {
      if (await answers(port)) return
      if (child.exitCode !== null) throw new Error(`redis-server ended with ${child.exitCode}`)
      await delay(25)
    }
    throw new Error('redis-server does not answer')
  }

  // What can still be done when a test file ends early, or is ended: a signal alone would pass the exit handlers by.
  const killNow = () => child.kill('SIGKILL')
  const endNow = () => process.exit(143)

  async function kill(): Promise<void> {
    process.off('exit', killNow)
    process.off('SIGTERM', endNow)
    if (child.exitCode !== null || child.signalCode !== null) return
    const ended = once(child, 'exit')
    child.kill('SIGKILL')
    await ended
  }

  // Between finding a free port and taking it, a test that runs beside this one may have been faster.
  for (let attempt = 1; ; attempt += 1) {
    try {
      await start()
      break
    } catch (error) {
      await kill()
      if (attempt === 5) throw error
      port = await freePort()
    }
  }
  return {
    url: `redis://127.0.0.1:${port}`,
    get pid() {
      return child.pid!
    },
    start,
    kill,
    pause: () => void child.kill('SIGSTOP'),
    resume: () => void child.kill('SIGCONT'),
    async stop() {
      await kill()
      rmSync(folder, { recursive: true, force: true })
    },
  }
}

function answers(port: number): Promise<boolean> {
  return new Promise((resolve) => {
    const socket = connect({ host: '127.0.0.1', port }, () => socket.write('PING\r\n'))
    socket.setTimeout(500, () => socket.destroy())
    socket.once('data', (data) => {
      resolve(data.toString() === '+PONG\r\n')
      socket.destroy()
    })
    socket.once('error', () => resolve(false))
    socket.once('close', () => resolve(false))
  })
}
