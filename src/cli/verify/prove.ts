import type { JsonObject, SecurityRequirement } from '../../openapi/document.ts'
import { isObject, items, members } from '../../openapi/plain.ts'
import { upstreamMark } from '../../openapi/upstream-security.ts'
import { isMethod } from '../../openapi/walk.ts'
import type { BuildRequest, PageRequest } from './request-builder.ts'

/** What became of a request, as the gateway itself tells it. */
export interface Answered {
  readonly status: number
  /** Of the problem that the gateway answered; undefined when the service did. */
  readonly code: string | undefined
  /** Who the gateway took the caller for. */
  readonly subject: string | undefined
  /** Whose row of the table of routes decided. */
  readonly service: string | undefined
}

export type Send = (request: PageRequest) => Promise<Answered>

/** A credential that the gateway must accept. */
export interface Credential {
  readonly text: string
  /** Who it makes the caller. */
  readonly subject: string
}

export type Minted = Credential | { readonly impossible: string }

/** An operation that the gateway answers although it need not be in the document. */
export interface Listed {
  readonly service: string
  readonly method: string
  readonly path: string
}

export interface Proof {
  /** The published document. */
  readonly document: JsonObject
  /** Which service an operation is of; undefined for the gateway's own and for compositions. */
  serviceOf(path: string, method: string): string | undefined
  /** Operations of services that expose what is documented and nothing else, as the router knows them. */
  readonly exposed: readonly Listed[]
  /** For each security scheme of the document. */
  readonly credentials: ReadonlyMap<string, Minted>
  readonly build: BuildRequest
  readonly send: Send
  /** Values of path variables of the gateway's own operations. */
  readonly known?: Readonly<Record<string, string>>
}

export interface Failure {
  readonly kind: FailureKind
  readonly operation: string
  /** The alternative that was tried. */
  readonly requirement?: SecurityRequirement
  readonly detail: string
}

export type FailureKind =
  /** What the page sends is not accepted. */
  | 'not-authenticated'
  /** The document names a credential, and none is needed. */
  | 'open'
  /** The document says that nobody is asked, and somebody is. */
  | 'closed'
  /** The document says so, but the gateway does not answer there. */
  | 'unreachable'
  /** The gateway answers, but the document says nothing of it. */
  | 'undocumented'

export interface ProofReport {
  readonly operations: number
  /** Operation × alternative: sent with what the page sends after Authorize, and authenticated. */
  readonly authenticated: number
  /** Of these, refused afterwards by `allow` or for the request's content; who called was known. */
  readonly refusedAfterwards: number
  /** Protected operations that were refused without a credential. */
  readonly refusedWithout: number
  /** Sent without a credential where the document asks for none. */
  readonly open: number
  /** Alternatives that no page can send, by why. */
  readonly notSent: Readonly<Record<string, number>>
  readonly failures: readonly Failure[]
}

/** Requests under way at a time. */
const atOnce = 16
const nobody = new Set([404, 405, 501])

/**
 * Hold the published document against the gateway that published it, operation by operation.
 *
 * 1. With each alternative of its security: the request that the page sends after Authorize must make the caller that
 *    the credential stands for. What is decided after that (`allow`, the content of the request) is another question.
 * 2. Without any credential: refused with 401 where one is asked for, not refused for want of one elsewhere.
 * 3. The gateway answers what is documented, by the service whose part it is in.
 * 4. What a service exposes because its document lists it, is in the published document.
 */
export async function prove(proof: Proof): Promise<ProofReport> {
  const { document, build, send, credentials, known } = proof
  const failures: Failure[] = []
  const notSent: Record<string, number> = {}
  const count = { authenticated: 0, refusedAfterwards: 0, refusedWithout: 0, open: 0 }

  const work: (() => Promise<void>)[] = []
  const all = operationsOf(document)
  const upstream = new Set(
    members((document.components as JsonObject | undefined)?.securitySchemes).flatMap(([name, scheme]) =>
      isObject(scheme) && scheme[upstreamMark] !== undefined ? [name] : [],
    ),
  )
  const documented = new Set(all.map(([path, method]) => placeOf(path, method)))
  for (const [path, method, operation] of all) work.push(() => examine(path, method, operation))
  for (const listed of proof.exposed) work.push(() => lookUp(listed))
  let next = 0
  const worker = async () => {
    while (next < work.length) {
      const index = next
      next += 1
      await work[index]!()
    }
  }
  await Promise.all(Array.from({ length: atOnce }, worker))
  failures.sort((one, other) => (one.operation < other.operation ? -1 : one.operation > other.operation ? 1 : 0))
  return { operations: all.length, ...count, notSent, failures }

  async function examine(path: string, method: string, operation: JsonObject): Promise<void> {
    const name = `${method.toUpperCase()} ${path}`
    const service = proof.serviceOf(path, method)
    const security = items(operation.security ?? document.security) as readonly SecurityRequirement[]
    // What the service checks itself is sent along; who the caller is does not hang on it.
    const ours = (requirement: SecurityRequirement) =>
      Object.keys(requirement).filter((scheme) => !upstream.has(scheme))
    const fail = (kind: FailureKind, detail: string, requirement?: SecurityRequirement) =>
      failures.push({ kind, operation: name, detail, ...(requirement && { requirement }) })
    const page = { document, path, method, ...(known && { known }) }

    // A variant of a path is described, and is no route of its own.
    if (/[?#]/.test(path)) return skip('the key of its path is no path')
    if (method === 'trace') return skip('browsers do not send TRACE')

    // 1.
    let reachable = true
    for (const requirement of security) {
      const names = ours(requirement)
      if (names.length === 0) continue
      const used = names.map((scheme) => [scheme, credentials.get(scheme)] as const)
      const missing = used.find(([, minted]) => minted === undefined)
      if (missing) {
        fail('not-authenticated', `the document defines no security scheme "${missing[0]}"`, requirement)
        continue
      }
      const impossible = used.map(([, minted]) => ('impossible' in minted! ? minted.impossible : undefined))
      const reason = impossible.find((one) => one !== undefined)
      if (reason !== undefined) {
        skip(reason)
        continue
      }
      const minted = used as readonly (readonly [string, Credential])[]
      const theirs = Object.keys(requirement).filter((scheme) => upstream.has(scheme))
      const authorized = Object.fromEntries([
        ...minted.map(([scheme, { text }]) => [scheme, text]),
        ...theirs.map((scheme) => [scheme, 'verified']),
      ])
      const answer = await attempt(() => build(page, authorized))
      if (!answer) continue
      if (!isReached(answer)) continue
      const expected = minted[0]![1].subject
      const accepted = service === undefined ? answer.status !== 401 : answer.subject === expected
      if (!accepted) {
        fail('not-authenticated', `${told(answer)}; the caller should be ${expected}`, requirement)
        continue
      }
      count.authenticated += 1
      if (answer.status >= 400) count.refusedAfterwards += 1
    }

    // 2.
    if (!reachable) return
    const answer = await attempt(() => build(page, {}))
    if (!answer || !isReached(answer)) return
    const asks = security.length > 0 && security.every((one) => ours(one).length > 0)
    if (asks) {
      if (answer.status === 401) count.refusedWithout += 1
      else fail('open', `${told(answer)}, without any credential`)
      return
    }
    // The gateway's own endpoints may want something else, as the token endpoint does.
    if (service === undefined && security.length === 0) {
      count.open += 1
      return
    }
    const unmet = operation['x-sallyport-allow'] !== undefined && answer.code === 'no-credentials'
    if (answer.status === 401 && !unmet) fail('closed', told(answer))
    else count.open += 1

    function skip(why: string): void {
      notSent[why] = (notSent[why] ?? 0) + 1
    }

    async function attempt(make: () => PageRequest): Promise<Answered | undefined> {
      let request: PageRequest
      try {
        request = make()
      } catch (error) {
        fail('not-authenticated', `the page cannot build the request: ${(error as Error).message}`)
        return undefined
      }
      return send(request)
    }

    // 3.
    function isReached(answer: Answered): boolean {
      const another = service !== undefined && answer.service !== undefined && answer.service !== service
      // No row of the table: the path, or its spelling, is one that the gateway does not answer.
      const nowhere = service === undefined ? nobody.has(answer.status) : answer.service === undefined
      if (!another && !nowhere) return true
      if (reachable)
        fail(
          'unreachable',
          another ? `it is answered by "${answer.service}", and documented by "${service}"` : told(answer),
        )
      reachable = false
      return false
    }
  }

  // 4.
  async function lookUp({ service, method, path }: Listed): Promise<void> {
    if (documented.has(placeOf(path, method))) return
    const { url } = items(document.servers)[0] as { readonly url: string }
    const target = `${url}${path.replace(/\{[^}]*\}/g, 'verified')}`
    const answer = await send({ method, url: target, headers: {}, body: undefined })
    if (answer.service !== service || (answer.code !== undefined && nobody.has(answer.status))) return
    const detail = `"${service}" answers it (${told(answer)}), and the published document has no such operation`
    failures.push({ kind: 'undocumented', operation: `${method} ${path}`, detail })
  }
}

function operationsOf(document: JsonObject): readonly [path: string, method: string, operation: JsonObject][] {
  return members(document.paths).flatMap(([path, item]) =>
    members(item).flatMap(([method, operation]): [string, string, JsonObject][] =>
      isMethod(method) && isObject(operation) ? [[path, method, operation]] : [],
    ),
  )
}

/** What variables are called says nothing about where a path leads. */
function placeOf(path: string, method: string): string {
  return `${method.toUpperCase()} ${path.replace(/\{[^}]*\}/g, '{}').replace(/(?<=.)\/$/, '')}`
}

function told({ status, code, subject }: Answered): string {
  const who = subject === undefined ? '' : `, as ${subject}`
  return code === undefined ? `the service was asked and said ${status}${who}` : `${status} ${code}${who}`
}
