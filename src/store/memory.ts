import { z } from 'zod'
import { defineKind } from '../kind.ts'
import type { Tools } from '../tools.ts'
import { Listeners } from './listeners.ts'
import { type Entry, type Json, type Store, StoreUnavailable, type WriteOptions } from './store.ts'

/** Everything in this process, nothing on disk: for tests and for trying things out. */
export const memory = defineKind({
  type: 'memory',
  settings: z.strictObject({}),
  create: (_settings, tools: Tools) => createMemoryStore(tools),
})

/** Values are kept as JSON makes them, and frozen: nobody can change them from outside, and reading one costs nothing. */
interface Row extends WriteOptions {
  readonly value: Json
  readonly revision: number
}

const sweepEvery = 60_000

export function createMemoryStore({ now, log }: Tools): Store {
  const collections = new Map<string, Map<string, Row>>()
  const listeners = new Listeners(log)
  const timer = setInterval(sweep, sweepEvery).unref()
  let revision = 0
  let closed = false

  function alive(row: Row | undefined): row is Row {
    return row !== undefined && (row.expiresAt === undefined || row.expiresAt > now() / 1_000)
  }

  function guard(): void {
    if (closed) throw new StoreUnavailable('the memory store is closed')
  }

  function find(collection: string, key: string): Row | undefined {
    guard()
    const row = collections.get(collection)?.get(key)
    return alive(row) ? row : undefined
  }

  function write(collection: string, key: string, value: Json, { expiresAt, group }: WriteOptions = {}): void {
    const rows = collections.get(collection) ?? new Map<string, Row>()
    collections.set(collection, rows)
    revision += 1
    rows.set(key, {
      value: JSON.parse(JSON.stringify(value), (_key, part) => Object.freeze(part)) as Json,
      revision,
      ...(expiresAt !== undefined && { expiresAt }),
      ...(group !== undefined && { group }),
    })
  }

  function sweep(): void {
    for (const rows of collections.values()) {
      for (const [key, row] of rows) if (!alive(row)) rows.delete(key)
    }
  }

  return {
    durable: false,
    async get<T extends Json>(collection: string, key: string) {
      const row = find(collection, key)
      return row && entryOf<T>(key, row)
    },
    async put(collection, key, value, options) {
      find(collection, key)
      write(collection, key, value, options)
    },
    async create(collection, key, value, options) {
      if (find(collection, key)) return false
      write(collection, key, value, options)
      return true
    },
    async replace(collection, key, expected, value, options) {
      if (find(collection, key)?.revision !== expected) return false
      write(collection, key, value, options)
      return true
    },
    async delete(collection, key) {
      const existed = find(collection, key) !== undefined
      collections.get(collection)?.delete(key)
      return existed
    },
    async deleteGroup(collection, group) {
      guard()
      const rows = collections.get(collection)
      let deleted = 0
      for (const key of [...(rows?.keys() ?? [])]) {
        if (find(collection, key)?.group !== group) continue
        rows!.delete(key)
        deleted += 1
      }
      return deleted
    },
    async list<T extends Json>(collection: string, { group }: { readonly group?: string } = {}) {
      guard()
      const keys = [...(collections.get(collection)?.keys() ?? [])].sort(byBytes)
      const entries: Entry<T>[] = []
      for (const key of keys) {
        const row = find(collection, key)
        if (row && (group === undefined || row.group === group)) entries.push(entryOf<T>(key, row))
      }
      return entries
    },
    async publish(channel, message) {
      guard()
      const text = JSON.stringify(message)
      queueMicrotask(() => listeners.deliver(channel, text))
    },
    subscribe: (channel, listener, missed) => listeners.add(channel, listener, missed),
    async ping() {
      guard()
    },
    async close() {
      closed = true
      clearInterval(timer)
      listeners.clear()
      collections.clear()
    },
  }
}

function entryOf<T extends Json>(key: string, row: Row): Entry<T> {
  return { ...row, key, value: row.value as T }
}

/** The order SQLite and Redis have: by the bytes of UTF-8, not by UTF-16 code units. */
export function byBytes(one: string, other: string): number {
  return Buffer.compare(Buffer.from(one), Buffer.from(other))
}
