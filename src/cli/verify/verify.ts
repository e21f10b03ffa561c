import { once } from 'node:events'
import { Agent, createServer, type IncomingMessage, request } from 'node:http'
import type { AddressInfo } from 'node:net'
import { createApp } from '../../app.ts'
import type { Definition } from '../../config/schema.ts'
import { createDecisions } from '../../gateway/decisions.ts'
import type { JsonObject } from '../../openapi/document.ts'
import { members } from '../../openapi/plain.ts'
import { Listener } from '../../server.ts'
import { type Log, silent } from '../../telemetry/log.ts'
import type { Limiters } from '../../throttling/limiter.ts'
import { createUpstreams, type Upstreams } from '../../upstream/upstream.ts'
import { type Assembly, assemble } from '../assemble.ts'
import { createStandIn, mintCredentials, withOwnClient } from './credentials.ts'
import { type Answered, type Listed, type Proof, type ProofReport, prove, type Send } from './prove.ts'
import { loadRequestBuilder } from './request-builder.ts'

export interface VerifyOptions {
  /** Path of services.json. */
  readonly config: string
  readonly now: () => number
}

/** A document could not be read, so there is nothing to prove it by; by service, why. */
interface Unread {
  readonly outcome: 'unread'
  readonly services: Readonly<Record<string, string>>
}

export type Verification =
  | { readonly outcome: 'verified'; readonly report: ProofReport; readonly notes: readonly string[] }
  | Unread

/** Everything that a proof needs, running. */
export interface Trial {
  readonly outcome: 'ready'
  readonly proof: Proof
  /** In what the credentials differ from real ones. */
  readonly notes: readonly string[]
  close(): Promise<void>
}

/** Prove the document of a definition against the gateway of the same definition. */
export async function verify(definition: Definition, options: VerifyOptions): Promise<Verification> {
  const trial = await openTrial(definition, options)
  if (trial.outcome === 'unread') return trial
  try {
    return { outcome: 'verified', report: await prove(trial.proof), notes: trial.notes }
  } finally {
    await trial.close()
  }
}

/**
 * The chain of `app.ts` behind a port of its own, with a store that forgets, rates that never run out, and one stand-in
 * behind all services. Services are asked for their documents, and for nothing else.
 */
export async function openTrial(written: Definition, { config, now }: VerifyOptions): Promise<Trial | Unread> {
  const definition = withOwnClient(written)
  const standIn = createStandIn(definition)
  const opened: (() => unknown)[] = []
  const close = async () => {
    for (const step of opened.splice(0).reverse()) await step()
  }
  try {
    const service = await openService()
    opened.push(() => service.close())
    const upstreams = toOne(service.url)
    opened.push(() => upstreams.close())
    const assembly = await assemble(withoutShortage(definition), {
      config,
      port: definition.gateway.listen.port,
      log: silent,
      now,
      ephemeral: true,
      thread: true,
      patience: 30_000,
      instead: { upstreams, limiters: unlimited, fetchJson: standIn.fetchJson },
    })
    opened.push(() => assembly.close())
    const gateway = assembly.live.current
    const unread = gateway.services.flatMap(({ name }) => {
      const state = gateway.documents.state(name)
      return state.status === 'fresh' || state.status === 'none' ? [] : [[name, state.reason] as const]
    })
    if (unread.length > 0) {
      await close()
      return { outcome: 'unread', services: Object.fromEntries(unread) }
    }
    const { credentials, notes } = await mintCredentials({ definition, assembly, standIn, now })
    const front = await openFront(assembly, now)
    opened.push(() => front.close())
    const proof: Proof = {
      document: JSON.parse(gateway.documents.published.json.body.toString()),
      serviceOf: owners(gateway.documents.published.byService),
      exposed: exposedBy(assembly),
      credentials,
      build: loadRequestBuilder(),
      send: front.send,
      known: { service: gateway.services[0]!.name },
    }
    return { outcome: 'ready', proof, notes, close }
  } catch (error) {
    await close()
    throw error
  }
}

/** Which service documents an operation. */
function owners(byService: ReadonlyMap<string, { readonly body: Buffer }>) {
  const found = new Map<string, string>()
  for (const [name, { body }] of byService) {
    const { paths } = JSON.parse(body.toString()) as JsonObject
    for (const [path, item] of members(paths))
      for (const method of Object.keys(item as JsonObject)) found.set(`${method} ${path}`, name)
  }
  return (path: string, method: string) => found.get(`${method} ${path}`)
}

function exposedBy({ live }: Assembly): readonly Listed[] {
  const { services, documents } = live.current
  return services
    .filter(({ definition }) => definition.expose === 'documented')
    .flatMap(({ name, prefix }) =>
      documents
        .listed(name)
        .filter(({ variant }) => !variant)
        .map(({ method, path }) => ({ service: name, method, path: prefix + path })),
    )
}

/** What keeps requests away when many come at once says nothing about who they are from. */
function withoutShortage(definition: Definition): Definition {
  const lift = <Part extends { limits?: Definition['services'][number]['limits'] }>({ limits, ...part }: Part) => {
    const { concurrent: _, ...others } = limits ?? {}
    return { ...part, ...(limits && { limits: others }) }
  }
  const services = definition.services.map(({ health: _, ...service }) => ({
    ...lift(service),
    routes: service.routes.map(lift),
  }))
  return { ...definition, services: services as Definition['services'] }
}

const free = { allowed: true, remaining: 1, next: 0 } as const

const unlimited: Limiters = {
  open: () => ({ take: () => free, look: () => free }),
  close: async () => {},
}

/** Real connections, but to the stand-in whatever the service. */
function toOne(url: string): Upstreams {
  const real = createUpstreams({ log: silent, clock: () => performance.now(), chance: Math.random })
  return {
    tunnels: real.tunnels,
    acquire: (name, settings) => real.acquire(name, { ...settings, targets: [{ url, weight: 1 }] }),
    close: () => real.close(),
  }
}

/** Stands for every service: says yes to everything, and keeps nothing. */
async function openService() {
  const server = createServer((req, res) => {
    req.resume()
    res.setHeader('Content-Type', 'application/json')
    res.end('{}')
  })
  await new Promise<void>((done) => server.listen(0, '127.0.0.1', done))
  return {
    url: `http://127.0.0.1:${(server.address() as AddressInfo).port}`,
    async close() {
      server.closeAllConnections()
      await new Promise((done) => server.close(done))
    },
  }
}

interface Front {
  readonly send: Send
  close(): Promise<void>
}

/** The facts of one request, as `observe` logs them. */
interface RequestLine {
  readonly id: string
  readonly subject?: string
  readonly route?: string
  readonly problem?: string
}

/** The whole chain behind a port, and a client that hears from the gateway's log what it made of each request. */
async function openFront({ live, metrics }: Assembly, now: () => number): Promise<Front> {
  const waiting = new Map<string, (line: RequestLine) => void>()
  const early = new Map<string, RequestLine>()
  const log: Log = {
    ...silent,
    info(facts, message) {
      if (message !== 'request') return
      const line = facts as RequestLine
      const tell = waiting.get(line.id)
      waiting.delete(line.id)
      if (tell) tell(line)
      else early.set(line.id, line)
    },
  }
  const { limits } = live.current.definition.gateway
  const front = await Listener.listen({
    host: '127.0.0.1',
    port: 0,
    variable: 'PORT',
    upgrades: false,
    limits,
    log: silent,
  })
  const leaving = () => front.leaving
  front.serve(createApp({ live, metrics, decisions: createDecisions(), leaving, limits, log, now }).callback())
  const { origin, host } = new URL(live.current.publicUrl)
  const agent = new Agent({ keepAlive: true, maxSockets: 16 })

  return {
    async send({ method, url, headers, body }): Promise<Answered> {
      const path = url.startsWith(origin) ? url.slice(origin.length) || '/' : url
      const length = body === undefined ? {} : { 'content-length': Buffer.byteLength(body) }
      const fields = { ...headers, host, ...length, ...besides(method, origin) }
      const asked = request({ host: '127.0.0.1', port: front.port, agent, method, path, headers: fields }).end(body)
      const [answer] = (await once(asked, 'response')) as [IncomingMessage]
      answer.resume()
      const id = String(answer.headers['x-request-id'])
      const line = early.get(id) ?? (await new Promise<RequestLine>((resolve) => waiting.set(id, resolve)))
      early.delete(id)
      return {
        status: answer.statusCode!,
        code: line.problem,
        subject: line.subject,
        // "orders DELETE /{id}": the name of a service has no space.
        service: line.route?.split(' ', 1)[0],
      }
    },
    async close() {
      agent.destroy()
      await front.close(0)
    },
  }
}

/** What the browser adds by itself to a request that the page makes (Fetch Metadata, RFC 6454 §7). */
function besides(method: string, origin: string): Readonly<Record<string, string>> {
  return {
    accept: '*/*',
    'sec-fetch-site': 'same-origin',
    'sec-fetch-mode': 'cors',
    'sec-fetch-dest': 'empty',
    ...(method !== 'GET' && method !== 'HEAD' && { origin }),
  }
}
