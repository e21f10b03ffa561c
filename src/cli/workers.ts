import cluster, { type Worker } from 'node:cluster'
import { availableParallelism } from 'node:os'
import { extname, join } from 'node:path'
import { setTimeout as delay } from 'node:timers/promises'
import type { Log } from '../telemetry/log.ts'
import { type ExitCode, type Terminal, UsageError } from './command.ts'
import { type Counts, departedCounts } from './departed-counts.ts'
import { stopSignal } from './stop-signal.ts'
import { type FromWorker, longestAnswer, type Place, type ToWorker } from './worker-messages.ts'

/** So many deaths in a minute, and the gateway ends: something is wrong that a new worker does not mend. */
const mostDeaths = 10
const deathsWithin = 60_000
/** Before a worker is replaced, in milliseconds; twice as long after each further death. */
const shortestPause = 100
const longestPause = 5_000
/** How much longer than it said itself a worker may take to end. */
const indulgence = 5_000

/** `--workers`: a number, or one for each processor core. Throws `UsageError`. */
export function countWorkers(text: string): number {
  if (text === 'auto') return availableParallelism()
  const count = /^\d{1,3}$/.test(text) ? Number(text) : 0
  if (count < 1 || count > 128) throw new UsageError('--workers is a number from 1 to 128, or "auto"')
  return count
}

export interface WorkersOptions {
  readonly count: number
  /** Path of services.json. */
  readonly config: string
  readonly environment: Terminal['environment']
}

/** How the beginning of a worker ended. */
type Beginning =
  | { readonly outcome: 'serving'; readonly place: Place }
  | { readonly outcome: 'refused'; readonly message: string }
  | { readonly outcome: 'died'; readonly how: string }

interface Member {
  readonly number: number
  readonly worker: Worker
  readonly begun: Promise<Beginning>
  readonly ended: Promise<void>
  /** Set while it serves. */
  place: Place | undefined
  counts: Counts | undefined
}

/** One question of a worker to all others, until each has answered or is gone. */
interface Question {
  readonly waiting: Set<Member>
  readonly values: unknown[]
  readonly topic: string
  finish(): void
}

/**
 * Runs the gateway in several processes that share its ports. This one only watches.
 *
 * 1. The first worker starts alone: what is wrong with the configuration, a port or the store is said once.
 * 2. Then the others. One that cannot start stops all.
 * 3. One that dies later is replaced, after a pause that grows; too many deaths in a minute end the gateway.
 * 4. Questions of one worker to the others pass through here, for the admin port, which every worker serves.
 * 5. At SIGTERM or Ctrl-C all end as one would; at the second signal at once.
 *
 * Resolves with the exit code. State is shared through the store; services.json is watched by each worker itself.
 */
export async function runWorkers(options: WorkersOptions, { out, err }: Terminal): Promise<ExitCode> {
  const { count, config, environment } = options
  const members = new Set<Member>()
  const questions = new Map<number, Question>()
  const departed = departedCounts()
  let asked = 0
  let deaths: number[] = []
  let stopping = false
  let fail: (message: string) => void = () => {}
  const failed = new Promise<string>((resolve) => {
    fail = resolve
  })
  const log = lazyLog(environment)

  // Each takes connections from the one socket itself. Handed out in turn by this process, those on their way to a worker
  // that is killed would hang for ever (Node keeps them open and unanswered).
  cluster.schedulingPolicy = cluster.SCHED_NONE
  // `main.ts` runs `worker.ts` where it finds itself a worker; compiled, both end in .js.
  const main = join(import.meta.dirname, '..', `main${extname(import.meta.filename)}`)
  cluster.setupPrimary({ exec: main, serialization: 'advanced' })

  function launch(number: number): Member {
    cluster.settings.args = [config, String(count), String(number)]
    const worker = cluster.fork()
    let ready: (beginning: Beginning) => void = () => {}
    let over: () => void = () => {}
    const member: Member = {
      number,
      worker,
      begun: new Promise((resolve) => {
        ready = resolve
      }),
      ended: new Promise((resolve) => {
        over = resolve
      }),
      place: undefined,
      counts: undefined,
    }
    members.add(member)
    worker.on('message', (message: FromWorker) => {
      switch (message.say) {
        case 'serving':
          member.place = message.place
          ready({ outcome: 'serving', place: message.place })
          return
        case 'refused':
          ready({ outcome: 'refused', message: message.message })
          return
        case 'ask':
          ask(member, message)
          return
        case 'answer':
          take(member, message)
      }
    })
    // A message to a worker that has just gone.
    worker.on('error', (error) => log.warn({ err: error, worker: number }, 'a worker could not be reached'))
    worker.on('exit', (code, signal) => {
      members.delete(member)
      if (member.counts) departed.add(member.counts)
      for (const question of questions.values()) leave(question, member)
      const how = signal ? `was ended by ${signal}` : `ended with code ${code}`
      ready({ outcome: 'died', how })
      over()
      if (member.place && !stopping) void replace(number, how)
    })
    return member
  }

  // 3.
  async function replace(number: number, how: string): Promise<void> {
    for (let pause = noteDeath(how); !stopping; pause = Math.min(pause * 2, longestPause)) {
      log.error({ worker: number, pause }, `a worker ${how}; another takes its place`)
      await delay(pause)
      if (stopping) return
      const beginning = await launch(number).begun
      if (beginning.outcome === 'serving' || stopping) return
      how = beginning.outcome === 'died' ? beginning.how : `cannot start: ${beginning.message}`
      // While services.json is broken nobody can start; those that run keep the configuration they have.
      const served = [...members].some(({ place }) => place)
      if (beginning.outcome === 'refused' && !served) fail(beginning.message)
      if (beginning.outcome === 'died') noteDeath(how)
    }
  }

  /** The pause before the next attempt. */
  function noteDeath(how: string): number {
    const now = performance.now()
    deaths = [...deaths.filter((at) => at > now - deathsWithin), now]
    if (deaths.length > mostDeaths) fail(`${mostDeaths} workers died within a minute; the last one ${how}`)
    return Math.min(shortestPause * 2 ** (deaths.length - 1), longestPause)
  }

  // 4.
  function ask(from: Member, { id, topic, about, own }: Extract<FromWorker, { say: 'ask' }>): void {
    if (topic === 'metrics') from.counts = own as Counts
    asked += 1
    const key = asked
    const others = [...members].filter((member) => member !== from && member.place)
    const timer = setTimeout(() => question.finish(), longestAnswer)
    const question: Question = {
      waiting: new Set(others),
      values: [],
      topic,
      finish() {
        clearTimeout(timer)
        questions.delete(key)
        // At the end, because one of those that were asked may have gone meanwhile.
        const values = topic === 'metrics' ? [...question.values, ...departed.list()] : question.values
        send(from, { say: 'answers', id, values })
      },
    }
    questions.set(key, question)
    for (const other of others) send(other, { say: 'ask', id: key, topic, about })
    if (others.length === 0) question.finish()
  }

  function take(from: Member, { id, value }: Extract<FromWorker, { say: 'answer' }>): void {
    const question = questions.get(id)
    if (!question?.waiting.has(from)) return
    question.values.push(value)
    if (question.topic === 'metrics') from.counts = value as Counts
    leave(question, from)
  }

  function leave(question: Question, member: Member): void {
    if (question.waiting.delete(member) && question.waiting.size === 0) question.finish()
  }

  function send({ worker }: Member, message: ToWorker): void {
    if (worker.isConnected()) worker.send(message as never)
  }

  // 5.
  async function endAll(notice: boolean): Promise<boolean> {
    stopping = true
    let clean = true
    await Promise.all(
      [...members].map(async (member) => {
        const cut = setTimeout(
          () => {
            clean = false
            member.worker.process.kill('SIGKILL')
          },
          (member.place?.patience ?? 0) + indulgence,
        )
        if (member.place) send(member, { say: 'stop', notice })
        // It has not begun, so it has nothing to end well.
        else member.worker.process.kill('SIGKILL')
        await member.ended
        clearTimeout(cut)
      }),
    )
    return clean
  }

  const killAll = () => {
    for (const { worker } of members) worker.process.kill('SIGKILL')
    process.exit(1)
  }

  async function begin(): Promise<string | undefined> {
    // 1.
    const first = await launch(1).begun
    // 2.
    const rest = first.outcome === 'serving' ? Array.from({ length: count - 1 }, (_, index) => launch(index + 2)) : []
    const beginnings = [first, ...(await Promise.all(rest.map(({ begun }) => begun)))]
    for (const beginning of beginnings) {
      if (beginning.outcome === 'refused') return beginning.message
      if (beginning.outcome === 'died') return `a worker ${beginning.how} before it could serve`
    }
    if (first.outcome !== 'serving' || stopping) return undefined
    const { publicUrl, adminUrl } = first.place
    out(
      `Sallyport serves ${publicUrl} with ${count === 1 ? 'one worker' : `${count} workers`}, its documentation at ${publicUrl}/docs; admin at ${adminUrl}`,
    )
    return undefined
  }

  const signal = stopSignal(killAll)
  const begun = begin()
  const message = await Promise.race([
    begun.then((message) => message ?? Promise.race([failed, signal.then(() => undefined)])),
    signal.then(() => undefined),
  ])
  if (message === undefined) return (await endAll((await signal) === 'SIGTERM')) ? 0 : 1
  err(`sallyport: ${message}`)
  await endAll(false)
  return 1
}

/** Most of the time there is nothing to say, and no need of a logger. */
function lazyLog(environment: Terminal['environment']): Pick<Log, 'warn' | 'error'> {
  let logger: Promise<Log> | undefined
  const to = (level: 'warn' | 'error') => (facts: object, message: string) => {
    logger ??= import('../telemetry/logger.ts').then(({ createLogger }) => createLogger(environment['LOG_LEVEL'], 0))
    void logger.then((log) => log[level](facts, message))
  }
  return { warn: to('warn'), error: to('error') }
}
