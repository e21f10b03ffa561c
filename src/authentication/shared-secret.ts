import { createSecretKey, hash, type KeyObject } from 'node:crypto'

/** How a secret is written: as the text it is, or encoded because its bytes are no text. */
export const secretEncodings = ['utf8', 'base64', 'base64url', 'hex'] as const
export type SecretEncoding = (typeof secretEncodings)[number]

/**
 * Why a text cannot be the secret of an HMAC, as a sentence for the operator; undefined when nothing speaks against it.
 * Whoever knows the secret is the issuer, and a token is all that is needed to try guesses at leisure (RFC 8725 §3.5).
 * No message repeats any part of the secret.
 */
export function complainAboutSecret(secret: string, encoding: SecretEncoding, shortest: number): string | undefined {
  if (/-----BEGIN|^ssh-|"kty"/.test(secret))
    return 'this is the text of a key; published as a public key it would let everybody sign. For signatures by key pairs use the issuer type "oidc"'
  if (secret !== secret.trim()) return 'begins or ends with white space, perhaps from the end of a file; remove it'
  const bytes = Buffer.from(secret, encoding)
  if (encoding !== 'utf8' && bytes.toString(encoding).replace(/=+$/, '') !== secret.replace(/=+$/, ''))
    return `is not ${encoding}`
  if (bytes.length < shortest)
    return `has ${bytes.length} bytes; at least ${shortest} are needed for the algorithm (RFC 7518 §3.2). ${makeOne}`
  if (isUuid.test(secret)) return `is a UUID: an identifier, of at most 122 random bits. ${makeOne}`
  if (new Set(secret).size < fewestCharacters || repeats(secret)) return `repeats itself. ${makeOne}`
  if (publishedSecrets.has(hash('sha256', bytes, 'hex').slice(0, 16)))
    return `is published, in documentation or in a list of leaked secrets. ${makeOne}`
  return undefined
}

/** The secret as a key. The caller has asked `complainAboutSecret` first. */
export function secretKey(secret: string, encoding: SecretEncoding): KeyObject {
  return createSecretKey(Buffer.from(secret, encoding))
}

const makeOne = 'Make one with: openssl rand -base64 64'
const fewestCharacters = 8
const isUuid = /^[0-9a-f]{8}(?:-[0-9a-f]{4}){3}-[0-9a-f]{12}$/i

/** Whether the text is one piece written several times. */
function repeats(text: string): boolean {
  return text.repeat(2).indexOf(text, 1) < text.length
}

/**
 * SHA-256 (first 16 digits) of secrets that are long enough and yet known to everybody: those of jwt.io, RFC 7515 and
 * RFC 7520, jose, FastAPI, Supabase, PostgREST, Hasura and a much copied Spring tutorial, and some of the collection
 * github.com/wallarm/jwt-secrets (MIT). Shorter ones are refused for their length.
 */
const publishedSecrets: ReadonlySet<string> = new Set([
  '0330b11998cbc9ab',
  '06ad648964b9c9e3',
  '136cb1c5a79bc9d9',
  '1453cea2dc3799e9',
  '2b9385d2211362ab',
  '3354cfcf65c7b2e6',
  '346df5e2ba53c02a',
  '3d783c5fdea98752',
  '44ccb42332efb3cf',
  '456216ab33bab7d7',
  '465d9ad5d5528ebe',
  '4cb1f87cb2872279',
  '4d0f8dec4515d07a',
  '570dad43de1af4c9',
  '707e375e1e99a840',
  '730d21a80e61a8de',
  '73ec74458059c70c',
  '84746216d50798a8',
  '85206752b8bebe99',
  '8b1b17a9740c068a',
  '8c174ccfb1e120a3',
  '94d2f2cff66c99ed',
  '984a4c60f04b8a31',
  '9fd1455f68817fa5',
  'a064b502e61d27e9',
  'a61a43becb2dcd9b',
  'ac3e27adb200f9dc',
  'ad51da9da129a0aa',
  'b3f6f5d4f9cee4e9',
  'c8ecc9361a05e285',
  'cc393548f1bf19e1',
  'd43cd52192ae10eb',
  'd4ae8403cdbd0257',
  'd5d95dbd40753770',
  'db6833593279d737',
  'ee69a49f86b4f57b',
  'ef1ca7491dee871b',
  'efa6f5d24ecc2fb5',
  'f575e55fd6b918da',
  'fd4dec75abc2df7e',
])
