import { createHash } from 'node:crypto'
import type { Caller } from '../authentication/caller.ts'

/** Claims that are of one token only. */
const passing: ReadonlySet<string> = new Set([
  'iat',
  'exp',
  'nbf',
  'jti',
  'auth_time',
  'at_hash',
  'nonce',
  'sid',
  'uti',
])

/**
 * Returns the function that names whose answers are kept apart: equal for everything that a service could not tell apart,
 * which is who calls, with which rights and claims, and the service's own cookies. A new token of the same caller is
 * the same partition; one with another role is another.
 */
export function createPartitions(): (caller: Caller, cookies: string) => string {
  // One caller object serves every request that shows the same credential.
  const known = new WeakMap<Caller, string>()

  return function partitionOf(caller, cookies) {
    let name = known.get(caller)
    if (name === undefined) {
      name = digest(JSON.stringify(lastingPartOf(caller)))
      known.set(caller, name)
    }
    return cookies === '' ? name : `${name} ${digest(cookies)}`
  }
}

function lastingPartOf(caller: Caller) {
  const { subject, issuer, clientId, name, email, organization, roles, permissions, scopes, method, claims } = caller
  const lasting = Object.entries(claims).filter(([claim]) => !passing.has(claim))
  return [subject, issuer, clientId, name, email, organization, roles, permissions, scopes, method, lasting]
}

function digest(text: string): string {
  return createHash('sha256').update(text).digest('base64url')
}
