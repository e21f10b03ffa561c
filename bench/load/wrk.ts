import { execFile } from 'node:child_process'
import { join } from 'node:path'
import { promisify } from 'node:util'

const run = promisify(execFile)

/** What came of some seconds of requests, one after the other on each connection. */
export interface Load {
  readonly requests: number
  readonly seconds: number
  /** Bytes that came back, heads included. */
  readonly bytes: number
  /** Microseconds. */
  readonly p50: number
  readonly p99: number
}

export interface WrkOptions {
  readonly program: string
  readonly cores: string
  readonly url: string
  /** Whole seconds. */
  readonly seconds: number
  readonly connections?: number
  readonly headers?: Readonly<Record<string, string>>
  readonly method?: string
  /** Bytes. */
  readonly body?: number
  /** File with one bearer token a line, each sent in its turn. */
  readonly tokens?: string
}

/** Rejects when a request failed or was refused: a number about errors is no number about a gateway. */
export async function wrk(options: WrkOptions): Promise<Load> {
  const { program, cores, url, seconds, connections = 64, headers = {}, method = 'GET', body = 0, tokens } = options
  const { stdout } = await run('taskset', [
    ...['-c', cores, program, '-t1', `-c${connections}`, `-d${seconds}s`, '--timeout', '20s'],
    ...['-s', join(import.meta.dirname, 'wrk.lua')],
    ...Object.entries(headers).flatMap(([name, value]) => ['-H', `${name}: ${value}`]),
    ...[url, '--', method, String(body), ...(tokens === undefined ? [] : [tokens])],
  ])
  const { failed, ...load } = JSON.parse(stdout.trim().split('\n').at(-1)!) as Load & { failed: number }
  if (failed > 0) throw new Error(`${failed} requests beside ${load.requests} failed at ${url}`)
  return load
}
