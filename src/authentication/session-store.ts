import { createCipheriv, createDecipheriv, hash, hkdfSync } from 'node:crypto'
import { type ConnectionMemory, recall } from '../http/connection-memory.ts'
import type { Store } from '../store/store.ts'
import { TwoGenerations } from './remember.ts'

/** What a session stands for. Times in seconds since the epoch. */
export interface SessionData {
  readonly signedInAt: number
  /** `sub` of the ID token. */
  readonly subject: string
  /** `sid` of the ID token: how the issuer calls the sign-in that the session came from. */
  readonly sid?: string
  readonly accessToken: string
  /** When the access token is to be exchanged for the next one, and when it ends; absent when its issuer does not say. */
  readonly refreshAt?: number
  readonly accessEndsAt?: number
  readonly refreshToken?: string
  /** Shown to the issuer when the browser signs out there. */
  readonly idToken?: string
  /** The claims of the ID token, where the access token is not one that the gateway can read. */
  readonly claims?: Readonly<Record<string, unknown>>
}

/** A session as it was found. */
export interface StoredSession {
  /** SHA-256 of the id. */
  readonly key: string
  readonly data: SessionData
  /** When it is over at the latest, seconds since the epoch. */
  readonly ends: number
  /** The same text as long as the data is the same. */
  readonly sealed: string
}

/**
 * Sessions in the store. The entry's key is the SHA-256 of the id, and its data is encrypted (AES-256-GCM) with a key
 * that is derived from the id: only the browser has it, so who reads the store finds neither ids nor tokens, and no
 * secret needs to be kept or changed. The entry's key is authenticated with the data, so entries cannot be swapped.
 */
export interface SessionStore {
  /** Keeps a new session; resolves with its id of 256 random bits. */
  create(data: SessionData): Promise<string>
  /**
   * Undefined when there is none, its time is over, or nobody can read it. Being found, it is used.
   * `memory`: of the connection that said it.
   */
  find(id: string, memory?: ConnectionMemory): Promise<StoredSession | undefined>
  /** False when it has changed or ended meanwhile. */
  replace(id: string, found: StoredSession, data: SessionData): Promise<boolean>
  /** False when there was none. */
  end(key: string): Promise<boolean>
  /** Ends every session of one sign-in at the issuer, or all those of one subject. */
  endAll(of: { readonly sid: string } | { readonly subject: string }): Promise<void>
  /** Whether a message of the issuer was heard before; `heard` keeps it in mind until the time is over. */
  wasHeard(messageId: string): Promise<boolean>
  heard(messageId: string, until: number): Promise<void>
  /**
   * Let one of all that share the store do `work` for a session. False when somebody else does it already; a lock
   * whose holder has died is gone after 15 s.
   */
  exclusively(key: string, work: () => Promise<void>): Promise<boolean>
}

export interface SessionStoreOptions {
  /** `iss` of those who sign in: their names are theirs alone. */
  readonly issuer: string
  /** Milliseconds. */
  readonly idle: number
  readonly lifetime: number
  readonly now: () => number
  readonly random: (bytes: number) => Buffer
}

const collection = 'sessions'
const bySid = 'session-sids'
const messages = 'session-messages'
const locks = 'session-locks'
const lockLife = 15
/** Seconds after which a session's use is written down again. */
const mostUnwritten = 60

/** Sessions whose data is kept as it was read: deriving the key and opening the seal costs more than all else in a request. */
const mostOpened = 2_000

interface Entry {
  readonly sealed: string
  /** When it was used last, as far as written down. */
  readonly used: number
  /** When it is over at the latest. */
  readonly ends: number
  readonly [key: string]: string | number
}

export function createSessionStore(
  store: Store,
  { issuer, idle, lifetime, now, random }: SessionStoreOptions,
): SessionStore {
  const seconds = () => Math.floor(now() / 1_000)
  const idleSeconds = Math.max(1, Math.round(idle / 1_000))
  const unwritten = Math.min(mostUnwritten, Math.floor(idleSeconds / 10))
  const entryOf = (sealed: string, ends: number): Entry => ({ sealed, used: seconds(), ends })
  const expiryOf = ({ used, ends }: Entry) => Math.min(ends, used + idleSeconds)
  /** Names of groups and entries, from which nobody who reads the store learns whose they are. */
  const digestOf = (what: 'sid' | 'subject' | 'message', name: string) =>
    hash('sha256', JSON.stringify([issuer, what, name]), 'base64url')

  const opened = new TwoGenerations<{ readonly sealed: string; readonly data: SessionData }>(mostOpened)
  /** Whoever has the id has its digest, so under the same digest the same seal holds the same data. */
  const open = (id: string, key: string, sealed: string): SessionData | undefined => {
    const before = opened.get(key)
    if (before?.sealed === sealed) return before.data
    const data = unseal(id, key, sealed)
    if (data) opened.set(key, { sealed, data })
    else opened.delete(key)
    return data
  }

  return {
    async create(data) {
      const id = random(32).toString('base64url')
      const key = keyOf(id)
      const entry = entryOf(seal(id, key, data, random), data.signedInAt + Math.round(lifetime / 1_000))
      const { subject, sid } = data
      if (sid !== undefined) await store.put(bySid, key, null, { expiresAt: entry.ends, group: digestOf('sid', sid) })
      await store.put(collection, key, entry, { expiresAt: expiryOf(entry), group: digestOf('subject', subject) })
      // The sign-in may have ended at the issuer between the two.
      if (sid !== undefined && !(await store.get(bySid, key))) await store.delete(collection, key)
      return id
    },

    find(id, memory) {
      const key = recall(memory, id, keyOf)
      // Asked with each request of a session: nothing is waited for but the store.
      return store.get<Entry>(collection, key).then((stored) => {
        if (!stored) return undefined
        const { value } = stored
        // The clock of the gateway decides, not when the store gets around to deleting.
        if (seconds() >= expiryOf(value)) return undefined
        const data = open(id, key, value.sealed)
        if (!data) return undefined
        const found = { key, data, ends: value.ends, sealed: value.sealed }
        if (seconds() - value.used <= unwritten) return found
        const used = entryOf(value.sealed, value.ends)
        // False: somebody who was faster has written down as much.
        return store
          .replace(collection, key, stored.revision, used, { expiresAt: expiryOf(used), ...groupIn(stored) })
          .then(() => found)
      })
    },

    async replace(id, { key, sealed }, data) {
      const renewed = seal(id, key, data, random)
      for (;;) {
        const stored = await store.get<Entry>(collection, key)
        if (stored?.value.sealed !== sealed) return false
        const next = entryOf(renewed, stored.value.ends)
        const options = { expiresAt: expiryOf(next), ...groupIn(stored) }
        if (await store.replace(collection, key, stored.revision, next, options)) return true
        // Being used has written as well; look again what it was.
      }
    },

    async end(key) {
      opened.delete(key)
      const ended = await store.delete(collection, key)
      if (ended) await store.delete(bySid, key)
      return ended
    },

    async endAll(of) {
      if ('subject' in of) {
        await store.deleteGroup(collection, digestOf('subject', of.subject))
        return
      }
      const group = digestOf('sid', of.sid)
      const found = await store.list(bySid, { group })
      await store.deleteGroup(bySid, group)
      for (const { key } of found) await store.delete(collection, key)
    },

    wasHeard: async (messageId) => (await store.get(messages, digestOf('message', messageId))) !== undefined,
    async heard(messageId, until) {
      await store.put(messages, digestOf('message', messageId), null, { expiresAt: until })
    },

    async exclusively(key, work) {
      if (!(await store.create(locks, key, true, { expiresAt: seconds() + lockLife }))) return false
      try {
        await work()
      } finally {
        await store.delete(locks, key)
      }
      return true
    },
  }
}

function groupIn({ group }: { readonly group?: string }): { readonly group?: string } {
  return group === undefined ? {} : { group }
}

/** What ids look like; nothing else is looked up. */
export const sessionId = /^[\w-]{43}$/

function keyOf(id: string): string {
  return hash('sha256', id, 'base64url')
}

function secretOf(id: string): Buffer {
  return Buffer.from(hkdfSync('sha256', id, '', 'sallyport session', 32))
}

const nonceBytes = 12
const tagBytes = 16

function seal(id: string, key: string, data: SessionData, random: (bytes: number) => Buffer): string {
  const nonce = random(nonceBytes)
  const cipher = createCipheriv('aes-256-gcm', secretOf(id), nonce).setAAD(Buffer.from(key))
  const sealed = Buffer.concat([cipher.update(JSON.stringify(data), 'utf8'), cipher.final()])
  return Buffer.concat([nonce, sealed, cipher.getAuthTag()]).toString('base64url')
}

function unseal(id: string, key: string, sealed: string): SessionData | undefined {
  const bytes = Buffer.from(sealed, 'base64url')
  if (bytes.length < nonceBytes + tagBytes) return undefined
  const decipher = createDecipheriv('aes-256-gcm', secretOf(id), bytes.subarray(0, nonceBytes), {
    authTagLength: tagBytes,
  })
    .setAAD(Buffer.from(key))
    .setAuthTag(bytes.subarray(-tagBytes))
  try {
    const text = Buffer.concat([decipher.update(bytes.subarray(nonceBytes, -tagBytes)), decipher.final()])
    return JSON.parse(text.toString('utf8')) as SessionData
  } catch {
    return undefined
  }
}
