import { isIPv4, isIPv6 } from 'node:net'
import type { Caller } from '../authentication/caller.ts'

/** Who or what a rate is counted for. `caller` is absent before anybody is known. */
export interface Counted {
  readonly address: string
  readonly caller?: Caller
  readonly route: string
}

/**
 * What `by` may say besides `claim:<name>`. Each yields the key of a bucket. A guest is told apart by its address, and
 * who lacks the credential, organization or claim that is asked for, by who it is.
 */
const partitions = {
  address: ({ address }) => networkOf(address),
  caller: (counted) => callerKey(counted),
  key: (counted) =>
    counted.caller?.tokenId === undefined
      ? callerKey(counted)
      : tagged('key', counted.caller.issuer, counted.caller.tokenId),
  organization: (counted) =>
    counted.caller?.organization === undefined
      ? callerKey(counted)
      : tagged('organization', counted.caller.issuer, counted.caller.organization),
  route: ({ route }) => route,
} as const satisfies Record<string, (counted: Counted) => string>

export type PartitionName = keyof typeof partitions | `claim:${string}`

export const partitionNames = Object.keys(partitions) as (keyof typeof partitions)[]

/** The key of the bucket a request takes from. */
export function partitionBy(by: PartitionName): (counted: Counted) => string {
  if (!by.startsWith('claim:')) return partitions[by as keyof typeof partitions]
  const claim = by.slice('claim:'.length)
  return function byClaim(counted) {
    const claims = counted.caller?.claims ?? {}
    const value = Object.hasOwn(claims, claim) ? claims[claim] : undefined
    if (typeof value !== 'string' && typeof value !== 'number') return callerKey(counted)
    return tagged('claim', counted.caller!.issuer, String(value))
  }
}

function callerKey({ caller, address }: Counted): string {
  return caller === undefined || caller.method === 'none'
    ? tagged('guest', '', networkOf(address))
    : tagged('caller', caller.issuer, caller.subject)
}

/** One text of three, unambiguous: an issuer is trusted, but a subject may hold any character. */
function tagged(kind: string, issuer: string, name: string): string {
  return `${kind} ${issuer.length} ${issuer} ${name}`
}

/**
 * The network that one customer is given: an IPv4 address, or the first 64 bits of an IPv6 address, of which anybody
 * with a connection has 2^64 (RFC 6177). An IPv4 address in IPv6 clothing is an IPv4 address (RFC 4291 §2.5.5.2).
 */
export function networkOf(address: string): string {
  if (isIPv4(address) || !isIPv6(address)) return address
  const mapped = /^::ffff:(\d+\.\d+\.\d+\.\d+)$/i.exec(address)
  if (mapped) return mapped[1]!
  const [head = '', tail] = address.split('::', 2)
  const leading = head === '' ? [] : head.split(':')
  const trailing = tail === undefined || tail === '' ? [] : tail.split(':')
  // An IPv4 address at the end stands for two groups.
  const given = leading.length + trailing.length + (address.includes('.') ? 1 : 0)
  const groups = [...leading, ...Array<string>(8 - given).fill('0'), ...trailing]
  return `${groups
    .slice(0, 4)
    .map((group) => Number.parseInt(group, 16).toString(16))
    .join(':')}::/64`
}
