import { type Authentication, type Authenticator, absent } from '../../src/authentication/authenticator.ts'
import type { KeyHolder, KeyRing } from '../../src/authentication/key-ring.ts'
import { basicCredentials } from '../../src/http/credentials.ts'
import { Problem } from '../../src/http/problem.ts'

export interface BasicSettings {
  /** The name under `securitySchemes`. */
  readonly scheme: string
  /** Whose key it is. */
  readonly ring: KeyRing
  /** Milliseconds since the epoch. */
  readonly now: () => number
}

/** An API key as the user name of HTTP Basic (RFC 7617) with an empty password, as `curl -u "$KEY:"` sends it. */
export function createBasicAuthenticator({ scheme, ring, now }: BasicSettings): Authenticator {
  return {
    scheme,
    names: 'roles',
    location: { in: 'header', name: 'authorization' },
    explicit: true,
    challenge: 'Basic realm="sallyport", charset="UTF-8"',

    async authenticate(head) {
      const presented = basicCredentials(head.fields)
      if (presented.outcome === 'absent') return absent
      if (presented.outcome === 'malformed') {
        return { outcome: 'rejected', problem: presented.problem, reason: 'malformed' }
      }
      const { username, password } = presented.value
      if (password !== '') return rejected('password', 'The key is the user name; the password stays empty.')
      try {
        const verdict = await ring.find(username)
        if (verdict.outcome === 'refused') return rejected(verdict.reason, 'The API key is not valid.')
        const { expires } = verdict.holder
        if (expires !== undefined && now() / 1000 >= expires) return rejected('expired', 'The API key has expired.')
        return { outcome: 'accepted', caller: callerOf(verdict.holder, scheme), credential: username }
      } catch (cause) {
        const problem = new Problem('store-unavailable', 'API keys cannot be checked right now.', { cause })
        return { outcome: 'rejected', problem, reason: 'store-unavailable' }
      }
    },
  }
}

function rejected(reason: string, detail: string): Authentication {
  return { outcome: 'rejected', problem: new Problem('invalid-api-key', detail), reason }
}

function callerOf({ id, subject, roles, permissions, scopes }: KeyHolder, issuer: string) {
  const claims = { id, subject, roles, permissions, scopes }
  return { subject, issuer, roles, permissions, scopes, claims, method: 'api-key', tokenId: id } as const
}
