import { isIP } from 'node:net'
import { z } from 'zod'
import type { Caller } from '../authentication/caller.ts'
import {
  type Identification,
  IdentificationRefused,
  identify,
  type SecurityRequirements,
  type Verdict,
} from '../authentication/identify.ts'
import type { ExplainedStep } from '../authentication/token-refusal.ts'
import { explainAllow } from '../authorization/explain.ts'
import type { Decision, Resource } from '../authorization/policy.ts'
import { ownPaths } from '../config/check.ts'
import { preflightOf } from '../http/cross-origin.ts'
import { createFields } from '../http/fields.ts'
import { createGuard } from '../http/guard.ts'
import { canonicalTarget } from '../http/path.ts'
import { Problem } from '../http/problem.ts'
import type { RequestHead } from '../http/request-head.ts'
import type { Counted } from '../throttling/partition.ts'
import type { Look } from '../throttling/rate-limits.ts'
import { writeDeadline } from '../upstream/deadline.ts'
import { type Composition, compositionParams } from './compositions.ts'
import { admitUpgrade, refuseForgery } from './cross-site.ts'
import { enforced, type Identified, inShadow, parametersOf, questionOf, type Resources, refusalOf } from './decide.ts'
import { describeLimits } from './describe-limits.ts'
import type {
  ExplainedAlternative,
  ExplainedAuthentication,
  ExplainedAuthorization,
  ExplainedCaller,
  ExplainedField,
  ExplainedForward,
  ExplainedLimits,
  ExplainedPart,
  ExplainedProblem,
  ExplainedRoute,
  ExplainedScheme,
  Explanation,
} from './explanation.ts'
import { findRoute } from './find-route.ts'
import type { Gateway, Route } from './gateway.ts'
import { createMask, type Mask } from './mask.ts'
import { affinityOf, type Origin, type OutboundTools, outboundFields, outboundTarget, timeoutsOf } from './outbound.ts'
import { hasThing } from './resources.ts'
import type { Found } from './router.ts'
import { maySignIn, showsNothing } from './sign-in.ts'
import { type Simulation, simulate } from './simulate.ts'

const fieldName = z.string().regex(/^[!#$%&'*+.^`|~0-9A-Za-z_-]+$/, 'a header field name is a token (RFC 9110 §5.1)')
const fieldValue = z
  .string()
  .regex(/^[\t\x20-\x7e\x80-\xff]*$/, 'a header field value is one line (RFC 9110 §5.5)')
  .transform((value) => value.trim())

/** What `POST /explain` takes: one request, and on whose behalf. */
export const inquiry = z.strictObject({
  method: z.string().min(1).default('GET').describe('Default: GET.'),
  path: z
    .string('the path of a request is a string such as "/orders/1?full=1"')
    .min(1)
    .describe('Path and query as a client sends them, "/orders/1?full=1", or a whole URL.'),
  headers: z
    .record(fieldName, z.union([fieldValue, z.array(fieldValue)]))
    .default({})
    .describe('Header fields; a list is several lines of one name.'),
  claims: z
    .record(z.string(), z.unknown())
    .optional()
    .describe(
      'A caller without a token: the claims of one, judged as if a believed issuer had signed them, or ' +
        '{ "subject": "ada", "roles": ["admin"] }, a caller as policies see it.',
    ),
  scheme: z.string().optional().describe('The security scheme that `claims` stand for. Default: the first that fits.'),
  address: z
    .string()
    .refine((text) => isIP(text) !== 0, 'an address is IPv4 or IPv6, without a port')
    .default('127.0.0.1')
    .describe('Where the connection comes from. Default: 127.0.0.1.'),
  resource: z
    .unknown()
    .optional()
    .describe(
      'The thing that `allow.resource` would read, since nothing is sent: the JSON that the service would answer with, ' +
        'or null when it would show the caller none.',
    ),
})
export type Inquiry = z.input<typeof inquiry>

export interface ExplainTools extends OutboundTools {
  /** Milliseconds since the epoch. */
  readonly now: () => number
  /** Whether this process counts requests, and so can tell what is left of a limit. */
  readonly counting: boolean
  /** The id that an explained request has. */
  readonly id: () => string
}

export type Explain = (gateway: Gateway, asked: z.output<typeof inquiry>) => Promise<Explanation>

type Asked = z.output<typeof inquiry>
type Progress = { -readonly [Part in keyof Explanation]: Explanation[Part] }

/**
 * What the gateway would do with a request, and why. The steps are those of `app.ts`, by the same functions, up to the
 * moment before a service would be asked: nothing is sent to one, and limits are looked at without being drawn on. Keys of issuers are fetched,
 * opaque tokens asked about and API keys marked as used, as for a request.
 */
export function createExplain(tools: ExplainTools): Explain {
  const guard = createGuard()

  return async function explain(gateway, asked) {
    const mask = createMask(gateway.authenticators)
    const progress: Progress = {
      at: new Date(tools.now()).toISOString(),
      outcome: 'refused',
      request: { method: asked.method, path: asked.path.split('?')[0]!, client: asked.address },
    }
    let head: RequestHead
    try {
      head = readHead(gateway, asked, guard, tools.id())
      progress.request = requestOf(head, mask)
      if (isAnsweredHere(gateway, head)) return { ...progress, outcome: 'answered' }
    } catch (error) {
      if (!(error instanceof Problem)) throw error
      return { ...progress, problem: problemOf(error, 'read') }
    }
    const composition = gateway.compositions.match(head.method, head.path)
    return composition
      ? explainComposition(gateway, asked, head, composition, progress)
      : explainOne(gateway, asked, head, progress)
  }

  /** Each part as a request of its own. What ends one that is not optional ends them all. */
  async function explainComposition(
    gateway: Gateway,
    asked: Asked,
    whole: RequestHead,
    found: Found<Composition>,
    progress: Progress,
  ): Promise<Explanation> {
    const mask = createMask(gateway.authenticators)
    const params = compositionParams(found)
    const { id, parts } = found.value
    const explained: ExplainedPart[] = []
    for (const { name, optional, needs, target } of parts) {
      if (needs.length > 0) {
        explained.push({ name, optional, needs })
        continue
      }
      const { path, query } = target({ params, answers: new Map() })
      const head = { ...whole, method: 'GET', path, query, target: query === '' ? path : `${path}?${query}` }
      const begun: Progress = { at: progress.at, outcome: 'refused', request: requestOf(head, mask) }
      explained.push({ name, optional, needs, explanation: await explainOne(gateway, asked, head, begun) })
    }
    const ended = explained.find(({ optional, explanation }) => !optional && explanation?.problem)
    return {
      ...progress,
      outcome: ended
        ? 'refused'
        : explained.some(({ optional, explanation }) => !optional && explanation?.outcome === 'undecided')
          ? 'undecided'
          : 'composed',
      ...(ended?.explanation?.problem && { problem: ended.explanation.problem }),
      composition: { id, parts: explained },
    }
  }

  /** The steps of app.ts from the route on, in their order. */
  async function explainOne(
    gateway: Gateway,
    asked: Asked,
    received: RequestHead,
    progress: Progress,
  ): Promise<Explanation> {
    const look = (who: 'clients' | 'callers', { limits: { rate } }: Route, counted: Counted): Promise<Look> | Look => {
      if (tools.counting) return rate[who]?.look(counted) ?? nothing
      const { rules } = rate.describe(counted.caller)
      return { rules: rules.filter(({ by }) => (by === 'address') === (who === 'clients')) }
    }
    const mask = createMask(gateway.authenticators)
    let head = received
    let step: ExplainedProblem['step'] = 'route'
    let identification: Identification | undefined
    try {
      const found = findRoute(gateway, head)
      const route = found.value
      progress.route = routeOf(gateway, found, head)
      step = 'throttle'
      const counted = { address: head.client.address, route: route.id }
      const ofClient = await look('clients', route, counted)
      progress.limits = limitsOf(route, undefined, ofClient)
      if (ofClient.problem) throw ofClient.problem

      step = 'route'
      if (head.fields.get('upgrade')?.toLowerCase() === 'websocket') head = admitUpgrade(gateway, head)

      step = 'authenticate'
      const simulation = asked.claims && simulate(route.security, asked.claims, asked.scheme, head)
      const requirements = simulation?.requirements ?? route.security
      const shown = simulation?.head ?? head
      identification = await identifyAnd(requirements, shown, async (identification, verdicts) => {
        const steps = await stepsOf(requirements, shown, simulation)
        progress.authentication = authenticationOf(route, identification, verdicts, { steps, simulation })
      })

      refuseForgery(gateway, route, identification, shown)

      step = 'throttle'
      const { caller } = identification
      const ofCaller = await look('callers', route, { ...counted, caller })
      progress.limits = limitsOf(route, caller, ofClient, ofCaller)
      if (ofCaller.problem) throw ofCaller.problem

      step = 'authorize'
      const state = { head: shown, identification, route, found }
      const { decision, shadow, authorization } = authorizationOf(state, tools.now(), resourcesOf(asked, found))
      progress.authorization = authorization
      if (decision.verdict === 'deny') throw refusalOf(decision, route, identification)
      if (decision.verdict === 'undecided') return { ...progress, outcome: 'undecided' }
      if (shadow.verdict === 'deny') progress.shadow = problemOf(refusalOf(shadow, route, identification), step)

      step = 'forward'
      progress.forward = await forwardOf(state, tools, mask)
      return { ...progress, outcome: 'forwarded' }
    } catch (error) {
      if (!(error instanceof Problem)) throw error
      const { route } = progress
      const row = route && gateway.router.match(head.method, head.path)?.value
      const signsIn =
        row && error.status === 401 && maySignIn(gateway, row, head) && showsNothing(gateway, error, identification)
      return { ...progress, ...(signsIn && { outcome: 'sign-in' }), problem: problemOf(error, step) }
    }
  }
}

const nothing: Look = { rules: [] }

/** What of the limits concerns this request, with what is left where somebody counts. */
function limitsOf({ limits }: Route, caller: Caller | undefined, ...looks: readonly Look[]): ExplainedLimits {
  return { ...describeLimits(limits, caller), rules: looks.flatMap(({ rules }) => rules) }
}

/** What is known when a request has been refused; a part that was not reached is absent. */
export interface Refused {
  readonly gateway: Gateway
  readonly head: RequestHead
  readonly problem: Problem
  readonly found?: Found<Route> | undefined
  readonly identification?: Identification | undefined
  /** What was read to decide. */
  readonly resources?: Resources | undefined
}

/** Why a request was refused, from what its steps have left: nothing is verified again. */
export function explainRefusal(
  { gateway, head, problem, found, identification, resources }: Refused,
  now: number,
): Explanation {
  const route = found?.value
  const verdicts = problem instanceof IdentificationRefused ? problem.verdicts : identification?.verdicts
  return {
    at: new Date(now).toISOString(),
    outcome: 'refused',
    request: keptRequestOf(gateway, head),
    problem: problemOf(problem, stepOf(problem, { found, identification })),
    ...(found && { route: routeOf(gateway, found, head) }),
    ...(route && verdicts && { authentication: authenticationOf(route, identification, verdicts, {}) }),
    ...(route && problem.status === 429 && { limits: violatedOf(route, problem, identification?.caller) }),
    ...(found &&
      identification &&
      problem.status !== 429 && {
        authorization: authorizationOf({ head, identification, route: found.value, found }, now, resources)
          .authorization,
      }),
  }
}

/** A request that went on although what is in shadow would have refused it. */
export interface Tried extends Required<Pick<Refused, 'gateway' | 'head'>> {
  readonly refusal: Problem
  readonly found: Found<Route>
  readonly identification: Identification
  readonly resources: Resources | undefined
}

/** Why what is in shadow would have refused a request. */
export function explainShadow(
  { gateway, head, refusal, found, identification, resources }: Tried,
  now: number,
): Explanation {
  const state = { head, identification, route: found.value, found }
  return {
    at: new Date(now).toISOString(),
    outcome: 'forwarded',
    request: keptRequestOf(gateway, head),
    shadow: problemOf(refusal, 'authorize'),
    route: routeOf(gateway, found, head),
    authentication: authenticationOf(found.value, identification, identification.verdicts, {}),
    authorization: authorizationOf(state, now, resources).authorization,
  }
}

/** Nobody asked to have this one kept: the names of the parameters are enough. */
function keptRequestOf(gateway: Gateway, head: RequestHead): Explanation['request'] {
  const { query, ...request } = requestOf(head, createMask(gateway.authenticators))
  return { ...request, ...(query !== undefined && { query: query.replace(/=[^&]*/g, '=…') }) }
}

function violatedOf({ limits }: Route, { members }: Problem, caller: Caller | undefined): ExplainedLimits {
  const violated = (members['violated-policies'] ?? []) as readonly string[]
  const described = describeLimits(limits, caller)
  return {
    ...described,
    rules: described.rules.map((rule) => (violated.includes(rule.name) ? { ...rule, violated: true } : rule)),
  }
}

function stepOf(problem: Problem, { found, identification }: Pick<Refused, 'found' | 'identification'>) {
  if (problem.status === 429) return 'throttle'
  if (problem instanceof IdentificationRefused) return 'authenticate'
  if (!found) return 'read'
  return identification ? 'authorize' : 'authenticate'
}

function readHead(
  gateway: Gateway,
  { method, path, headers, address }: z.output<typeof inquiry>,
  guard: ReturnType<typeof createGuard>,
  id: string,
): RequestHead {
  const raw = Object.entries(headers).flatMap(([name, values]) => [values].flat().flatMap((value) => [name, value]))
  const named = Object.keys(headers).some((name) => name.toLowerCase() === 'host')
  if (!named) raw.unshift('Host', URL.canParse(path) ? new URL(path).host : new URL(gateway.publicUrl).host)
  const fields = createFields(raw)
  const client = gateway.readClient(address, gateway.publicUrl.startsWith('https:'), fields)
  const refusal = guard({ httpVersion: '1.1', method, url: path, rawHeaders: raw })
  if (refusal) throw refusal
  const target = canonicalTarget(path, fields.get('host')?.toLowerCase() ?? '')
  if (target instanceof Problem) throw target
  return {
    id,
    method,
    target: target.query === '' ? target.path : `${target.path}?${target.query}`,
    path: target.path,
    query: target.query,
    fields,
    client,
  }
}

/** Preflights of other origins, and the gateway's own endpoints. */
function isAnsweredHere({ crossOrigin }: Gateway, head: RequestHead): boolean {
  if (crossOrigin && preflightOf(head)) {
    if (crossOrigin.allows(head.fields.get('origin'))) return true
    throw new Problem('cross-site-request', 'Scripts of this origin may not call the gateway')
  }
  return ownPaths.some((own) => head.path === own || head.path.startsWith(`${own}/`))
}

function requestOf({ method, path, query, client }: RequestHead, mask: Mask): Explanation['request'] {
  return { method, path, ...(query !== '' && { query: mask.query(query) }), client: client.address }
}

function problemOf(problem: Problem, step: ExplainedProblem['step']): ExplainedProblem {
  const { status, code, detail, fields, members } = problem
  const challenges = [fields['WWW-Authenticate'] ?? []].flat()
  return {
    step,
    status,
    code,
    detail,
    ...(typeof members['row'] === 'string' && { row: members['row'] }),
    ...(challenges.length > 0 && { challenges }),
  }
}

function routeOf({ router }: Gateway, found: Found<Route>, { method, path }: RequestHead): ExplainedRoute {
  const { id, service } = found.value
  const losers: ExplainedRoute['losers'][number][] = []
  for (const { value, method: pattern } of router.candidates(path)) {
    if (value === found.value || losers.some((loser) => loser.id === value.id)) continue
    const fits = pattern === '*' || pattern === method || (pattern === 'GET' && method === 'HEAD')
    losers.push({ id: value.id, reason: fits ? 'less-specific' : 'method' })
  }
  return {
    id,
    service: service.name,
    parameters: Object.fromEntries(parametersOf(found)),
    expose: service.definition.expose,
    losers,
  }
}

async function identifyAnd(
  requirements: Route['security'],
  head: RequestHead,
  look: (identification: Identification | undefined, verdicts: readonly Verdict[]) => Promise<void>,
): Promise<Identification> {
  try {
    const identification = await identify(requirements, head)
    await look(identification, identification.verdicts)
    return identification
  } catch (error) {
    if (error instanceof IdentificationRefused) await look(undefined, error.verdicts)
    throw error
  }
}

type Steps = ReadonlyMap<string, readonly ExplainedStep[]>

async function stepsOf(
  security: SecurityRequirements,
  head: RequestHead,
  simulation: Simulation | undefined,
): Promise<Steps> {
  const found = new Map<string, readonly ExplainedStep[]>()
  if (security.public) return found
  for (const authenticator of security.authenticators) {
    if (simulation?.schemes.has(authenticator.scheme)) continue
    const steps = await authenticator.explainRequest?.(head)
    if (steps) found.set(authenticator.scheme, steps)
  }
  return found
}

function authenticationOf(
  { security, declaredSecurity, shadow }: Route,
  identification: Identification | undefined,
  verdicts: readonly Verdict[],
  { steps, simulation }: { readonly steps?: Steps; readonly simulation?: Simulation | undefined },
): ExplainedAuthentication {
  const { unmet, status, caller } = identification ?? {}
  return {
    asks: security.public ? 'nobody' : security.anonymous ? 'anybody' : 'somebody',
    schemes: verdicts.map((verdict) => schemeOf(security, verdict, steps, simulation)),
    alternatives: alternativesOf(security, shadow?.security ?? declaredSecurity, identification, verdicts),
    ...(!security.public && { storeOutage: security.storeOutage }),
    ...(status && { status }),
    ...(caller && { caller: callerOf(caller) }),
    ...(unmet && { unmet: { scheme: unmet.scheme, kind: unmet.kind, missing: unmet.missing } }),
  }
}

function schemeOf(
  { authenticators }: Route['security'],
  { scheme, authentication }: Verdict,
  steps: Steps | undefined,
  simulation: Simulation | undefined,
): ExplainedScheme {
  const { location } = authenticators.find((authenticator) => authenticator.scheme === scheme)!
  const taken = steps?.get(scheme)
  return {
    scheme,
    location,
    verdict: authentication.outcome,
    ...(authentication.outcome === 'rejected' && {
      reason: authentication.reason,
      detail: authentication.problem.detail,
      ...(authentication.found !== undefined && { found: authentication.found }),
    }),
    ...(authentication.outcome === 'accepted' && { subject: authentication.caller.subject }),
    ...(simulation?.schemes.has(scheme) && { simulated: true as const }),
    ...(taken && { steps: taken }),
  }
}

function alternativesOf(
  security: Route['security'],
  declared: Route['declaredSecurity'],
  identification: Identification | undefined,
  verdicts: readonly Verdict[],
): readonly ExplainedAlternative[] {
  let index = -1
  return declared.map((requirement): ExplainedAlternative => {
    const isGuests = Object.keys(requirement).length === 0
    if (isGuests) {
      if (identification === undefined) return { requirement, verdict: 'fails' }
      return { requirement, verdict: identification.alternative === undefined ? 'decides' : 'holds' }
    }
    index += 1
    const missing: string[] = []
    for (const part of security.alternatives[index]!) {
      const { authentication } = verdicts[part.index]!
      if (authentication.outcome !== 'accepted') return { requirement, verdict: 'fails' }
      const held = authentication.caller[security.authenticators[part.index]!.names]
      missing.push(...part.names.filter((name) => !held.includes(name)))
    }
    const verdict = identification?.alternative === index ? 'decides' : missing.length > 0 ? 'lacks' : 'holds'
    return { requirement, verdict, ...(missing.length > 0 && { missing }) }
  })
}

function callerOf(caller: Identification['caller']): ExplainedCaller {
  const { subject, issuer, clientId, organization, roles, permissions, scopes, method, expiresAt } = caller
  return {
    subject,
    issuer,
    ...(clientId !== undefined && { clientId }),
    ...(organization !== undefined && { organization }),
    roles,
    permissions,
    scopes,
    method,
    ...(expiresAt !== undefined && { expires: new Date(expiresAt * 1_000).toISOString() }),
  }
}

/** What was handed in stands for whatever the route would read; null for what the service would not show. */
function resourcesOf({ resource }: Asked, found: Found<Route>): Resources {
  const { policies, shadow } = found.value
  const needs = [...policies, ...(shadow?.policies ?? [])].flatMap(({ resources }) => resources)
  return new Map(
    needs.flatMap((need): [string, Resource][] => {
      if (!hasThing(found, need) || resource === null) return [[need.get, { outcome: 'hidden' }]]
      return resource === undefined ? [] : [[need.get, { outcome: 'read', value: resource }]]
    }),
  )
}

function authorizationOf(state: Identified, now: number, resources: Resources | undefined) {
  const { route } = state
  const unread = questionOf(state, now)
  const read = questionOf(state, now, resources)
  const explain = (policies: Route['policies']) => {
    const explained = policies.map((policy) => explainAllow(policy, read))
    const reads = resources && resources.size > 0 && policies.some((policy) => policy.resources.length > 0)
    // As in `rule`: what is decided without a thing is decided before it is read.
    const before = reads ? policies.map((policy) => explainAllow(policy, unread)) : explained
    return { explained, before }
  }
  const holding = explain(route.policies)
  const tried = explain(route.shadow?.policies ?? [])
  const settle = (ask: typeof enforced, { explained, before }: typeof holding): Decision => {
    // The same decision over the same rows, but a condition that cannot be evaluated raises no alarm because we look.
    const told = (all: typeof explained) => all.map(({ decision }) => ({ decide: () => decision }))
    const decision = ask({ ...state, policies: told(before) }, unread)
    return decision.verdict === 'undecided' ? ask({ ...state, policies: told(explained) }, read) : decision
  }
  const decision = settle(enforced, holding)
  const shadow = settle(inShadow, tried)
  const authorization: ExplainedAuthorization = {
    verdict: decision.verdict,
    policies: [
      ...holding.explained.map(({ decision: { verdict }, blocks }) => ({ verdict, blocks })),
      ...tried.explained.map(({ decision: { verdict }, blocks }) => ({ verdict, shadow: true as const, blocks })),
    ],
  }
  return { decision, shadow, authorization }
}

async function forwardOf(state: Identified, tools: OutboundTools, mask: Mask): Promise<ExplainedForward> {
  const { head, route, identification } = state
  const { service, propagator } = route
  const ends: { readonly origin: Origin; readonly end: number }[] = []
  const lines = outboundFields(state, tools, (origin, end) => ends.push({ origin, end }))
  const { caller, credentials } = identification
  const passage = { head, caller, credentials, service: service.name }
  const shown = await (propagator.preview?.(passage) ?? propagator.fields(passage))
  lines.push(...shown)
  ends.push({ origin: 'credential', end: lines.length })

  const fields: ExplainedField[] = []
  for (let index = 0; index < lines.length; index += 2) {
    const [name, value] = [lines[index]!, lines[index + 1]!]
    const from = ends.find(({ end }) => index < end)!.origin
    fields.push({ name, value: from === 'gateway' ? value : mask.field(name, value, from), from })
  }
  const { upstream } = service
  const { targets, canary } = upstream.destination(affinityOf(state))
  if (upstream.deadline) {
    const { response, total = response } = timeoutsOf(state) ?? upstream.timeouts
    const value = writeDeadline(upstream.deadline, Math.min(response, total))
    fields.push({ name: upstream.deadline.header, value, from: 'gateway' })
  }
  const { mirror } = service.definition
  const isCopied = mirror && (mirror.methods ?? [head.method]).some((method) => method === head.method)
  const [path, query] = outboundTarget(state).split('?', 2) as [string, string | undefined]
  const target = query === undefined ? path : `${path}?${mask.query(query)}`
  return {
    method: head.method,
    urls: targets.map(({ url }) => `${url.replace(/\/+$/, '')}${target}`),
    ...(canary !== undefined && { canary }),
    ...(isCopied && { mirror: mirror.url }),
    credentials: propagator.mode,
    fields,
  }
}
