import { createHmac, createSecretKey, hash, type KeyObject, timingSafeEqual } from 'node:crypto'
import { setImmediate as breathe } from 'node:timers/promises'
import { crc32 } from 'node:zlib'
import { z } from 'zod'
import { type ConnectionMemory, recall } from '../http/connection-memory.ts'
import type { Json, Store } from '../store/store.ts'
import type { Tools } from '../tools.ts'
import type { KeyHolder, KeyRing, KeyVerdict } from './key-ring.ts'
import { TwoGenerations } from './remember.ts'

/**
 * API keys that are created, listed, rotated and revoked while the gateway runs.
 *
 * A key reads `sp_Hq2LfZ9x_` and 38 more letters and digits: a prefix that secret scanners find, a public id, a secret
 * of 190 bits, and a checksum, so that a mistyped or invented key is refused without asking the store. The store keeps
 * an HMAC-SHA-256 of the whole text; there is nothing to guess in 190 bits, so no slow hash is needed.
 */
export interface KeyStore extends KeyRing {
  /** The one time the text of a key is shown. */
  create(key: NewKey): Promise<CreatedKey>
  /** Every key, by id; those of one owner when it is named. Includes revoked and expired ones. */
  list(options?: { readonly owner?: string }): Promise<readonly KeyInfo[]>
  /**
   * A new key like the old one, with as long a life. The old one goes on for `overlap` milliseconds, so that the holder
   * can change over without a refused call.
   */
  rotate(id: string, overlap: number): Promise<Rotation>
  /** Ends a key at once, on every instance within a second. False when there is none of this id. */
  revoke(id: string): Promise<boolean>
  /** Ends every key of an owner, the same way. Resolves with the ids of those that were good until now. */
  revokeOwner(owner: string): Promise<readonly string[]>
  /** Writes down what was used and lets go of the store; the store itself stays open. */
  close(): Promise<void>
}

/** What a key is created with: the settings of `sallyport keys create` and `POST /keys`. */
export const newKey = z.strictObject({
  owner: z.string().min(1).max(256).describe('Who holds the key: the `subject` of its calls.'),
  name: z.string().min(1).max(256).optional().describe('What the key is for.'),
  organization: z.string().min(1).max(256).optional(),
  roles: z.array(z.string().min(1)).default([]),
  permissions: z.array(z.string().min(1)).default([]),
  scopes: z.array(z.string().min(1)).default([]),
  plan: z.string().min(1).max(64).optional().describe('How often it may call: a name under `plans` in services.json.'),
  cidrs: z
    .array(z.union([z.cidrv4(), z.cidrv6()], 'a network such as "10.0.0.0/8" or "2001:db8::/32"'))
    .default([])
    .describe('Networks the key may be used from; everywhere when empty.'),
  notBefore: z.int().min(0).optional().describe('When the key begins, in seconds since the epoch.'),
  expires: z.int().min(0).optional().describe('When the key ends, in seconds since the epoch; never when left out.'),
})
export type NewKey = z.input<typeof newKey>

export interface CreatedKey {
  /** The key itself. Shown once, kept nowhere. */
  readonly text: string
  readonly key: KeyInfo
}

/** A key as an operator may see it: all but its digest. */
export interface KeyInfo extends KeyHolder {
  readonly state: 'active' | 'not-yet-valid' | 'expired' | 'revoked'
  /** Seconds since the epoch, as all times here. */
  readonly created: number
  readonly revoked?: number
  /** The id of the key that stands for this one since it was rotated. */
  readonly replacedBy?: string
  /** Accurate to ten seconds. */
  readonly lastUsed?: number
}

export type Rotation =
  | ({ readonly outcome: 'rotated' } & CreatedKey)
  | { readonly outcome: 'refused'; readonly reason: 'unknown' | 'revoked' | 'expired' }

export interface KeyStoreTools extends Tools {
  readonly store: Store
  /** Random bytes that cannot be predicted. */
  readonly random: (size: number) => Uint8Array
}

export interface KeyStoreSettings {
  /** What keys begin with: letters and digits. One per environment tells them apart. Default: `sp`. */
  readonly prefix?: string
  /** The key of the HMAC, at least 32 bytes; made once and kept in the store when left out. */
  readonly pepper?: string | Uint8Array
}

/** A key as it lies in the store. */
interface Stored extends KeyHolder {
  /** HMAC-SHA-256 of the text under the pepper, hexadecimal. */
  readonly hash: string
  readonly created: number
  readonly revoked?: number
  readonly replacedBy?: string
}

/** A key as it lies in memory. */
interface Known {
  readonly verdict: KeyVerdict
  readonly hash: Buffer
  /** When it was read, by `now`. */
  readonly since: number
  /** SHA-256 of the text that passed the HMAC: the next call with it costs a third. */
  passed?: Buffer
}

const collection = 'api-keys'
const usage = 'api-keys-usage'
const secrets = 'api-keys-pepper'
const channel = 'api-keys'

/** Milliseconds that a key is believed without asking the store again; messages end it sooner. */
const believed = 15_000
/** How many keys, and how many ids that are no keys, are remembered. */
const capacity = 10_000
const flushEvery = 10_000
const flushAtOnce = 50

const idLength = 8
const secretLength = 32
const checksumLength = 6

const malformed: KeyVerdict = Object.freeze({ outcome: 'refused', reason: 'malformed' })
const checksumWrong: KeyVerdict = Object.freeze({ outcome: 'refused', reason: 'checksum' })
const unknown: KeyVerdict = Object.freeze({ outcome: 'refused', reason: 'unknown' })
const secretWrong: KeyVerdict = Object.freeze({ outcome: 'refused', reason: 'secret' })
const revokedKey: KeyVerdict = Object.freeze({ outcome: 'refused', reason: 'revoked' })

/** The pepper is fetched, or made, when the first key comes: a store that is out at start does not keep the gateway from starting. */
export function createKeyStore(
  { prefix = 'sp', pepper }: KeyStoreSettings,
  { store, random, now, log }: KeyStoreTools,
): KeyStore {
  if (!/^[A-Za-z0-9]{1,16}$/.test(prefix)) throw new TypeError('a key prefix is 1 to 16 letters and digits')
  const form = new RegExp(`^${prefix}_[0-9A-Za-z]{${idLength}}_[0-9A-Za-z]{${secretLength + checksumLength}}$`)
  const idAt = prefix.length + 1

  const known = new TwoGenerations<Known>(capacity)
  const strangers = new TwoGenerations<number>(capacity)
  const loading = new Map<string, Promise<Known | undefined>>()
  const used = new Map<string, number>()
  let secret: KeyObject | undefined = pepper === undefined ? undefined : pepperOf(pepper)
  /** Whether the store may hold another pepper than ours, or none: it may have come back empty. */
  let doubtful = pepper === undefined
  /** Counts what was heard: what was read before it and arrives after it is not kept. */
  let epoch = 0
  let flushing: NodeJS.Timeout | undefined

  const unsubscribe = store.subscribe(
    channel,
    (message) => forget(typeof message === 'string' ? message : undefined),
    () => {
      forget()
      doubtful = pepper === undefined
    },
  )

  function forget(id?: string): void {
    epoch += 1
    if (id === undefined) {
      known.clear()
      strangers.clear()
      loading.clear()
    } else {
      known.delete(id)
      strangers.delete(id)
      loading.delete(id)
    }
  }

  /** Tells everybody, and does not wait to hear it itself. */
  async function announce(id: string): Promise<void> {
    forget(id)
    await store.publish(channel, id)
  }

  function isFresh(since: number): boolean {
    const age = now() - since
    return age >= 0 && age < believed
  }

  function find(text: string, memory?: ConnectionMemory): KeyVerdict | Promise<KeyVerdict> {
    if (!form.test(text)) return malformed
    const id = text.slice(idAt, idAt + idLength)
    const candidate = known.get(id)
    if (candidate && isFresh(candidate.since) && secret) return judge(candidate, text, secret, memory)
    if (!hasChecksum(text)) return checksumWrong
    const stranger = strangers.get(id)
    if (stranger !== undefined && isFresh(stranger)) return unknown
    return findLater(id, text)
  }

  async function findLater(id: string, text: string): Promise<KeyVerdict> {
    const candidate = await load(id)
    return candidate ? judge(candidate, text, await ensurePepper()) : unknown
  }

  /** Whether the text is the key of this id; only the holder of the secret learns that it is revoked. */
  function judge(candidate: Known, text: string, key: KeyObject, memory?: ConnectionMemory): KeyVerdict {
    const digest = recall(memory, text, digestOf)
    if (candidate.passed === undefined || !timingSafeEqual(digest, candidate.passed)) {
      if (!hasChecksum(text)) return checksumWrong
      if (!timingSafeEqual(macOf(text, key), candidate.hash)) return secretWrong
      candidate.passed = digest
    }
    return candidate.verdict
  }

  function load(id: string): Promise<Known | undefined> {
    let pending = loading.get(id)
    if (pending === undefined) {
      pending = read(id).finally(() => {
        if (loading.get(id) === pending) loading.delete(id)
      })
      loading.set(id, pending)
    }
    return pending
  }

  async function read(id: string): Promise<Known | undefined> {
    const [since, before] = [now(), epoch]
    const entry = await store.get(collection, id)
    if (entry === undefined) {
      if (epoch === before) strangers.set(id, since)
      return undefined
    }
    const stored = entry.value as unknown as Stored
    const verdict: KeyVerdict =
      stored.revoked === undefined ? { outcome: 'known', holder: holderOf(stored), used: () => touch(id) } : revokedKey
    const candidate: Known = { verdict, hash: Buffer.from(stored.hash, 'hex'), since }
    if (epoch === before) known.set(id, candidate)
    return candidate
  }

  async function ensurePepper(): Promise<KeyObject> {
    if (secret && !doubtful) return secret
    // Whoever comes first makes it, or gives back to the store what it had; everybody else reads what is there.
    const ours = secret?.export() ?? Buffer.from(random(32))
    await store.create(secrets, 'current', ours.toString('base64'))
    const entry = await store.get<string>(secrets, 'current')
    secret = pepperOf(Buffer.from(entry!.value, 'base64'))
    doubtful = false
    return secret
  }

  function touch(id: string): void {
    const seconds = Math.floor(now() / 1000)
    if (used.size >= capacity && !used.has(id)) return
    used.set(id, seconds)
    flushing ??= setTimeout(flush, flushEvery).unref()
  }

  async function flush(): Promise<void> {
    clearTimeout(flushing)
    flushing = undefined
    const batch = [...used]
    used.clear()
    try {
      for (let from = 0; from < batch.length; from += flushAtOnce) {
        await Promise.all(batch.slice(from, from + flushAtOnce).map(([id, seconds]) => store.put(usage, id, seconds)))
        // SQLite answers within the call: without a pause, thousands of keys would hold up every request.
        await breathe()
      }
    } catch (error) {
      log.warn({ err: error, keys: batch.length }, 'when API keys were last used could not be written down')
    }
  }

  async function add(input: NewKey): Promise<CreatedKey> {
    const { owner: subject, ...rest } = newKey.parse(input)
    // What is made now must be known to those that start later.
    doubtful = pepper === undefined
    const key = await ensurePepper()
    for (;;) {
      const id = base62(random, idLength)
      const body = `${prefix}_${id}_${base62(random, secretLength)}`
      const text = body + checksumOf(body)
      const created = Math.floor(now() / 1000)
      const stored = defined({ id, subject, ...rest, hash: macOf(text, key).toString('hex'), created }) as Stored
      // Ids are drawn from 2 × 10^14: a second try is not to be expected in this life.
      if (!(await store.create(collection, id, asJson(stored), { group: subject }))) continue
      await announce(id)
      return { text, key: infoOf(stored) }
    }
  }

  function infoOf({ hash: _, ...stored }: Stored, lastUsed?: number): KeyInfo {
    return { ...stored, state: stateOf(stored), ...(lastUsed !== undefined && { lastUsed }) }
  }

  function stateOf({ revoked, notBefore, expires }: Omit<Stored, 'hash'>): KeyInfo['state'] {
    const seconds = now() / 1000
    if (revoked !== undefined) return 'revoked'
    if (expires !== undefined && seconds >= expires) return 'expired'
    if (notBefore !== undefined && seconds < notBefore) return 'not-yet-valid'
    return 'active'
  }

  /** Changes a stored key, however many others are at it; undefined when there is none or `change` declines. */
  async function update(id: string, change: (stored: Stored) => Stored | undefined): Promise<Stored | undefined> {
    for (;;) {
      const entry = await store.get(collection, id)
      if (entry === undefined) return undefined
      const stored = entry.value as unknown as Stored
      const changed = change(stored)
      if (changed === undefined) return undefined
      if (await store.replace(collection, id, entry.revision, asJson(changed), { group: stored.subject }))
        return changed
    }
  }

  async function revoke(id: string): Promise<boolean> {
    const changed = await update(id, (stored) => ({
      ...stored,
      revoked: stored.revoked ?? Math.floor(now() / 1000),
    }))
    if (changed === undefined) return false
    await announce(id)
    return true
  }

  return {
    recognizes: (text) => text.startsWith(`${prefix}_`),
    find,
    create: (key) => add(key),

    async list({ owner } = {}) {
      await flush()
      const [keys, uses] = await Promise.all([
        store.list(collection, owner === undefined ? {} : { group: owner }),
        store.list<number>(usage),
      ])
      const lastUsed = new Map(uses.map(({ key, value }) => [key, value]))
      return keys.map(({ key, value }) => infoOf(value as unknown as Stored, lastUsed.get(key)))
    },

    async rotate(id, overlap) {
      const entry = await store.get(collection, id)
      if (entry === undefined) return { outcome: 'refused', reason: 'unknown' }
      const old = infoOf(entry.value as unknown as Stored)
      if (old.state === 'revoked' || old.state === 'expired') return { outcome: 'refused', reason: old.state }
      const seconds = Math.floor(now() / 1000)
      const successor = await add({
        owner: old.subject,
        name: old.name,
        organization: old.organization,
        roles: [...old.roles],
        permissions: [...old.permissions],
        scopes: [...old.scopes],
        plan: old.plan,
        cidrs: [...old.cidrs],
        expires: old.expires === undefined ? undefined : seconds + (old.expires - old.created),
      })
      const end = seconds + Math.ceil(overlap / 1000)
      await update(id, (stored) => ({
        ...stored,
        expires: Math.min(stored.expires ?? end, end),
        replacedBy: successor.key.id,
      }))
      await announce(id)
      return { outcome: 'rotated', ...successor }
    },

    revoke,

    async revokeOwner(owner) {
      const keys = await store.list(collection, { group: owner })
      const good = keys.filter(({ value }) => (value as unknown as Stored).revoked === undefined)
      for (const { key } of good) await revoke(key)
      return good.map(({ key }) => key)
    },

    async close() {
      unsubscribe()
      await flush()
    },
  }
}

/** Only what concerns the holder; frozen, because it becomes the claims of a caller. */
function holderOf({ hash: _, created, revoked: _revoked, replacedBy: _replacedBy, ...holder }: Stored): KeyHolder {
  // Whoever revokes a subject revokes its keys here. A key that is made within the same second is a new one.
  return Object.freeze({ ...holder, issuedAt: created + 1 })
}

function defined<T extends object>(value: T): object {
  return Object.fromEntries(Object.entries(value).filter(([, member]) => member !== undefined))
}

function asJson(stored: Stored): Json {
  return stored as unknown as Json
}

function pepperOf(pepper: string | Uint8Array): KeyObject {
  const bytes = Buffer.from(pepper as Uint8Array)
  if (bytes.length < 32) throw new TypeError('the pepper of API keys has at least 32 bytes')
  return createSecretKey(bytes)
}

function digestOf(text: string): Buffer {
  return hash('sha256', text, 'buffer')
}

function macOf(text: string, key: KeyObject): Buffer {
  return createHmac('sha256', key).update(text).digest()
}

const alphabet = '0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz'
/** The largest multiple of 62 below 256: bytes above it would favour the first letters. */
const fairBytes = 248

function base62(random: (size: number) => Uint8Array, length: number): string {
  let text = ''
  while (text.length < length) {
    for (const byte of random(length)) {
      if (byte < fairBytes && text.length < length) text += alphabet[byte % 62]
    }
  }
  return text
}

function hasChecksum(text: string): boolean {
  return checksumOf(text.slice(0, -checksumLength)) === text.slice(-checksumLength)
}

/** CRC-32 in base 62. No secret: it tells a slip of the pen from a key. */
function checksumOf(body: string): string {
  let rest = crc32(body)
  let text = ''
  for (let index = 0; index < checksumLength; index++) {
    text = alphabet[rest % 62] + text
    rest = Math.floor(rest / 62)
  }
  return text
}
