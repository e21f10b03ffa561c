/**
 * Good traffic: requests at a rate, whatever comes back, each with a number that its answer must name. Latency counts
 * from when a request should have been sent.
 *
 * It behaves as a load balancer does: it looks at /readyz, on a connection of its own each time, and once that says 503
 * it opens no further connection; those that stand are used until the gateway closes them.
 */
import { Agent, request } from 'node:http'
import type { Socket } from 'node:net'
import { setTimeout as sleep } from 'node:timers/promises'
import { answerQuestions } from './companion.ts'
import { openEvents, openTunnel, openUpload } from './long-lived.ts'

interface StreamOptions {
  readonly name: string
  /** Origin and path; the number of the request is added. */
  readonly url: string
  readonly perSecond: number
  readonly connections: number
}

/** What came of the requests of one phase; times in milliseconds. */
export interface Tally {
  readonly sent: number
  readonly good: number
  /** By what was wrong. */
  readonly failures: Readonly<Record<string, number>>
  /** For which no connection could be opened any more, and which another instance would have served. */
  readonly elsewhere: number
  /** Answers that said `Connection: close`. */
  readonly toldToClose: number
  readonly p50: number
  readonly p99: number
  readonly longest: number
}

class Phase {
  sent = 0
  good = 0
  elsewhere = 0
  toldToClose = 0
  readonly latencies: number[] = []
  readonly failures: Record<string, number> = {}

  /** Of its requests, those without an end. */
  open = 0

  /** Resolves when all of its requests have ended, twenty seconds later at most. */
  async over(): Promise<Tally> {
    for (const end = Date.now() + 20_000; this.open > 0 && Date.now() < end; ) await sleep(10)
    for (; this.open > 0; this.open -= 1) this.fail('no answer in 20 s')
    return this.tally
  }

  fail(why: string): void {
    this.failures[why] = (this.failures[why] ?? 0) + 1
  }

  get tally(): Tally {
    const { sent, good, elsewhere, toldToClose, failures } = this
    const sorted = this.latencies.toSorted((one, other) => one - other)
    const at = (share: number) =>
      Math.round((sorted[Math.min(sorted.length - 1, Math.floor(sorted.length * share))] ?? 0) * 100) / 100
    return { sent, good, elsewhere, toldToClose, failures, p50: at(0.5), p99: at(0.99), longest: at(1) }
  }
}

class NoMoreConnections extends Error {}

let leaving = false

/** Keeps connections, and opens none once the gateway has said that it leaves. */
class Connections extends Agent {
  override createConnection(...args: Parameters<Agent['createConnection']>) {
    const [, created] = args
    if (!leaving) return super.createConnection(...args)
    process.nextTick(() => created?.(new NoMoreConnections(), undefined as never))
    return undefined
  }
}

class Stream {
  readonly #options: StreamOptions
  readonly #agent: Agent
  #phase = new Phase()
  #number = 0
  #planned = 0
  readonly #started = performance.now()
  #timer: NodeJS.Timeout | undefined
  /** The targets and releases that answers named, with how many. */
  readonly versions = new Set<string>()

  constructor(options: StreamOptions) {
    this.#options = options
    this.#agent = new Connections({ keepAlive: true, maxSockets: options.connections, scheduling: 'fifo' })
    this.#step()
  }

  /** What began since the last call. */
  turn(): Phase {
    const phase = this.#phase
    this.#phase = new Phase()
    return phase
  }

  stop(): void {
    clearTimeout(this.#timer)
  }

  close(): void {
    this.#agent.destroy()
  }

  #step(): void {
    const perStep = this.#options.perSecond / 1_000
    const due = Math.floor((performance.now() - this.#started) * perStep)
    for (; this.#planned < due; this.#planned += 1) this.#send(this.#started + this.#planned / perStep)
    this.#timer = setTimeout(() => this.#step(), 1)
  }

  #send(since: number): void {
    const phase = this.#phase
    this.#number += 1
    const mark = `?number=${this.#number}`
    phase.sent += 1
    phase.open += 1
    let over = false
    const end = (why?: string) => {
      if (over) return
      over = true
      phase.open -= 1
      if (why === undefined) {
        phase.good += 1
        phase.latencies.push(performance.now() - since)
      } else if (why !== 'elsewhere') phase.fail(why)
      else phase.elsewhere += 1
    }
    const failed = (error: NodeJS.ErrnoException) => {
      if (error instanceof NoMoreConnections) end('elsewhere')
      else end(`${error.code ?? error.message}${req?.reusedSocket ? ' on a kept connection' : ''}`)
    }
    const req = request(`${this.#options.url}${mark}`, { agent: this.#agent }, (res) => {
      if (res.headers.connection === 'close') phase.toldToClose += 1
      let text = ''
      res.setEncoding('utf8')
      res.on('data', (chunk: string) => {
        text += chunk
      })
      res.on('error', failed)
      res.on('close', () => end(res.complete ? this.#wrong(res.statusCode!, text, mark) : 'half an answer'))
    })
    req.on('error', failed)
    req.on('socket', (socket: Socket) => socket.setNoDelay(true))
    req.end()
  }

  #wrong(status: number, text: string, mark: string): string | undefined {
    if (status !== 200) return `${status}`
    const { target, release } = JSON.parse(text) as { target: string; release: string | null }
    if (!target.endsWith(mark)) return 'the answer to another request'
    if (release === null) return undefined
    this.versions.add(release)
    return target.startsWith(`/${release}/`) ? undefined : 'a mixture of revisions'
  }
}

/** Asks /readyz again and again, on a new connection each time, until it says 503; then nothing new is opened. */
function lookAtReadiness(url: string): Promise<void> {
  return new Promise((resolve) => {
    const timer = setInterval(() => {
      const req = request(url, { agent: false }, (res) => {
        res.resume()
        if (res.statusCode !== 503) return
        leaving = true
        clearInterval(timer)
        resolve()
      })
      req.on('error', () => {})
      req.end()
    }, 50)
  })
}

let streams: Stream[] = []
let unready: Promise<void> = Promise.resolve()
let longLived: Promise<Record<string, string>> = Promise.resolve({})

await answerQuestions({
  begin(options: { readonly streams: readonly StreamOptions[]; readonly ready?: string; readonly longLived?: string }) {
    leaving = false
    streams = options.streams.map((stream) => new Stream(stream))
    if (options.ready !== undefined) unready = lookAtReadiness(options.ready)
  },
  /** Opens an upload, a stream of events and a WebSocket; answers when all three are under way. */
  async open({ url }: { readonly url: string }) {
    const opened = [await openUpload(url), await openEvents(url), await openTunnel(url)]
    longLived = Promise.all(opened.map(async ({ name, end }) => [name, await end])).then(Object.fromEntries)
  },
  turn: () => Promise.all(streams.map((stream) => stream.turn().over())),
  async unready() {
    await unready
  },
  versions: () => streams.flatMap(({ versions }) => [...versions]),
  longLived: () => longLived,
  async end() {
    for (const stream of streams) stream.stop()
    const tallies = await Promise.all(streams.map((stream) => stream.turn().over()))
    for (const stream of streams) stream.close()
    return tallies
  },
})
