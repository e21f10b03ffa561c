import { type Identification, identify, type SecurityRequirements } from '../authentication/identify.ts'
import { mayPermit } from '../authorization/prospect.ts'
import { Problem } from '../http/problem.ts'
import type { RequestHead } from '../http/request-head.ts'
import type { Representation } from '../openapi/bytes.ts'
import { operationKey } from '../openapi/operation-key.ts'
import { isObject, members } from '../openapi/plain.ts'
import type { Press, Publication } from '../openapi/press.ts'
import type { OwnPart } from '../openapi/publish.ts'
import type { DocumentName } from '../openapi/view.ts'
import { isMethod } from '../openapi/walk.ts'
import type { CompiledRoutes } from './compile.ts'
import type { Route } from './gateway.ts'
import { createPrinted, type Printed } from './printed.ts'

/** The published documents, as each caller is shown them. */
export interface Shown {
  /** For whoever sent this request; undefined when there is no such document. Throws a `Problem` when it cannot be told who calls. */
  document(head: RequestHead, of: DocumentName): Promise<Representation | undefined>
  /** The request header fields that what is shown depends on. */
  readonly vary: readonly string[]
}

/** `view: "all"`: everybody is shown everything. */
export function showAll(published: () => Publication): Shown {
  return { document: async (_head, of) => documentOf(published(), of), vary: [] }
}

export interface ShownSettings {
  readonly published: () => Publication
  readonly press: Pick<Press, 'view'>
  readonly compiled: CompiledRoutes
  /** The gateway's own operations, as they are published. */
  readonly own: OwnPart
  /** The routes that must all let a caller through for one of them, by `operationKey`. */
  readonly required: ReadonlyMap<string, readonly Route[]>
  /** What the others ask for, unless they are public. */
  readonly anyScheme: SecurityRequirements
  /** Milliseconds since the epoch. */
  readonly now: () => number
}

/**
 * `view: "caller"`: the operations that would not be refused to whoever asks, judged by the requirements and policies
 * that guard them: what the credentials of this request prove to each route, what the requirement arrays name, and
 * every `allow`. An operation is left out when it is certain that every request of this caller would be refused.
 *
 * Nothing is printed for a request: operations about which there is one decision are decided together, and documents
 * are kept by the set of operations that they show.
 */
export function showByCaller({ published, press, compiled, own, required, anyScheme, now }: ShownSettings): Shown {
  const vary = [...compiled.authenticators.values()].flatMap(({ location }) =>
    location.in === 'query' ? [] : [location.in === 'cookie' ? 'Cookie' : location.name],
  )
  const ownGroups = groupsOfOwn(own, required, anyScheme)
  const tables = new WeakMap<Publication, Table>()

  async function document(head: RequestHead, of: DocumentName): Promise<Representation | undefined> {
    const publication = published()
    const table = tables.get(publication) ?? { groups: groupsOf(publication, compiled), printed: createPrinted() }
    tables.set(publication, table)
    const service = typeof of === 'object' ? of.service : undefined
    const groups =
      service === undefined
        ? [...ownGroups, ...table.groups]
        : table.groups.filter((group) => group.service === service)
    const identified = await identifyEach(groups, head)
    // Another one was printed meanwhile, and the press may have forgotten this one.
    if (published() !== publication) return document(head, of)

    const seen = groups.filter((group) =>
      group.asks.every((one) => mayCall(identified.get(one.name), one.route, group.method, head, now())),
    )
    if (seen.length === groups.length) return documentOf(publication, of)
    return table.printed(JSON.stringify([of, seen.map(({ name }) => name)]), () => {
      const services = new Map<string, Set<string>>()
      for (const { service, keys } of seen) services.set(service, new Set([...(services.get(service) ?? []), ...keys]))
      return press.view(publication, { services, own: services.get(itself) ?? new Set() }, of)
    })
  }

  return { document, vary: [...new Set(vary)] }
}

interface Table {
  readonly groups: readonly Group[]
  readonly printed: Printed
}

/** Operations about which there is one decision. */
interface Group {
  readonly name: string
  readonly service: string
  readonly method: string
  /** All of these must let the caller through. */
  readonly asks: readonly Ask[]
  readonly keys: readonly string[]
}

interface Ask {
  /** The same for all that ask for the same credentials. */
  readonly name: string
  readonly security: SecurityRequirements
  /** Whose policies have a say, too. */
  readonly route: Route | undefined
}

/** In place of a service's name. */
const itself = ''

function groupsOf(publication: Publication, { services, routeFor }: CompiledRoutes): readonly Group[] {
  const groups = new Map<string, Group & { readonly keys: string[] }>()
  for (const service of services) {
    for (const operation of publication.operations.get(service.name) ?? []) {
      const { method, path } = operation
      const route = routeFor(service, method, path)!
      const name = `${method} ${route.id}`
      const known = groups.get(name)
      if (known) known.keys.push(operationKey(operation))
      else
        groups.set(name, {
          name,
          service: service.name,
          method,
          asks: [askOf(route.security, route)],
          keys: [operationKey(operation)],
        })
    }
  }
  return [...groups.values()]
}

function groupsOfOwn(
  { paths }: OwnPart,
  required: ShownSettings['required'],
  anyScheme: SecurityRequirements,
): readonly Group[] {
  return members(paths).flatMap(([path, item]) =>
    members(item).flatMap(([member, operation]): Group[] => {
      if (!isMethod(member)) return []
      const method = member.toUpperCase()
      const key = operationKey({ method, published: path })
      const routes = required.get(key)
      const security = isObject(operation) ? operation.security : undefined
      const isPublic = !Array.isArray(security) || security.length === 0
      const asks = routes?.map((route) => askOf(route.security, route)) ?? (isPublic ? [] : [askOf(anyScheme)])
      return [{ name: key, service: itself, method, asks, keys: [key] }]
    }),
  )
}

function askOf(security: SecurityRequirements, route?: Route): Ask {
  const schemes = security.authenticators.map(({ scheme }) => scheme)
  return { name: JSON.stringify({ ...security, authenticators: schemes }), security, route }
}

/** Who calls, as far as each route is concerned; absent where nobody could call like this. What asks for the same is asked once. */
async function identifyEach(groups: readonly Group[], head: RequestHead): Promise<ReadonlyMap<string, Identification>> {
  const asks = new Map(groups.flatMap((group) => group.asks.map(({ name, security }) => [name, security])))
  const identified = new Map<string, Identification>()
  for (const [name, security] of asks) {
    try {
      identified.set(name, await identify(security, head))
    } catch (error) {
      if (!(error instanceof Problem) || error.status !== 401) throw error
    }
  }
  return identified
}

function mayCall(
  identification: Identification | undefined,
  route: Route | undefined,
  method: string,
  head: RequestHead,
  now: number,
): boolean {
  if (!identification || (identification.unmet && !route?.shadow?.names)) return false
  if (!route) return true
  const { caller } = identification
  const question = { caller, head: { ...head, method }, params: new Map(), service: route.service, route, now }
  return route.policies.every((policy) => mayPermit(policy, question))
}

function documentOf({ json, yaml, byService }: Publication, of: DocumentName): Representation | undefined {
  if (typeof of === 'object') return byService.get(of.service)
  return of === 'json' ? json : yaml
}
