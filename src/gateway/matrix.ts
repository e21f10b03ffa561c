import { splitMatch } from '../config/check.ts'
import type { RouteDefinition } from '../config/schema.ts'
import type { Inquiry } from './explain.ts'
import type { ExplainedProblem, Explanation } from './explanation.ts'
import type { Gateway, Service } from './gateway.ts'

/** Somebody whose reach is looked at. */
export interface Persona {
  readonly name: string
  /** As `explain` takes them; undefined for nobody in particular. */
  readonly claims: Readonly<Record<string, unknown>> | undefined
  /** The security scheme that the claims stand for; undefined for whichever the operation asks for. */
  readonly scheme: string | undefined
  /** Values for the parameters of paths; "1" for those that are not named. */
  readonly params: Readonly<Record<string, string>>
  /** The thing where `allow.resource` reads one; null for none. */
  readonly resource?: unknown
}

/** One way to ask for something. */
export interface Operation {
  readonly method: string
  /** `/orders/{id}` */
  readonly template: string
  /** False for what a row of services.json lets through although no document speaks of it. */
  readonly documented: boolean
}

/** What one persona gets of one operation. */
export interface Reach {
  /** `depends`: on a thing of the service that was not given. `unknown`: on something that could not be had. */
  readonly verdict: 'allow' | 'deny' | 'depends' | 'unknown'
  /** In a few words: who decides, or what is missing. */
  readonly why: string
  readonly status?: number
  readonly code?: string
  readonly row?: string
  /** It is let through, and would not be if what is in shadow were enforced. */
  readonly shadow?: Pick<ExplainedProblem, 'status' | 'code' | 'row'>
}

export interface MatrixRow extends Operation {
  /** In the order of the personas. */
  readonly reach: readonly Reach[]
}

/** Asks `explain` on behalf of one gateway. */
export type Ask = (inquiry: Inquiry) => Promise<Explanation>

/** What every persona gets of every operation, by the code that explains single requests. */
export async function matrixOf(
  gateway: Gateway,
  ask: Ask,
  operations: readonly Operation[],
  personas: readonly Persona[],
): Promise<readonly MatrixRow[]> {
  const rows: MatrixRow[] = []
  for (const operation of operations) {
    const reach: Reach[] = []
    for (const persona of personas) reach.push(reachOf(await ask(inquiryOf(gateway, operation, persona))))
    rows.push({ ...operation, reach })
  }
  return rows
}

function inquiryOf(gateway: Gateway, { method, template }: Operation, persona: Persona): Inquiry {
  const path = pathOf(template, persona.params)
  const { claims, scheme, resource } = persona
  // A credential of a scheme that the operation does not ask for is not looked at.
  const shown = claims && (scheme === undefined || asksFor(gateway, method, path, scheme))
  return {
    method,
    path,
    ...(shown && { claims, ...(scheme !== undefined && { scheme }) }),
    ...(resource !== undefined && { resource }),
  }
}

/** A request that the template is about. What follows a "#" tells variants of an operation apart, and is never sent. */
export function pathOf(template: string, params: Readonly<Record<string, string>> = {}): string {
  return template
    .replace(/#.*$/, '')
    .replace(/\{([^{}]*)\}/g, (_whole, name: string) =>
      encodeURIComponent(Object.hasOwn(params, name) ? params[name]! : '1'),
    )
}

function asksFor(gateway: Gateway, method: string, target: string, scheme: string): boolean {
  const [path] = target.split('?') as [string]
  const composition = gateway.compositions.match(method, path)
  const routes = composition
    ? composition.value.parts.map(({ service }) => gateway.router.match('GET', `${service.prefix}/`)?.value)
    : [gateway.router.match(method, path)?.value]
  return routes.every((route) => route?.security.authenticators.some((known) => known.scheme === scheme))
}

function reachOf({ outcome, problem, shadow, authentication, authorization }: Explanation): Reach {
  if (outcome === 'undecided') {
    const things = authorization?.policies.flatMap(({ blocks }) =>
      blocks.flatMap(({ rows }) => rows.flatMap(({ resource }) => (resource ? [`GET ${resource.get}`] : []))),
    )
    return {
      verdict: 'depends',
      why: `on what the service says to ${[...new Set(things)].join(', ') || 'one of its parts'}`,
    }
  }
  if (problem && outcome !== 'composed') {
    const { status, code, row, detail } = problem
    const verdict = status >= 500 ? 'unknown' : 'deny'
    return { verdict, why: detail, status, code, ...(row !== undefined && { row }) }
  }
  return {
    verdict: 'allow',
    why: whyAllowed(authentication),
    ...(shadow && {
      shadow: { status: shadow.status, code: shadow.code, ...(shadow.row !== undefined && { row: shadow.row }) },
    }),
  }
}

function whyAllowed(authentication: Explanation['authentication']): string {
  if (!authentication) return 'each of its parts is allowed'
  if (authentication.asks === 'nobody') return 'nobody is asked'
  if (authentication.caller?.method === 'none') return 'guests are let in'
  const by = authentication.alternatives.find(({ verdict }) => verdict === 'decides')
  return `by ${Object.keys(by?.requirement ?? {}).join(' and ')}`
}

/* Which operations there are */

const anyMethod = ['GET', 'POST', 'PUT', 'PATCH', 'DELETE'] as const

/**
 * Rows of services.json that no documented operation is answered by, as operations: what is let through without being
 * described would otherwise be missed.
 */
export function undocumentedOperations(gateway: Gateway, documented: readonly Operation[]): readonly Operation[] {
  const known = new Set(documented.map(({ method, template }) => `${method} ${shapeOf(template)}`))
  return gateway.services.flatMap((service) => {
    if (service.definition.expose === 'documented') return []
    const routes = service.definition.routes.flatMap((route) => operationsOf(service, route))
    const own = anyMethod.flatMap((method) => ownOperation(gateway, service, method))
    return [...routes, ...own].filter(({ method, template }) => !known.has(`${method} ${shapeOf(template)}`))
  })
}

function operationsOf({ prefix }: Service, { match }: RouteDefinition): readonly Operation[] {
  const { method, template } = splitMatch(match)
  const path = (prefix + template.replace(/\/\*$/, '/{rest}')).replace(/(?<=.)\/$/, '')
  return (method === '*' ? anyMethod : [method]).map((method) => ({ method, template: path, documented: false }))
}

/** A path of the service that none of its routes answers. */
function ownOperation({ router }: Gateway, { name, prefix }: Service, method: string): readonly Operation[] {
  for (let depth = 1; depth <= 8; depth += 1) {
    const template = prefix + '/{any}'.repeat(depth)
    if (router.match(method, pathOf(template))?.value.id === name) return [{ method, template, documented: false }]
  }
  return []
}

function shapeOf(template: string): string {
  return template.replace(/\{[^{}/]*\}/g, '{}').toLowerCase()
}

/* What has changed */

export interface Change extends Operation {
  readonly persona: string
  readonly before: Reach
  readonly after: Reach
}

const ranks = { deny: 0, depends: 1, allow: 2 } as const

/** What became reachable, or more so, and what the other way round. Rows and personas stand in the same order in both. */
export function changesBetween(
  before: readonly MatrixRow[],
  after: readonly MatrixRow[],
  personas: readonly Persona[],
): { readonly reachable: readonly Change[]; readonly unreachable: readonly Change[] } {
  const reachable: Change[] = []
  const unreachable: Change[] = []
  for (const [at, { reach, ...operation }] of after.entries()) {
    for (const [who, now] of reach.entries()) {
      const then = before[at]!.reach[who]!
      const change = { ...operation, persona: personas[who]!.name, before: then, after: now }
      if (now.verdict === 'unknown' || then.verdict === 'unknown') continue
      if (ranks[now.verdict] > ranks[then.verdict]) reachable.push(change)
      if (ranks[now.verdict] < ranks[then.verdict]) unreachable.push(change)
    }
  }
  return { reachable, unreachable }
}
