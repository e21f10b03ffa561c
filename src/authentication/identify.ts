import { Problem } from '../http/problem.ts'
import type { RequestHead } from '../http/request-head.ts'
import type { Authentication, Authenticator, CredentialLocation } from './authenticator.ts'
import { type Caller, guest } from './caller.ts'

/** `Auth-Status` of Contract 3. */
export type AuthenticationStatus = 'authenticated' | 'no-token' | 'invalid-token' | 'token-expired'

/** A credential that proved a caller, kept for propagation. Never logged. */
export interface ProvenCredential {
  readonly text: string
  /** "session": the access token behind the session cookie `name`. */
  readonly in: CredentialLocation['in'] | 'session'
  readonly name: string
  readonly tokenType: string
}

/** What one scheme said, for explanations. */
export interface Verdict {
  readonly scheme: string
  readonly authentication: Authentication
}

/** The names in a requirement array that the first authenticated alternative lacks; authorisation turns it into a 403. */
export interface Unmet {
  readonly scheme: string
  readonly kind: 'scopes' | 'roles'
  readonly missing: readonly string[]
  /** All the names of that array. */
  readonly needed: readonly string[]
}

/** A 400, 401 or 503 of `identify`, with what every scheme said. */
export class IdentificationRefused extends Problem {
  readonly verdicts: readonly Verdict[]

  constructor({ code, detail, cause, fields, members }: Problem, verdicts: readonly Verdict[]) {
    super(code, detail, { cause, fields, members })
    this.verdicts = verdicts
  }
}

export interface Identification {
  readonly caller: Caller
  readonly status: AuthenticationStatus
  /** Every credential that was accepted, the one that made the caller first. */
  readonly credentials: readonly ProvenCredential[]
  readonly unmet?: Unmet | undefined
  /** Index into `SecurityRequirements.alternatives` of the one that decided who calls; absent for guests. */
  readonly alternative?: number
  readonly verdicts: readonly Verdict[]
}

/** `security` of a route, compiled: OpenAPI's list of alternatives, each a set that must hold. */
export interface SecurityRequirements {
  /** `[]`: anybody may call and no credential is looked at. */
  readonly public: boolean
  /** `{}` among the alternatives: callers without a credential are let in as guests. */
  readonly anonymous: boolean
  /** Every scheme that is named, once, in order of appearance. */
  readonly authenticators: readonly Authenticator[]
  readonly alternatives: readonly (readonly Part[])[]
  /** What an invalid credential means where guests are allowed. */
  readonly invalidCredentials: 'reject' | 'anonymous'
  readonly storeOutage: StoreOutage
  /** Whether it is known right now what has been revoked; asked where an outage refuses. */
  confirmed(): boolean | Promise<boolean>
}

/**
 * What a credential is worth while nobody can say whether it has been revoked: held against what was known last, with
 * 503 for tokens that must be on record; as much as its signature says; or nothing.
 */
export type StoreOutage = 'last-known' | 'accept' | 'refuse'

/** What a route says about credentials that are not simply good or bad. */
export interface Doubts {
  readonly invalidCredentials?: SecurityRequirements['invalidCredentials'] | undefined
  readonly storeOutage?: StoreOutage | undefined
  readonly confirmed?: SecurityRequirements['confirmed'] | undefined
}

interface Part {
  /** Index into `authenticators`. */
  readonly index: number
  /** Scopes or roles, all of which the caller of this scheme must have. */
  readonly names: readonly string[]
}

export function compileSecurity(
  security: readonly Readonly<Record<string, readonly string[]>>[],
  authenticators: ReadonlyMap<string, Authenticator>,
  { invalidCredentials = 'reject', storeOutage = 'last-known', confirmed = () => true }: Doubts = {},
): SecurityRequirements {
  const used: Authenticator[] = []
  const indexOf = (scheme: string) => {
    const authenticator = authenticators.get(scheme)
    if (!authenticator) throw new TypeError(`no security scheme named "${scheme}"`)
    const known = used.indexOf(authenticator)
    return known >= 0 ? known : used.push(authenticator) - 1
  }
  const alternatives = security.map((set) =>
    Object.entries(set).map(([scheme, names]) => ({ index: indexOf(scheme), names })),
  )
  return {
    public: security.length === 0,
    anonymous: alternatives.some((parts) => parts.length === 0),
    authenticators: used,
    alternatives: alternatives.filter((parts) => parts.length > 0),
    invalidCredentials,
    storeOutage,
    confirmed,
  }
}

const unasked: Identification = Object.freeze({ caller: guest, status: 'no-token', credentials: [], verdicts: [] })

/**
 * Who is calling? Every scheme of the route looks once; the first alternative that holds decides, and rights are
 * never added up. Throws `IdentificationRefused` (400, 401, 503) when nobody may call like this.
 *
 * 1. A credential that could not be read or checked (400, 503) ends it, whatever else was sent; where several schemes
 *    read the same place, one that accepts what is there is enough.
 * 2. An explicit credential that is refused ends it with 401, unless guests are allowed and the service asked for
 *    `"invalidCredentials": "anonymous"`. A refused cookie beside a good explicit credential counts as absent:
 *    browsers send cookies unasked.
 * 3. The first alternative whose schemes all accept and whose scopes or roles are all there decides who calls; when
 *    the names are what is missing, the first that accepts does, and `unmet` says what it lacks.
 * 4. Otherwise a guest, where `{}` allows one; otherwise 401 with every challenge.
 * 5. Where an outage of the store refuses: 503 for every credential while nobody knows what has been revoked.
 */
export function identify(
  requirements: SecurityRequirements,
  head: RequestHead,
): Identification | Promise<Identification> {
  if (requirements.public) return unasked
  const identification = ask(requirements, head)
  if (requirements.storeOutage !== 'refuse') return identification
  const certain = (found: Identification) => confirm(requirements, found)
  return identification instanceof Promise ? identification.then(certain) : certain(identification)
}

function ask(requirements: SecurityRequirements, head: RequestHead): Identification | Promise<Identification> {
  const { authenticators } = requirements
  const results: Authentication[] = []
  for (let index = 0; index < authenticators.length; index += 1) {
    const result = authenticators[index]!.authenticate(head)
    if (result instanceof Promise) return identifyLater(requirements, head, results, result)
    results.push(result)
  }
  return conclude(requirements, results)
}

async function identifyLater(
  requirements: SecurityRequirements,
  head: RequestHead,
  results: Authentication[],
  pending: Promise<Authentication>,
): Promise<Identification> {
  results.push(await pending)
  for (const authenticator of requirements.authenticators.slice(results.length)) {
    results.push(await authenticator.authenticate(head))
  }
  return conclude(requirements, results)
}

/** Whoever shows nothing has nothing that could have been revoked. */
function confirm(
  { confirmed }: SecurityRequirements,
  identification: Identification,
): Identification | Promise<Identification> {
  if (identification.credentials.length === 0) return identification
  const certain = confirmed()
  if (certain === true) return identification
  const conclude = (isCertain: boolean): Identification => {
    if (isCertain) return identification
    const detail = 'Whether the credential has been revoked cannot be found out right now'
    const problem = new Problem('store-unavailable', detail, { fields: { 'Retry-After': '1' } })
    throw new IdentificationRefused(problem, identification.verdicts)
  }
  return certain === false ? conclude(false) : certain.then(conclude)
}

function conclude(requirements: SecurityRequirements, found: readonly Authentication[]): Identification {
  const { authenticators, alternatives } = requirements
  const results =
    requirements.storeOutage === 'accept'
      ? found.map((result) => (result.outcome === 'rejected' ? (result.unconfirmed ?? result) : result))
      : found
  const verdicts = results.map((authentication, index) => ({ scheme: authenticators[index]!.scheme, authentication }))
  const accepts = (part: Part) => results[part.index]!.outcome === 'accepted'

  // 1. and 2.
  let refused: (Authentication & { outcome: 'rejected' }) | undefined
  let refusedCookie: typeof refused
  for (let index = 0; index < results.length; index++) {
    const result = results[index]!
    if (result.outcome !== 'rejected' || acceptedElsewhere(index, results, authenticators)) continue
    if (result.problem.status !== 401) throw new IdentificationRefused(result.problem, verdicts)
    if (authenticators[index]!.explicit) refused ??= result
    else refusedCookie ??= result
  }
  if (refusedCookie) {
    const acceptsExplicit = results.some(
      ({ outcome }, index) => outcome === 'accepted' && authenticators[index]!.explicit,
    )
    if (!acceptsExplicit) refused ??= refusedCookie
  }
  if (refused) {
    if (requirements.anonymous && requirements.invalidCredentials === 'anonymous') {
      const status = refused.reason === 'expired' ? 'token-expired' : 'invalid-token'
      return { caller: guest, status, credentials: [], verdicts }
    }
    throw new IdentificationRefused(challenged(refused.problem, authenticators), verdicts)
  }

  // 3.
  let lacking: Identification | undefined
  for (let alternative = 0; alternative < alternatives.length; alternative++) {
    const parts = alternatives[alternative]!
    if (!parts.every(accepts)) continue
    const unmet = firstUnmet(parts, results, authenticators)
    const { caller, credentials } = provenBy(parts[0]!.index, results, authenticators)
    const status = 'authenticated'
    const identification: Identification = { caller, status, credentials, unmet, alternative, verdicts }
    if (!unmet) return identification
    lacking ??= identification
  }
  if (lacking && !requirements.anonymous) return lacking

  // 4. `{}` holds without the names: a caller we know stays known.
  if (lacking) return { ...lacking, unmet: undefined }
  if (requirements.anonymous) return { caller: guest, status: 'no-token', credentials: [], verdicts }
  const sent = results.some(({ outcome }) => outcome === 'accepted')
  const problem = new Problem(
    'no-credentials',
    sent ? 'More than one credential is needed together here' : 'Send one of the credentials this operation asks for',
  )
  throw new IdentificationRefused(challenged(problem, authenticators), verdicts)
}

/** Two schemes may read one place: a token that one of them does not know is not invalid when the other accepts it. */
function acceptedElsewhere(
  index: number,
  results: readonly Authentication[],
  authenticators: readonly Authenticator[],
): boolean {
  const { location } = authenticators[index]!
  return results.some((result, other) => {
    if (result.outcome !== 'accepted') return false
    const place = authenticators[other]!.location
    return place.in === location.in && place.name === location.name
  })
}

/** The caller of the scheme at `index`, whose credential comes first of all that were accepted. */
function provenBy(
  index: number,
  results: readonly Authentication[],
  authenticators: readonly Authenticator[],
): Pick<Identification, 'caller' | 'credentials'> {
  const credentials: ProvenCredential[] = []
  for (let other = 0; other < results.length; other++) {
    const result = results[other]!
    if (result.outcome !== 'accepted') continue
    const { location } = authenticators[other]!
    const { credential, accessToken, caller } = result
    const proven: ProvenCredential =
      accessToken === undefined
        ? { text: credential, in: location.in, name: location.name, tokenType: caller.tokenType ?? 'Bearer' }
        : { text: accessToken, in: 'session', name: location.name, tokenType: 'Bearer' }
    if (other === index) credentials.unshift(proven)
    else credentials.push(proven)
  }
  const { caller } = results[index] as Authentication & { outcome: 'accepted' }
  return { caller, credentials }
}

function firstUnmet(
  parts: readonly Part[],
  results: readonly Authentication[],
  authenticators: readonly Authenticator[],
): Unmet | undefined {
  for (const { index, names } of parts) {
    if (names.length === 0) continue
    const { names: kind, scheme } = authenticators[index]!
    const { caller } = results[index] as Authentication & { outcome: 'accepted' }
    const missing = names.filter((name) => !caller[kind].includes(name))
    if (missing.length > 0) return { scheme, kind, missing, needed: names }
  }
  return undefined
}

/** RFC 9110 §11.6.1: a 401 carries at least one challenge; the problem's own, more precise one stands for its scheme. */
function challenged(problem: Problem, authenticators: readonly Authenticator[]): Problem {
  const own = problem.fields['WWW-Authenticate']
  const named = own === undefined ? [] : [own].flat()
  const taken = new Set(named.map((challenge) => challenge.split(' ', 1)[0]!.toLowerCase()))
  const others = authenticators
    .map(({ challenge }) => challenge)
    .filter((challenge) => challenge !== undefined)
    .filter((challenge) => {
      const scheme = challenge.split(' ', 1)[0]!.toLowerCase()
      return !taken.has(scheme) && taken.add(scheme)
    })
  const challenges = [...named, ...others]
  if (challenges.length === 0) return problem
  return new Problem(problem.code, problem.detail, {
    cause: problem.cause,
    members: problem.members,
    fields: { ...problem.fields, 'WWW-Authenticate': challenges },
  })
}
