import { readFile, stat } from 'node:fs/promises'
import { isIP, type LookupFunction } from 'node:net'
import { isAbsolute, join } from 'node:path'
import { promisify } from 'node:util'
import { gunzip, gzip, type ZlibOptions } from 'node:zlib'
import { withoutSecrets } from '../http/query.ts'
import type { Store } from '../store/store.ts'
import type { Tools } from '../tools.ts'
import { type Fetched, fetchDocument } from './fetch.ts'
import type { Mistake } from './parse.ts'

/** Where a service's document is. */
export type Location =
  | { readonly type: 'target'; readonly urls: readonly string[] }
  | { readonly type: 'url'; readonly url: string }
  | { readonly type: 'file'; readonly file: string }

/**
 * The meaning of `services[].openapi`: a path on a target ("/openapi.json"), a URL, or a file. `folder` is that of
 * services.json.
 */
export function locate(openapi: string, targets: readonly string[], folder: string): Location {
  if (/^https?:\/\//i.test(openapi)) return { type: 'url', url: openapi }
  if (!openapi.startsWith('/')) return { type: 'file', file: isAbsolute(openapi) ? openapi : join(folder, openapi) }
  return { type: 'target', urls: targets.map((target) => `${target.replace(/\/+$/, '')}${openapi}`) }
}

export interface SourceSettings {
  /** `services[].name`, the key of the last good copy in the store. */
  readonly service: string
  readonly location: Location
  /** Hosts that services.json names elsewhere, such as other targets. The location's own are known. */
  readonly trusted?: ReadonlySet<string>
  /** Milliseconds between looks at a document that is fresh. Default 30,000; a file is looked at every 2,000. */
  readonly interval?: number
  /** Header fields that are sent along, such as a credential. */
  readonly headers?: Readonly<Record<string, string>>
  /** Milliseconds for one fetch. Default 5,000. */
  readonly timeout?: number
  /** Bytes. Default 20 MB. */
  readonly limit?: number
  readonly lookup?: LookupFunction
}

export interface SourceTools<Document> extends Tools {
  /** Make something of the bytes, or say what is wrong with them. `file` is set when a local file was read. */
  read(bytes: Uint8Array, file: string | undefined): Promise<Reading<Document>>
  /** A document that was handed out is not needed any more. */
  release?(document: Document): void
  /** Where the last good copy is kept; without one it lives as long as the process. */
  readonly store?: Store
}

export type Reading<Document> =
  | {
      readonly outcome: 'read'
      readonly document: Document
      /** Further files that belong to it. */
      readonly files?: readonly string[]
    }
  | { readonly outcome: 'unreadable'; readonly mistake: Mistake }

/** What is known of a document now. `since` and `at` are seconds since the epoch; reasons are fit to be published. */
export type SourceState<Document> =
  | { readonly status: 'fresh'; readonly document: Document; readonly at: number }
  | { readonly status: 'stale'; readonly document: Document; readonly since: number; readonly reason: string }
  | { readonly status: 'absent'; readonly reason: string }

export interface Source<Document> {
  readonly state: SourceState<Document>
  /** The bytes that were there last, a document or not; undefined while there were none. */
  readonly text: { readonly bytes: Uint8Array; readonly file: string | undefined } | undefined
  /** The first look is over; the state is what it found. Never rejects. */
  readonly ready: Promise<void>
  /** Look now instead of when it is due, and hear when that is done. */
  refresh(): Promise<void>
  /** Called after the state has changed. Returns how to stop. */
  onChange(listener: (state: SourceState<Document>) => void): () => void
  close(): Promise<void>
}

const defaults = { url: 30_000, file: 2_000, limit: 20 * 1_048_576 } as const
/** A backend that comes up is noticed within two seconds; one that serves something else has time until ten. */
const patience = { first: 250, down: 2_000, other: 10_000 } as const
const collection = 'documents'

const pack = promisify<Buffer, ZlibOptions, Buffer>(gzip)
/** Kept, not sent: a third of the work for a third more bytes, and in few pieces, each of which is a call. */
const quickly: ZlibOptions = { level: 1, chunkSize: 1_048_576 }
const unpack = promisify(gunzip)

type Stored = {
  readonly place: string
  /** Gzip in base64: documents of several megabytes are common. */
  readonly text: string
  readonly at: number
}

type Got = Fetched | { readonly outcome: 'fetched'; readonly bytes: Buffer; readonly etag: string }

/**
 * Keeps one document up to date. It is looked at on a schedule, more often while something is wrong, and at once when
 * `refresh` is called. What was good stays in use while nothing better is there, also over a restart.
 */
export function createSource<Document>(settings: SourceSettings, tools: SourceTools<Document>): Source<Document> {
  const { service, location } = settings
  const place = placeOf(location)
  const from = location.type === 'target' ? location.urls.map(withoutSecrets).join(' ') : withoutSecrets(place)
  const trusted = new Set([...(settings.trusted ?? []), ...namedHosts(location)])
  const file = location.type === 'file' ? location.file : undefined
  const interval = settings.interval ?? (file === undefined ? defaults.url : defaults.file)
  const limit = settings.limit ?? defaults.limit
  const seconds = () => Math.floor(tools.now() / 1_000)
  const listeners = new Set<(state: SourceState<Document>) => void>()
  const closing = new AbortController()

  let state: SourceState<Document> = { status: 'absent', reason: 'it has not been read yet' }
  /** The bytes behind the document in use, and the tag they came with. */
  let good: { readonly bytes: Buffer; readonly etag: string | undefined } | undefined
  /** Bytes from the network that were no document: the same again need no second look. A file may depend on others. */
  let bad: { readonly bytes: Buffer; readonly reason: string } | undefined
  /** What was there the last time that there was anything. */
  let seen: Buffer | undefined
  let files: readonly string[] = []
  let failures = 0
  let longestPause: number = patience.down
  let preferred = 0
  let timer: NodeJS.Timeout | undefined
  let looking: Promise<void> | undefined
  let again = false
  let recalled = false

  const ready = look()
  return {
    get state() {
      return state
    },
    get text() {
      const bytes = seen ?? good?.bytes
      return bytes && { bytes, file }
    },
    ready,
    async refresh() {
      if (closing.signal.aborted) return
      // What is under way may have asked before the change that this call is about.
      if (looking) again = true
      else void look()
      while (looking) await looking
    },
    onChange(listener) {
      listeners.add(listener)
      return () => void listeners.delete(listener)
    },
    async close() {
      closing.abort()
      clearTimeout(timer)
      listeners.clear()
      await looking
      if (state.status !== 'absent') tools.release?.(state.document)
    },
  }

  function look(): Promise<void> {
    clearTimeout(timer)
    looking = lookOnce().then(() => {
      looking = undefined
      if (closing.signal.aborted) return
      if (again) {
        again = false
        void look()
        return
      }
      const pause = failures === 0 ? interval : Math.min(longestPause, patience.first * 2 ** Math.min(failures - 1, 10))
      timer = setTimeout(look, pause)
      timer.unref()
    })
    return looking
  }

  async function lookOnce(): Promise<void> {
    try {
      const got = await get()
      if (closing.signal.aborted) return
      if (got.outcome === 'failed') return await fail(got.reason, got.detail, got.kind === 'down')
      if (got.outcome === 'unchanged') return confirm()
      seen = got.bytes
      if (good?.bytes.equals(got.bytes)) {
        seen = good.bytes
        good = { bytes: good.bytes, etag: got.etag }
        return confirm()
      }
      if (bad?.bytes.equals(got.bytes)) return await fail(bad.reason, bad.reason, false)
      const reading = await read(got.bytes)
      if (!reading) return
      if (reading.outcome === 'unreadable') {
        const reason = describe(reading.mistake)
        if (file === undefined) bad = { bytes: got.bytes, reason }
        return await fail(reason, reason, false)
      }
      files = reading.files ?? []
      good = { bytes: got.bytes, etag: file === undefined ? got.etag : await signature(file) }
      bad = undefined
      failures = 0
      change({ status: 'fresh', document: reading.document, at: seconds() })
      await keep(got.bytes)
    } catch (error) {
      // Nothing above should throw; a source that went silent would never be noticed.
      tools.log.error({ service, err: error }, 'an OpenAPI document could not be looked at')
      await fail('it could not be read', String(error), false)
    }
  }

  /** Undefined when the source was closed meanwhile, and nobody is left to hand the document to. */
  async function read(bytes: Buffer): Promise<Reading<Document> | undefined> {
    const reading = await tools.read(bytes, file)
    if (!closing.signal.aborted) return reading
    if (reading.outcome === 'read') tools.release?.(reading.document)
    return undefined
  }

  /** What we have is what is there. */
  function confirm(): void {
    failures = 0
    if (state.status === 'absent') return
    const fresh = { status: 'fresh', document: state.document, at: seconds() } as const
    if (state.status === 'stale') change(fresh)
    else state = fresh
  }

  async function fail(reason: string, detail: string, down: boolean): Promise<void> {
    failures += 1
    longestPause = down ? patience.down : patience.other
    if (state.status === 'fresh') {
      tools.log.warn(
        { service, from, detail },
        'the OpenAPI document of a service cannot be read; the last good copy is used',
      )
      change({ status: 'stale', document: state.document, since: state.at, reason })
    } else if (state.status === 'stale') {
      if (state.reason !== reason) change({ ...state, reason })
    } else {
      const kept = recalled ? undefined : await recall()
      if (closing.signal.aborted) return
      if (kept) change({ status: 'stale', document: kept.document, since: kept.at, reason })
      else if (state.reason !== reason) {
        tools.log.warn(
          { service, from, detail },
          'the OpenAPI document of a service cannot be read; "openapi" of the service says where it is, false that there is none',
        )
        change({ status: 'absent', reason })
      }
    }
  }

  function change(next: SourceState<Document>): void {
    const previous = state
    state = next
    for (const listener of listeners) {
      try {
        listener(next)
      } catch (error) {
        tools.log.error({ service, err: error }, 'who listens to an OpenAPI document failed')
      }
    }
    // Only now, so that who listens can let go of it first.
    if (previous.status !== 'absent' && (next.status === 'absent' || next.document !== previous.document)) {
      tools.release?.(previous.document)
    }
  }

  async function get(): Promise<Got> {
    if (file !== undefined) return getFile(file)
    const urls = location.type === 'target' ? location.urls : location.type === 'url' ? [location.url] : []
    let last: Fetched = { outcome: 'failed', kind: 'refused', reason: 'it has no address', detail: place }
    for (let attempt = 0; attempt < urls.length; attempt += 1) {
      const index = (preferred + attempt) % urls.length
      last = await fetchDocument(urls[index]!, {
        trusted,
        limit,
        // Another target may have another idea of what its tags mean.
        etag: attempt === 0 && state.status !== 'absent' ? good?.etag : undefined,
        signal: closing.signal,
        ...(settings.headers && { headers: settings.headers }),
        ...(settings.timeout === undefined ? {} : { timeout: settings.timeout }),
        ...(settings.lookup === undefined ? {} : { lookup: settings.lookup }),
      })
      if (last.outcome !== 'failed') {
        preferred = index
        return last
      }
      if (closing.signal.aborted) return last
    }
    return last
  }

  async function getFile(path: string): Promise<Got> {
    try {
      const etag = await signature(path)
      if (etag === good?.etag && state.status !== 'absent') return { outcome: 'unchanged' }
      if ((await stat(path)).size > limit) {
        const reason = `it is larger than ${Math.floor(limit / 1_048_576)} MB`
        return { outcome: 'failed', kind: 'answer', reason, detail: path }
      }
      // A part may have changed while the entry file has not: then it must be read again all the same.
      if (good && files.length > 0) good = undefined
      return { outcome: 'fetched', bytes: await readFile(path), etag }
    } catch (error) {
      const missing = (error as NodeJS.ErrnoException).code === 'ENOENT'
      const reason = missing ? 'there is no such file' : 'the file cannot be read'
      return { outcome: 'failed', kind: 'answer', reason, detail: String(error) }
    }
  }

  /** Changes when the document or one of its parts is written. */
  async function signature(path: string): Promise<string> {
    const stats = await Promise.all([path, ...files].map((name) => stat(name)))
    return stats.map(({ mtimeMs, size }) => `${mtimeMs}/${size}`).join(' ')
  }

  async function keep(bytes: Buffer): Promise<void> {
    if (!tools.store) return
    try {
      const text = (await pack(bytes, quickly)).toString('base64')
      await tools.store.put(collection, service, { place, text, at: seconds() })
    } catch (error) {
      tools.log.warn({ service, err: error }, 'the last good copy of an OpenAPI document could not be kept')
    }
  }

  /** The last good copy of an earlier process, when it is of the same place and can still be read. */
  async function recall(): Promise<{ readonly document: Document; readonly at: number } | undefined> {
    try {
      const entry = await tools.store?.get<Stored>(collection, service)
      // A store that did not answer is asked again at the next failure.
      recalled = true
      if (!entry || entry.value.place !== place) return undefined
      const bytes = await unpack(Buffer.from(entry.value.text, 'base64'), { maxOutputLength: limit })
      const reading = await read(bytes)
      if (reading?.outcome !== 'read') return undefined
      good = { bytes, etag: undefined }
      return { document: reading.document, at: entry.value.at }
    } catch (error) {
      tools.log.warn({ service, err: error }, 'the last good copy of an OpenAPI document could not be brought back')
      return undefined
    }
  }
}

function describe({ message, line, column }: Mistake): string {
  return line === undefined ? message : `${message} (line ${line}, column ${column})`
}

function placeOf(location: Location): string {
  return location.type === 'target' ? location.urls.join(' ') : location.type === 'url' ? location.url : location.file
}

/**
 * The hosts that an operator named on purpose: those of targets; in a URL of its own a literal address, and names that
 * only mean something here. A public name that stands for a private address is somebody else's doing.
 */
function namedHosts(location: Location): readonly string[] {
  const urls = location.type === 'target' ? location.urls : location.type === 'url' ? [location.url] : []
  return urls
    .filter((url) => URL.canParse(url))
    .map((url) => new URL(url).hostname.replace(/^\[|\]$/g, '').toLowerCase())
    .filter((host) => location.type === 'target' || isIP(host) !== 0 || isLocalName(host))
}

const isLocalName = (host: string): boolean =>
  !host.includes('.') || /\.(?:localhost|local|internal|svc|cluster\.local|lan|home\.arpa|test)$/.test(host)
