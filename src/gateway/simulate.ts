import { type Authentication, type Authenticator, absent } from '../authentication/authenticator.ts'
import type { Caller } from '../authentication/caller.ts'
import type { SecurityRequirements } from '../authentication/identify.ts'
import { createFields } from '../http/fields.ts'
import { Problem } from '../http/problem.ts'
import type { RequestHead } from '../http/request-head.ts'

/** A route's requirements, in which some schemes find a credential that nobody sent. */
export interface Simulation {
  readonly requirements: SecurityRequirements
  /** The schemes that are simulated. */
  readonly schemes: ReadonlySet<string>
  /** The head with a stand-in for the credential, so that what is made of it further on can be seen. */
  readonly head: RequestHead
}

type Claims = Readonly<Record<string, unknown>>

/**
 * Claims in place of a credential. With `sub` they are those of a token: every scheme that reads tokens where `scheme`
 * does (or else the first that takes tokens) judges them as if a believed issuer had signed them. With `subject` they
 * are a caller as policies see it, whom `scheme` accepts, or else every scheme of the first alternative.
 */
export function simulate(
  security: SecurityRequirements,
  claims: Claims,
  scheme: string | undefined,
  head: RequestHead,
): Simulation | undefined {
  if (security.public) return undefined
  const { authenticators } = security
  const named = scheme === undefined ? undefined : authenticators.find((candidate) => candidate.scheme === scheme)
  if (scheme !== undefined && named === undefined) {
    const known = authenticators.map((candidate) => candidate.scheme).join(', ')
    throw new Problem('bad-request', `The route has no scheme "${scheme}"; it has ${known || 'none'}`)
  }
  const isCaller = typeof claims['subject'] === 'string'
  const chosen = isCaller ? whoAccept(security, named) : whoReadTokens(security, named)
  const judge = isCaller
    ? (authenticator: Authenticator) => accept(callerOf(claims, authenticator))
    : (authenticator: Authenticator) => authenticator.simulate!(claims)

  return {
    requirements: {
      ...security,
      authenticators: authenticators.map((authenticator) => {
        if (chosen.includes(authenticator)) return { ...authenticator, authenticate: () => judge(authenticator) }
        return chosen.some((one) => isSamePlace(one, authenticator)) ? blind(authenticator) : authenticator
      }),
    },
    schemes: new Set(chosen.map((authenticator) => authenticator.scheme)),
    head: withStandIns(head, chosen),
  }
}

function whoReadTokens({ authenticators }: SecurityRequirements, named: Authenticator | undefined): Authenticator[] {
  if (named && !named.simulate)
    throw new Problem('bad-request', `The scheme "${named.scheme}" takes no tokens: describe its caller with "subject"`)
  const first = named ?? authenticators.find((candidate) => candidate.simulate)
  if (!first) return []
  return authenticators.filter((candidate) => candidate.simulate && isSamePlace(candidate, first))
}

function isSamePlace({ location: one }: Authenticator, { location: other }: Authenticator): boolean {
  return one.in === other.in && one.name === other.name
}

/** A scheme that is not simulated must not find the stand-in: that is put there for the service. */
function blind({ explainRequest: _, ...authenticator }: Authenticator): Authenticator {
  return { ...authenticator, authenticate: () => absent }
}

function whoAccept(
  { authenticators, alternatives }: SecurityRequirements,
  named: Authenticator | undefined,
): Authenticator[] {
  if (named) return [named]
  return (alternatives[0] ?? []).map(({ index }) => authenticators[index]!)
}

function withStandIns(head: RequestHead, chosen: readonly Authenticator[]): RequestHead {
  const places = new Map(
    chosen.flatMap(({ location, challenge }) =>
      location.in === 'header'
        ? [[location.name, challenge?.startsWith('Bearer') ? 'Bearer simulated' : 'simulated']]
        : [],
    ),
  )
  const kept: string[] = []
  for (let index = 0; index < head.fields.raw.length; index += 2) {
    const name = head.fields.raw[index]!
    if (!places.has(name.toLowerCase())) kept.push(name, head.fields.raw[index + 1]!)
  }
  return { ...head, fields: createFields([...kept, ...[...places].flat()]) }
}

function accept(caller: Caller): Authentication {
  return { outcome: 'accepted', caller, credential: '' }
}

function callerOf(claims: Claims, { scheme, location, simulate }: Authenticator): Caller {
  const [method, tokenType] = simulate
    ? ['jwt', 'Bearer']
    : location.in === 'cookie'
      ? ['session', 'Cookie']
      : ['api-key', 'ApiKey']
  return Object.freeze({
    issuer: scheme,
    method,
    tokenType,
    claims,
    ...textsOf(claims, ['subject', 'issuer', 'clientId', 'name', 'email', 'organization', 'tokenId', 'family']),
    ...listsOf(claims, ['roles', 'permissions', 'scopes']),
    ...(claims['claims'] !== undefined && { claims: claims['claims'] }),
  } as Caller)
}

function textsOf(claims: Claims, names: readonly string[]): Claims {
  return Object.fromEntries(
    names.flatMap((name) => {
      const value = claims[name]
      if (value === undefined) return []
      if (typeof value !== 'string') throw new Problem('bad-request', `"${name}" of a caller is a string`)
      return [[name, value]]
    }),
  )
}

function listsOf(claims: Claims, names: readonly string[]): Claims {
  return Object.fromEntries(
    names.map((name) => {
      const value = claims[name] ?? []
      if (!Array.isArray(value) || !value.every((one) => typeof one === 'string'))
        throw new Problem('bad-request', `"${name}" of a caller is a list of strings`)
      return [name, value]
    }),
  )
}
