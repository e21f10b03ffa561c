import ipaddr from 'ipaddr.js'

/**
 * How far an address reaches (RFC 6890 and its registries):
 *
 * - `public`: anyone's;
 * - `private`: this machine or this network: loopback, RFC 1918, unique local, carrier-grade NAT;
 * - `never`: where nothing that a name stands for may be: link-local, which is where clouds keep their metadata,
 *   multicast, unspecified, reserved, and IPv6 forms that hide an IPv4 address.
 */
export type Reach = 'public' | 'private' | 'never'

const privateRanges = new Set(['loopback', 'private', 'uniqueLocal', 'carrierGradeNat'])

/** Addresses of metadata services that lie in private ranges. */
const metadata = new Set(['100.100.100.200', 'fd00:ec2::254', 'fd20:ce::254'])

/** `address` is a literal, without brackets; what is none never reaches anything. */
export function reachOf(address: string): Reach {
  // A zone only ever belongs to a link-local address.
  if (address.includes('%') || !ipaddr.isValid(address)) return 'never'
  const parsed = ipaddr.process(address)
  if (metadata.has(parsed.toString())) return 'never'
  const range = parsed.range()
  // ipaddr.js takes the deprecated IPv4-compatible form (RFC 4291 §2.5.5.1) for an ordinary address.
  if (parsed.kind() === 'ipv6' && (parsed as ipaddr.IPv6).parts.slice(0, 6).every((part) => part === 0)) {
    return range === 'loopback' ? 'private' : 'never'
  }
  if (range === 'unicast') return 'public'
  return privateRanges.has(range) ? 'private' : 'never'
}
