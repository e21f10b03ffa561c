import { createHash, createHmac } from 'node:crypto'
import { type Adapter, type AdapterPayload, errors } from 'oidc-provider'
import { type Entry, type Json, type Store, StoreUnavailable } from '../store/store.ts'

/** The store cannot answer: a 503 that OAuth clients understand as "later" (RFC 6749 §4.1.2.1). */
export class StoreOutage extends errors.OIDCProviderError {
  constructor(cause: unknown) {
    super(503, 'temporarily_unavailable', { cause: cause as Error })
    this.expose = true
    this.error_description = 'the authorization server cannot reach its store; try again shortly'
  }
}

/** Store calls inside oidc-provider, which answers whatever it does not know with a 500. */
export async function orOutage<T>(call: Promise<T>): Promise<T> {
  try {
    return await call
  } catch (error) {
    throw error instanceof StoreUnavailable ? new StoreOutage(error) : error
  }
}

interface Kept {
  readonly payload: AdapterPayload
  /** Milliseconds since the epoch. */
  readonly consumedAt?: number
}

/** Milliseconds after which a successor that is not there was lost, not just on its way. */
const savingTakes = 5_000

export interface AdapterOptions {
  /** How long a used refresh token answers once more, milliseconds. */
  readonly refreshGrace: number
  /** The refresh token that follows another: always the same one. */
  successor(token: string): string
  now(): number
}

/**
 * oidc-provider's storage over ours. Names of entries are digests, and the payload is kept without the token it belongs
 * to: whoever reads the store cannot act as anybody.
 *
 * A refresh token can be used up once. `consume` is a single compare-and-set and throws when somebody was faster;
 * a mere "mark as used", as the library's template has it, let two of two parallel requests win in 166 of 200 tries.
 * The successor is derived from the token, so it is the same however often, on whichever instance, and after whatever
 * crash it is asked for: within `refreshGrace` a used token gives it again, and there is never a second descendant.
 * A token whose successor was never kept counts as unused, because nobody can have received that successor.
 */
export function createAdapters(store: Store, { refreshGrace, successor, now }: AdapterOptions) {
  return (model: string): Adapter => {
    const collection = `issuer.${model}`
    const byUid = `${collection}.uid`

    const get = (id: string) => orOutage(store.get(collection, digest(id))) as Promise<Entry<Json> | undefined>
    // The library writes into what it is given; what a store gives may be what it keeps.
    const keptIn = (entry: Entry<Json>) => structuredClone(entry.value) as unknown as Kept

    async function isReusable(id: string, { consumedAt }: Kept): Promise<boolean> {
      if (model !== 'RefreshToken' || consumedAt === undefined) return false
      if (now() < consumedAt + refreshGrace) return true
      return now() >= consumedAt + savingTakes && (await get(successor(id))) === undefined
    }

    return {
      async upsert(id, payload, expiresIn) {
        const options = {
          ...(expiresIn !== undefined && { expiresAt: Math.floor(now() / 1_000) + expiresIn }),
          ...(payload.grantId !== undefined && { group: payload.grantId }),
        }
        const value = { payload: withoutSecrets(payload) } as unknown as Json
        if (model === 'RefreshToken') {
          // Never over a successor that is there, for it may have been used since.
          await orOutage(store.create(collection, digest(id), value, options))
          return
        }
        await orOutage(store.put(collection, digest(id), value, options))
        if (payload.uid !== undefined && model === 'Session') {
          await orOutage(store.put(byUid, payload.uid, digest(id), options))
        }
      },

      async find(id) {
        const entry = await get(id)
        if (!entry) return undefined
        const kept = keptIn(entry)
        const used = kept.consumedAt !== undefined && !(await isReusable(id, kept))
        return { ...kept.payload, jti: id, ...(used && { consumed: Math.floor(kept.consumedAt! / 1_000) }) }
      },

      async findByUid(uid) {
        const reference = await orOutage(store.get<string>(byUid, uid))
        const entry = reference && (await orOutage(store.get(collection, reference.value)))
        // A session found by its uid is only looked at, so it need not know its own id.
        return entry ? keptIn(entry as Entry<Json>).payload : undefined
      },

      // For the device flow, which is not offered.
      findByUserCode: async () => undefined,

      async consume(id) {
        for (;;) {
          const entry = await get(id)
          if (!entry) throw new errors.InvalidGrant('the token is gone')
          const kept = keptIn(entry)
          if (kept.consumedAt !== undefined && !(await isReusable(id, kept)))
            throw new errors.InvalidGrant('somebody else was faster')
          const again = kept.consumedAt !== undefined && now() < kept.consumedAt + refreshGrace
          // The grace runs from the first use on.
          if (again) return
          const used = { ...kept, consumedAt: now() } as unknown as Json
          const { expiresAt, group } = entry
          const options = { ...(expiresAt !== undefined && { expiresAt }), ...(group !== undefined && { group }) }
          if (await orOutage(store.replace(collection, digest(id), entry.revision, used, options))) return
        }
      },

      async destroy(id) {
        await orOutage(store.delete(collection, digest(id)))
      },

      async revokeByGrantId(grantId) {
        await orOutage(store.deleteGroup(collection, grantId))
      },
    }
  }
}

/** A function that gives every refresh token its one successor; only who has the secret can compute it. */
export function successorsBy(secret: () => Buffer): (token: string) => string {
  return (token) => createHmac('sha256', secret()).update(token).digest('base64url')
}

function digest(id: string): string {
  return createHash('sha256').update(id).digest('base64url')
}

function withoutSecrets({ jti: _jti, session, ...payload }: AdapterPayload): AdapterPayload {
  if (session === undefined) return payload
  const { cookie: _cookie, ...rest } = session as typeof session & { cookie?: string }
  return { ...payload, session: rest as NonNullable<AdapterPayload['session']> }
}
