import type { LookupFunction } from 'node:net'
import { dirname } from 'node:path'
import type { Store } from '../store/store.ts'
import type { Tools } from '../tools.ts'
import { createBaseline } from './baseline.ts'
import type { Change } from './changes.ts'
import type { Staleness } from './document.ts'
import type { LintOrder } from './lint.ts'
import type { Press, PressDocument, PressReading } from './press.ts'
import type { ReadOrder } from './press-work.ts'
import { createSource, type Location, type SourceState } from './source.ts'

export interface ServiceDocumentSettings {
  readonly service: ReadOrder['service']
  /** Undefined for a service without a document (`"openapi": false`). */
  readonly location: Location | undefined
  /** Beyond this folder no part of a local document is read. Default: the folder of the document. */
  readonly root?: string
  /** As in `SourceSettings`. */
  readonly trusted?: ReadonlySet<string>
  readonly interval?: number
  readonly headers?: Readonly<Record<string, string>>
  readonly timeout?: number
  readonly lookup?: LookupFunction
}

export interface ServiceDocumentTools extends Tools {
  readonly press: Press
  readonly store?: Store
}

/** A service's document as the press holds it, kept up to date, with something to publish at every moment. */
export interface ServiceDocument {
  /** What to publish now. While the document cannot be read, the service's routes stand for it. */
  readonly part: { readonly document: PressDocument; readonly stale: Staleness | undefined }
  readonly state: DocumentState
  /** The document as the service wrote it, to be looked at by others; undefined while there is none. */
  readonly text: Pick<LintOrder, 'bytes' | 'local'> | undefined
  /** What broke in the document since clients got to know it; absent for a service without one. */
  readonly changes: { readonly since: number | undefined; readonly list: readonly Change[] } | undefined
  /** Take the document as it is now for what clients know. False while there is none to take. */
  accept(): Promise<boolean>
  /** The document has been looked at once, whatever came of it. Takes up to five seconds for each target that is silent. */
  readonly ready: Promise<void>
  /** Look now, and hear when that is done. */
  refresh(): Promise<void>
  /** Called when `part` or `state` is another. Returns how to stop. */
  onChange(listener: () => void): () => void
  close(): Promise<void>
}

/** `none`: the service has no document. Times are seconds since the epoch; reasons name no address. */
export type DocumentState =
  | { readonly status: 'none' }
  | { readonly status: 'fresh'; readonly at: number }
  | { readonly status: 'stale'; readonly since: number; readonly reason: string }
  | { readonly status: 'absent'; readonly reason: string }

/** Does not wait for the document: a backend that is silent holds nobody up. */
export async function createServiceDocument(
  settings: ServiceDocumentSettings,
  tools: ServiceDocumentTools,
): Promise<ServiceDocument> {
  const { service, location } = settings
  const { press } = tools
  const routes = await readRoutes(service, press)
  if (!location) {
    return {
      part: { document: routes.document, stale: undefined },
      state: { status: 'none' },
      text: undefined,
      changes: undefined,
      accept: async () => false,
      ready: Promise.resolve(),
      refresh: async () => {},
      onChange: () => () => {},
      close: async () => routes.document.release(),
    }
  }
  const source = createSource<PressDocument>(
    {
      service: service.name,
      location,
      ...(settings.trusted && { trusted: settings.trusted }),
      ...(settings.interval !== undefined && { interval: settings.interval }),
      ...(settings.headers && { headers: settings.headers }),
      ...(settings.timeout !== undefined && { timeout: settings.timeout }),
      ...(settings.lookup && { lookup: settings.lookup }),
    },
    {
      now: tools.now,
      log: tools.log,
      ...(tools.store && { store: tools.store }),
      read(bytes, file) {
        const local = localOf(file)
        return press.read({ service, bytes, ...(local && { local }) })
      },
      release: (document) => document.release(),
    },
  )
  function localOf(file: string | undefined) {
    return file === undefined ? undefined : { path: file, root: settings.root ?? dirname(file) }
  }
  const { name, prefix, stripPath, targetBasePath } = service
  const baseline =
    tools.store &&
    createBaseline(
      { service: name, place: JSON.stringify([prefix, stripPath, targetBasePath]) },
      { ...tools, store: tools.store },
    )
  let compared: PressDocument | undefined
  let comparing: Promise<void> = Promise.resolve()
  const compare = (state: SourceState<PressDocument>) => {
    // An old copy tells nothing new.
    if (!baseline || state.status !== 'fresh' || state.document === compared) return
    compared = state.document
    comparing = baseline.look(state.document)
  }
  const stop = source.onChange(compare)
  return {
    get changes() {
      return baseline && { since: baseline.since, list: baseline.changes }
    },
    get text() {
      const { text } = source
      const local = text && localOf(text.file)
      return text && { bytes: text.bytes, ...(local && { local }) }
    },
    async accept() {
      const { state } = source
      if (state.status !== 'fresh' || !baseline) return false
      await baseline.accept(state.document)
      return true
    },
    get part() {
      const { state } = source
      const document = state.status === 'absent' ? routes.document : state.document
      return { document, stale: stalenessOf(state) }
    },
    get state() {
      const { status } = source.state
      if (status === 'fresh') return { status, at: source.state.at }
      return status === 'stale' ? { status, since: source.state.since, reason: source.state.reason } : source.state
    },
    ready: source.ready,
    async refresh() {
      await source.refresh()
      compare(source.state)
      await comparing
    },
    onChange: (listener) => source.onChange(() => listener()),
    async close() {
      stop()
      await source.close()
      routes.document.release()
    },
  }
}

/** Nothing of a document is in it: what can go wrong is that the thread is lost with it, and then there is another. */
async function readRoutes(
  service: ReadOrder['service'],
  press: Press,
): Promise<Extract<PressReading, { outcome: 'read' }>> {
  for (let tries = 1; ; tries += 1) {
    const routes = await press.read({ service, bytes: undefined })
    if (routes.outcome === 'read') return routes
    if (tries === 3) throw new Error(routes.mistake.message)
  }
}

function stalenessOf(state: SourceState<unknown>): Staleness | undefined {
  if (state.status === 'fresh') return undefined
  return state.status === 'stale' ? { since: state.since, reason: state.reason } : { reason: state.reason }
}
