import { createHmac } from 'node:crypto'
import type { Attempt } from './relying-party.ts'

/**
 * What a browser remembers while it signs in at an issuer, as the value of one cookie: for each attempt a secret and
 * the path to return to. State, nonce and verifier follow from the secret, so an answer of the issuer can only be used
 * by the browser that asked for it, and the gateway keeps nothing for those who never come back.
 *
 * Several tabs may sign in at once; the oldest attempts make way.
 */
export interface PendingSignIn extends Attempt {
  readonly returnTo: string
  /** The attempt as it stands in the cookie. */
  readonly text: string
}

const mostAttempts = 4
/** Together with its name and attributes a cookie has at most 4,096 bytes (RFC 6265bis §5.5). */
const longestValue = 3_500
const form = /^([\w-]{43})\.([\w-]*)$/

export function newAttempt(returnTo: string, random: (bytes: number) => Buffer): PendingSignIn {
  return read(`${random(32).toString('base64url')}.${Buffer.from(returnTo).toString('base64url')}`)!
}

/** The value of the cookie with a further attempt. */
export function withAttempt(value: string, { text }: PendingSignIn): string {
  const kept = [text]
  for (const other of attemptsOf(value)) {
    if (kept.length === mostAttempts || [...kept, other].join('~').length > longestValue) break
    kept.push(other)
  }
  return kept.join('~')
}

/** The value of the cookie without an attempt; empty when it was the last one. */
export function withoutAttempt(value: string, { text }: PendingSignIn): string {
  return attemptsOf(value)
    .filter((other) => other !== text)
    .join('~')
}

/** The attempt that a `state` belongs to. */
export function findAttempt(value: string, state: string): PendingSignIn | undefined {
  return attemptsOf(value)
    .map(read)
    .find((attempt) => attempt?.state === state)
}

function attemptsOf(value: string): readonly string[] {
  return value
    .split('~')
    .filter((text) => form.test(text))
    .slice(0, mostAttempts)
}

function read(text: string): PendingSignIn | undefined {
  const [, secret, path] = form.exec(text) ?? []
  if (secret === undefined || path === undefined) return undefined
  const derive = (purpose: string) => createHmac('sha256', secret).update(purpose).digest('base64url')
  return {
    state: derive('state'),
    nonce: derive('nonce'),
    verifier: derive('verifier'),
    returnTo: Buffer.from(path, 'base64url').toString('utf8'),
    text,
  }
}
