/**
 * What the gateway must remember: issuer state, API keys, revocations, last good documents and key sets.
 * One contract, one test suite (`test/contracts/store.ts`), several implementations.
 *
 * Collections and channels are named in the code, with letters, digits, "." and "-"; keys and groups are any text.
 * An outage surfaces as `StoreUnavailable`; nothing here waits longer than 250 ms for a remote store.
 */
export interface Store {
  /** False when everything is forgotten as soon as the process ends. */
  readonly durable: boolean
  get<T extends Json = Json>(collection: string, key: string): Promise<Entry<T> | undefined>
  /** Create or replace. */
  put(collection: string, key: string, value: Json, options?: WriteOptions): Promise<void>
  /** Create only; false when the key already exists (and has not expired). Atomic. */
  create(collection: string, key: string, value: Json, options?: WriteOptions): Promise<boolean>
  /** Replace only while the entry still has `revision`; false when somebody was faster or it is gone. Atomic. */
  replace(collection: string, key: string, revision: number, value: Json, options?: WriteOptions): Promise<boolean>
  /** False when there was nothing to delete. */
  delete(collection: string, key: string): Promise<boolean>
  /** Delete every entry of a collection that was written with this group. Returns how many. Atomic. */
  deleteGroup(collection: string, group: string): Promise<number>
  /** All living entries of a collection (of one group), ordered by key. */
  list<T extends Json = Json>(collection: string, options?: { readonly group?: string }): Promise<Entry<T>[]>
  /** Tell every instance that shares the store, this one included, about something; best effort, within 1 s. */
  publish(channel: string, message: Json): Promise<void>
  /**
   * Hear what is published. Returns how to stop. `missed` is called whenever messages may have passed unheard: once
   * the subscription stands, where that takes time, and after every lost connection. Reload then what they announce.
   */
  subscribe(channel: string, listener: (message: Json) => void, missed?: () => void): () => void
  /** Rejects with `StoreUnavailable` when the store cannot answer. */
  ping(): Promise<void>
  close(): Promise<void>
}

export type Json = null | boolean | number | string | readonly Json[] | { readonly [key: string]: Json | undefined }

export interface Entry<T extends Json = Json> {
  readonly key: string
  /** Read only: it may be frozen. Whoever hands it to something that writes into it makes a copy. */
  readonly value: T
  /** Grows with every write of the entry. */
  readonly revision: number
  /** Seconds since the epoch; absent when the entry never expires. */
  readonly expiresAt?: number
  readonly group?: string
}

export interface WriteOptions {
  /** Seconds since the epoch; the entry is gone from then on. */
  readonly expiresAt?: number
  /** Entries of one collection that can be deleted together, such as the tokens of one grant. */
  readonly group?: string
}

/** The store did not answer in time or at all. `cause` says why, for the log. */
export class StoreUnavailable extends Error {
  /** It stays so until somebody mends it: asking again is of no use. */
  readonly lasting: boolean

  constructor(message: string, { lasting = false, ...options }: ErrorOptions & { readonly lasting?: boolean } = {}) {
    super(message, options)
    this.name = 'StoreUnavailable'
    this.lasting = lasting
  }
}

/** Several processes were to share a store that is one process's own. */
export class CannotShare extends Error {
  constructor(message: string) {
    super(message)
    this.name = 'CannotShare'
  }
}
