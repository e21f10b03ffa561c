/**
 * `npm run bench:memory`: a gigabyte down and a gigabyte up through the gateway, each with a peer that is slow, and the
 * memory of the gateway's process meanwhile. Exits with 1 when it grows by more than 224 MB: bodies that have passed count
 * as heap (docs/decisions/0022), and V8 lets some 140 MB of it come together.
 *
 * The backend, the gateway and the client are processes of their own, so that what is measured is the gateway alone.
 */
import { type ChildProcess, fork } from 'node:child_process'
import { once } from 'node:events'
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs'
import { createServer, request } from 'node:http'
import type { AddressInfo } from 'node:net'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { setTimeout as sleep } from 'node:timers/promises'
import { start } from '../src/cli/start.ts'
import { silent } from '../src/telemetry/log.ts'

const gigabyte = 1_073_741_824
const chunk = Buffer.alloc(65_536, 'x')
/** How long the slow side lets each of its pauses last; with one pause for each 8 MB a transfer takes some seconds. */
const pause = 20
const pauseEvery = 8 * 1_048_576
const allowedGrowth = 224

const role = process.argv[2]
if (role === 'backend') await backend()
else if (role === 'gateway') await gateway()
else process.exitCode = await measure()

/** Sends a gigabyte to whoever asks; takes one slowly from whoever sends. */
async function backend(): Promise<void> {
  const server = createServer(async (req, res) => {
    if (req.method === 'GET') {
      res.writeHead(200, { 'Content-Length': gigabyte })
      for (let sent = 0; sent < gigabyte; sent += chunk.length) {
        if (!res.write(chunk)) await once(res, 'drain')
      }
      res.end()
      return
    }
    const received = await readSlowly(req)
    res.end(String(received))
  })
  server.listen(0, '127.0.0.1', () => process.send?.((server.address() as AddressInfo).port))
  process.on('disconnect', () => process.exit())
}

async function gateway(): Promise<void> {
  const running = await start({ config: process.argv[3]!, environment: { PORT: '0', ADMIN_PORT: '0' }, log: silent })
  process.send?.(Number(new URL(running.url).port))
  process.on('disconnect', () => process.exit())
}

async function measure(): Promise<number> {
  const folder = mkdtempSync(join(tmpdir(), 'sallyport-memory-'))
  const children: ChildProcess[] = []
  const launch = async (...words: string[]): Promise<{ readonly pid: number; readonly port: number }> => {
    // As src/main.ts sets them.
    const execArgv = ['--external-memory-accounted-in-global-limit', '--no-allocation-site-pretenuring']
    const child = fork(import.meta.filename, words, { execArgv })
    children.push(child)
    const [port] = await once(child, 'message')
    return { pid: child.pid!, port: Number(port) }
  }
  try {
    const { port: target } = await launch('backend')
    const config = join(folder, 'services.json')
    const services = [
      {
        name: 'big',
        path: '/big',
        targets: [`http://127.0.0.1:${target}`],
        openapi: false,
        security: [],
        limits: { body: '2gb' },
      },
    ]
    writeFileSync(config, JSON.stringify({ store: { type: 'memory' }, services }))
    const { pid, port } = await launch('gateway', config)
    // What a transfer needs once is not growth: sixteen megabytes each way first.
    await download(port, 16 * 1_048_576)
    await upload(port, 16 * 1_048_576)
    await sleep(500)

    let worst = 0
    for (const [title, transfer] of [
      ['download', download],
      ['upload', upload],
    ] as const) {
      const before = residentMegabytes(pid)
      let peak = before
      const timer = setInterval(() => {
        peak = Math.max(peak, residentMegabytes(pid))
      }, 50)
      const started = performance.now()
      await transfer(port, gigabyte)
      clearInterval(timer)
      const seconds = (performance.now() - started) / 1_000
      const growth = peak - before
      worst = Math.max(worst, growth)
      console.log(
        `1 GB ${title} with a slow peer: ${seconds.toFixed(1)} s, memory ${before.toFixed(0)} MB before, ${peak.toFixed(0)} MB at most (+${growth.toFixed(0)} MB)`,
      )
    }
    const flat = worst <= allowedGrowth
    console.log(flat ? 'flat' : `grew by more than ${allowedGrowth} MB`)
    return flat ? 0 : 1
  } finally {
    for (const child of children) child.disconnect()
    rmSync(folder, { recursive: true })
  }
}

/** Reads slowly and hangs up once it has had enough. */
async function download(port: number, bytes: number): Promise<void> {
  const req = request({ host: '127.0.0.1', port, path: '/big' }).end()
  const [res] = await once(req, 'response')
  await readSlowly(res, bytes)
  req.destroy()
}

async function upload(port: number, bytes: number): Promise<void> {
  const req = request({ host: '127.0.0.1', port, path: '/big', method: 'POST', headers: { 'Content-Length': bytes } })
  const answered = once(req, 'response')
  for (let sent = 0; sent < bytes; sent += chunk.length) {
    if (!req.write(chunk)) await once(req, 'drain')
  }
  req.end()
  const [res] = await answered
  let text = ''
  for await (const part of res) text += part
  if (text !== String(bytes)) throw new Error(`${bytes} bytes were sent, and the backend got ${text}`)
}

async function readSlowly(stream: AsyncIterable<Buffer>, enough = Number.POSITIVE_INFINITY): Promise<number> {
  let received = 0
  let since = 0
  for await (const part of stream) {
    received += part.length
    since += part.length
    if (received >= enough) break
    if (since < pauseEvery) continue
    since = 0
    await sleep(pause)
  }
  return received
}

function residentMegabytes(pid: number): number {
  const kilobytes = /VmRSS:\s+(\d+) kB/.exec(readFileSync(`/proc/${pid}/status`, 'utf8'))?.[1]
  return Number(kilobytes) / 1_024
}
