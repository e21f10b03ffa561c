import { compareClaim } from '../openapi/claims.ts'
import type { DigestOperation } from '../openapi/digest.ts'
import type { EnforcedSecurity } from '../openapi/document.ts'
import type { DocumentState } from '../openapi/service-document.ts'
import type { Documents } from './documents.ts'
import type { Service } from './gateway.ts'
import type { Traffic } from './traffic.ts'

/** In what a service, its document and the gateway do not agree. */
export const driftKinds = ['looser', 'stricter', 'undocumented', 'vanished', 'breaking'] as const
export type DriftKind = (typeof driftKinds)[number]

export interface DriftFinding {
  /**
   * `looser`, `stricter`: the gateway enforces less, or more, than the service says of itself. `undocumented`: answered,
   * and not in the document. `vanished`, `breaking`: what changed since the document that clients know.
   */
  readonly kind: DriftKind
  /** `GET /orders/{id}` */
  readonly operation: string
  readonly detail: string
}

export interface ServiceDrift {
  readonly service: string
  readonly document: DocumentState
  /** When the document that clients know was taken, seconds since the epoch. */
  readonly since?: number
  readonly findings: readonly DriftFinding[]
  readonly counts: DriftCounts
}

export type DriftCounts = Readonly<Record<DriftKind, number>>

export interface Drift {
  /** One for each service, in the order of services.json. */
  report(): readonly ServiceDrift[]
  /** A request went to a service and was answered. */
  note(service: Service, method: string, path: string, status: number): void
  /** Take the documents as they are for what clients know; resolves with the services whose document there was to take. */
  accept(services: readonly string[]): Promise<readonly string[]>
}

export interface DriftSettings {
  readonly services: readonly Service[]
  readonly documents: Pick<Documents, 'state' | 'listed' | 'operations' | 'changes' | 'accept'>
  /** One for each service, by its name; they outlive a revision of services.json. */
  readonly traffic: ReadonlyMap<string, Traffic>
  enforced(service: Service, method: string, path: string): EnforcedSecurity | undefined
}

export function createDrift({ services, documents, traffic, enforced }: DriftSettings): Drift {
  const claims = new Map<
    string,
    { readonly of: readonly DigestOperation[]; readonly findings: readonly DriftFinding[] }
  >()

  /** Made once for a document: thousands of operations are asked about at every look at the metrics. */
  function claimsOf(service: Service): readonly DriftFinding[] {
    const operations = documents.listed(service.name)
    const known = claims.get(service.name)
    if (known?.of === operations) return known.findings
    const findings = operations.flatMap(({ method, path, published, claim }): DriftFinding[] => {
      const security = claim && enforced(service, method, path)
      const disagreement = security && compareClaim(claim, security)
      return disagreement ? [{ ...disagreement, operation: `${method} ${published}` }] : []
    })
    claims.set(service.name, { of: operations, findings })
    return findings
  }

  function trafficOf({ name }: Service): readonly DriftFinding[] {
    const counted = traffic.get(name)!
    const table = documents.operations(name)
    const found = counted.undocumented((method, path) => table?.match(method, path) !== undefined)
    const findings = found.map(({ method, template, count, last }): DriftFinding => {
      const when = new Date(last * 1_000).toISOString()
      return {
        kind: 'undocumented',
        operation: `${method} ${template}`,
        detail: `answered ${times(count)}, last ${when}`,
      }
    })
    if (counted.others === 0) return findings
    const detail = `answered ${times(counted.others)}, of more kinds than are told apart`
    return [...findings, { kind: 'undocumented', operation: 'others', detail }]
  }

  function driftOf(service: Service): ServiceDrift {
    const changes = documents.changes(service.name)
    const findings = [...claimsOf(service), ...trafficOf(service), ...(changes?.list ?? [])]
    const counts = Object.fromEntries(
      driftKinds.map((kind) => [kind, findings.filter((finding) => finding.kind === kind).length]),
    ) as DriftCounts
    return {
      service: service.name,
      document: documents.state(service.name),
      ...(changes?.since !== undefined && { since: changes.since }),
      findings,
      counts,
    }
  }

  return {
    report: () => services.map(driftOf),
    note(service, method, path, status) {
      // What is not there is no operation; what only its document exposes cannot be anything else.
      if (status === 404 || status === 405 || status >= 500) return
      if (service.definition.openapi === false || service.definition.expose === 'documented') return
      const table = documents.operations(service.name)
      if (table && !table.match(method, path)) traffic.get(service.name)!.note(method, path)
    },
    async accept(names) {
      const taken: string[] = []
      for (const name of names) if (await documents.accept(name)) taken.push(name)
      return taken
    },
  }
}

const times = (count: number) => (count === 1 ? 'once' : `${count} times`)
