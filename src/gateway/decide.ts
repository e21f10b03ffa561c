import type { Identification, Unmet } from '../authentication/identify.ts'
import {
  type Decision,
  type Policy,
  permit,
  type Question,
  type Resource,
  type ResourceNeed,
} from '../authorization/policy.ts'
import { lackingNames } from '../authorization/requirements.ts'
import { challenge } from '../http/credentials.ts'
import { decodeSegment } from '../http/path.ts'
import { Problem } from '../http/problem.ts'
import type { RequestHead } from '../http/request-head.ts'
import type { Route } from './gateway.ts'
import type { Found } from './router.ts'

/** One request of which it is known who calls, and by which row it is answered. */
export interface Identified {
  readonly head: RequestHead
  readonly identification: Identification
  readonly route: Route
  readonly found: Found<Route>
}

export type Denial = Extract<Decision, { verdict: 'deny' }>

/** What comes of a request that asks whether it may pass. */
export interface Ruling {
  readonly decision: Settled
  /** What would have refused it if it were enforced. */
  readonly shadow?: Denial
  /** What was read to decide. */
  readonly resources?: Resources
}

export type Settled = Exclude<Decision, { verdict: 'undecided' }>
export type Resources = ReadonlyMap<string, Resource>

/** Reads a thing of the service in the caller's name. Never rejects for what happens outside. */
export type ReadResource = (need: ResourceNeed) => Promise<Resource>

/** Whether anything is asked of the caller besides who it is; most routes ask nothing more. */
export function isDecided({ route, identification }: Pick<Identified, 'route' | 'identification'>): boolean {
  return !identification.unmet && route.policies.length === 0 && route.shadow === undefined
}

/**
 * May it pass? Things are read only when the decision hangs on them, so whoever is refused or let through without
 * them costs the service nothing, and most rulings are there at once.
 */
export function rule(state: Identified, now: number, read: ReadResource): Ruling | Promise<Ruling> {
  const question = questionOf(state, now)
  const decision = enforced(state, question)
  if (decision.verdict === 'undecided') return ruleLater(state, question, decision, read)
  if (decision.verdict === 'deny') return { decision }
  const tried = inShadow(state, question)
  if (tried.verdict === 'undecided') return ruleLater(state, question, decision, read)
  return tried.verdict === 'deny' ? { decision, shadow: tried } : { decision }
}

async function ruleLater(state: Identified, question: Question, unread: Decision, read: ReadResource): Promise<Ruling> {
  const resources = new Map<string, Resource>()
  const settle = async (decide: typeof enforced, decision: Decision): Promise<Settled> => {
    if (decision.verdict !== 'undecided') return decision
    const missing = eachOnce(decision.needs).filter(({ get }) => !resources.has(get))
    const answers = await Promise.all(missing.map(async (need) => [need.get, await read(need)] as const))
    for (const [get, resource] of answers) resources.set(get, resource)
    // What hung on these things hangs on nothing more: the rest was decided without them.
    return decide(state, questionOf(state, question.now, resources)) as Settled
  }
  const decision = await settle(enforced, unread)
  if (decision.verdict === 'deny') return { decision, resources }
  const tried = await settle(inShadow, inShadow(state, question))
  return { decision, resources, ...(tried.verdict === 'deny' && { shadow: tried }) }
}

/** Where several rows want one thing, the one that wants it freshest says how old it may be. */
function eachOnce(needs: readonly ResourceNeed[]): readonly ResourceNeed[] {
  const found = new Map<string, ResourceNeed>()
  for (const need of needs) {
    const known = found.get(need.get)
    if (!known || need.cache < known.cache) found.set(need.get, need)
  }
  return [...found.values()]
}

type Asking = Pick<Identified, 'route' | 'identification'> & {
  /** Instead of those of the route: what they have said already. */
  readonly policies?: readonly Policy[]
}

/** What the requirement array names and every `allow` must hold. */
export function enforced({ route, identification: { unmet }, policies }: Asking, question: Question): Decision {
  return decide(route.shadow?.names ? undefined : unmet, policies ?? route.policies, question)
}

/** The same of what is only tried. */
export function inShadow({ route, identification: { unmet }, policies }: Asking, question: Question): Decision {
  const { shadow } = route
  return shadow ? decide(shadow.names ? unmet : undefined, policies ?? shadow.policies, question) : permit
}

/**
 * The first denial, or the permission. A row that nobody could tell ends it only when no other denies, and nothing is
 * read for who is refused anyway.
 */
function decide(unmet: Unmet | undefined, policies: readonly Policy[], question: Question): Decision {
  if (unmet) return lackingNames(unmet)
  let untold: Denial | undefined
  let needs: readonly ResourceNeed[] | undefined
  for (const policy of policies) {
    const decision = policy.decide(question)
    if (decision.verdict === 'undecided') needs = [...(needs ?? []), ...decision.needs]
    else if (decision.verdict === 'deny') {
      if (!decision.problem) return decision
      untold ??= decision
    }
  }
  return untold ?? (needs ? { verdict: 'undecided', needs } : permit)
}

export function questionOf(identified: Identified, now: number, resources?: Resources): Question {
  return new RouteQuestion(identified, now, resources)
}

/** A class, because an object that is written down with a getter costs a microsecond to make. */
class RouteQuestion implements Question {
  readonly caller: Question['caller']
  readonly head: RequestHead
  readonly service: Question['service']
  readonly route: Route
  readonly now: number
  readonly resources: Resources | undefined
  readonly #found: Found<Route>

  constructor({ head, identification, route, found }: Identified, now: number, resources: Resources | undefined) {
    this.caller = identification.caller
    this.head = head
    this.service = route.service
    this.route = route
    this.now = now
    this.resources = resources
    this.#found = found
  }

  /** Decoded when a condition asks for them. */
  get params(): Question['params'] {
    return parametersOf(this.#found)
  }
}

/** The values of the template's parameters, decoded. */
export function parametersOf({ names, segments }: Found<unknown>): ReadonlyMap<string, string> {
  const params = new Map<string, string>()
  for (let index = 0; index < names.length; index++) params.set(names[index]!, decodeSegment(segments[index]!))
  return params
}

/** How a denial is answered: 403, 401 to a guest who could say who it is, or why nobody could tell. */
export function refusalOf(denial: Denial, route: Route, { caller, status }: Identification): Problem {
  if (denial.problem) return denial.problem
  const { authenticators } = route.security
  const challenges = authenticators.flatMap((authenticator) => authenticator.challenge ?? [])
  // A guest is not refused but asked who it is, where there is a way to say it (RFC 9110 §15.5.2).
  if (status !== 'authenticated' && caller.method === 'none' && authenticators.length > 0) {
    return new Problem('no-credentials', denial.detail, { fields: { 'WWW-Authenticate': [...new Set(challenges)] } })
  }
  const scopes = denial.scopes?.join(' ')
  return new Problem(denial.code, denial.detail, {
    members: { row: denial.row },
    ...(scopes !== undefined && {
      // RFC 6750 §3.1: the answer to a token whose scope does not reach names the scope that would.
      fields: { 'WWW-Authenticate': challenge('Bearer', { error: 'insufficient_scope', scope: scopes }) },
    }),
  })
}
