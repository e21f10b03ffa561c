import type { LookupFunction } from 'node:net'
import type { ProblemCode } from '../http/problem.ts'
import type { Log } from '../telemetry/log.ts'
import { Breaker, type BreakerSettings, type BreakerState } from './breaker.ts'
import { Connections } from './connections.ts'
import { type HealthSettings, Knocker, Prober } from './health.ts'

/** One instance of a service, as configured. */
export interface Target {
  /** As written in services.json. */
  readonly url: string
  /** Path below which everything of the service lies, without a slash at its end; empty for the root. */
  readonly basePath: string
  readonly weight: number
  readonly state: TargetState
}

/** What decides about a target's state; two targets that agree in all of it share one. */
export interface TargetSettings {
  readonly url: string
  /** Connections at a time. */
  readonly connections: number
  readonly breaker: BreakerSettings
  readonly health?: HealthSettings | undefined
}

/** What a target needs to be handed. */
export interface TargetTools {
  readonly log: Log
  /** Monotonic milliseconds. */
  readonly clock: () => number
  /** A number from 0 up to 1. */
  readonly chance: () => number
}

/** What all targets of a process share. */
export interface TargetContext extends TargetTools {
  readonly lookup: LookupFunction
}

/** Answers that say that a target cannot serve, though it is there. */
const sickStatus: ReadonlySet<number> = new Set([502, 503, 504])

/** The share of its weight that a target gets back at once when it returns; the rest follows during its slow start. */
const firstShare = 0.1

/**
 * What changes about a target while the gateway runs: connections, requests under way, health. Survives a new
 * configuration that does not change its settings.
 */
export class TargetState {
  readonly connections: Connections
  inFlight = 0
  requests = 0
  failures = 0
  readonly #facts: { readonly service: string; readonly target: string }
  readonly #settings: TargetSettings
  readonly #tools: TargetTools
  readonly #breaker: Breaker
  readonly #knocker: Knocker
  readonly #prober: Prober | undefined
  #returnedAt = 0
  #closed = false

  constructor(service: string, settings: TargetSettings, tools: TargetContext) {
    const url = new URL(settings.url)
    this.#facts = { service, target: url.origin }
    this.#settings = settings
    this.#tools = tools
    this.connections = new Connections(url, settings.connections, tools.lookup)
    this.#breaker = new Breaker(settings.breaker, tools.clock, (state) => this.#report(state))
    this.#knocker = new Knocker(url, tools, () => this.#breaker.reachable())
    this.#prober = settings.health && new Prober(settings.url, settings.health, tools, (why) => this.#judge(why))
  }

  get healthy(): boolean {
    return this.#prober?.healthy ?? true
  }

  get breaker(): BreakerState {
    return this.#breaker.state
  }

  /** Whether a request may be sent to it now. */
  get admits(): boolean {
    return this.healthy && this.#breaker.admits
  }

  /** Whether it is out only because of what it answers: better than nothing when too few targets are left. */
  get answers(): boolean {
    return this.healthy && this.#breaker.ailment === 'sick'
  }

  /** How much of its weight it has: below 1 during its slow start, after it has come back. */
  get share(): number {
    if (this.#returnedAt === 0) return 1
    const passed = (this.#tools.clock() - this.#returnedAt) / this.#settings.breaker.slowStart
    if (passed < 1) return Math.max(firstShare, passed)
    this.#returnedAt = 0
    return 1
  }

  /** A request is being sent to it. */
  begin(): void {
    this.inFlight += 1
    this.requests += 1
    this.#breaker.begin()
  }

  /** The head of an answer came. */
  answered(status: number): void {
    if (sickStatus.has(status)) {
      this.failures += 1
      this.#breaker.failed('sick')
    } else this.#breaker.succeeded()
  }

  failed(code: ProblemCode): void {
    this.failures += 1
    this.#breaker.failed(code === 'upstream-invalid-response' ? 'sick' : 'silent')
    if (this.#breaker.state !== 'open' || this.#closed) return
    // A target that refuses connections is back as soon as it accepts one; one that only hangs would accept any.
    if (code === 'upstream-unreachable' || code === 'upstream-disconnected') this.#knocker.start()
    else this.#knocker.stop()
  }

  /** The request was given up for a reason that says nothing about the target. */
  abandoned(): void {
    this.#breaker.abandoned()
  }

  /** The request is over, however it ended. */
  end(): void {
    this.inFlight -= 1
  }

  /** Closes idle connections now and busy ones when they are done. */
  close(): void {
    this.#closed = true
    this.#knocker.stop()
    this.#prober?.stop()
    this.connections.close()
  }

  #report(state: BreakerState): void {
    if (state === 'open') {
      this.#tools.log.warn(
        { ...this.#facts, ailment: this.#breaker.ailment },
        'target taken out: too many failures in a row',
      )
    }
    if (state === 'closed') {
      this.#knocker.stop()
      this.#returnedAt = this.#tools.clock()
      this.#tools.log.info(this.#facts, 'target back in')
    }
  }

  #judge(why: string | undefined): void {
    if (why !== undefined) {
      this.#tools.log.warn({ ...this.#facts, why }, 'target taken out: unhealthy')
      return
    }
    this.#returnedAt = this.#tools.clock()
    this.#breaker.reachable()
    this.#tools.log.info(this.#facts, 'target healthy')
  }
}
