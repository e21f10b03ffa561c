import { BlockList, isIP, SocketAddress } from 'node:net'
import { isHost } from './host.ts'
import { Problem } from './problem.ts'
import type { Client, Fields } from './request-head.ts'

/** Who is at the far end of the proxies (RFC 7239 Forwarded, and the X-Forwarded-* fields it was made of), and telling the service. */

/** Longest chain of proxies that is followed. */
const mostHops = 32

/** Tells the client of a request. `peerAddress` is `socket.remoteAddress`; `encrypted` says whether the connection itself is TLS. */
export type ReadClient = (peerAddress: string | undefined, encrypted: boolean, fields: Fields) => Client

/**
 * `trustedProxies` are addresses and networks (`10.0.0.0/8`); one that is neither throws.
 *
 * The chain is read from the right, nearest proxy first, and an entry is believed only when the party that wrote it is a trusted
 * proxy (RFC 7239 §7.4, §8.1). Protocol and host are those that the outermost trusted proxy saw. What a trusted proxy does
 * not know (`unknown`, `_hidden`) ends the chain at that proxy. From any other peer nothing is believed.
 *
 * `readClient` throws a `Problem` when Forwarded is malformed, or names another client than X-Forwarded-For: then a proxy writes
 * one of the two and passes the other on from the client, and nobody can tell which.
 */
export function createClientReader(trustedProxies: readonly string[]): ReadClient {
  const trusted = new BlockList()
  for (const network of trustedProxies) addNetwork(trusted, network)
  const isTrusted = (address: string) => trusted.check(address, address.includes(':') ? 'ipv6' : 'ipv4')

  return function readClient(peerAddress, encrypted, fields) {
    const peer = plainAddress(peerAddress ?? '')
    const protocol = encrypted ? 'https' : 'http'
    const host = (fields.get('host') ?? '').toLowerCase()
    if (trustedProxies.length === 0 || isIP(peer) === 0 || !isTrusted(peer)) {
      return { address: peer, protocol, host, peer, viaTrustedProxy: false }
    }

    const forwardedFor = fields.get('x-forwarded-for')
    const forwarded = fields.get('forwarded')
    const elements = forwarded === undefined ? [] : parseForwarded(forwarded)
    const standard = follow(elements.map((element) => element.get('for') ?? ''))
    const customary = follow(members(forwardedFor))
    if (forwarded !== undefined && forwardedFor !== undefined && standard.address !== customary.address) {
      throw new Problem('bad-request', 'The fields Forwarded and X-Forwarded-For name different clients')
    }
    const { address, proxies } = forwarded === undefined ? customary : standard
    const outermost = Math.max(proxies.length, 1)
    const element = elements[outermost - 1]
    const claimedProtocol = element?.get('proto') ?? member(fields.get('x-forwarded-proto'), outermost)
    const claimedHost = element?.get('host') ?? member(fields.get('x-forwarded-host'), outermost)
    return {
      address,
      protocol: protocols[claimedProtocol?.toLowerCase() ?? ''] ?? protocol,
      host: claimedHost !== undefined && isHost(claimedHost) ? claimedHost.toLowerCase() : host,
      peer,
      viaTrustedProxy: true,
      proxies,
    }

    /** From the peer outwards; `nodes` has the entry that the peer wrote first. */
    function follow(nodes: readonly string[]): Pick<Client, 'address'> & { readonly proxies: readonly string[] } {
      const chain = [peer]
      for (const node of nodes) {
        const address = nodeAddress(node)
        if (address === undefined) break
        chain.unshift(address)
        if (!isTrusted(address)) break
      }
      return { address: chain[0]!, proxies: chain.slice(1) }
    }
  }
}

/**
 * The lines that tell a service about the client: X-Forwarded-For, -Host, -Proto, -Prefix and Forwarded, flat and made anew.
 * The chain is the client and the trusted proxies between; what an untrusted party claims to stand further left is not repeated.
 * `prefix` is the part of the path that was stripped; empty for none.
 */
export function forwardedFields(client: Client, prefix = ''): string[] {
  const { host, protocol, proxies } = client
  const address = client.address || 'unknown'
  let chain = address
  let forwarded = `for=${forwardedNode(address)};proto=${protocol}`
  if (host !== '') forwarded += `;host=${isToken(host) ? host : `"${host}"`}`
  for (const text of proxies ?? none) {
    const proxy = text || 'unknown'
    chain += `, ${proxy}`
    forwarded += `, for=${forwardedNode(proxy)}`
  }
  const lines = ['X-Forwarded-For', chain]
  if (host !== '') lines.push('X-Forwarded-Host', host)
  lines.push('X-Forwarded-Proto', protocol)
  if (prefix !== '') lines.push('X-Forwarded-Prefix', prefix)
  lines.push('Forwarded', forwarded)
  return lines
}

const none: readonly string[] = []

/** Of a host only the colon before its port, and the brackets around IPv6, must be quoted (RFC 7239 §4). */
function isToken(host: string): boolean {
  return !host.includes(':') && !/[^\w.-]/.test(host)
}

/** WebSocket's schemes too, which some proxies write. */
const protocols: Readonly<Record<string, Client['protocol']>> = {
  http: 'http',
  https: 'https',
  ws: 'http',
  wss: 'https',
}

function addNetwork(list: BlockList, network: string): void {
  const [address = '', prefix, ...rest] = network.split('/')
  const version = isIP(address)
  const bits = version === 6 ? 128 : 32
  const length = prefix === undefined ? bits : /^\d{1,3}$/.test(prefix) ? Number(prefix) : -1
  if (version === 0 || address.includes('%') || rest.length > 0 || length < 0 || length > bits) {
    throw new TypeError(`"${network}" is not a network such as "10.0.0.0/8" or "fd00::/8", nor an address`)
  }
  list.addSubnet(address, length, version === 6 ? 'ipv6' : 'ipv4')
}

/** An address as Node's sockets give it, without zone, and an IPv4 address that is dressed up as IPv6 (RFC 4291 §2.5.5.2) as itself. */
function plainAddress(address: string): string {
  const zone = address.indexOf('%')
  const bare = zone < 0 ? address : address.slice(0, zone)
  return bare.startsWith('::ffff:') && bare.includes('.') ? bare.slice('::ffff:'.length) : bare
}

/**
 * The address of a node (RFC 7239 §6) or of an X-Forwarded-For entry, which also writes IPv6 without brackets: port and zone are cut
 * off, and IPv6 is brought to one spelling (RFC 5952). Undefined for `unknown`, `_hidden` and all else that is no address.
 */
function nodeAddress(text: string): string | undefined {
  const node =
    /^\[([^\]]*)\](?::[\w.-]+)?$/.exec(text)?.[1] ??
    (text.split(':').length === 2 ? text.slice(0, text.indexOf(':')) : text)
  const address = plainAddress(node)
  const version = isIP(address)
  if (version === 0) return undefined
  return version === 4 ? address : plainAddress(new SocketAddress({ address, family: 'ipv6' }).address)
}

function forwardedNode(address: string): string {
  return address.includes(':') ? `"[${address}]"` : address
}

/** The members of a list field that are looked at, the last one first. */
function members(value: string | undefined): readonly string[] {
  if (value === undefined) return []
  const list = value.split(',').map((text) => text.trim())
  return list
    .filter((text) => text !== '')
    .slice(-mostHops)
    .reverse()
}

/** The member of a list that the proxy `depth` hops away wrote; the farthest there is when others overwrote instead of adding. */
function member(value: string | undefined, depth: number): string | undefined {
  const list = members(value)
  return list[Math.min(depth, list.length) - 1]
}

/** The elements of Forwarded (RFC 7239 §4), the last one first, their parameter names in lower case. */
function parseForwarded(value: string): readonly ReadonlyMap<string, string>[] {
  // One pair and the separator after it. Unquoted values may hold the colons that RFC 7239 wants quoted: many proxies do not.
  const pair = /[ \t]*(?:([\w!#$%&'*+.^`|~-]+)=(?:([^ \t",;]+)|"((?:[^"\\]|\\.)*)"))?[ \t]*(,|;|$)/y
  const elements: Map<string, string>[] = []
  let element = new Map<string, string>()
  for (;;) {
    const match = pair.exec(value)
    if (!match) throw new Problem('bad-request', 'The Forwarded field is malformed')
    const [, name, text, quoted, separator] = match
    if (name !== undefined) {
      if (element.has(name.toLowerCase())) throw new Problem('bad-request', 'The Forwarded field repeats a parameter')
      element.set(name.toLowerCase(), text ?? quoted!.replace(/\\(.)/g, '$1'))
    }
    if (separator === ';') continue
    if (element.size > 0) elements.push(element)
    element = new Map()
    if (separator === '') return elements.slice(-mostHops).reverse()
  }
}
