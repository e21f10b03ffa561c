import { digestOf } from '../authentication/remember.ts'
import type { Resource, ResourceNeed } from '../authorization/policy.ts'
import { createFields } from '../http/fields.ts'
import { jsonMediaType } from '../http/media-type.ts'
import { partReferences, splitPartPath } from '../http/part-path.ts'
import { encodeSegment } from '../http/path.ts'
import { Problem } from '../http/problem.ts'
import type { RequestHead } from '../http/request-head.ts'
import { type Identified, parametersOf } from './decide.ts'
import type { Gateway } from './gateway.ts'
import { affinityOf, createWholeJsonFields, type OutboundTools, outboundFields, outboundTarget } from './outbound.ts'

/** Bytes of one thing. */
export const largestThing = 256 * 1_024
/** What one revision keeps at most: things, and bytes of them. */
const mostKept = { things: 1_000, bytes: 16 * 1_048_576 } as const

export interface ResourceTools extends OutboundTools {
  /** Milliseconds since the epoch. */
  readonly now: () => number
}

/** Reads things for decisions (`allow.resource`). */
export type ReadResources = (state: Identified & { readonly gateway: Gateway }, need: ResourceNeed) => Promise<Resource>

/**
 * Asks the service for the thing that a decision hangs on, as the request itself will be asked for: the same targets, the
 * same word about the caller and the same credential. Nothing else of the client goes along, neither its header fields
 * nor its query, so that nobody can steer what a decision about them is made of.
 *
 * With `cache`, one answer serves the same caller for that long, and requests that come at once wait for one answer.
 * What is not shown, or could not be had, is asked for again by the next one.
 */
export function createResourceReader(given: ResourceTools): ReadResources {
  const tools = { ...given, wholeJson: createWholeJsonFields() }
  // A new revision may ask otherwise.
  const kept = new WeakMap<Gateway, Kept>()

  return function readResource(state, need) {
    if (!hasThing(state.found, need)) return Promise.resolve({ outcome: 'hidden' })
    const head = headFor(state, need.get)
    if (need.cache === 0) return fetchResource(state, head, tools).then(({ resource }) => resource)
    let cache = kept.get(state.gateway)
    if (!cache) {
      cache = new Kept(tools.now)
      kept.set(state.gateway, cache)
    }
    return cache.get(`${need.cache} ${keyOf(state, head)}`, need.cache, () => fetchResource(state, head, tools))
  }
}

interface FetchTools extends OutboundTools {
  readonly wholeJson: ReturnType<typeof createWholeJsonFields>
}

interface Fetched {
  readonly resource: Resource
  readonly bytes: number
}

async function fetchResource(state: Identified, head: RequestHead, tools: FetchTools): Promise<Fetched> {
  const { route, identification } = state
  const { service, propagator } = route
  try {
    const asked = { head, route, identification }
    const lines = outboundFields(asked, tools)
    const { caller, credentials } = identification
    // Where a credential passes through, it is looked for where it came.
    const passage = { head: { ...head, fields: state.head.fields }, caller, credentials, service: service.name }
    for (const text of await propagator.fields(passage)) lines.push(text)
    const { status, fields, body } = await service.upstream.fetch({
      method: 'GET',
      target: outboundTarget(asked),
      fields: tools.wholeJson(lines),
      limit: largestThing,
      affinity: affinityOf(state),
      timeouts: route.timeouts,
    })
    if (status === 401 || status === 403 || status === 404 || status === 410)
      return { resource: { outcome: 'hidden' }, bytes: 0 }
    if (status !== 200) throw unreadable(`status ${status}`)
    if (!jsonMediaType.test(createFields(fields).get('content-type') ?? '')) throw unreadable('it is not JSON')
    return { resource: { outcome: 'read', value: parse(body) }, bytes: body.length }
  } catch (error) {
    if (!(error instanceof Problem)) throw error
    return { resource: { outcome: 'failed', problem: error }, bytes: 0 }
  }
}

function parse(body: Buffer): unknown {
  try {
    return JSON.parse(body.toString('utf8'))
  } catch (error) {
    throw unreadable(error)
  }
}

function unreadable(cause: unknown): Problem {
  return new Problem('resource-unavailable', 'The service did not say what the decision depends on', { cause })
}

/** Whether the route has a value for every parameter: an `allow` of a service is asked on all its routes. */
export function hasThing({ names }: Identified['found'], { get }: ResourceNeed): boolean {
  return partReferences(get).every(({ name, members }) => members.length === 0 && names.includes(name))
}

function headFor({ head, route, found }: Identified, get: string): RequestHead {
  const params = parametersOf(found)
  const template = splitPartPath(get)
  const fill = (text: string, encode: (value: string) => string) =>
    text.replace(/\{([^}]*)\}/g, (_whole, name: string) => encode(params.get(name)!))
  const below = fill(template.path, encodeSegment)
  const query = fill(template.query, encodeURIComponent)
  const { prefix } = route.service
  const path = below === '/' ? prefix || '/' : prefix + below
  const fields = createFields(traceOf(head.fields.raw))
  return { ...head, method: 'GET', path, query, target: query === '' ? path : `${path}?${query}`, fields }
}

/** What tells of the request's way: without it nobody would notice that it goes round. */
function traceOf(raw: readonly string[]): readonly string[] {
  const kept: string[] = []
  for (let index = 0; index < raw.length; index += 2) {
    if (/^(?:via|traceparent|tracestate)$/i.test(raw[index]!)) kept.push(raw[index]!, raw[index + 1]!)
  }
  return kept
}

/** Everything of the caller and the client that the service may make a difference by. */
function keyOf({ route, identification, head: { client } }: Identified, head: RequestHead): string {
  const { caller, status, credentials } = identification
  const identity: string[] = []
  route.writeIdentity?.(identity, caller, status)
  return digestOf(
    JSON.stringify([
      ...[route.id, head.target, client.protocol, client.host, caller.issuer, caller.subject],
      // Guests have nothing else to be told apart by.
      credentials.length > 0 ? credentials.map(({ in: place, name, text }) => [place, name, text]) : client.address,
      identity,
    ]),
  )
}

interface Entry {
  readonly resource: Promise<Resource>
  /** Milliseconds since the epoch; while it is being read it serves whoever comes. */
  until: number
  bytes: number
}

/** Things by who asked for what. A Map remembers the order in which entries came: the oldest makes room. */
class Kept {
  readonly #entries = new Map<string, Entry>()
  readonly #now: () => number
  #bytes = 0

  constructor(now: () => number) {
    this.#now = now
  }

  get(key: string, life: number, read: () => Promise<Fetched>): Promise<Resource> {
    const known = this.#entries.get(key)
    if (known && this.#now() < known.until) return known.resource
    if (known) this.#forget(key, known)
    const reading = read()
    const entry: Entry = {
      resource: reading.then(({ resource }) => resource),
      until: Number.POSITIVE_INFINITY,
      bytes: 0,
    }
    this.#entries.set(key, entry)
    this.#makeRoom()
    const forget = () => this.#forget(key, entry)
    reading.then(({ resource, bytes }) => {
      if (resource.outcome !== 'read' || this.#entries.get(key) !== entry) return forget()
      entry.until = this.#now() + life
      entry.bytes = bytes
      this.#bytes += bytes
      this.#makeRoom()
    }, forget)
    return entry.resource
  }

  #forget(key: string, entry: Entry): void {
    if (this.#entries.get(key) !== entry) return
    this.#entries.delete(key)
    this.#bytes -= entry.bytes
  }

  #makeRoom(): void {
    for (const [key, entry] of this.#entries) {
      if (this.#entries.size <= mostKept.things && this.#bytes <= mostKept.bytes) return
      this.#forget(key, entry)
    }
  }
}
