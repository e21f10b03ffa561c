import { createHmac, generateKeyPair, randomBytes } from 'node:crypto'
import { promisify } from 'node:util'
import type { JWK } from 'jose'
import { calculateJwkThumbprint } from 'jose/jwk/thumbprint'
import { type Json, type Store, StoreUnavailable } from '../store/store.ts'
import type { Tools } from '../tools.ts'

const generate = promisify(generateKeyPair)

export interface SigningKeysOptions {
  readonly algorithm: 'RS256' | 'ES256'
  /** Seconds the longest-lived token can live: so long does a key verify after it has signed its last. */
  readonly tokenLife: number
  /** Seconds a key signs before the next takes over. */
  readonly rotateEvery: number
  /** Seconds a key is published before it signs; longer than anybody keeps a key set without asking. Default: 3,600. */
  readonly announce?: number
}

/**
 * The keys that tokens are signed with, and one secret, in the store: every instance has the same, and a restart
 * changes nothing. A key is announced (published), active (signs), retired (still verifies), gone; who does what
 * follows from the clock and the entries alone, so instances need not agree on anything else.
 */
export interface SigningKeys {
  /** Private JWKs, the one that signs first: what oidc-provider is given. */
  readonly signing: readonly JWK[]
  /** Public JWKs, announced and retired ones included. A `KeySource` of the verifier. */
  keys(): readonly JWK[]
  /** 32 bytes that all instances share and nobody else knows, others for each purpose. */
  secretFor(purpose: string): Buffer
  /** Tells of every change, of keys and of which one signs. Returns how to stop. */
  onChange(listener: () => void): () => void
  /** Every living key: what it is for now, and until when. Newest first. */
  list(): readonly SigningKeyState[]
  /** Announces a new key, which takes over after `announce` seconds. Resolves with its `kid`. */
  rotate(): Promise<string>
  /**
   * Takes a key away, because somebody else may have it: from now on it verifies nothing, here at once and at every
   * instance within a second, and no instance brings it back. When it was the one that signs, the next one signs at once.
   * Rejects with `StoreUnavailable` when that could not be kept.
   */
  remove(kid: string): Promise<KeyRemoval>
  /** Looks into the store and at the clock now, instead of within a minute. */
  refresh(): Promise<void>
  close(): void
}

/** A key as an operator may see it. Times in seconds since the epoch. */
export interface SigningKeyState {
  readonly kid: string
  readonly algorithm: string
  /** Published only; signing; verifying what it has signed. */
  readonly state: 'announced' | 'active' | 'retired'
  readonly activeFrom: number
  /** When it is gone; absent until a successor is announced. */
  readonly expiresAt?: number
}

export type KeyRemoval =
  /** `active`: the key that signs now. */
  { readonly outcome: 'removed'; readonly active: string } | { readonly outcome: 'unknown' }

interface KeyEntry {
  readonly jwk: JWK & { readonly kid: string }
  /** Seconds since the epoch from when it signs. */
  readonly activeFrom: number
  /** Seconds since the epoch from when it is gone; absent until a successor is announced. */
  readonly expiresAt?: number
}

const collection = 'issuer.keys'
const secretKey = 'secret'
/** Made by whoever comes first; later ones are named by their `kid`. */
const firstKey = 'first'
const lockKey = 'lock'
/** A key that was removed leaves its name, so that no instance takes its own copy for one that the store has lost. */
const removedKey = (kid: string) => `removed:${kid}`
const lookEvery = 60_000
/** Clocks of instances and of verifiers differ a little. */
const leeway = 120
const modulusLength = 2_048

/** One announcement after the other: the next key takes over an hour after it was announced. */
export class AnnouncedLately extends Error {
  constructor() {
    super('a new key was announced within the last two minutes')
    this.name = 'AnnouncedLately'
  }
}

export async function openSigningKeys(
  store: Store,
  { algorithm, tokenLife, rotateEvery, announce = 3_600 }: SigningKeysOptions,
  { now, log }: Tools,
): Promise<SigningKeys> {
  const listeners = new Set<() => void>()
  let entries = new Map<string, KeyEntry>()
  let removed: ReadonlySet<string> = new Set()
  let secret: Buffer = Buffer.alloc(0)
  let published = ''
  let timer: NodeJS.Timeout | undefined
  let closed = false
  let running: Promise<void> = Promise.resolve()

  const seconds = () => now() / 1_000
  const stop = store.subscribe(collection, later, later)

  /** 1. What the store has, and ours where it has lost them. 2. A first key if there is none. 3. A next one if it is time. */
  async function look(): Promise<void> {
    await adopt()
    if (!active()) {
      const made = await create(Math.floor(seconds()))
      // Of several instances that start at the same moment one makes the key. Its algorithm may be another's, though.
      if (!(await store.create(collection, firstKey, asJson(made)))) await adopt()
      else await store.publish(collection, null)
      if (!active()) await keep(made.jwk.kid, made)
      await adopt()
    }
    const current = active()!
    const pending = [...entries.values()].some(({ activeFrom }) => activeFrom > seconds())
    if (!pending && current.activeFrom + rotateEvery - announce <= seconds()) await announceNext()
    tell()
  }

  async function adopt(): Promise<void> {
    const found = await store.list(collection)
    const next = new Map<string, KeyEntry>()
    const gone = new Set(found.flatMap(({ value }) => (isRemoval(value) ? [value.removed] : [])))
    for (const kid of removed) if (!gone.has(kid)) await keepRemoval(kid)
    removed = new Set([...removed, ...gone])
    for (const { key, value, expiresAt } of found) {
      if (key === secretKey || key === lockKey || isRemoval(value)) continue
      const entry = value as unknown as Omit<KeyEntry, 'expiresAt'>
      if (removed.has(entry.jwk.kid)) continue
      // While the first key is being retired it stands there under both names.
      if (expiresAt === undefined && next.has(entry.jwk.kid)) continue
      next.set(entry.jwk.kid, { ...entry, ...(expiresAt !== undefined && { expiresAt }) })
    }
    // A store that came back empty gets back what we know, or tokens that are out there could not be verified elsewhere.
    for (const entry of living()) {
      const { kid } = entry.jwk
      if (next.has(kid) || removed.has(kid)) continue
      await store.put(collection, kid, asJson(entry), expiry(entry))
      next.set(kid, entry)
    }
    entries = next

    const kept = found.find(({ key }) => key === secretKey)?.value
    if (typeof kept === 'string') secret = Buffer.from(kept, 'base64url')
    else {
      const mine = secret.length > 0 ? secret : randomBytes(32)
      if (await store.create(collection, secretKey, mine.toString('base64url'))) secret = mine
      else secret = Buffer.from((await store.get<string>(collection, secretKey))!.value, 'base64url')
    }
  }

  async function create(activeFrom: number): Promise<KeyEntry> {
    const { privateKey } =
      algorithm === 'RS256' ? await generate('rsa', { modulusLength }) : await generate('ec', { namedCurve: 'P-256' })
    const jwk = privateKey.export({ format: 'jwk' }) as JWK
    const kid = await calculateJwkThumbprint(jwk)
    return { jwk: { ...jwk, kid, alg: algorithm, use: 'sig' }, activeFrom }
  }

  async function announceNext(): Promise<string | undefined> {
    // One instance is enough; the others hear of its key.
    if (!(await store.create(collection, lockKey, null, { expiresAt: seconds() + leeway }))) return undefined
    const activeFrom = Math.ceil(seconds()) + announce
    const next = await create(activeFrom)
    await keep(next.jwk.kid, next)
    const gone = activeFrom + tokenLife + leeway
    for (const [kid, entry] of entries) {
      if (entry.expiresAt === undefined && kid !== next.jwk.kid) await retire(kid, { ...entry, expiresAt: gone })
    }
    await store.publish(collection, null)
    log.info({ kid: next.jwk.kid, activeFrom }, 'a new signing key is announced')
    return next.jwk.kid
  }

  async function keep(kid: string, entry: KeyEntry): Promise<void> {
    await store.put(collection, kid, asJson(entry), expiry(entry))
    entries.set(kid, entry)
  }

  async function retire(kid: string, entry: KeyEntry): Promise<void> {
    await keep(kid, entry)
    // The first key was kept under another name.
    const first = await store.get(collection, firstKey)
    if ((first?.value as unknown as KeyEntry | undefined)?.jwk.kid === kid) await store.delete(collection, firstKey)
  }

  async function keepRemoval(kid: string): Promise<void> {
    await store.put(collection, removedKey(kid), { removed: kid })
  }

  /** 1. Somebody who signs in its place. 2. Its name among the removed, then the key itself. 3. Everybody else. */
  async function take(kid: string): Promise<KeyRemoval> {
    await adopt()
    if (!entries.has(kid)) return { outcome: 'unknown' }
    if (active()!.jwk.kid === kid) {
      // One that was announced is known to many already.
      const announced = living().findLast(
        ({ jwk, activeFrom }) => jwk.kid !== kid && jwk.alg === algorithm && activeFrom > seconds(),
      )
      const { expiresAt: _, ...next } = announced ?? (await create(0))
      await keep(next.jwk.kid, { ...next, activeFrom: Math.floor(seconds()) })
    }
    await keepRemoval(kid)
    removed = new Set([...removed, kid])
    entries.delete(kid)
    await store.delete(collection, kid)
    const first = await store.get(collection, firstKey)
    if ((first?.value as unknown as KeyEntry | undefined)?.jwk.kid === kid) await store.delete(collection, firstKey)
    // Its end was set when the one that is gone now was announced.
    const last = living().find(({ jwk }) => jwk.alg === algorithm)!
    if (last.expiresAt !== undefined) await keep(last.jwk.kid, { jwk: last.jwk, activeFrom: last.activeFrom })
    tell()
    await store.publish(collection, null)
    log.warn({ kid, active: active()!.jwk.kid }, 'a signing key was removed; what it has signed is refused')
    return { outcome: 'removed', active: active()!.jwk.kid }
  }

  /** Newest first, and by name among those of one second: the same order at every instance. */
  function living(): KeyEntry[] {
    return [...entries.values()]
      .filter(({ expiresAt }) => expiresAt === undefined || expiresAt > seconds())
      .sort((one, other) => other.activeFrom - one.activeFrom || (one.jwk.kid < other.jwk.kid ? -1 : 1))
  }

  /** The newest key that signs already; instances choose the same because they have the same keys. */
  function active(): KeyEntry | undefined {
    const newestFirst = living().filter(({ jwk }) => jwk.alg === algorithm)
    // With a clock that was set back none may have begun.
    return newestFirst.find(({ activeFrom }) => activeFrom <= seconds()) ?? newestFirst.at(-1)
  }

  function signing(): JWK[] {
    const first = active()
    return [first!, ...living().filter((entry) => entry !== first)].map(({ jwk }) => jwk)
  }

  function list(): SigningKeyState[] {
    const current = active()
    return living().map((entry) => {
      const { jwk, activeFrom, expiresAt } = entry
      const state = entry === current ? 'active' : activeFrom > seconds() ? 'announced' : 'retired'
      return {
        kid: jwk.kid,
        algorithm: jwk.alg ?? algorithm,
        state,
        activeFrom,
        ...(expiresAt !== undefined && { expiresAt }),
      }
    })
  }

  function tell(): void {
    const state = JSON.stringify([signing().map(({ kid }) => kid), secret.toString('base64url')])
    if (state === published) return
    const first = published === ''
    published = state
    if (first) return
    for (const listener of listeners) listener()
  }

  /** One after the other. */
  function alone<T>(work: () => Promise<T>): Promise<T> {
    const done = running.then(work)
    running = done.then(
      () => {},
      () => {},
    )
    return done.finally(schedule)
  }

  /** The next look is when a key is due, and within a minute. */
  const refresh = () => alone(look)

  function schedule(): void {
    clearTimeout(timer)
    if (closed) return
    const due = [...entries.values()]
      .flatMap(({ activeFrom, expiresAt = 0 }) => [activeFrom, expiresAt])
      .filter((at) => at > seconds())
    const wait = Math.min(lookEvery, ...due.map((at) => (at - seconds()) * 1_000 + 5))
    timer = setTimeout(later, wait).unref()
  }

  function later(): void {
    refresh().catch((error: unknown) => {
      if (closed) return
      if (!(error instanceof StoreUnavailable)) throw error
      log.warn({ err: error }, 'signing keys could not be read from the store; the known ones serve on')
      // A key that became active or expired does so whether or not the store answers.
      tell()
    })
  }

  function close(): void {
    closed = true
    clearTimeout(timer)
    stop()
    listeners.clear()
  }

  try {
    await refresh()
  } catch (error) {
    close()
    throw error
  }

  return {
    get signing() {
      return signing()
    },
    keys: () => signing().map(publicPart),
    secretFor: (purpose) => createHmac('sha256', secret).update(purpose).digest(),
    onChange(listener) {
      listeners.add(listener)
      return () => listeners.delete(listener)
    },
    list,
    async rotate() {
      const kid = await alone(async () => {
        await adopt()
        const next = await announceNext()
        tell()
        return next
      })
      if (kid === undefined) throw new AnnouncedLately()
      return kid
    },
    remove: (kid) => alone(() => take(kid)),
    refresh,
    close,
  }
}

function isRemoval(value: Json): value is { readonly removed: string } {
  return value !== null && typeof value === 'object' && 'removed' in value
}

function asJson({ jwk, activeFrom }: KeyEntry): Json {
  return { jwk: jwk as unknown as Json, activeFrom }
}

function expiry({ expiresAt }: KeyEntry): { expiresAt?: number } {
  return expiresAt === undefined ? {} : { expiresAt }
}

/** What may be published of a key (RFC 7517 §9.3): named one by one, so that nothing else slips out. */
function publicPart({ kty, kid, alg, use, n, e, crv, x, y }: JWK): JWK {
  return JSON.parse(JSON.stringify({ kty, kid, alg, use, n, e, crv, x, y })) as JWK
}
