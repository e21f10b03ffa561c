import { Redis, type RedisOptions } from 'ioredis'
import type { Tools } from '../tools.ts'
import { createBreaker } from './breaker.ts'
import { Listeners } from './listeners.ts'
import { byBytes } from './memory.ts'
import { commands, type StoreCommands } from './redis-commands.ts'
import { type Entry, type Json, type Store, StoreUnavailable, type WriteOptions } from './store.ts'

/**
 * The default clients wait for ever on a Redis that hangs. Here every call ends after `deadline`, a breaker spares
 * callers even that while Redis is out, and a connection that owes an answer for a second is given up.
 */
const deadline = 200
/** The first connection may take longer, over TLS and while everything else starts as well. */
const patience = 2_000
const connection = {
  connectTimeout: 500,
  commandTimeout: deadline,
  socketTimeout: 1_000,
  enableOfflineQueue: false,
  maxRetriesPerRequest: 1,
  // A write whose caller was told that it failed must not be sent again behind its back.
  autoResendUnfulfilledCommands: false,
  autoResubscribe: false,
  // The default grows to 5 s, and recovery must not take longer than 2 s.
  retryStrategy: (attempt: number) => Math.min(50 * 2 ** (attempt - 1), 1_000) + Math.random() * 200,
} satisfies RedisOptions
/** A subscription owes no answers, so a lost one shows only when it is asked. */
const heartbeat = 1_000

/** Connects in the background and keeps trying; calls in the first two seconds wait for it. */
export function connectRedisStore(url: string, prefix: string, { now, log }: Tools): Store {
  const client = new Redis(url, { ...connection, scripts: commands, connectionName: 'sallyport' }) as Redis &
    StoreCommands
  const listeners = new Listeners(log)
  const breaker = createBreaker(StoreUnavailable)
  let patientUntil = performance.now() + patience
  let subscriber: Redis | undefined
  let pulse: NodeJS.Timeout | undefined
  let closed = false
  const address = new URL(url).host
  /** Why there is no connection for commands. */
  let broken: string | undefined
  report(client)
  client.on('error', (error) => {
    broken = reasonOf(error)
  })
  client.on('ready', () => {
    broken = undefined
  })
  client.once('ready', () => {
    patientUntil = 0
  })

  const seconds = () => String(now() / 1_000)
  const entryKey = (collection: string, key: string) => `${prefix}entry:${collection}:${key}`
  const indexKey = (collection: string) => `${prefix}index:${collection}`
  const groupKeys = (collection: string) => `${prefix}group:${collection}:`
  const channelName = (channel: string) => `${prefix}channel:${channel}`

  /** Lost connections are logged once each time, not at every attempt to get one back. */
  function report(connection: Redis): void {
    let lost = false
    connection.on('error', (error) => {
      if (!lost && !closed) log.warn({ err: error, address }, 'Redis cannot be reached; trying again')
      lost = true
    })
    connection.on('ready', () => {
      if (lost) log.info({ address }, 'Redis is reached again')
      lost = false
    })
  }

  async function run<T>(operation: () => Promise<T>): Promise<T> {
    if (closed) throw new StoreUnavailable('the connection to Redis is closed')
    return breaker(async () => {
      const wait = Math.max(deadline, patientUntil - performance.now())
      let timer: NodeJS.Timeout | undefined
      const late = new Promise<never>((_resolve, reject) => {
        timer = setTimeout(() => reject(new Error(`no answer within ${Math.round(wait)} ms`)), wait)
      })
      try {
        return await Promise.race([whenReady(client, wait).then(operation), late])
      } catch (cause) {
        throw new StoreUnavailable(`Redis at ${address}: ${broken ?? (cause as Error).message}`, { cause })
      } finally {
        clearTimeout(timer)
      }
    })
  }

  async function write(
    mode: 'put' | 'create' | 'replace',
    collection: string,
    key: string,
    value: Json,
    { expiresAt, group }: WriteOptions = {},
    revision = 0,
  ): Promise<boolean> {
    const written = await run(() =>
      client.storeWrite(
        entryKey(collection, key),
        indexKey(collection),
        `${prefix}revision`,
        mode,
        key,
        JSON.stringify(value),
        expiresAt ?? '',
        group ?? '',
        groupKeys(collection),
        revision,
        seconds(),
      ),
    )
    return written === 1
  }

  function subscribed(): Redis {
    if (subscriber) return subscriber
    const connected = new Redis(url, { ...connection, connectionName: 'sallyport-subscriber' })
    report(connected)
    connected.on('ready', () => {
      const channels = listeners.channels
      if (channels.length > 0) void hear(connected, channels)
    })
    connected.on('message', (channel: string, text: string) => {
      listeners.deliver(channel.slice(channelName('').length), text)
    })
    pulse = setInterval(() => {
      if (connected.status === 'ready') connected.ping().catch(() => {})
    }, heartbeat).unref()
    subscriber = connected
    return connected
  }

  async function hear(connected: Redis, channels: readonly string[]): Promise<void> {
    try {
      await connected.subscribe(...channels.map(channelName))
    } catch {
      // The connection is gone, or gives up for want of an answer; the next one subscribes to everything.
      return
    }
    for (const channel of channels) listeners.missed(channel)
  }

  return {
    durable: true,
    async get<T extends Json>(collection: string, key: string) {
      const fields = await run(() => client.hmget(entryKey(collection, key), 'v', 'r', 'x', 'g'))
      return entryOf<T>(key, fields, now() / 1_000)
    },
    async put(collection, key, value, options) {
      await write('put', collection, key, value, options)
    },
    create: (collection, key, value, options) => write('create', collection, key, value, options),
    replace: (collection, key, revision, value, options) => write('replace', collection, key, value, options, revision),
    async delete(collection, key) {
      const deleted = await run(() =>
        client.storeDelete(entryKey(collection, key), indexKey(collection), key, groupKeys(collection), seconds()),
      )
      return deleted === 1
    },
    deleteGroup: (collection, group) =>
      run(() =>
        client.storeDeleteGroup(
          `${groupKeys(collection)}${group}`,
          indexKey(collection),
          entryKey(collection, ''),
          group,
          seconds(),
        ),
      ),
    async list<T extends Json>(collection: string, { group }: { readonly group?: string } = {}) {
      const found = await run(() =>
        client.storeList(
          group === undefined ? indexKey(collection) : `${groupKeys(collection)}${group}`,
          entryKey(collection, ''),
        ),
      )
      const entries: Entry<T>[] = []
      for (let at = 0; at < found.length; at += 5) {
        const entry = entryOf<T>(found[at]!, found.slice(at + 1, at + 5), now() / 1_000)
        if (entry && (group === undefined || entry.group === group)) entries.push(entry)
      }
      return entries.sort((one, other) => byBytes(one.key, other.key))
    },
    async publish(channel, message) {
      await run(() => client.publish(channelName(channel), JSON.stringify(message)))
    },
    subscribe(channel, listener, missed) {
      const connected = subscribed()
      const stop = listeners.add(channel, listener, missed)
      if (connected.status === 'ready') void hear(connected, [channel])
      return stop
    },
    async ping() {
      await run(() => client.ping())
    },
    async close() {
      closed = true
      clearInterval(pulse)
      listeners.clear()
      client.disconnect()
      subscriber?.disconnect()
    },
  }
}

/** Resolves when commands can be sent; the caller's deadline ends the wait. */
function whenReady(client: Redis, wait: number): Promise<void> {
  if (client.status === 'ready') return Promise.resolve()
  if (client.status === 'end') return Promise.reject(new Error('the connection has ended'))
  return new Promise((resolve) => {
    // One listener for as long as the client is not ready would grow without bound during an outage.
    const timer = setTimeout(() => client.off('ready', ready), wait)
    const ready = () => {
      clearTimeout(timer)
      resolve()
    }
    client.once('ready', ready)
  })
}

function entryOf<T extends Json>(
  key: string,
  [value, revision, expires, group]: readonly (string | null | undefined)[],
  seconds: number,
): Entry<T> | undefined {
  if (typeof value !== 'string') return undefined
  const expiresAt = expires ? Number(expires) : undefined
  if (expiresAt !== undefined && expiresAt <= seconds) return undefined
  return {
    key,
    value: JSON.parse(value) as T,
    revision: Number(revision),
    ...(expiresAt !== undefined && { expiresAt }),
    ...(group && { group }),
  }
}

/** Of a name with several addresses Node says one thing for all of them, and nothing in words. */
function reasonOf({ message, code }: Error & { readonly code?: string }): string {
  return message || code || 'the connection failed'
}
