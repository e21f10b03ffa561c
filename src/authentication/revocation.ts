import { randomUUID } from 'node:crypto'
import { type Json, type Store, StoreUnavailable } from '../store/store.ts'
import type { Tools } from '../tools.ts'

/**
 * What is no longer believed: one token (its `jti`), all tokens of one login (its grant), or everything a subject was
 * given until now. `issuer` narrows it to the names of one issuer; without it the name counts wherever it comes from.
 */
export type Revocation = (
  | { readonly tokenId: string }
  | { readonly family: string }
  /** Credentials issued up to the second of the revocation; those of a later login are good. */
  | { readonly subject: string }
) & {
  readonly issuer?: string | undefined
  /** When the last credential it could concern will have expired, seconds since the epoch. Default: `lifetime` from now. */
  readonly until?: number | undefined
}

/** What a credential says about itself; a `Caller` fits. */
export interface Revocable {
  readonly issuer?: string | undefined
  readonly tokenId?: string | undefined
  readonly family?: string | undefined
  readonly subject?: string | undefined
  /** Seconds since the epoch. */
  readonly issuedAt?: number | undefined
}

/** The list of what is no longer believed, in the store, with a copy in this process that every request is held against. */
export interface Revocations {
  /**
   * Resolves when the store has it; from then on it holds here, and within a second wherever the store is shared.
   * Rejects with `StoreUnavailable` when it could not be kept.
   */
  revoke(revocation: Revocation): Promise<void>
  /** From the copy: synchronous, well below a microsecond. Reads on while the store is out. */
  isRevoked(credential: Revocable): boolean
  /**
   * Whether the copy is known to hold everything that was revoked until half a second ago, anywhere: a message of ours
   * has gone through the store and come back. False while the store is out, after a quarter of a second at most.
   */
  confirmed(): boolean | Promise<boolean>
  /** Hear of every revocation, from this process or another, once. Returns how to stop. */
  onRevoked(listener: (revocation: ListedRevocation) => void): () => void
  /** What is revoked now. */
  list(): readonly ListedRevocation[]
  /** When the copy was last known to be whole, milliseconds since the epoch; it is old while the store is out. */
  readonly syncedAt: number
  close(): void
}

export interface ListedRevocation {
  readonly kind: Kind
  readonly id: string
  readonly issuer?: string
  /** When it was revoked, seconds since the epoch. */
  readonly at: number
  /** Seconds since the epoch. */
  readonly until: number
}

const kinds = { token: 'tokenId', family: 'family', subject: 'subject' } as const
type Kind = keyof typeof kinds

const collection = 'revocations'
/** For what a lost message left out. */
const reloadEvery = 30_000
/** What could not be announced is announced again after this time. */
const announceAgain = 250
/** For how long an echo says that nothing is missing, and how long one is awaited; milliseconds. */
const echoHolds = 500
const echoTakes = 200

export interface RevocationOptions {
  /** Milliseconds that the longest-lived credential can live; how long a revocation is kept that does not say `until`. */
  readonly lifetime: number
}

/** Reads what is in the store, and follows it. Rejects with `StoreUnavailable` when the store cannot be read. */
export async function openRevocations(
  store: Store,
  { lifetime }: RevocationOptions,
  { now, log }: Tools,
): Promise<Revocations> {
  const mirror: Readonly<Record<Kind, Map<string, ListedRevocation[]>>> = {
    token: new Map(),
    family: new Map(),
    subject: new Map(),
  }
  const listeners = new Set<(revocation: ListedRevocation) => void>()
  let syncedAt = 0
  let loading: Promise<void> | undefined
  let again = false
  let closed = false
  /** How often messages may have been missed, and how often when the copy was last read: if equal, it is whole. */
  let missed = 0
  let readAt = -1
  /** Kept, and not yet announced. */
  const unheard = new Set<ListedRevocation>()
  let announcing: NodeJS.Timeout | undefined
  const echoes = `${collection}.echo-${randomUUID()}`
  let awaited: { readonly text: string; heard(): void } | undefined
  let confirmedAt = Number.NEGATIVE_INFINITY
  let confirming: Promise<boolean> | undefined

  const stopEchoes = store.subscribe(echoes, (text) => {
    if (text === awaited?.text) awaited?.heard()
  })
  const stop = store.subscribe(
    collection,
    (message) => remember(message as unknown as ListedRevocation),
    () => {
      missed += 1
      void reload()
    },
  )
  const timer = setInterval(() => void reload(), reloadEvery).unref()
  try {
    await load()
  } catch (error) {
    close()
    throw error
  }

  function remember(revocation: ListedRevocation): void {
    if (revocation.until <= now() / 1_000) return
    const marks = mirror[revocation.kind]
    const others = marks.get(revocation.id) ?? []
    const same = others.find(({ issuer }) => issuer === revocation.issuer)
    if (same && same.at >= revocation.at && same.until >= revocation.until) return
    marks.set(revocation.id, [
      ...others.filter((other) => other !== same),
      same ? joined(same, revocation) : revocation,
    ])
    for (const listener of listeners) {
      try {
        listener(revocation)
      } catch (error) {
        log.error({ err: error }, 'a listener of revocations failed')
      }
    }
  }

  function forgetExpired(): void {
    const seconds = now() / 1_000
    for (const marks of Object.values(mirror)) {
      for (const [id, revocations] of marks) {
        const living = revocations.filter(({ until }) => until > seconds)
        if (living.length === 0) marks.delete(id)
        else if (living.length < revocations.length) marks.set(id, living)
      }
    }
  }

  function list(): ListedRevocation[] {
    forgetExpired()
    return Object.values(mirror).flatMap((marks) => [...marks.values()].flat())
  }

  /** The store's list into the copy, and back into the store what it has forgotten: a Redis that came back empty, say. */
  async function load(): Promise<void> {
    const before = missed
    const entries = await store.list(collection)
    for (const { value } of entries) remember(value as unknown as ListedRevocation)
    const kept = new Set(entries.map(({ key }) => key))
    for (const revocation of list()) if (!kept.has(keyOf(revocation))) await keep(revocation)
    syncedAt = now()
    readAt = before
  }

  /** Never rejects. A reload that is asked for while one runs follows it, because the running one may be past the news. */
  function reload(): Promise<void> {
    if (loading) {
      again = true
      return loading
    }
    loading = load()
      .catch((error: unknown) => {
        if (!closed) log.warn({ err: error }, 'revocations could not be read from the store; the known ones hold')
      })
      .finally(() => {
        loading = undefined
        if (!again || closed) return
        again = false
        return reload()
      })
    return loading
  }

  async function keep(revocation: ListedRevocation): Promise<void> {
    await store.put(collection, keyOf(revocation), revocation as unknown as Json, { expiresAt: revocation.until })
  }

  async function announce(revocation: ListedRevocation): Promise<void> {
    try {
      await store.publish(collection, revocation as unknown as Json)
      unheard.delete(revocation)
    } catch (error) {
      if (!(error instanceof StoreUnavailable)) throw error
      if (!unheard.has(revocation)) log.warn({ err: error }, 'a revocation was kept and will be announced later')
      unheard.add(revocation)
      if (!closed) announcing ??= setTimeout(announceUnheard, announceAgain).unref()
    }
  }

  function announceUnheard(): void {
    announcing = undefined
    for (const revocation of unheard) void announce(revocation)
  }

  /** Messages keep their order: when ours is back, every one before it is here. Time is monotonic. */
  async function confirm(): Promise<boolean> {
    const started = performance.now()
    const text = randomUUID()
    let timer: NodeJS.Timeout | undefined
    const answered = new Promise<boolean>((resolve) => {
      awaited = { text, heard: () => resolve(true) }
      timer = setTimeout(() => resolve(false), echoTakes)
    })
    try {
      await store.publish(echoes, text)
      if (!(await answered)) return false
      // What was missed is read now, where it could not be read when it was.
      if (readAt !== missed) await (loading ?? reload())
      if (readAt === missed) confirmedAt = started
      return readAt === missed
    } catch (error) {
      if (!(error instanceof StoreUnavailable)) throw error
      return false
    } finally {
      clearTimeout(timer)
    }
  }

  function close(): void {
    closed = true
    clearInterval(timer)
    clearTimeout(announcing)
    stopEchoes()
    stop()
    listeners.clear()
  }

  return {
    async revoke(revocation) {
      const [kind, id] = named(revocation)
      const seconds = now() / 1_000
      const listed: ListedRevocation = {
        kind,
        id,
        ...(revocation.issuer !== undefined && { issuer: revocation.issuer }),
        at: Math.floor(seconds),
        until: Math.ceil(revocation.until ?? seconds + lifetime / 1_000),
      }
      const known = mirror[kind].get(id)?.find(({ issuer }) => issuer === listed.issuer)
      const whole = known ? joined(known, listed) : listed
      if (whole.until <= seconds) return
      await keep(whole)
      remember(whole)
      await announce(whole)
    },
    isRevoked(credential) {
      return (
        isListed(mirror.token, credential.tokenId, credential, now) ||
        isListed(mirror.family, credential.family, credential, now) ||
        isListed(mirror.subject, credential.subject, credential, now)
      )
    },
    confirmed() {
      if (performance.now() - confirmedAt < echoHolds) return true
      confirming ??= confirm().finally(() => {
        confirming = undefined
      })
      return confirming
    },
    onRevoked(listener) {
      listeners.add(listener)
      return () => listeners.delete(listener)
    },
    list,
    get syncedAt() {
      return syncedAt
    },
    close,
  }
}

function isListed(
  marks: ReadonlyMap<string, readonly ListedRevocation[]>,
  id: string | undefined,
  { issuer, issuedAt }: Revocable,
  now: () => number,
): boolean {
  if (id === undefined || marks.size === 0) return false
  const revocations = marks.get(id)
  if (!revocations) return false
  return revocations.some(
    (revocation) =>
      (revocation.issuer === undefined || revocation.issuer === issuer) &&
      // A credential that does not say when it was issued may be an old one.
      (revocation.kind !== 'subject' || issuedAt === undefined || Math.floor(issuedAt) <= revocation.at) &&
      revocation.until > now() / 1_000,
  )
}

/** Two revocations of the same thing: the later moment, and the longer memory. */
function joined(one: ListedRevocation, other: ListedRevocation): ListedRevocation {
  return { ...one, at: Math.max(one.at, other.at), until: Math.max(one.until, other.until) }
}

function named(revocation: Revocation): [Kind, string] {
  for (const [kind, name] of Object.entries(kinds) as [Kind, (typeof kinds)[Kind]][]) {
    const id = (revocation as Partial<Record<string, string>>)[name]
    if (id !== undefined) return [kind, id]
  }
  throw new TypeError('a revocation names a token, a family or a subject')
}

function keyOf({ kind, id, issuer }: ListedRevocation): string {
  return JSON.stringify(issuer === undefined ? [kind, id] : [kind, id, issuer])
}
