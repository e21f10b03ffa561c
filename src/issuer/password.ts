import { type Argon2Parameters, argon2, randomBytes, timingSafeEqual } from 'node:crypto'
import { promisify } from 'node:util'

const derive = promisify(argon2) as (algorithm: 'argon2id', parameters: Argon2Parameters) => Promise<Buffer>

/** OWASP's smallest recommendation: 19 MiB, two passes, one lane. About 30 ms of one core. */
const recommended = { memory: 19_456, passes: 2, parallelism: 1 } as const
const saltLength = 16
const tagLength = 32

/** What one verification may cost: a users file must not be able to stop the gateway. */
const most = { memory: 262_144, passes: 10, parallelism: 8 } as const

interface PasswordHash {
  readonly memory: number
  readonly passes: number
  readonly parallelism: number
  readonly salt: Buffer
  readonly tag: Buffer
}

// PHC string format: $argon2id$v=19$m=<KiB>,t=<passes>,p=<lanes>$<salt>$<tag>, unpadded base64.
const form = /^\$argon2id\$v=19\$m=(\d{1,7}),t=(\d{1,2}),p=(\d{1,2})\$([A-Za-z0-9+/]{11,86})\$([A-Za-z0-9+/]{22,86})$/

/** The argon2id hash of a password as a PHC string, for the users file. */
export async function hashPassword(password: string): Promise<string> {
  const salt = randomBytes(saltLength)
  const tag = await derive('argon2id', { ...recommended, message: bytesOf(password), nonce: salt, tagLength })
  const { memory, passes, parallelism } = recommended
  return `$argon2id$v=19$m=${memory},t=${passes},p=${parallelism}$${unpadded(salt)}$${unpadded(tag)}`
}

/** Undefined when the text is no argon2id hash, or one that would cost too much to check. */
export function parsePasswordHash(text: string): PasswordHash | undefined {
  const match = form.exec(text)
  if (!match) return undefined
  const [memory, passes, parallelism] = match.slice(1, 4).map(Number) as [number, number, number]
  if (memory > most.memory || passes > most.passes || parallelism > most.parallelism) return undefined
  // RFC 9106 §3.1.
  if (passes < 1 || parallelism < 1 || memory < 8 * parallelism) return undefined
  const [salt, tag] = match.slice(4, 6).map((part) => Buffer.from(part, 'base64')) as [Buffer, Buffer]
  return { memory, passes, parallelism, salt, tag }
}

/** Takes the same time whether the password is right or wrong. */
export async function verifyPassword({ salt, tag, ...cost }: PasswordHash, password: string): Promise<boolean> {
  const derived = await derive('argon2id', {
    ...cost,
    message: bytesOf(password),
    nonce: salt,
    tagLength: tag.length,
  })
  return timingSafeEqual(derived, tag)
}

/** RFC 8265 §4.2: one spelling of what looks the same. */
export function bytesOf(password: string): Buffer {
  return Buffer.from(password.normalize('NFC'))
}

function unpadded(bytes: Buffer): string {
  return bytes.toString('base64').replace(/=+$/, '')
}
