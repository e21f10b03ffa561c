import {
  createPrivateKey,
  createPublicKey,
  generateKeyPairSync,
  type JsonWebKey,
  type KeyObject,
  randomUUID,
  sign,
} from 'node:crypto'
import { calculateJwkThumbprint } from 'jose/jwk/thumbprint'
import type { Caller } from '../authentication/caller.ts'
import type { Json, Store } from '../store/store.ts'

/**
 * Makes the gateway's own tokens for the services (ES256, RFC 7518 §3.4). Their issuer is not the one at `/oauth2`,
 * and no scheme can believe it: what the gateway says to a service never comes back in as a user's token.
 */
export interface Minter {
  /** `iss` of the tokens. */
  readonly issuer: string
  /** JWK Set with the public keys (RFC 7517 §5), for `/.well-known/gateway/jwks.json`. */
  readonly keys: { readonly keys: readonly JsonWebKey[] }
  /** A compact JWS for one service, good for `lifetime` milliseconds. */
  mint(caller: Caller, audience: string, lifetime: number): string
}

const collection = 'minter'
const current = 'es256'

/** Milliseconds; after a minute the next loss of the connection begins it anew. */
const tryAgainAfter = 250
const mostAttempts = 240

/** The key is made once and kept in the store, so that every instance signs with the same one. */
export async function createMinter(publicUrl: string, store: Store, now: () => number): Promise<Minter> {
  const privateKey = await loadKey(store)
  const jwk = createPublicKey(privateKey).export({ format: 'jwk' })
  const kid = await calculateJwkThumbprint(jwk as Parameters<typeof calculateJwkThumbprint>[0])
  const header = encode({ alg: 'ES256', typ: 'JWT', kid })
  const issuer = `${publicUrl}/.well-known/gateway`
  const kept = privateKey.export({ format: 'jwk' }) as Json
  store.subscribe(
    collection,
    () => {},
    () => giveBack(),
  )

  /**
   * A store that came back empty gets the key back, before an instance that starts later makes another. It may be heard
   * of before it takes anything, so it is tried until it does.
   */
  function giveBack(attempt = 0): void {
    store.create(collection, current, kept).catch(() => {
      if (attempt < mostAttempts) setTimeout(giveBack, tryAgainAfter, attempt + 1).unref()
    })
  }

  return {
    issuer,
    keys: { keys: [{ ...jwk, kid, use: 'sig', alg: 'ES256' }] },
    mint(caller, audience, lifetime) {
      const seconds = Math.floor(now() / 1_000)
      const claims = {
        iss: issuer,
        aud: audience,
        sub: caller.subject,
        iat: seconds,
        nbf: seconds,
        exp: seconds + Math.ceil(lifetime / 1_000),
        jti: randomUUID(),
        auth_method: caller.method,
        client_id: caller.clientId,
        email: caller.email,
        organization: caller.organization,
        roles: caller.roles,
        permissions: caller.permissions,
        scope: caller.scopes.length > 0 ? caller.scopes.join(' ') : undefined,
        auth_issuer: caller.issuer || undefined,
      }
      const content = `${header}.${encode(claims)}`
      const signature = sign('sha256', Buffer.from(content), { key: privateKey, dsaEncoding: 'ieee-p1363' })
      return `${content}.${signature.toString('base64url')}`
    },
  }
}

async function loadKey(store: Store): Promise<KeyObject> {
  const fresh = generateKeyPairSync('ec', { namedCurve: 'P-256' }).privateKey.export({ format: 'jwk' })
  const mine = await store.create(collection, current, fresh as Json)
  const jwk = mine ? fresh : (await store.get(collection, current))!.value
  return createPrivateKey({ key: jwk as JsonWebKey, format: 'jwk' })
}

function encode(value: object): string {
  return Buffer.from(JSON.stringify(value)).toString('base64url')
}
