import { execFile } from 'node:child_process'
import { once } from 'node:events'
import { writeFileSync } from 'node:fs'
import { connect, type Socket } from 'node:net'
import { join } from 'node:path'
import { setTimeout as sleep } from 'node:timers/promises'
import { promisify } from 'node:util'
import { Jar } from '../test/jar.ts'
import { bigFile, type Place, startBackend, startTaker } from './backend.ts'
import { type WrkOptions, wrk } from './load/wrk.ts'
import type { Cores } from './machine.ts'
import { type PeerName, type PeerPlace, peers, programOf } from './peers.ts'
import {
  type Contender,
  type Duel,
  duel,
  type Figure,
  median,
  type RaceOptions,
  race,
  rangeOf,
  type Work,
} from './race.ts'
import { apiKey, definitionOfCases, definitionOfSize, person, startSallyport } from './sallyport.ts'
import { ownWork, type Subject } from './subject.ts'
import { type Signer, type TokenAlgorithm, tokenAlgorithms } from './tokens.ts'

const run = promisify(execFile)

/** The cases, in the order of the tables: what is done, and what one operation is. */
export const cases = {
  plain: { title: 'GET, 1 KB, public', operation: 'request' },
  full: { title: 'Everything on: JWT, identity fields, limits, access log', operation: 'request' },
  token: { title: 'JWT, remembered', operation: 'request' },
  key: { title: 'API key', operation: 'request' },
  session: { title: 'Cookie session', operation: 'request' },
  policy: { title: 'JWT and a CEL policy', operation: 'request' },
  'new-HS256': { title: 'JWT not seen before, HS256', operation: 'request' },
  'new-RS256': { title: 'JWT not seen before, RS256', operation: 'request' },
  'new-ES256': { title: 'JWT not seen before, ES256', operation: 'request' },
  'new-EdDSA': { title: 'JWT not seen before, EdDSA', operation: 'request' },
  'routes-10': { title: '10 routes', operation: 'request' },
  'routes-1000': { title: '1,000 routes', operation: 'request' },
  'routes-5000': { title: '5,000 routes', operation: 'request' },
  'services-1': { title: '1 service', operation: 'request' },
  'services-100': { title: '100 services', operation: 'request' },
  'services-1000': { title: '1,000 services', operation: 'request' },
  post: { title: 'POST, 10 KB', operation: 'request' },
  down: { title: '20 MB down', operation: 'megabyte' },
  up: { title: '20 MB up', operation: 'megabyte' },
  slow: { title: '40 slow readers of 20 MB', operation: 'megabyte' },
  three: { title: 'Three services merged', operation: 'request' },
  websocket: { title: 'WebSocket, 100 bytes there and back', operation: 'message' },
  document: { title: '/openapi.json', operation: 'request' },
  idle: { title: '1,000 idle connections', operation: 'connection' },
  start: { title: 'Start to first answer, 100 services', operation: 'start' },
  'workers-1': { title: 'Everything on, one process', operation: 'request' },
  'workers-2': { title: 'Everything on, two workers', operation: 'request' },
  open: { title: '5,000 requests a second, open loop', operation: 'request' },
} as const satisfies Record<string, { title: string; operation: string }>

export type CaseName = keyof typeof cases

/** With everything on it takes 45,000 requests until a request costs what it will. */
const everything = { warmUps: 8 } as const

/** What all cases are run with. */
export interface Ground extends Place {
  readonly cores: Cores
  readonly quick: boolean
  readonly cases: ReadonlySet<CaseName>
  readonly peers: ReadonlySet<PeerName>
  readonly signer: Signer
  readonly say: (line: string) => void
  /** Whether the time for everything is used up. */
  readonly late: () => boolean
  /** Told of whoever failed and is left out. */
  readonly failed: (line: string) => void
  /** Told how many cores others used, each time that somebody was measured. */
  readonly foreign: (cores: number) => void
}

/** What else was found out, by name: `verify-RS256`. */
export type Facts = Record<string, number>

export interface Findings {
  readonly figures: Figure[]
  readonly duels: Duel[]
  readonly facts: Facts
}

/** Runs what is wanted. What was started is stopped, also when something fails. */
export async function runCases(ground: Ground): Promise<Findings> {
  const findings: Findings = { figures: [], duels: [], facts: {} }
  const backend = await startBackend(ground, ground.cores.backend, ground.signer.keySet)
  const taker = await startTaker(ground.folder, ground.cores.backend)
  const key = join(ground.folder, 'key.pem')
  writeFileSync(key, ground.signer.publicKey)
  try {
    for (const group of [requests, tokens, sizes, bodies, fanOut, sockets, starts, workers, latency, idle]) {
      // What is quick has little more to do, or nothing.
      if (ground.late() && !ground.quick) {
        ground.failed(`${group.name} and what would follow: the time is over`)
        break
      }
      const stage = new Stage(ground, backend, taker, key)
      try {
        await group(stage, findings)
      } catch (error) {
        ground.failed(`${group.name} failed: ${(error as Error).message}`)
      } finally {
        await stage.clear()
      }
    }
  } finally {
    await backend.stop()
    await taker.stop()
  }
  return findings
}

/** Where one group of cases is played: whoever is started here is stopped together. */
class Stage {
  readonly ground: Ground
  readonly backend: Subject
  readonly taker: Subject
  readonly #key: string
  readonly #started: Subject[] = []

  constructor(ground: Ground, backend: Subject, taker: Subject, key: string) {
    this.ground = ground
    this.backend = backend
    this.taker = taker
    this.#key = key
  }

  wants(...names: readonly CaseName[]): boolean {
    return names.some((name) => this.ground.cases.has(name))
  }

  async sallyport(
    name: string,
    definition: object,
    more: { log?: 'info'; cores?: string; workers?: number; node?: string[] } = {},
  ) {
    const { folder, cores } = this.ground
    return this.#keep(await startSallyport({ name, folder, cores: cores.gateway, definition, ...more }))
  }

  /** Those of the peers that are wanted and there. */
  async peers(
    names: readonly PeerName[],
    target: Subject,
    more: Pick<PeerPlace, 'node'> = {},
  ): Promise<readonly { name: PeerName; subject: Subject }[]> {
    const { cores, folder, programs } = this.ground
    const place: PeerPlace = {
      folder,
      programs,
      cores: cores.gateway,
      target: target.url,
      publicKey: this.#key,
      ...more,
    }
    const started: { name: PeerName; subject: Subject }[] = []
    for (const name of names) {
      const program = programOf(name)
      if (!this.ground.peers.has(name) || (program && programs[program] === undefined)) continue
      try {
        started.push({ name, subject: this.#keep(await peers[name].start(place)) })
      } catch (error) {
        this.ground.failed(`${name} is left out: ${(error as Error).message}`)
      }
    }
    return started
  }

  #keep(subject: Subject): Subject {
    this.#started.push(subject)
    return subject
  }

  async clear(): Promise<void> {
    for (const subject of this.#started.splice(0)) await subject.stop()
  }

  /** A contender that wrk asks for the same thing again and again; the first answer must be that of the service. */
  async asked(
    what: CaseName,
    name: string,
    subject: Subject,
    path: string,
    more: Partial<WrkOptions> & { expect?: string } = {},
  ) {
    const { expect, ...options } = more
    await check(subject.url + path, options, expect ?? (await (await fetch(`${this.backend.url}/json`)).text()))
    const { programs, cores } = this.ground
    const contender: Contender = {
      ...{ case: what, name, subject },
      async work(seconds) {
        const load = await wrk({
          program: programs.wrk!,
          cores: cores.load,
          url: subject.url + path,
          seconds,
          ...options,
        })
        return { ...load, operations: load.requests }
      },
    }
    return contender
  }

  async duel(one: Contender, other: Contender, duels: Duel[]): Promise<void> {
    const { say, failed } = this.ground
    say(`${one.case} ${one.name} beside ${other.case} ${other.name}`)
    try {
      duels.push(await duel(one, other, 3))
    } catch (error) {
      failed(`${one.case} ${one.name} beside ${other.case} ${other.name}: ${(error as Error).message}`)
    }
  }

  async race(contenders: readonly Contender[], options: Partial<RaceOptions> = {}): Promise<readonly Figure[]> {
    if (contenders.length === 0) return []
    const { quick, say, late, failed, foreign } = this.ground
    say(contenders.map((one) => `${one.case} ${one.name}`).join(', '))
    const ours = () => this.backend.work() + this.taker.work() + ownWork()
    const few = { rounds: quick ? 3 : 4, seconds: 1, warmUp: 1, warmUps: quick ? 3 : 4 }
    return race(contenders, { ...few, say, late, failed, ours, foreign, ...options })
  }
}

/** Whether the bytes are those of the service: a peer that answers something else is not doing the work. */
async function check(
  url: string,
  { method = 'GET', headers = {}, body = 0, tokens }: Partial<WrkOptions>,
  expected: string,
) {
  if (tokens !== undefined) return
  const answer = await fetch(url, { method, headers, ...(body > 0 && { body: 'x'.repeat(body) }) })
  const text = await answer.text()
  if (answer.status !== 200 || text !== expected)
    throw new Error(`${url} answers ${answer.status} ${text.slice(0, 200)} and not what its service says`)
}

const bearer = (token: string) => ({ Authorization: `Bearer ${token}` })

async function requests(stage: Stage, { figures, duels }: Findings): Promise<void> {
  if (!stage.wants('plain', 'full', 'token', 'key', 'session', 'policy', 'document')) return
  const { backend, taker, ground } = stage
  const { quick, signer } = ground
  const token = signer.token('RS256')
  const definition = definitionOfCases(backend.url, taker.url, signer)
  const contenders: Contender[] = []
  const gateway = await stage.sallyport('gateway', definition)
  const add = async (...parameters: Parameters<Stage['asked']>) => {
    if (stage.wants(parameters[0])) contenders.push(await stage.asked(...parameters))
  }
  await add('plain', 'sallyport', gateway, '/plain/json')
  if (stage.wants('plain')) {
    const wanted: PeerName[] = ['best-bare', 'nginx', 'haproxy', 'caddy', 'fastify']
    if (!quick) wanted.push('bare', 'fast-gateway', 'http-proxy-3', 'koa-proxies', 'express', 'platformatic')
    for (const { name, subject } of await stage.peers(wanted, backend)) await add('plain', name, subject, '/json')
  }
  if (stage.wants('full')) {
    const logging = await stage.sallyport('gateway-full', definition, { log: 'info' })
    const headers = bearer(token)
    contenders.push({ ...(await stage.asked('full', 'sallyport', logging, '/full/json', { headers })), ...everything })
    for (const { name, subject } of await stage.peers(['nginx-full', 'fastify-full'], backend))
      await add('full', name, subject, '/json', { headers: bearer(token) })
  }
  contenders.push(...(await known(stage, gateway, token)))
  if (stage.wants('document') && !quick) {
    const expect = await (await fetch(`${gateway.url}/openapi.json`)).text()
    await add('document', 'sallyport', gateway, '/openapi.json', { expect })
  }
  if (quick) {
    figures.push(...(await stage.race(contenders)))
    return
  }
  figures.push(...(await stage.race(contenders, { rounds: 3, lead: 1, warmUps: 2 })))
  // What the same process does cannot be told apart while it does both: these have one of their own.
  const others = stage.wants('token', 'key', 'session', 'policy')
    ? await known(stage, await stage.sallyport('gateway-beside', definition), token)
    : []
  // It has served nobody yet, and is compared with one that has served thousands.
  for (const one of others) await one.work(Math.ceil(12 / others.length))
  const find = (among: readonly Contender[], what: CaseName, name: string) =>
    among.find((one) => one.case === what && one.name === name)
  for (const [what, against, name] of pairs) {
    const one = find(others, what, 'sallyport') ?? find(contenders, what, 'sallyport')
    const other = find(contenders, against, name)
    if (one && other) await stage.duel(one, other, duels)
  }
}

/** Requests of callers who are known by something, asked of one gateway: those that are wanted. */
async function known(stage: Stage, gateway: Subject, token: string): Promise<Contender[]> {
  const contenders: Contender[] = []
  for (const [what, path, headers] of [
    ['token', '/jwt/json', () => bearer(token)],
    ['key', '/key/json', () => ({ 'X-API-Key': apiKey })],
    ['session', '/session/json', () => signedIn(gateway)],
    ['policy', '/policy/json', () => bearer(token)],
  ] as const) {
    if (stage.wants(what))
      contenders.push(await stage.asked(what, 'sallyport', gateway, path, { headers: await headers() }))
  }
  return contenders
}

/** What is measured side by side, for the goals: a case of ours, and a case with somebody who does it. */
const pairs: readonly (readonly [CaseName, CaseName, string])[] = [
  ['plain', 'plain', 'best-bare'],
  ['plain', 'plain', 'fastify'],
  ['full', 'full', 'fastify-full'],
  ['full', 'full', 'nginx-full'],
  ['full', 'plain', 'caddy'],
  ['full', 'plain', 'sallyport'],
  ['token', 'plain', 'sallyport'],
  ['key', 'plain', 'sallyport'],
  ['session', 'plain', 'sallyport'],
  ['policy', 'token', 'sallyport'],
]

async function signedIn(gateway: Subject): Promise<Record<string, string>> {
  const { port } = new URL(gateway.url)
  const jar = new Jar(`http://localhost:${port}`, gateway.url)
  await jar.signIn(person.username, person.password)
  return { Cookie: [...jar.cookies].map(([name, value]) => `${name}=${value}`).join('; ') }
}

/** More than the gateway remembers (src/authentication/bearer.ts), in turn: each was forgotten when it comes again. */
const strangers = 10_500

async function tokens(stage: Stage, { figures, facts }: Findings): Promise<void> {
  const wanted = tokenAlgorithms.filter((algorithm) => stage.wants(`new-${algorithm}`))
  if (wanted.length === 0 || stage.ground.quick) return
  const { backend, taker, ground } = stage
  facts['verify-RS256'] = ground.signer.timeToVerify()
  const gateway = await stage.sallyport('gateway-tokens', definitionOfCases(backend.url, taker.url, ground.signer))
  const contenders: Contender[] = []
  // Without a token beside them: what a token costs is the difference in this very race.
  contenders.push({
    ...(await stage.asked('plain', 'sallyport', gateway, '/plain/json')),
    name: 'sallyport beside tokens',
  })
  for (const algorithm of wanted) contenders.push(await stranger(stage, gateway, algorithm))
  figures.push(...(await stage.race(contenders, { rounds: 3, warmUps: 3 })))
}

async function stranger(stage: Stage, gateway: Subject, algorithm: TokenAlgorithm): Promise<Contender> {
  const file = stage.ground.signer.file(stage.ground.folder, algorithm, strangers)
  return stage.asked(`new-${algorithm}`, 'sallyport', gateway, '/jwt/json', { tokens: file })
}

async function sizes(stage: Stage, { figures, duels }: Findings): Promise<void> {
  const rows = [
    ['routes-10', { routes: 10 }, '/things/things9/1'],
    ['routes-1000', { routes: 1_000 }, '/things/things999/1'],
    ['routes-5000', { routes: 5_000 }, '/things/things4999/1'],
    ['services-1', { services: 1 }, '/service0/json'],
    ['services-100', { services: 100 }, '/service99/json'],
    ['services-1000', { services: 1_000 }, '/service999/json'],
  ] as const
  if (stage.ground.quick) return
  const contenders: Contender[] = []
  for (const [name, size, path] of rows) {
    if (!stage.wants(name)) continue
    const gateway = await stage.sallyport(name, definitionOfSize(stage.backend.url, size))
    contenders.push(await stage.asked(name, 'sallyport', gateway, path))
  }
  figures.push(...(await stage.race(contenders, { rounds: 2, warmUps: 3 })))
  for (const [most, least] of [
    ['routes-5000', 'routes-10'],
    ['services-1000', 'services-1'],
  ] as const) {
    const [many, few] = [most, least].map((name) => contenders.find((one) => one.case === name))
    if (many && few) await stage.duel(many, few, duels)
  }
}

async function bodies(stage: Stage, { figures, facts }: Findings): Promise<void> {
  if (!stage.wants('post', 'down', 'up', 'slow') || stage.ground.quick) return
  const { backend, taker, ground } = stage
  const gateway = await stage.sallyport('gateway-bodies', {
    ...definitionOfCases(backend.url, taker.url, ground.signer),
  })
  const contenders: Contender[] = []
  const down = await stage.peers(['best-bare', 'nginx'], backend)
  const up = await stage.peers(['best-bare', 'nginx'], taker)
  if (stage.wants('post')) {
    const options = { method: 'POST', body: 10_240, expect: '10240' }
    const small = [await stage.asked('post', 'sallyport', gateway, '/taker/take', options)]
    for (const { name, subject } of up) small.push(await stage.asked('post', name, subject, '/take', options))
    figures.push(...(await stage.race(small, { rounds: 3 })))
  }
  const big = async (what: 'down' | 'up', name: string, subject: Subject, path: string) => {
    const options = { connections: 4, ...(what === 'up' && { method: 'POST', body: bigFile }) }
    const expect = what === 'up' ? String(bigFile) : 'x'.repeat(bigFile)
    const contender = await stage.asked(what, name, subject, path, { ...options, expect })
    // Megabytes instead of requests: an answer that was not whole when the time was over has cost its part.
    contenders.push({
      ...contender,
      async work(seconds): Promise<Work> {
        const done = (await contender.work(seconds)) as Work & { bytes: number }
        const megabytes = what === 'down' ? done.bytes / 1_048_576 : (done.operations * bigFile) / 1_048_576
        return { operations: megabytes, seconds: done.seconds }
      },
    })
  }
  for (const [what, others, path] of [
    ['down', down, '/big'],
    ['up', up, '/take'],
  ] as const) {
    if (!stage.wants(what)) continue
    await big(what, 'sallyport', gateway, (what === 'down' ? '/plain' : '/taker') + path)
    for (const { name, subject } of others) await big(what, name, subject, path)
  }
  figures.push(...(await stage.race(contenders, { rounds: 3, warmUps: 2 })))
  if (stage.wants('slow')) {
    figures.push(await slowReaders('sallyport', gateway, `${gateway.url}/plain/big`, facts))
    for (const { name, subject } of down) figures.push(await slowReaders(name, subject, `${subject.url}/big`, facts))
  }
}

/** Forty clients that take 20 MB in some seconds, a piece at a time: what the gateway would keep for them is its memory. */
async function slowReaders(name: string, subject: Subject, address: string, facts: Facts): Promise<Figure> {
  const readers = 40
  const pieces = 100
  const url = new URL(address)
  const resting = subject.memory().now
  subject.forgetPeak()
  const before = subject.work()
  const started = performance.now()
  await Promise.all(
    Array.from({ length: readers }, async () => {
      const socket = await open(url)
      socket.write(`GET ${url.pathname} HTTP/1.1\r\nHost: ${url.host}\r\nConnection: close\r\n\r\n`)
      let since = 0
      for await (const piece of socket) {
        since += (piece as Buffer).length
        if (since < bigFile / pieces) continue
        since = 0
        await sleep(30)
      }
    }),
  )
  const used = subject.work() - before
  const { peak } = subject.memory()
  const megabytes = (readers * bigFile) / 1_048_576
  facts[`slow-growth ${name}`] = (peak - resting) / 1_048_576
  return {
    ...{ case: 'slow', name, cpu: rangeOf([used / megabytes]), rounds: [used / megabytes], memory: peak },
    throughput: megabytes / ((performance.now() - started) / 1_000),
  }
}

async function fanOut(stage: Stage, { figures, duels }: Findings): Promise<void> {
  if (!stage.wants('three')) return
  const { backend, taker, ground } = stage
  const gateway = await stage.sallyport('gateway-three', definitionOfCases(backend.url, taker.url, ground.signer))
  const one = JSON.parse(await (await fetch(`${backend.url}/json`)).text())
  const expect = JSON.stringify({ one, two: one, three: one })
  const contenders = [await stage.asked('three', 'sallyport', gateway, '/three', { expect })]
  for (const { name, subject } of await stage.peers(['fan-out'], backend))
    contenders.push(await stage.asked('three', name, subject, '/three', { expect }))
  figures.push(...(await stage.race(contenders, { rounds: 3 })))
  const [ours, theirs] = contenders
  if (ours && theirs && !stage.ground.quick) await stage.duel(ours, theirs, duels)
}

async function sockets(stage: Stage, { figures }: Findings): Promise<void> {
  if (!stage.wants('websocket') || stage.ground.quick) return
  const { backend, taker, ground } = stage
  const gateway = await stage.sallyport('gateway-sockets', definitionOfCases(backend.url, taker.url, ground.signer))
  const contender = (name: string, subject: Subject, path: string): Contender => ({
    ...{ case: 'websocket', name, subject },
    async work(seconds) {
      const program = join(import.meta.dirname, 'load/websocket.ts')
      const url = `${subject.url.replace('http', 'ws')}${path}`
      const words = ['-c', ground.cores.load, process.execPath, program, url, String(seconds), '64']
      const { stdout } = await run('taskset', words)
      const { messages } = JSON.parse(stdout) as { messages: number }
      return { operations: messages, seconds }
    },
  })
  const contenders = [contender('sallyport', gateway, '/taker/socket')]
  for (const { name, subject } of await stage.peers(['nginx', 'http-proxy-3'], taker))
    contenders.push(contender(name, subject, '/socket'))
  figures.push(...(await stage.race(contenders, { rounds: 3, warmUps: 3 })))
}

async function latency(stage: Stage, { figures }: Findings): Promise<void> {
  if (!stage.wants('open') || stage.ground.quick) return
  const { backend, taker, ground } = stage
  const token = ground.signer.token('RS256')
  const gateway = await stage.sallyport('gateway-open', definitionOfCases(backend.url, taker.url, ground.signer), {
    log: 'info',
  })
  const contender = (name: string, subject: Subject, path: string): Contender => ({
    ...{ case: 'open', name, subject },
    async work(seconds) {
      const program = join(import.meta.dirname, 'load/open-loop.ts')
      const headers = JSON.stringify(bearer(token))
      const words = [
        '-c',
        ground.cores.load,
        process.execPath,
        program,
        subject.url + path,
        '5000',
        String(seconds),
        '64',
        headers,
      ]
      const { stdout } = await run('taskset', words)
      const { requests, p50, p99 } = JSON.parse(stdout) as { requests: number; p50: number; p99: number }
      return { operations: requests, seconds, p50, p99 }
    },
  })
  const contenders = [contender('sallyport', gateway, '/full/json')]
  for (const { name, subject } of await stage.peers(['best-bare', 'nginx-full'], backend))
    contenders.push(contender(name, subject, '/json'))
  figures.push(...(await stage.race(contenders, { rounds: 3, seconds: 2, lead: 1, warmUps: 1 })))
}

async function workers(stage: Stage, { figures }: Findings): Promise<void> {
  if (!stage.wants('workers-1', 'workers-2') || stage.ground.quick) return
  const { backend, taker, ground } = stage
  const headers = bearer(ground.signer.token('RS256'))
  // Several processes need a store that they can share.
  const store = { type: 'sqlite', path: join(ground.folder, 'workers.db') }
  const definition = { ...definitionOfCases(backend.url, taker.url, ground.signer), store }
  // On all cores, both of them: what two processes cost each other is the question.
  const more = { cores: ground.cores.all, log: 'info' } as const
  let two: Subject
  try {
    two = await stage.sallyport('gateway-workers', definition, { ...more, workers: 2 })
  } catch (error) {
    ground.failed(`two workers are left out: ${(error as Error).message.split('\n', 1)[0]}`)
    return
  }
  const one = await stage.sallyport('gateway-alone', definition, more)
  figures.push(
    ...(await stage.race([
      { ...(await stage.asked('workers-1', 'sallyport', one, '/full/json', { headers })), ...everything },
      { ...(await stage.asked('workers-2', 'sallyport', two, '/full/json', { headers })), ...everything, processes: 2 },
    ])),
  )
}

const idleConnections = 1_000

async function idle(stage: Stage, { figures }: Findings): Promise<void> {
  if (!stage.wants('idle') || stage.ground.quick) return
  const { backend, taker, ground } = stage
  // Asked to, it collects its garbage: what then remains is what connections cost.
  const node = ['--expose-gc', '--import', join(import.meta.dirname, 'load/collect.ts')]
  const gateway = await stage.sallyport('gateway-idle', definitionOfCases(backend.url, taker.url, ground.signer), {
    node,
  })
  figures.push(await idleCost('sallyport', gateway, '/plain/json'))
  for (const { name, subject } of await stage.peers(['best-bare', 'nginx'], backend, { node }))
    figures.push(await idleCost(name, subject, '/json'))
}

/** Bytes that one more connection costs, each of which has carried a request. */
async function idleCost(name: string, subject: Subject, path: string): Promise<Figure> {
  const url = new URL(subject.url + path)
  const settle = async () => {
    for (let i = 0; i < 3; i += 1) {
      if (name !== 'nginx') subject.signal('SIGUSR2')
      await sleep(700)
    }
    return subject.memory().now
  }
  const one = async (): Promise<Socket> => {
    const socket = await open(url)
    socket.write(`GET ${path} HTTP/1.1\r\nHost: ${url.host}\r\n\r\n`)
    await once(socket, 'data')
    return socket
  }
  const ask = async (): Promise<Socket[]> => {
    const sockets: Socket[] = []
    while (sockets.length < idleConnections) sockets.push(...(await Promise.all(Array.from({ length: 50 }, one))))
    return sockets
  }
  // The first thousand fill what is kept for whoever comes next.
  const first = await ask()
  for (const socket of first) socket.destroy()
  await settle()
  const held = await ask()
  const before = await settle()
  const measured = [...(await ask()), ...(await ask())]
  const after = await settle()
  for (const socket of [...held, ...measured]) socket.destroy()
  const bytes = (after - before) / measured.length
  return { case: 'idle', name, cpu: rangeOf([0]), rounds: [], throughput: 0, memory: bytes }
}

function open(url: URL): Promise<Socket> {
  return new Promise((resolve, reject) => {
    const socket = connect({ port: Number(url.port), host: url.hostname })
    socket.once('error', reject)
    socket.once('connect', () => resolve(socket))
  })
}

async function starts(stage: Stage, { figures, facts }: Findings): Promise<void> {
  if (!stage.wants('start')) return
  const { backend, ground } = stage
  const definition = definitionOfSize(backend.url, { services: 100 })
  const seconds: number[] = []
  const memory: number[] = []
  const work: number[] = []
  // The first start reads files that nobody had read.
  for (let i = 0; i < (ground.quick ? 2 : 5); i += 1) {
    const started = performance.now()
    // Where it may use every core, as it would when it is deployed.
    const gateway = await stage.sallyport('gateway-start', definition, { cores: ground.cores.all })
    const answer = await fetch(`${gateway.url}/service99/json`)
    await answer.arrayBuffer()
    if (i > 0) {
      seconds.push((performance.now() - started) / 1_000)
      work.push(gateway.work())
      memory.push(gateway.memory().now)
    }
    await stage.clear()
  }
  facts['start-seconds'] = Math.min(...seconds)
  facts['start-seconds-median'] = median(seconds)
  figures.push({
    ...{ case: 'start', name: 'sallyport', cpu: rangeOf(work), rounds: work },
    ...{ throughput: 1 / median(seconds), memory: median(memory) },
  })
}
