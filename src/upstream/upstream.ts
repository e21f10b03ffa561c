import type { IncomingMessage } from 'node:http'
import { build } from '../kind.ts'
import type { Affinity, Balancer } from './balancers/balancer.ts'
import type { BreakerState } from './breaker.ts'
import type { Outcome, Service, Timeouts } from './exchange.ts'
import { type Forward, forward } from './forward.ts'
import { createLookup } from './lookup.ts'
import { fetchPart, type Part, type PartRequest } from './part.ts'
import { RetryBudget, type RetrySettings } from './retry.ts'
import { balancers, type UpstreamSettings } from './settings.ts'
import { type Target, type TargetSettings, TargetState, type TargetTools } from './target.ts'
import { type TunnelRequest, Tunnels, tunnel } from './tunnel.ts'
import { type ContentLimits, readContent } from './upload.ts'
import { Watch } from './watch.ts'

/** Connections to one target at a time; further requests wait for one, at most as long as they would for connecting. */
const mostConnections = 1_024

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
}

/** The targets of one service, and how requests get there. */
export class Upstream implements Service {
  readonly name: string
  readonly targets: readonly Target[]
  readonly timeouts: Timeouts
  readonly retry: RetrySettings
  readonly budget: RetryBudget
  readonly watch: Watch
  readonly clock: () => number
  readonly #balancer: Balancer
  readonly #tunnels: Tunnels
  readonly #release: () => void
  #released = false

  constructor(
    name: string,
    settings: UpstreamSettings,
    targets: readonly Target[],
    watch: Watch,
    tunnels: Tunnels,
    tools: TargetTools,
    release: () => void,
  ) {
    this.name = name
    this.targets = targets
    this.timeouts = settings.timeouts
    this.retry = settings.retry
    this.budget = new RetryBudget(settings.retry.budget)
    this.watch = watch
    this.clock = tools.clock
    this.#balancer = build(balancers, settings.balance, tools)
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
    const fit = this.targets.every(admits) ? this.targets : this.#fit()
    const others = tried && fit.length > 1 ? fit.filter((target) => target !== tried) : fit
    return others.length < 2 ? others[0] : this.#balancer(others, affinity)
  }

  /** Whether a request would find a target now. */
  get available(): boolean {
    return this.targets.some(admits) || this.#fit().length > 0
  }

  describe(): TargetReport[] {
    return this.targets.map(({ url, weight, state }) => ({
      url,
      weight,
      healthy: state.healthy,
      breaker: state.breaker,
      available: state.admits,
      inFlight: state.inFlight,
      connections: state.connections.size,
    }))
  }

  /** Its user is done with it: connections that nobody else uses are closed once they are idle. */
  release(): void {
    if (this.#released) return
    this.#released = true
    this.#release()
  }

  /** Targets that may serve. When they are the lesser part, those that answer badly are better than nothing. */
  #fit(): readonly Target[] {
    const fit = this.targets.filter(admits)
    if (fit.length * 2 >= this.targets.length) return fit
    return this.targets.filter((target) => target.state.admits || target.state.answers)
  }
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

  return {
    tunnels,
    acquire(name, settings) {
      const keys: string[] = []
      const targets = settings.targets.map(({ url, weight }): Target => {
        const { breaker, health } = settings
        const { state, key } = acquireState(name, { url, connections: mostConnections, breaker, health })
        keys.push(key)
        return { url, basePath: new URL(url).pathname.replace(/\/+$/, ''), weight, state }
      })
      return new Upstream(name, settings, targets, watch, tunnels, tools, () => keys.forEach(releaseState))
    },
    close() {
      tunnels.close()
      for (const { state } of states.values()) state.close()
      states.clear()
    },
  }
}
