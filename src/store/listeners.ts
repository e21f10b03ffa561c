import type { Log } from '../telemetry/log.ts'
import type { Json } from './store.ts'

interface Subscription {
  readonly listener: (message: Json) => void
  readonly missed: (() => void) | undefined
}

/** Who in this process listens to which channel. A listener that throws harms no other. */
export class Listeners {
  readonly #channels = new Map<string, Set<Subscription>>()
  readonly #log: Log

  constructor(log: Log) {
    this.#log = log
  }

  get channels(): readonly string[] {
    return [...this.#channels.keys()]
  }

  add(channel: string, listener: (message: Json) => void, missed?: () => void): () => void {
    const subscription: Subscription = { listener, missed }
    const subscriptions = this.#channels.get(channel) ?? new Set()
    this.#channels.set(channel, subscriptions.add(subscription))
    return () => {
      subscriptions.delete(subscription)
      if (subscriptions.size === 0 && this.#channels.get(channel) === subscriptions) this.#channels.delete(channel)
    }
  }

  /** `text` is JSON; every listener gets an object of its own. */
  deliver(channel: string, text: string): void {
    for (const { listener } of this.#channels.get(channel) ?? []) {
      this.#guard(channel, () => listener(JSON.parse(text) as Json))
    }
  }

  /** Messages of these channels may have been lost; of every channel when none is named. */
  missed(channel?: string): void {
    for (const [name, subscriptions] of this.#channels) {
      if (channel !== undefined && channel !== name) continue
      for (const { missed } of subscriptions) if (missed) this.#guard(name, missed)
    }
  }

  clear(): void {
    this.#channels.clear()
  }

  #guard(channel: string, call: () => void): void {
    try {
      call()
    } catch (error) {
      this.#log.error({ err: error, channel }, 'a listener of the store failed')
    }
  }
}
