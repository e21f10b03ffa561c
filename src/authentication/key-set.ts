import type { KeyObject } from 'node:crypto'
import type { Problem } from '../http/problem.ts'
import type { Log } from '../telemetry/log.ts'
import type { PublicAlgorithm, SecretAlgorithm } from './algorithms.ts'
import { importKeys, type VerificationKey } from './key-import.ts'

export type KeyLookup =
  | { readonly outcome: 'found'; readonly key: VerificationKey }
  /** The issuer has no such key, as far as it could be asked lately. */
  | { readonly outcome: 'unknown' }
  /** The issuer could not be asked, so nobody can say: a 503, never a 401. */
  | { readonly outcome: 'unavailable'; readonly problem: Problem }

/** The keys an issuer signs with, one set for each issuer: a `kid` means nothing beyond it (RFC 8725 §3.8). */
export interface KeySet {
  /**
   * The key that `kid` and `alg` of a token's header name together. A token without `kid` is believed only while the
   * set holds one single key. Synchronous unless the issuer must be asked first.
   */
  find(kid: string | undefined, algorithm: string): KeyLookup | Promise<KeyLookup>
  /** Whether a key that was found earlier is still in the set, and the set fresh enough to say so without asking. */
  holds(key: VerificationKey): boolean
}

const unknown: KeyLookup = Object.freeze({ outcome: 'unknown' })

/** The keys of a set by `kid`, at one moment. */
export class Keys {
  readonly all: readonly VerificationKey[]
  readonly #byKid: ReadonlyMap<string, KeyLookup>
  readonly #members: ReadonlySet<VerificationKey>
  readonly #single: KeyLookup

  constructor(keys: readonly VerificationKey[] = []) {
    this.all = keys
    const lookups = keys.map((key): KeyLookup => Object.freeze({ outcome: 'found', key }))
    this.#byKid = new Map(
      keys.flatMap(({ kid }, index) => (kid === undefined ? [] : [[kid, lookups[index]!] as const])),
    )
    this.#members = new Set(keys)
    this.#single = lookups.length === 1 ? lookups[0]! : unknown
  }

  find(kid: string | undefined, algorithm: string): KeyLookup {
    const lookup = kid === undefined ? this.#single : (this.#byKid.get(kid) ?? unknown)
    return lookup.outcome === 'found' && lookup.key.algorithm === algorithm ? lookup : unknown
  }

  /** Whether there is a key with this `kid`, for whatever algorithm: then asking the issuer again would not help. */
  names(kid: string | undefined): boolean {
    return kid === undefined ? this.all.length > 0 : this.#byKid.has(kid)
  }

  has(key: VerificationKey): boolean {
    return this.#members.has(key)
  }

  /** The same keys as `imported`, with the objects that are already here kept. */
  renewed(imported: readonly VerificationKey[]): Keys {
    return new Keys(imported.map((key) => this.all.find(({ fingerprint }) => fingerprint === key.fingerprint) ?? key))
  }
}

/** Public keys that are handed in: those of the built-in issuer, or of tests. */
export interface KeySource {
  /** Public JWKs; the keys that sign now and those that still verify. */
  keys(): readonly object[]
  /** Tells of every change; returns how to stop listening. */
  onChange(listener: () => void): () => void
}

/**
 * A key set without network: follows `source`. Keys for other algorithms than those of the access tokens, such as one
 * that only signs ID tokens, are left out. Throws a TypeError when none is left, which is a defect.
 */
export function localKeySet(
  source: KeySource,
  allowed: readonly PublicAlgorithm[],
  log: Log,
): KeySet & { close(): void } {
  let keys = new Keys()
  keys = read()
  const stop = source.onChange(() => {
    try {
      keys = read()
    } catch (error) {
      log.error({ err: error }, 'the new keys of the built-in issuer are not usable; the old ones stay')
    }
  })

  function read(): Keys {
    const { keys: imported, leftOut } = importKeys({ keys: source.keys() }, allowed)
    if (imported.length === 0) throw new TypeError(`no key of the built-in issuer is usable: ${leftOut[0]?.reason}`)
    return keys.renewed(imported)
  }

  return {
    find: (kid, algorithm) => keys.find(kid, algorithm),
    holds: (key) => keys.has(key),
    close: stop,
  }
}

/** The one secret that the gateway shares with an issuer. `kid` is checked only when the operator gave one. */
export function secretKeySet(secret: KeyObject, names: readonly SecretAlgorithm[], kid?: string): KeySet {
  const found = new Map<string, KeyLookup>(
    names.map((algorithm) => [
      algorithm,
      Object.freeze({ outcome: 'found', key: { kid, algorithm, key: secret, fingerprint: algorithm } }),
    ]),
  )
  return {
    find: (named, algorithm) => (kid === undefined || named === kid ? found.get(algorithm) : undefined) ?? unknown,
    holds: (key) => key.key === secret,
  }
}
