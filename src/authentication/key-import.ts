import { createPublicKey, type KeyObject } from 'node:crypto'
import type { JWK } from 'jose'
import { algorithms, type PublicAlgorithm } from './algorithms.ts'

/** A key that may verify tokens, bound to exactly one algorithm (RFC 8725 §3.1). */
export interface VerificationKey {
  readonly kid: string | undefined
  readonly algorithm: string
  readonly key: KeyObject
  /** Equal for equal keys: lets a refreshed set keep the objects it has, and with them what engines remember. */
  readonly fingerprint: string
}

/** A key of a published set that is left out, for the log. */
export interface LeftOutKey {
  readonly kid: string | undefined
  readonly reason: LeftOutReason
}

export type LeftOutReason =
  | 'not an object'
  | 'symmetric'
  | 'private members'
  | 'not for signatures'
  | 'unknown key type'
  | 'algorithm not listed for the issuer'
  | 'algorithm does not fit the key'
  | 'malformed'
  | 'RSA key below 2048 bits'
  | 'RSA key above 8192 bits'
  | 'RSA exponent'
  | 'RSA key made by a weak generator'
  | 'kid names two keys'

export interface ImportedKeys {
  readonly keys: readonly VerificationKey[]
  readonly leftOut: readonly LeftOutKey[]
}

const mostKeys = 100
const privateMembers = ['d', 'p', 'q', 'dp', 'dq', 'qi', 'oth', 'k', 'priv']

/**
 * The usable keys of a JWK Set (RFC 7517 §5). Keys we must not use are left out, so that one strange key does not take
 * the issuer down with it. Throws a TypeError when the document is no key set at all, or an absurd one.
 *
 * 1. No shared secrets and no private members: whoever can read the set could sign.
 * 2. `use` and `key_ops` must allow verification (§4.2, §4.3).
 * 3. One algorithm for each key: its own `alg`, or else the first of the issuer's that fits it. Key type, curve and
 *    algorithm must fit together (RFC 7518 §3.1).
 * 4. RSA from 2,048 to 8,192 bits, an odd exponent above 1, not from the generator of CVE-2017-15361.
 * 5. A `kid` that names two different keys names neither (§4.5).
 */
export function importKeys(document: unknown, allowed: readonly PublicAlgorithm[]): ImportedKeys {
  const jwks = isObject(document) ? document['keys'] : undefined
  if (!Array.isArray(jwks)) throw new TypeError('a key set is an object with a list named "keys"')
  if (jwks.length > mostKeys) throw new TypeError(`a key set with ${jwks.length} keys; at most ${mostKeys} are read`)

  const keys: VerificationKey[] = []
  const leftOut: LeftOutKey[] = []
  for (const jwk of jwks) {
    const imported = importKey(jwk, allowed)
    const kid = isObject(jwk) && typeof jwk['kid'] === 'string' ? jwk['kid'] : undefined
    if (typeof imported === 'string') leftOut.push({ kid, reason: imported })
    else if (!keys.some(({ fingerprint }) => fingerprint === imported.fingerprint)) keys.push(imported)
  }

  // 5.
  const counts = new Map<string, number>()
  for (const { kid } of keys) if (kid !== undefined) counts.set(kid, (counts.get(kid) ?? 0) + 1)
  for (const [kid, count] of counts) if (count > 1) leftOut.push({ kid, reason: 'kid names two keys' })
  return { keys: keys.filter(({ kid }) => kid === undefined || counts.get(kid) === 1), leftOut }
}

/** The keys as a JWK Set again, public members only; `importKeys` reads it. */
export function exportKeys(keys: readonly VerificationKey[]): { readonly keys: readonly JWK[] } {
  return {
    keys: keys.map(({ key, kid, algorithm }) => ({
      ...(key.export({ format: 'jwk' }) as JWK),
      ...(kid !== undefined && { kid }),
      alg: algorithm,
    })),
  }
}

function importKey(jwk: unknown, allowed: readonly PublicAlgorithm[]): VerificationKey | LeftOutReason {
  if (!isObject(jwk)) return 'not an object'
  const { kty, use, key_ops: operations, alg, kid } = jwk

  // 1.
  if (kty === 'oct') return 'symmetric'
  if (privateMembers.some((name) => Object.hasOwn(jwk, name))) return 'private members'
  // 2.
  if (use !== undefined && use !== 'sig') return 'not for signatures'
  if (operations !== undefined && !(Array.isArray(operations) && operations.includes('verify')))
    return 'not for signatures'
  if (kid !== undefined && typeof kid !== 'string') return 'malformed'
  // 3.
  const form = formOf(jwk)
  if (form === undefined) return 'unknown key type'
  const fitting = allowed.filter((name) => algorithms[name].key === form)
  if (alg !== undefined) {
    if (!allowed.includes(alg as PublicAlgorithm)) return 'algorithm not listed for the issuer'
    if (!fitting.includes(alg as PublicAlgorithm)) return 'algorithm does not fit the key'
  }
  const algorithm = (alg as PublicAlgorithm | undefined) ?? fitting[0]
  if (algorithm === undefined) return 'algorithm not listed for the issuer'

  const members = publicMembers[kty as keyof typeof publicMembers]
  if (!members.every((name) => isBase64url(jwk[name]))) return 'malformed'
  if (kty === 'EC' && !(hasBytes(jwk['x'], form) && hasBytes(jwk['y'], form))) return 'malformed'
  let key: KeyObject
  try {
    // OpenSSL refuses points that are not on the curve.
    key = createPublicKey({
      key: Object.fromEntries(['kty', ...members].map((name) => [name, jwk[name]])),
      format: 'jwk',
    })
  } catch {
    return 'malformed'
  }
  // 4.
  if (form === 'rsa') {
    const weakness = weaknessOf(key, jwk)
    if (weakness) return weakness
  }
  const der = key.export({ type: 'spki', format: 'der' }).toString('base64')
  return { kid, algorithm, key, fingerprint: `${algorithm} ${JSON.stringify(kid)} ${der}` }
}

const publicMembers = { RSA: ['n', 'e'], EC: ['crv', 'x', 'y'], OKP: ['crv', 'x'] } as const

function formOf({ kty, crv }: Readonly<Record<string, unknown>>) {
  if (kty === 'RSA') return 'rsa'
  if (kty === 'EC' && (crv === 'P-256' || crv === 'P-384' || crv === 'P-521')) return crv
  if (kty === 'OKP' && crv === 'Ed25519') return crv
  return undefined
}

/** RFC 7518 §6.2.1.2: a coordinate has the full length of the curve's field. */
const coordinateBytes: Readonly<Record<string, number>> = { 'P-256': 32, 'P-384': 48, 'P-521': 66 }

function hasBytes(coordinate: unknown, curve: string): boolean {
  return Buffer.byteLength(coordinate as string, 'base64url') === coordinateBytes[curve]
}

function weaknessOf(key: KeyObject, jwk: Readonly<Record<string, unknown>>): LeftOutReason | undefined {
  const { modulusLength = 0, publicExponent = 0n } = key.asymmetricKeyDetails ?? {}
  if (modulusLength < 2_048) return 'RSA key below 2048 bits'
  // Above, checking one signature takes long enough to be an attack.
  if (modulusLength > 8_192) return 'RSA key above 8192 bits'
  // With e = 1 every text is its own signature.
  if (publicExponent < 3n || publicExponent % 2n === 0n || publicExponent >= 1n << 64n) return 'RSA exponent'
  const modulus = BigInt(`0x${Buffer.from(jwk['n'] as string, 'base64url').toString('hex')}`)
  if (hasRocaFingerprint(modulus)) return 'RSA key made by a weak generator'
  return undefined
}

const smallPrimes = [
  3, 5, 7, 11, 13, 17, 19, 23, 29, 31, 37, 41, 43, 47, 53, 59, 61, 67, 71, 73, 79, 83, 89, 97, 101, 103, 107, 109, 113,
  127, 131, 137, 139, 149, 151, 157, 163, 167,
]

/**
 * The mark of the RSA generator in Infineon's chips (CVE-2017-15361, "ROCA"): modulo every small prime, the modulus
 * is a power of 65537. By chance this happens once in 2^150 keys; with it, 2,048 bits can be factored.
 */
function hasRocaFingerprint(modulus: bigint): boolean {
  return smallPrimes.every((prime) => {
    const remainder = Number(modulus % BigInt(prime))
    for (let power = 1, exponent = 0; exponent < prime; exponent += 1) {
      if (power === remainder) return true
      power = (power * 65_537) % prime
    }
    return false
  })
}

function isObject(value: unknown): value is Record<string, unknown> {
  return value !== null && typeof value === 'object' && !Array.isArray(value)
}

function isBase64url(value: unknown): boolean {
  return typeof value === 'string' && /^[\w-]+$/.test(value)
}
