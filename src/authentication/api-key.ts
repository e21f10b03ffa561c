import { BlockList, isIPv6 } from 'node:net'
import type { ConnectionMemory } from '../http/connection-memory.ts'
import { cookie } from '../http/cookies.ts'
import { challenge } from '../http/credentials.ts'
import { Problem } from '../http/problem.ts'
import { queryParameter } from '../http/query.ts'
import type { RequestHead } from '../http/request-head.ts'
import { StoreUnavailable } from '../store/store.ts'
import { type Authentication, type Authenticator, absent, type CredentialLocation } from './authenticator.ts'
import type { Caller } from './caller.ts'
import type { KeyHolder, KeyRing, KeyVerdict } from './key-ring.ts'

export interface ApiKeySettings {
  /** The name under `securitySchemes`; also the `issuer` of the callers. */
  readonly scheme: string
  /** `in` and `name` of the Security Scheme Object, as they are written. */
  readonly location: CredentialLocation
  /** Where keys are looked up, in this order: those of services.json, then the key store. */
  readonly rings: readonly KeyRing[]
  /** Whether the caller, or its key by `tokenId`, has been revoked beside the ring. Rejects when that cannot be found out. */
  readonly revoked?: (caller: Caller) => boolean | Promise<boolean>
  /** Milliseconds since the epoch. */
  readonly now: () => number
}

/** What follows from a holder, made once and kept as long as the holder is. */
interface Bound {
  readonly caller: Caller
  /** Undefined when the key may be used from everywhere. */
  readonly networks: BlockList | undefined
}

/** What was found at the location: nothing, one text, or something that no key can be. */
type Found = { readonly text: string } | 'nothing' | 'several' | 'malformed'

/**
 * The authenticator of an OpenAPI `apiKey` scheme.
 *
 * 1. Find the one text at the location; several are refused (400), since the gateway and the service might pick differently.
 * 2. Ask the rings whose it is.
 * 3. Check what the holder is bound to: time and network, and whether it has been revoked.
 *
 * There is no registered authentication scheme for keys, yet a 401 needs a challenge (RFC 9110 §15.5.2). Ours is
 * `ApiKey` with the place where the key belongs; a client that does not know it skips it (§11.6.1).
 */
export function createApiKeyAuthenticator({ scheme, location, rings, revoked, now }: ApiKeySettings): Authenticator {
  const find = finderOf(location, rings)
  const lookUp = lookUpIn(rings)
  const known = new WeakMap<KeyHolder, Bound>()

  function boundOf(holder: KeyHolder): Bound {
    let bound = known.get(holder)
    if (bound === undefined) {
      bound = { caller: describe(holder, scheme), networks: networksOf(holder.cidrs) }
      known.set(holder, bound)
    }
    return bound
  }

  function judge(
    { holder, used }: KnownKey,
    head: RequestHead,
    credential: string,
  ): Authentication | Promise<Authentication> {
    const seconds = now() / 1000
    if (holder.expires !== undefined && seconds >= holder.expires)
      return rejected('expired', 'The API key has expired.')
    if (holder.notBefore !== undefined && seconds < holder.notBefore)
      return rejected('not-yet-valid', 'The API key is not valid yet.')
    const { caller, networks } = boundOf(holder)
    if (networks && !networks.check(head.client.address, familyOf(head.client.address)))
      return rejected('address', 'The API key may not be used from this address.')

    const conclude = (isRevoked: boolean): Authentication => {
      if (isRevoked) return rejected('revoked', invalid)
      used?.()
      return { outcome: 'accepted', caller, credential }
    }
    const verdict = revoked?.(caller) ?? false
    return verdict instanceof Promise ? verdict.then(conclude) : conclude(verdict)
  }

  return {
    scheme,
    names: 'roles',
    location: location.in === 'header' ? { in: 'header', name: location.name.toLowerCase() } : location,
    explicit: location.in !== 'cookie',
    challenge: challenge('ApiKey', { realm: 'sallyport', in: location.in, name: location.name }),

    authenticate: function authenticateKey(head) {
      const found = find(head)
      if (found === 'nothing') return absent
      if (found === 'several') return several(location)
      if (found === 'malformed') return rejected('malformed', invalid)

      const { text } = found
      const conclude = (verdict: KeyVerdict) =>
        verdict.outcome === 'known' ? judge(verdict, head, text) : rejected(verdict.reason, invalid)
      const verdict = lookUp(text, head.memory)
      if (verdict instanceof Promise) return verdict.then(conclude).catch(unavailable)
      const authentication = conclude(verdict)
      return authentication instanceof Promise ? authentication.catch(unavailable) : authentication
    },
  }
}

type KnownKey = KeyVerdict & { readonly outcome: 'known' }

const invalid = 'The API key is not valid.'

function rejected(reason: string, detail: string): Authentication {
  return { outcome: 'rejected', problem: new Problem('invalid-api-key', detail), reason }
}

function several({ in: where, name }: CredentialLocation): Authentication {
  const problem = new Problem(
    'ambiguous-credentials',
    `Send one API key: the ${where} "${name}" arrived more than once.`,
  )
  return { outcome: 'rejected', problem, reason: 'several' }
}

/** The store is out: nobody can say whose key it is. Anything else is a defect. */
function unavailable(cause: unknown): Authentication {
  if (!(cause instanceof StoreUnavailable)) throw cause
  const problem = new Problem('store-unavailable', 'API keys cannot be checked right now.', {
    cause,
    fields: { 'Retry-After': '1' },
  })
  return { outcome: 'rejected', problem, reason: 'store-unavailable' }
}

/** The first ring that knows the key; else the reason of the last one. */
function lookUpIn(rings: readonly KeyRing[]) {
  return function lookUp(text: string, memory?: ConnectionMemory, from = 0): KeyVerdict | Promise<KeyVerdict> {
    let verdict: KeyVerdict = { outcome: 'refused', reason: 'unknown' }
    for (let index = from; index < rings.length; index++) {
      const answer = rings[index]!.find(text, memory)
      if (answer instanceof Promise) {
        return answer.then((late) =>
          late.outcome === 'known' || index === rings.length - 1 ? late : lookUp(text, memory, index + 1),
        )
      }
      verdict = answer
      if (verdict.outcome === 'known') return verdict
    }
    return verdict
  }
}

function describe(holder: KeyHolder, issuer: string): Caller {
  const { id, subject, name, organization, roles, permissions, scopes, plan, issuedAt, expires } = holder
  return Object.freeze({
    subject,
    issuer,
    ...(name === undefined ? {} : { name }),
    ...(organization === undefined ? {} : { organization }),
    roles: Object.freeze([...roles]),
    permissions: Object.freeze([...permissions]),
    ...(plan === undefined ? {} : { plan }),
    scopes: Object.freeze([...scopes]),
    claims: Object.freeze({ ...holder }),
    method: 'api-key',
    tokenType: 'ApiKey',
    ...(issuedAt === undefined ? {} : { issuedAt }),
    ...(expires === undefined ? {} : { expiresAt: expires }),
    tokenId: id,
  } satisfies Caller)
}

function networksOf(cidrs: readonly string[]): BlockList | undefined {
  if (cidrs.length === 0) return undefined
  const list = new BlockList()
  for (const cidr of cidrs) {
    const slash = cidr.lastIndexOf('/')
    const network = cidr.slice(0, slash)
    list.addSubnet(network, Number(cidr.slice(slash + 1)), familyOf(network))
  }
  return list
}

function familyOf(address: string): 'ipv4' | 'ipv6' {
  return isIPv6(address) ? 'ipv6' : 'ipv4'
}

/** How to find the key at one kind of place. */
function finderOf({ in: where, name }: CredentialLocation, rings: readonly KeyRing[]): (head: RequestHead) => Found {
  const field = name.toLowerCase()
  if (where === 'cookie') return (head) => one(cookie(head.fields, name))
  if (where === 'query') return (head) => one(queryParameter(head.query, name))
  if (field === 'authorization') return (head) => inAuthorization(head.fields.all(field), rings)
  return (head) => one(head.fields.all(field))
}

function one(values: readonly string[]): Found {
  if (values.length === 0) return 'nothing'
  if (values.length > 1) return 'several'
  return values[0] ? { text: values[0] } : 'malformed'
}

/**
 * `Authorization: ApiKey <key>`, `Bearer <key>` when the key has the form of ours, or the bare key, as Swagger UI sends it.
 * Any other scheme belongs to somebody else, so it counts as nothing.
 */
function inAuthorization(lines: readonly string[], rings: readonly KeyRing[]): Found {
  const found = one(lines)
  if (typeof found === 'string') return found
  const space = found.text.indexOf(' ')
  if (space === -1) return found
  const scheme = found.text.slice(0, space).toLowerCase()
  const text = found.text.slice(space + 1).trimStart()
  if (scheme === 'apikey') return text ? { text } : 'malformed'
  if (scheme === 'bearer' && rings.some((ring) => ring.recognizes(text))) return { text }
  return 'nothing'
}
