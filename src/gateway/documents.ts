import { setImmediate as immediately } from 'node:timers/promises'
import { splitMatch } from '../config/check.ts'
import type { Definition, ServiceDefinition } from '../config/schema.ts'
import { withoutSecrets } from '../http/query.ts'
import type { DigestOperation } from '../openapi/digest.ts'
import type { EnforcedSecurity, Finding, JsonObject } from '../openapi/document.ts'
import type { Press, PressDocument, PressPart, Publication } from '../openapi/press.ts'
import type { ReadOrder } from '../openapi/press-work.ts'
import type { OwnPart, PublishSettings } from '../openapi/publish.ts'
import type { DocumentState, ServiceDocument } from '../openapi/service-document.ts'
import type { Log } from '../telemetry/log.ts'
import type { Metrics } from '../telemetry/metrics.ts'
import type { Contract } from '../validation/contract.ts'
import type { Service } from './gateway.ts'
import { Router } from './router.ts'

/** The documents of one revision: what is published now, made anew whenever a service's own document changes. */
export interface Documents {
  readonly published: Publication
  /** False while there never was a publication of the services: then `published` has the gateway's own operations. */
  readonly complete: boolean
  readonly schemes: Readonly<Record<string, JsonObject>>
  /** How a service's document stands. */
  state(service: string): DocumentState
  /** A service's document as it is written; undefined while there is none. */
  text(service: string): ServiceDocument['text']
  /** The operations of a service's document, or of its routes while there is none. Paths are below the service's. */
  listed(service: string): readonly DigestOperation[]
  /** The operations of a service's document as a table; undefined while the document has never been read. */
  operations(service: string): Router<DocumentedOperation> | undefined
  /** What a documented operation wants of a request. Rejects when its document is no longer in use. */
  contract(operation: DocumentedOperation): Promise<Contract>
  /** What broke in a service's document since clients got to know it. */
  changes(service: string): ServiceDocument['changes']
  /** Take a service's document as it is now for what clients know. False while there is none to take. */
  accept(service: string): Promise<boolean>
  /** What the service says its version is, in an answer: another one than before has its document looked at. */
  noteVersion(service: string, version: string): void
  /** Look at every service's document now. */
  refresh(): Promise<void>
  close(): void
}

/** An operation of a service's document, as long as the document is in use. */
export interface DocumentedOperation {
  readonly document: PressDocument
  /** Its place in the document's `operations`. */
  readonly index: number
}

export interface DocumentsSettings {
  readonly definition: Definition
  readonly publicUrl: string
  readonly services: readonly Service[]
  /** One for each service, by its name. */
  readonly sources: ReadonlyMap<string, ServiceDocument>
  readonly press: Press
  readonly own: OwnPart
  enforced(service: Service, method: string, path: string): EnforcedSecurity | undefined
  /** `complete` is false while an issuer could not be asked for its endpoints. */
  describeSchemes(): Promise<{ readonly schemes: Readonly<Record<string, JsonObject>>; readonly complete: boolean }>
  /** Milliseconds that the first publication waits for services that do not answer. Default 1,000. */
  readonly patience?: number
  readonly log: Log
  readonly metrics: Metrics
}

const usualPatience = 1_000
/** Several services that come up together make one publication. */
const gathering = 50
const askAgain = 5_000
/** Operations that are looked up in one turn of the event loop, which takes a few milliseconds. */
const atOnce = 100
const lookAroundEvery = 1_000
/** Who says that it is another version may have begun to be it just now. */
const versionPatience = 500

export async function openDocuments(settings: DocumentsSettings): Promise<Documents> {
  const { services, sources, definition, press, log, metrics, patience = usualPatience } = settings
  const tables = new Map<string, { readonly document: object; readonly table: Router<DocumentedOperation> }>()
  /** Routes are those of this revision; documents come and go. */
  const enforcements = new WeakMap<PressDocument, readonly (EnforcedSecurity | undefined)[]>()
  let published!: Publication
  let complete = false
  /** Until then the thread rests from publishing: as long as the last publication took. By `performance.now`. */
  let rested = 0
  let schemes: Readonly<Record<string, JsonObject>> = {}
  /** Targets that got no requests when they were looked at last, by service. */
  const away = new Map<string, readonly string[]>()
  /** What answers said last, by service; and whose documents are about to be looked at for it. */
  const versions = new Map<string, string>()
  const looking = new Set<string>()
  let timer: NodeJS.Timeout | undefined
  let running: Promise<void> = Promise.resolve()
  let closed = false

  const stops = [...sources.values()].map((source) => source.onChange(() => later(gathering)))
  const lookAround = setInterval(noticeReturns, lookAroundEvery).unref()
  await Promise.race([Promise.all([...sources.values()].map(({ ready }) => ready)), sleep(patience)])
  // A document that cannot be printed is no reason not to serve: it is tried again.
  await build().catch(async (error) => {
    log.error(
      { err: error },
      'the first document could not be published; the gateway begins without the services in it',
    )
    const described = await settings.describeSchemes()
    published = await press.blank(printing(described.schemes))
    schemes = described.schemes
    later(askAgain)
  })

  return {
    get published() {
      return published
    },
    get complete() {
      return complete
    },
    get schemes() {
      return schemes
    },
    state: (service) => sources.get(service)!.state,
    text: (service) => sources.get(service)!.text,
    listed: (service) => sources.get(service)!.part.document.operations,
    operations: operationsOf,
    changes: (service) => sources.get(service)!.changes,
    accept: (service) => sources.get(service)!.accept(),
    contract: ({ document, index }) => press.contract(document, index),
    noteVersion,
    async refresh() {
      // To ask fifty services in one turn of the event loop would hold requests up.
      let turn: Promise<unknown> = Promise.resolve()
      const looks = [...sources.values()].map((source) => {
        turn = turn.then(() => immediately())
        return turn.then(() => source.refresh())
      })
      await Promise.all(looks)
    },
    close() {
      closed = true
      clearTimeout(timer)
      clearInterval(lookAround)
      for (const stop of stops) stop()
      published.release()
    },
  }

  /** A service that was away may have come back as another version: its document is not waited for until it is due. */
  function noticeReturns(): void {
    for (const { name, upstream } of services) {
      const targets = upstream.describe()
      const down = targets.filter(({ available }) => !available).map(({ url }) => url)
      const returned = (away.get(name) ?? []).some((url) => !down.includes(url))
      if (down.length > 0) away.set(name, down)
      else away.delete(name)
      if (returned) look(name)
    }
  }

  /**
   * While a new version is rolled out, old and new ones answer by turns: the document is looked at once in a while, and
   * once more when the last word has been said.
   */
  function noteVersion(name: string, version: string): void {
    const known = versions.get(name)
    versions.set(name, version)
    if (known === undefined || known === version || looking.has(name)) return
    looking.add(name)
    setTimeout(() => {
      looking.delete(name)
      if (!closed) look(name)
    }, versionPatience).unref()
  }

  function look(name: string): void {
    sources
      .get(name)!
      .refresh()
      .catch((error) => log.error({ err: error, service: name }, 'a document could not be looked at'))
  }

  function later(wait: number): void {
    if (closed) return
    clearTimeout(timer)
    timer = setTimeout(
      () => {
        running = running.then(build).catch((error) => {
          log.error({ err: error }, 'the document could not be published')
          later(askAgain)
        })
      },
      // Large documents take seconds to print: where one comes after the other, several of them are waited for.
      Math.max(wait, rested - performance.now()),
    ).unref()
  }

  async function build(): Promise<void> {
    if (closed) return
    const described = await settings.describeSchemes()
    if (!described.complete) later(askAgain)
    const started = performance.now()
    await lookUpEnforcement()
    if (closed) return
    const parts = services.map(({ name }): PressPart => {
      const { part } = sources.get(name)!
      const enforced = enforcements.get(part.document)!
      return { ...part, enforced: (_method, _path, index) => enforced[index] }
    })
    const next = await press.publish(parts, printing(described.schemes), definition.gateway.docs.view === 'caller')
    if (closed) {
      next.release()
      return
    }
    report(published?.findings ?? [], next.findings)
    published?.release()
    published = next
    complete = true
    schemes = described.schemes
    rested = performance.now() + (performance.now() - started)
    for (const { name } of services) {
      const { status } = sources.get(name)!.state
      metrics.documentStale(name, status === 'stale' || status === 'absent')
    }
  }

  /** For each operation of each document. Large ones have a thousand, and requests are answered in between. */
  async function lookUpEnforcement(): Promise<void> {
    const isNew = ({ name }: Service) => !enforcements.has(sources.get(name)!.part.document)
    // Another document may come meanwhile.
    for (let service = services.find(isNew); service && !closed; service = services.find(isNew)) {
      const { document } = sources.get(service.name)!.part
      const enforced: (EnforcedSecurity | undefined)[] = []
      for (const { method, path } of document.operations) {
        enforced.push(settings.enforced(service, method, path))
        if (enforced.length % atOnce === 0) await immediately()
      }
      enforcements.set(document, enforced)
      await immediately()
    }
  }

  function printing(securitySchemes: Readonly<Record<string, JsonObject>>): PublishSettings {
    const { title, version, description } = definition.gateway.docs
    return {
      info: { title, version, ...(description !== undefined && { description }) },
      publicUrl: settings.publicUrl,
      securitySchemes,
      ...(definition.security && { security: definition.security }),
      own: settings.own,
    }
  }

  function operationsOf(service: string): Router<DocumentedOperation> | undefined {
    const source = sources.get(service)!
    if (source.state.status === 'absent') return undefined
    const { document } = source.part
    const known = tables.get(service)
    if (known?.document === document) return known.table
    const { prefix } = services.find(({ name }) => name === service)!
    // In OpenAPI a "*" is a "*".
    const table = new Router<DocumentedOperation>({ caseSensitive: true, tails: false })
    for (const [index, { method, path, variant }] of document.operations.entries())
      if (!variant) table.add(method, prefix + path, { document, index })
    tables.set(service, { document, table })
    return table
  }

  /** Each finding is logged when it is new. */
  function report(before: readonly Finding[], now: readonly Finding[]): void {
    const known = new Set(before.map((finding) => JSON.stringify(finding)))
    for (const finding of now) {
      if (known.has(JSON.stringify(finding))) continue
      const { severity, message, ...facts } = finding
      const text = `OpenAPI document: ${message}`
      if (severity === 'error') log.error(facts, text)
      else log.debug(facts, text)
    }
  }
}

/** How a service's document is got; `from` is undefined for a service without one. */
export function documentOf({ openapi }: Pick<ServiceDefinition, 'openapi'>): {
  readonly from: string | undefined
  readonly headers: Readonly<Record<string, string>>
  readonly every?: number | undefined
  readonly version?: string | undefined
} {
  if (openapi === false) return { from: undefined, headers: {} }
  return typeof openapi === 'string' ? { from: openapi, headers: {} } : openapi
}

/** A service as the press wants it described. */
export function orderOf({
  name,
  prefix,
  stripPath,
  definition,
}: Pick<Service, 'name' | 'prefix' | 'stripPath' | 'definition'>): ReadOrder['service'] {
  const { targets, routes } = definition
  const { from } = documentOf(definition)
  return {
    name,
    prefix,
    stripPath,
    origin: from === undefined ? 'services.json' : withoutSecrets(from),
    targetBasePath: new URL(targets[0]!.url).pathname.replace(/\/+$/, ''),
    routes: routes.map(({ match }) => {
      const { method, template } = splitMatch(match)
      return { method, path: template }
    }),
  }
}

function sleep(milliseconds: number): Promise<void> {
  return new Promise((resolve) => setTimeout(resolve, milliseconds).unref())
}
