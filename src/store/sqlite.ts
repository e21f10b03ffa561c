import { randomUUID } from 'node:crypto'
import { closeSync, existsSync, mkdirSync, openSync, statSync } from 'node:fs'
import { dirname } from 'node:path'
import * as sqlite from 'node:sqlite'
import { z } from 'zod'
import { defineKind } from '../kind.ts'
import type { Tools } from '../tools.ts'
import { Listeners } from './listeners.ts'
import { type Entry, type Json, type Store, StoreUnavailable, type WriteOptions } from './store.ts'

/** One file beside the gateway; several processes on one machine may share it. */
export const sqliteStore = defineKind({
  type: 'sqlite',
  settings: z.strictObject({
    path: z
      .string()
      .min(1, 'the path of the file, such as "data/sallyport.db"')
      .default('data/sallyport.db')
      .describe('The file, made with its folder when it is not there. Default: data/sallyport.db.'),
  }),
  create: ({ path }, tools: Tools) => openSqliteStore(path, tools),
})

// Newer documentation of node:sqlite calls the class `Database`; Node 24 exports `DatabaseSync`.
const Database = (sqlite as unknown as { Database?: typeof sqlite.DatabaseSync }).Database ?? sqlite.DatabaseSync

/** "SALY": tells our files from other people's databases. */
const applicationId = 0x53_41_4c_59
const schemaVersion = 1
const schema = `
  CREATE TABLE entries (
    collection TEXT NOT NULL,
    key        TEXT NOT NULL,
    value      TEXT NOT NULL,
    revision   INTEGER NOT NULL,
    expires_at REAL,
    "group"    TEXT,
    PRIMARY KEY (collection, key)
  ) STRICT, WITHOUT ROWID;
  CREATE INDEX entries_by_group ON entries (collection, "group") WHERE "group" IS NOT NULL;
  CREATE INDEX entries_by_expiry ON entries (expires_at) WHERE expires_at IS NOT NULL;
  CREATE TABLE last_revision (value INTEGER NOT NULL) STRICT;
  INSERT INTO last_revision VALUES (0);
  CREATE TABLE messages (
    id      INTEGER PRIMARY KEY AUTOINCREMENT,
    sender  TEXT NOT NULL,
    channel TEXT NOT NULL,
    body    TEXT NOT NULL,
    sent_at REAL NOT NULL
  ) STRICT;
  PRAGMA application_id = ${applicationId};
  PRAGMA user_version = ${schemaVersion};`

/** Calls are synchronous, so whoever holds the write lock must give it back before everything stands still. */
const busyTimeout = 200
/** Several workers that start together make and check the file one after the other. */
const openTimeout = 5_000
const sweepEvery = 60_000
/** How often other processes' messages are looked for. A look costs 4 µs as long as nobody has written. */
const pollEvery = 250
/** Seconds a message stays in the file for processes that were held up. */
const messageLife = 60

/** What SQLite says, by its primary result code. */
const unavailable: Readonly<Record<number, string>> = {
  5: 'is locked by another process',
  6: 'is locked by another process',
  8: 'cannot be written: it or its folder is read-only',
  10: 'cannot be read or written: the disk reports an error',
  11: 'is damaged; put back a copy, or move it away to start empty',
  13: 'cannot grow: the disk is full',
  14: 'cannot be opened',
  26: 'is not a SQLite database; name another path, or move it away',
}

/** Of those, what another try finds as it was. */
const lasting: ReadonlySet<number> = new Set([8, 11, 14, 26])

interface Row {
  readonly key: string
  readonly value: string
  readonly revision: number
  readonly expires_at: number | null
  readonly group: string | null
}

/**
 * Opens or makes the file. Throws `StoreUnavailable` with a sentence for the operator when it is locked, damaged,
 * read-only, somebody else's, or written by a newer Sallyport.
 *
 * WAL with `synchronous = FULL`: what was acknowledged, a revocation say, is on the disk even when the power fails.
 * That costs a write about 0.3 ms on a solid-state disk; writes happen at logins, not at ordinary requests.
 */
export function openSqliteStore(path: string, { now, log }: Tools): Store {
  const database = open(path)
  const seconds = () => now() / 1_000
  if (process.platform !== 'win32' && (statSync(path).mode & 0o077) !== 0) {
    log.warn({ path }, 'others than its owner may read the store file, and it holds signing keys: chmod 600 is right')
  }
  const select = 'SELECT key, value, revision, expires_at, "group" FROM entries'
  const statements = {
    get: database.prepare(`${select} WHERE collection = ? AND key = ? AND (expires_at IS NULL OR expires_at > ?)`),
    list: database.prepare(
      `${select} WHERE collection = ? AND (expires_at IS NULL OR expires_at > ?) ORDER BY collection, key`,
    ),
    listGroup: database.prepare(
      `${select} WHERE collection = ? AND "group" = ? AND (expires_at IS NULL OR expires_at > ?) ORDER BY collection, key`,
    ),
    nextRevision: database.prepare('UPDATE last_revision SET value = value + 1 RETURNING value'),
    write: database.prepare(
      'INSERT OR REPLACE INTO entries (collection, key, value, revision, expires_at, "group") VALUES (?, ?, ?, ?, ?, ?)',
    ),
    delete: database.prepare(
      'DELETE FROM entries WHERE collection = ? AND key = ? AND (expires_at IS NULL OR expires_at > ?)',
    ),
    deleteGroup: database.prepare(
      'DELETE FROM entries WHERE collection = ? AND "group" = ? AND (expires_at IS NULL OR expires_at > ?)',
    ),
    deleteExpired: database.prepare('DELETE FROM entries WHERE expires_at <= ?'),
    begin: database.prepare('BEGIN IMMEDIATE'),
    commit: database.prepare('COMMIT'),
    rollback: database.prepare('ROLLBACK'),
    send: database.prepare('INSERT INTO messages (sender, channel, body, sent_at) VALUES (?, ?, ?, ?)'),
    receive: database.prepare('SELECT id, sender, channel, body FROM messages WHERE id > ? ORDER BY id'),
    oldestMessage: database.prepare('SELECT min(id) AS id FROM messages'),
    // Not max(id): the table may have been emptied, and ids go on from where they were.
    newestMessage: database.prepare("SELECT seq AS id FROM sqlite_sequence WHERE name = 'messages'"),
    deleteMessages: database.prepare('DELETE FROM messages WHERE sent_at <= ?'),
    dataVersion: database.prepare('PRAGMA data_version'),
  }
  const sender = randomUUID()
  const listeners = new Listeners(log)
  const sweeper = setInterval(inBackground(sweep), sweepEvery).unref()
  const poller = setInterval(inBackground(poll), pollEvery).unref()
  let lastMessage = idOf(statements.newestMessage.get())
  let dataVersion: unknown
  inBackground(sweep)()

  function run<T>(operation: () => T): T {
    try {
      return operation()
    } catch (error) {
      throw asUnavailable(path, error)
    }
  }

  /** Another process may write between two statements; `BEGIN IMMEDIATE` takes the write lock first. */
  function atomically<T>(operation: () => T): T {
    return run(() => {
      statements.begin.run()
      try {
        const result = operation()
        statements.commit.run()
        return result
      } catch (error) {
        if (database.isTransaction) statements.rollback.run()
        throw error
      }
    })
  }

  function find(collection: string, key: string): Row | undefined {
    return statements.get.get(collection, key, seconds()) as Row | undefined
  }

  function write(collection: string, key: string, value: Json, { expiresAt, group }: WriteOptions = {}): void {
    const revision = (statements.nextRevision.get() as { value: number }).value
    statements.write.run(collection, key, JSON.stringify(value), revision, expiresAt ?? null, group ?? null)
  }

  function sweep(): void {
    statements.deleteExpired.run(seconds())
    statements.deleteMessages.run(seconds() - messageLife)
  }

  /** Messages of other processes; our own were delivered when they were sent. */
  function poll(): void {
    const version = (statements.dataVersion.get() as { data_version: unknown }).data_version
    if (version === dataVersion) return
    const oldest = idOf(statements.oldestMessage.get())
    const gap = oldest > lastMessage + 1
    const messages = statements.receive.all(lastMessage) as unknown as MessageRow[]
    dataVersion = version
    lastMessage = messages.at(-1)?.id ?? Math.max(lastMessage, idOf(statements.newestMessage.get()))
    // We were held up for so long that messages are gone already.
    if (gap) listeners.missed()
    for (const message of messages) if (message.sender !== sender) listeners.deliver(message.channel, message.body)
  }

  function inBackground(task: () => void): () => void {
    return () => {
      try {
        task()
      } catch (error) {
        const err = asUnavailable(path, error)
        if (!(err instanceof StoreUnavailable)) throw err
        log.warn({ err }, 'the store could not be looked after; it is tried again')
      }
    }
  }

  return {
    durable: true,
    async get<T extends Json>(collection: string, key: string) {
      const row = run(() => find(collection, key))
      return row && entryOf<T>(row)
    },
    async put(collection, key, value, options) {
      atomically(() => write(collection, key, value, options))
    },
    async create(collection, key, value, options) {
      return atomically(() => {
        if (find(collection, key)) return false
        write(collection, key, value, options)
        return true
      })
    },
    async replace(collection, key, revision, value, options) {
      return atomically(() => {
        if (find(collection, key)?.revision !== revision) return false
        write(collection, key, value, options)
        return true
      })
    },
    async delete(collection, key) {
      return run(() => statements.delete.run(collection, key, seconds()).changes !== 0)
    },
    async deleteGroup(collection, group) {
      return run(() => Number(statements.deleteGroup.run(collection, group, seconds()).changes))
    },
    async list<T extends Json>(collection: string, { group }: { readonly group?: string } = {}) {
      const rows = run(() =>
        group === undefined
          ? statements.list.all(collection, seconds())
          : statements.listGroup.all(collection, group, seconds()),
      )
      return (rows as unknown as Row[]).map((row) => entryOf<T>(row))
    },
    async publish(channel, message) {
      const text = JSON.stringify(message)
      run(() => statements.send.run(sender, channel, text, seconds()))
      queueMicrotask(() => listeners.deliver(channel, text))
    },
    subscribe: (channel, listener, missed) => listeners.add(channel, listener, missed),
    async ping() {
      run(() => statements.dataVersion.get())
    },
    async close() {
      clearInterval(sweeper)
      clearInterval(poller)
      listeners.clear()
      if (database.isOpen) database.close()
    },
  }
}

interface MessageRow {
  readonly id: number
  readonly sender: string
  readonly channel: string
  readonly body: string
}

const idOf = (row: unknown): number => (row as { id: number | null } | undefined)?.id ?? 0

function entryOf<T extends Json>({ key, value, revision, expires_at, group }: Row): Entry<T> {
  return {
    key,
    value: JSON.parse(value) as T,
    revision,
    ...(expires_at !== null && { expiresAt: expires_at }),
    ...(group !== null && { group }),
  }
}

function open(path: string): sqlite.DatabaseSync {
  try {
    mkdirSync(dirname(path), { recursive: true, mode: 0o700 })
    // Ahead of SQLite, which would make the file readable for everybody; the files beside it follow its mode.
    closeSync(openSync(path, existsSync(path) ? 'r+' : 'a', 0o600))
  } catch (cause) {
    throw new StoreUnavailable(`the store file ${path} cannot be opened: ${(cause as Error).message}`, {
      cause,
      lasting: true,
    })
  }
  let database: sqlite.DatabaseSync | undefined
  try {
    database = new Database(path, { timeout: openTimeout })
    database.exec('PRAGMA journal_mode = WAL; PRAGMA synchronous = FULL')
    const [damage] = Object.values(database.prepare('PRAGMA quick_check(1)').get() ?? {})
    if (damage !== 'ok')
      throw new StoreUnavailable(`the store file ${path} ${unavailable[11]} (${damage})`, { lasting: true })
    database.exec('BEGIN IMMEDIATE')
    migrate(path, database)
    database.exec(`COMMIT; PRAGMA busy_timeout = ${busyTimeout}`)
    return database
  } catch (error) {
    if (database?.isOpen) database.close()
    throw asUnavailable(path, error)
  }
}

/** Brings an empty file to `schemaVersion`, and refuses what is not ours to read. */
function migrate(path: string, database: sqlite.DatabaseSync): void {
  const owner = pragma(database, 'application_id')
  const { tables } = database.prepare('SELECT count(*) AS tables FROM sqlite_schema').get() as { tables: number }
  if (owner === 0 && tables === 0) database.exec(schema)
  else if (owner !== applicationId) {
    throw new StoreUnavailable(`the file ${path} is the database of another program; name another path for the store`, {
      lasting: true,
    })
  }
  const version = pragma(database, 'user_version')
  if (version === schemaVersion) return
  throw new StoreUnavailable(
    `the store file ${path} was written by a newer Sallyport: it has version ${version}, and this one reads up to ${schemaVersion}`,
    { lasting: true },
  )
}

function pragma(database: sqlite.DatabaseSync, name: string): number {
  return Object.values(database.prepare(`PRAGMA ${name}`).get() ?? {})[0] as number
}

function asUnavailable(path: string, error: unknown): unknown {
  if (error instanceof StoreUnavailable || !(error instanceof Error)) return error
  const { code, errcode } = error as Error & { code?: string; errcode?: number }
  if (code === 'ERR_INVALID_STATE')
    return new StoreUnavailable(`the store file ${path} is closed already`, { cause: error })
  if (code !== 'ERR_SQLITE_ERROR') return error
  // Extended result codes keep the primary one in their low byte.
  const primary = (errcode ?? 0) & 0xff
  const reason = unavailable[primary] ?? `cannot be used: ${error.message}`
  return new StoreUnavailable(`the store file ${path} ${reason}`, { cause: error, lasting: lasting.has(primary) })
}
