import { Problem } from '../http/problem.ts'
import type { Json, Store } from '../store/store.ts'
import type { Log } from '../telemetry/log.ts'
import type { PublicAlgorithm } from './algorithms.ts'
import type { FetchJson } from './fetch-json.ts'
import { exportKeys, importKeys, type LeftOutKey, type VerificationKey } from './key-import.ts'
import { type KeyLookup, type KeySet, Keys } from './key-set.ts'

/** What happened to a remote key set, for metrics. */
export interface KeySetEvents {
  /** After every attempt to fetch. `confirmedAt` is when the set in use was last fetched, milliseconds; undefined without one. */
  fetched?(event: {
    readonly issuer: string
    readonly outcome: 'renewed' | 'failed'
    readonly milliseconds: number
    readonly confirmedAt: number | undefined
  }): void
  /** A token named a key that the issuer has not. */
  unknownKey?(event: { readonly issuer: string }): void
}

export interface RemoteKeySetSettings {
  /** The issuer's name in services.json, for log and metrics. */
  readonly name: string
  /** The issuer itself: under this the last good set is stored. */
  readonly issuer: string
  /** Where the set is published; asked before every fetch, so that discovery can follow a move. */
  readonly locate: () => string | Promise<string>
  readonly algorithms: readonly PublicAlgorithm[]
  readonly fetchJson: FetchJson
  /** Milliseconds since the epoch. */
  readonly now: () => number
  /** From 0 to 1, 1 excluded: spreads the refreshes of many instances. */
  readonly random: () => number
  readonly log: Log
  /** Keeps the last good set for a start while the issuer is away. */
  readonly store?: Store | undefined
  readonly events?: KeySetEvents | undefined
  /** Milliseconds; a key that the issuer withdraws is refused after this. 10 minutes by default. */
  readonly maxAge?: number
  /** Milliseconds that known keys stay good while the issuer cannot be reached. 72 hours by default. */
  readonly staleFor?: number
  /** Milliseconds between two fetches for keys that are not in the set. 30 seconds by default. */
  readonly cooldown?: number
}

export interface RemoteKeySet extends KeySet {
  /**
   * Fetch now, whatever the age of the set: the operator knows that a key was withdrawn. False when that failed, and the
   * known keys go on.
   */
  refresh(): Promise<boolean>
}

const collection = 'key-sets'
const firstRetry = 1_000
const hour = 3_600_000

/**
 * The keys that an issuer publishes at a URL (RFC 7517 §5), kept so that neither the issuer's outages nor strangers'
 * tokens reach our callers.
 *
 * 1. Young: answered from memory. Between half of `maxAge` and all of it, at a random moment, the next use starts a
 *    refresh in the background. A set nobody used for longer than `maxAge` is fetched before it is believed again.
 * 2. One fetch at a time, however many callers wait for it.
 * 3. A `kid` that is not in the set may be a new key: the first token with it fetches at once, and for `cooldown` no
 *    other does. That one moment is all the gateway remembers of unknown keys, be they a thousand a second.
 * 4. A failed fetch changes nothing: known keys stay good for `staleFor`. What cannot be known then is answered 503.
 * 5. Without any set (a start while the issuer is away) the stored one serves; without that, 503, and the issuer is
 *    asked again after 1, 2, 4 ... seconds, at most `cooldown`.
 */
export function remoteKeySet(settings: RemoteKeySetSettings): RemoteKeySet {
  const { name, issuer, locate, algorithms, fetchJson, now, random, log, store, events } = settings
  const { maxAge = 600_000, staleFor = 72 * hour, cooldown = 30_000 } = settings

  let keys: Keys | undefined
  let confirmedAt = 0
  let refreshAge = maxAge
  let failures = 0
  let failure: unknown
  let failedAt = Number.NEGATIVE_INFINITY
  let askedForUnknownAt = Number.NEGATIVE_INFINITY
  let pending: Promise<boolean> | undefined
  let storedAt = Number.NEGATIVE_INFINITY

  /** A clock that was set back must not make anything last longer. */
  const elapsed = (since: number) => (now() >= since ? now() - since : Number.POSITIVE_INFINITY)
  const pause = () => (keys ? cooldown : Math.min(cooldown, firstRetry * 2 ** (failures - 1)))
  const mayAsk = () => failures === 0 || elapsed(failedAt) >= pause()

  /** The set, unless it must be confirmed before anybody relies on it. Starts the refresh in the background. */
  function usable(): Keys | undefined {
    if (keys === undefined) return undefined
    const age = elapsed(confirmedAt)
    if (age >= refreshAge && mayAsk()) {
      if (age >= maxAge && failures === 0) return undefined
      void fetchOnce()
    }
    return age < maxAge || now() - confirmedAt < staleFor ? keys : undefined
  }

  function fetchOnce(): Promise<boolean> {
    pending ??= fetchSet().finally(() => {
      pending = undefined
    })
    return pending
  }

  async function fetchSet(): Promise<boolean> {
    const startedAt = now()
    let outcome: 'renewed' | 'failed' = 'renewed'
    try {
      const document = await fetchJson({ url: await locate() })
      const { keys: imported, leftOut } = importKeys(document, algorithms)
      if (imported.length === 0) throw new TypeError(`no usable key in the set: ${describe(leftOut)}`)
      const next = (keys ?? new Keys()).renewed(imported)
      const changed = !keys || next.all.length !== keys.all.length || next.all.some((key) => !keys!.has(key))
      if (changed) log.info({ issuer: name, keys: next.all.map(({ kid }) => kid) }, 'the keys of the issuer changed')
      if (changed && leftOut.length > 0)
        log.warn({ issuer: name, leftOut: describe(leftOut) }, 'some keys of the issuer are not used')
      keys = next
      confirmedAt = startedAt
      refreshAge = maxAge * (0.5 + 0.5 * random())
      failures = 0
      failure = undefined
      if (changed || elapsed(storedAt) >= hour) await remember(next)
    } catch (error) {
      outcome = 'failed'
      failures += 1
      failure = error
      failedAt = now()
      log.warn(
        { issuer: name, err: error, failures, known: keys?.all.length ?? 0 },
        'the keys of the issuer could not be fetched',
      )
      if (keys === undefined) await recall()
    }
    events?.fetched?.({
      issuer: name,
      outcome,
      milliseconds: now() - startedAt,
      confirmedAt: keys === undefined ? undefined : confirmedAt,
    })
    return outcome === 'renewed'
  }

  async function remember(set: Keys): Promise<void> {
    storedAt = now()
    try {
      const value = { ...exportKeys(set.all), confirmedAt } as unknown as Json
      await store?.put(collection, issuer, value, { expiresAt: Math.ceil((confirmedAt + staleFor) / 1_000) })
    } catch (error) {
      log.warn({ issuer: name, err: error }, 'the keys of the issuer could not be stored')
    }
  }

  async function recall(): Promise<void> {
    try {
      const entry = await store?.get<{ readonly confirmedAt: number }>(collection, issuer)
      if (entry === undefined || now() - entry.value.confirmedAt >= staleFor) return
      // What comes from the store passes the same rules as what comes from the issuer.
      const { keys: imported } = importKeys(entry.value, algorithms)
      if (imported.length === 0) return
      keys = new Keys(imported)
      confirmedAt = entry.value.confirmedAt
      log.warn({ issuer: name, confirmedAt }, 'the last good keys of the issuer are used')
    } catch (error) {
      log.warn({ issuer: name, err: error }, 'the last good keys of the issuer could not be read')
    }
  }

  function unavailable(): KeyLookup {
    const seconds = Math.max(1, Math.ceil((pause() - elapsed(failedAt)) / 1_000))
    const problem = new Problem('issuer-unavailable', 'The keys of the token’s issuer cannot be had right now.', {
      cause: failure,
      fields: { 'Retry-After': String(Number.isFinite(seconds) ? seconds : 1) },
    })
    return { outcome: 'unavailable', problem }
  }

  function conclude(kid: string | undefined, algorithm: string): KeyLookup {
    const set = keys !== undefined && now() - confirmedAt < staleFor ? keys : undefined
    if (set === undefined) return unavailable()
    const lookup = set.find(kid, algorithm)
    if (lookup.outcome === 'found' || set.names(kid)) return lookup
    events?.unknownKey?.({ issuer: name })
    return failures > 0 ? unavailable() : lookup
  }

  async function concludeLater(kid: string | undefined, algorithm: string): Promise<KeyLookup> {
    await fetchOnce()
    return conclude(kid, algorithm)
  }

  return {
    find(kid, algorithm) {
      const set = usable()
      if (set === undefined) return pending || mayAsk() ? concludeLater(kid, algorithm) : conclude(kid, algorithm)
      const lookup = set.find(kid, algorithm)
      if (lookup.outcome === 'found' || set.names(kid)) return lookup
      if (pending) return concludeLater(kid, algorithm)
      if (elapsed(askedForUnknownAt) < cooldown || !mayAsk()) return conclude(kid, algorithm)
      askedForUnknownAt = now()
      return concludeLater(kid, algorithm)
    },
    holds: (key: VerificationKey) => usable()?.has(key) ?? false,
    refresh: fetchOnce,
  }
}

function describe(leftOut: readonly LeftOutKey[]): string {
  if (leftOut.length === 0) return 'it is empty'
  return leftOut.map(({ kid, reason }) => `${kid ?? 'a key without kid'} (${reason})`).join(', ')
}
