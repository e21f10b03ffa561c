import type { IncomingMessage } from 'node:http'
import { build } from '../kind.ts'
import type { Affinity, Balancer } from './balancers/balancer.ts'
import type { BreakerState } from './breaker.ts'
import { createCanaryChoice } from './canary.ts'
import type { Deadline } from './deadline.ts'
import type { Outcome, Service, Timeouts } from './exchange.ts'
import { type Forward, forward } from './forward.ts'
import { createLookup } from './lookup.ts'
import { Mirror } from './mirror.ts'
import { fetchPart, type Part, type PartRequest } from './part.ts'
import { RetryBudget, type RetrySettings } from './retry.ts'
import { balancers, type UpstreamSettings } from './settings.ts'
import { type Target, type TargetSettings, TargetState, type TargetTools } from './target.ts'
import { type TunnelRequest, Tunnels, tunnel } from './tunnel.ts'
import { type ContentLimits, readContent } from './upload.ts'
import { Watch } from './watch.ts'

/** A target as the admin page shows it. */
export interface TargetReport {
  readonly url: string
  readonly weight: number
  /** What the probes say; true while there are none. */
  readonly healthy: boolean
  readonly breaker: BreakerState
  /** Whether it gets requests now. */
  readonly available: boolean
  readonly inFlight: number
  readonly connections: number
  /** How much of its weight it has: below 1 while it comes back. */
  readonly share: number
  /** Whether it serves the canary alone. */
  readonly canary: boolean
  /** Since the target is known here: requests that were sent to it, and those that it failed. */
  readonly requests: number
  readonly failures: number
}

/** The targets of one service, and how requests get there. */
export class Upstream implements Service {
  readonly name: string
  readonly targets: readonly Target[]
  readonly timeouts: Timeouts
  readonly deadline: Deadline | undefined
  readonly retry: RetrySettings
  readonly budget: RetryBudget
  readonly watch: Watch
  readonly clock: () => number
  readonly mirror: Mirror | undefined
  readonly #stable: Pool
  readonly #canary: (Pool & { readonly wants: (affinity: Affinity | undefined) => boolean }) | undefined
  readonly #mostEjected: number
  readonly #tunnels: Tunnels
  readonly #release: () => void
  #released = false

  constructor(
    name: string,
    settings: UpstreamSettings,
    { targets, canary, mirror }: Destinations,
    watch: Watch,
    tunnels: Tunnels,
    tools: TargetTools,
    release: () => void,
  ) {
    this.name = name
    this.targets = targets
    this.timeouts = settings.timeouts
    this.deadline = settings.deadline
    this.#mostEjected = settings.breaker.maxEjected
    this.retry = settings.retry
    this.budget = new RetryBudget(settings.retry.budget)
    this.watch = watch
    this.clock = tools.clock
    this.mirror = mirror
    const pool = (members: readonly Target[]): Pool => ({
      targets: members,
      balancer: build(balancers, settings.balance, tools),
    })
    this.#stable = pool(targets)
    this.#canary = settings.canary && {
      ...pool(canary),
      wants: createCanaryChoice(name, settings.canary, tools.chance),
    }
    this.#tunnels = tunnels
    this.#release = release
  }

  /** Passes a request on and the answer back; see `forward`. */
  exchange(request: Forward): Promise<Outcome> {
    return forward(this, request)
  }

  /** Fetches one answer whole; see `fetchPart`. */
  fetch(request: PartRequest): Promise<Part> {
    return fetchPart(this, request)
  }

  /** Reads the content of a request before it is passed on as `Forward.content`; see `readContent`. */
  content(req: IncomingMessage, limits: ContentLimits): Promise<Buffer | undefined> {
    return readContent(req, limits, this)
  }

  /** Connects a client with a target by WebSocket; see `tunnel`. */
  tunnel(request: TunnelRequest): Promise<Outcome> {
    return tunnel(this, this.#tunnels, request)
  }

  choose(affinity: Affinity | undefined, tried: Target | undefined): Target | undefined {
    const canary = this.#canary?.wants(affinity) ? this.#chooseCanary(this.#canary, affinity, tried) : undefined
    if (canary) return canary
    const { targets, balancer } = this.#stable
    const fit = targets.every(admits) ? targets : this.#fit()
    const others = tried && fit.length > 1 ? fit.filter((target) => target !== tried) : fit
    return others.length < 2 ? others[0] : balancer(others, affinity)
  }

  /** Undefined when none is fit, or the only one has failed this request just now: the stable targets are there. */
  #chooseCanary({ targets, balancer }: Pool, affinity: Affinity | undefined, tried: Target | undefined) {
    const fit = targets.filter((target) => admits(target) && target !== tried)
    return fit.length < 2 ? fit[0] : balancer(fit, affinity)
  }

  /** Who would be asked, one of these; `canary` where there is one. Draws on nothing, but the chance of strangers. */
  destination(affinity: Affinity): { readonly targets: readonly Target[]; readonly canary?: boolean } {
    if (!this.#canary) return { targets: this.targets }
    const canary = this.#canary.wants(affinity)
    return { targets: canary ? this.#canary.targets : this.targets, canary }
  }

  /** Whether a request would find a target now. */
  get available(): boolean {
    return this.targets.some(admits) || this.#fit().length > 0
  }

  describe(): TargetReport[] {
    return [...this.targets, ...(this.#canary?.targets ?? [])].map(({ url, weight, state }, index) => ({
      url,
      weight,
      healthy: state.healthy,
      breaker: state.breaker,
      available: state.admits,
      inFlight: state.inFlight,
      connections: state.connections.size,
      share: state.share,
      canary: index >= this.targets.length,
      requests: state.requests,
      failures: state.failures,
    }))
  }

  /** Its user is done with it: connections that nobody else uses are closed once they are idle. */
  release(): void {
    if (this.#released) return
    this.#released = true
    this.#release()
  }

  /** Targets that may serve. When more are out than may be, those that answer badly are better than nothing. */
  #fit(): readonly Target[] {
    const fit = this.targets.filter(admits)
    if (this.targets.length - fit.length <= this.#mostEjected * this.targets.length) return fit
    return this.targets.filter((target) => target.state.admits || target.state.answers)
  }
}

/** Targets that stand for each other. */
interface Pool {
  readonly targets: readonly Target[]
  readonly balancer: Balancer
}

/** Where the requests of one service go. */
interface Destinations {
  readonly targets: readonly Target[]
  readonly canary: readonly Target[]
  readonly mirror?: Mirror | undefined
}

function admits(target: Target): boolean {
  return target.state.admits
}

/** Makes upstreams whose targets keep their connections and their health from one configuration to the next. */
export interface Upstreams {
  acquire(name: string, settings: UpstreamSettings): Upstream
  /** Every WebSocket that stands, also those of configurations that are gone. */
  readonly tunnels: Tunnels
  /** Closes what is left, whoever uses it; tunnels are told why and cut within a second. */
  close(): void
}

export function createUpstreams(tools: TargetTools): Upstreams {
  const watch = new Watch(tools.clock)
  const tunnels = new Tunnels()
  const context = { ...tools, lookup: createLookup(tools.clock) }
  const states = new Map<string, { readonly state: TargetState; users: number }>()

  const acquireState = (name: string, settings: TargetSettings) => {
    const key = JSON.stringify([name, settings])
    const known = states.get(key)
    if (known) {
      known.users += 1
      return { state: known.state, key }
    }
    const state = new TargetState(name, settings, context)
    states.set(key, { state, users: 1 })
    return { state, key }
  }
  const releaseState = (key: string) => {
    const known = states.get(key)
    if (!known) return
    known.users -= 1
    if (known.users > 0) return
    states.delete(key)
    known.state.close()
  }

  function acquire(name: string, settings: UpstreamSettings): Upstream {
    const keys: string[] = []
    const targetsOf = (list: UpstreamSettings['targets']) =>
      list.map(({ url, weight }): Target => {
        const { breaker, health, connections } = settings
        const { state, key } = acquireState(name, { url, connections, breaker, health })
        keys.push(key)
        return { url, basePath: new URL(url).pathname.replace(/\/+$/, ''), weight, state }
      })
    const copies = settings.mirror && acquire(`${name} mirror`, mirrorSettings(settings, settings.mirror.url))
    const destinations: Destinations = {
      targets: targetsOf(settings.targets),
      canary: targetsOf(settings.canary?.targets ?? []),
      mirror: copies && new Mirror(copies, settings.mirror!, tools),
    }
    return new Upstream(name, settings, destinations, watch, tunnels, tools, () => {
      keys.forEach(releaseState)
      copies?.release()
    })
  }

  return {
    tunnels,
    acquire,
    close() {
      tunnels.close()
      for (const { state } of states.values()) state.close()
      states.clear()
    },
  }
}

/** A stream would hold a copy for ever. */
const longestCopy = 30_000

/** The one target that copies go to, with connections and a breaker of its own. Nothing is worth a second try. */
function mirrorSettings(settings: UpstreamSettings, url: string): UpstreamSettings {
  const { timeouts } = settings
  return {
    ...settings,
    targets: [{ url, weight: 1 }],
    timeouts: { ...timeouts, total: Math.min(timeouts.total ?? longestCopy, longestCopy) },
    retry: { attempts: 0, budget: 0 },
    connections: Math.min(settings.connections, 128),
    health: undefined,
    deadline: undefined,
    canary: undefined,
    mirror: undefined,
  }
}
