import { errors } from 'oidc-provider'
import { orOutage } from './adapter.ts'
import type { Attempts } from './attempts.ts'
import type { Turnstile } from './turnstile.ts'
import type { User, Users } from './users.ts'

export type SignIn =
  | { readonly outcome: 'right'; readonly user: User }
  /** Says nothing about whether there is such a user. */
  | { readonly outcome: 'wrong' }
  /** `retryAfter` in seconds. */
  | { readonly outcome: 'refused'; readonly reason: 'attempts' | 'busy'; readonly retryAfter: number }
  | { readonly outcome: 'malformed' }

/** Longer is no password; hashing it would be the sender's way to keep us busy. */
const longestPassword = 1_024
const longestUsername = 256

/** Checks a user name and a password: for the sign-in page and for the password grant, with one count of attempts. */
export function createSignIn(users: Users, attempts: Attempts, turnstile: Turnstile) {
  return async function signIn(username: string, password: string, address: string): Promise<SignIn> {
    if (!username || !password || username.length > longestUsername || Buffer.byteLength(password) > longestPassword)
      return { outcome: 'malformed' }
    const attempt = await orOutage(attempts.begin(username, address))
    if (attempt.outcome === 'refused') return { outcome: 'refused', reason: 'attempts', retryAfter: attempt.retryAfter }
    const verified = turnstile.pass(() => users.verify(username, password))
    if (!verified) return { outcome: 'refused', reason: 'busy', retryAfter: 1 }
    const user = await verified
    if (!user) return { outcome: 'wrong' }
    await orOutage(attempt.succeeded())
    return { outcome: 'right', user }
  }
}

export type SignInCheck = ReturnType<typeof createSignIn>

/** What a sign-in that was refused is answered with at the token endpoint. */
export class SignInRefused extends errors.OIDCProviderError {
  constructor(reason: 'attempts' | 'busy') {
    const tooMany = reason === 'attempts'
    super(tooMany ? 429 : 503, tooMany ? 'too_many_attempts' : 'temporarily_unavailable')
    this.expose = true
    this.error_description = tooMany
      ? 'too many attempts to sign in; wait'
      : 'too many people sign in just now; try again'
  }
}
