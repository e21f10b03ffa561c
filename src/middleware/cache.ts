import { guest } from '../authentication/caller.ts'
import type { Answers, KeptAnswer, Request } from '../caching/answers.ts'
import { createPartitions } from '../caching/partition.ts'
import {
  type Asking,
  accepts,
  conditionsOf,
  isCondition,
  isUnchanged,
  type Lifetime,
  lifetimeOf,
  parseDirectives,
  refreshed,
  varyOf,
} from '../caching/rules.ts'
import { affinityOf } from '../gateway/outbound.ts'
import { lineOf } from '../http/fields.ts'
import { hasContent } from '../http/framing.ts'
import { Problem } from '../http/problem.ts'
import { isUpgrade } from '../http/upgrade.ts'
import { endWith } from '../http/whole.ts'
import type { CollectedAnswer, Collection } from '../upstream/forward.ts'
import type { State, Step, StepContext } from './state.ts'

/**
 * Is the answer here already? A shared cache in front of the services (RFC 9111), for routes that ask for it. Everything
 * above has happened by now: whoever gets a kept answer may have it.
 *
 * 1. A kept answer that is fresh is given.
 * 2. Of many who ask for the same, one asks the service; the others wait for its answer.
 * 3. An answer that may be kept is taken whole, kept, and given to its client; any other is passed on as it comes.
 * 4. Where the service fails, an older answer serves as long as the service has allowed (RFC 5861).
 */
export function cache(now: () => number): Step {
  const underWay = new Map<string, Promise<void>>()
  const partitionOf = createPartitions()

  return function cache(ctx, next) {
    const { route, head } = ctx.state
    if (!route.cache) return next()
    const { answers } = ctx.state.gateway
    if (head.method !== 'GET' && head.method !== 'HEAD') {
      const targets = [targetOf(ctx.state, false), targetOf(ctx.state, true)]
      return next().then(() => {
        if (changed(ctx.state)) for (const target of targets) answers.forget(target)
      })
    }
    // What a service makes of a GET's content must not be given to those who send none.
    if (head.fields.get('range') !== undefined || hasContent(ctx.req) || isUpgrade(ctx.req)) {
      ctx.state.cached = 'bypass'
      return next()
    }
    return serve(new Visit(ctx, partitionOf, now), next, underWay)
  }
}

/** RFC 9111 §4.4: an unsafe method that went well. */
function changed({ outcome }: State): boolean {
  return outcome?.status !== undefined && outcome.status < 400
}

/** How often somebody waits for others before asking on their own account: answers may turn out to be for one of them only. */
const patience = 2

async function serve(visit: Visit, next: () => Promise<unknown>, underWay: Map<string, Promise<void>>): Promise<void> {
  for (let waited = 0; ; waited += 1) {
    const found = visit.find()
    if (found && visit.takes(found)) return visit.give(found, 'hit')
    if (visit.asking.directives.has('only-if-cached')) {
      throw new Problem(
        'upstream-timeout',
        'There is no kept answer, and the request asks for no other (only-if-cached)',
      )
    }
    if (visit.hopeless || visit.head.method === 'HEAD') {
      visit.state.cached = 'miss'
      return void (await next())
    }
    const key = visit.crowd
    const running = waited < patience ? underWay.get(key) : undefined
    if (!running) return fetch(visit, found, next, key, underWay)
    await running
  }
}

async function fetch(
  visit: Visit,
  stale: KeptAnswer | undefined,
  next: () => Promise<unknown>,
  key: string,
  underWay: Map<string, Promise<void>>,
): Promise<void> {
  const { state } = visit
  const { promise, resolve } = Promise.withResolvers<void>()
  underWay.set(key, promise)
  const done = () => {
    if (underWay.get(key) === promise) underWay.delete(key)
    resolve()
  }
  state.cached = 'miss'
  visit.ask(stale, done)
  try {
    await next()
  } catch (error) {
    if (!stale || !(error instanceof Problem) || error.status < 502 || !visit.mayServeStale(stale)) throw error
    visit.give(stale, 'stale')
  } finally {
    done()
  }
}

/** One request to a route that keeps answers. */
class Visit {
  readonly ctx: StepContext
  readonly state: State
  readonly head: State['head']
  readonly asking: Asking
  readonly #answers: Answers
  readonly #now: () => number
  readonly #target: string
  readonly #partition: string
  readonly #chosenBy: Request
  readonly #began: number

  constructor(ctx: StepContext, partitionOf: ReturnType<typeof createPartitions>, now: () => number) {
    const { state } = ctx
    const { route, identification } = state
    const { caller } = identification
    this.ctx = ctx
    this.state = state
    this.head = state.head
    this.#answers = state.gateway.answers
    this.#now = now
    this.#target = targetOf(state, route.service.upstream.destination(affinityOf(state)).canary)
    this.#began = state.gateway.answers.changes
    const { fields } = state
    // Of the client's address the service hears from the gateway alone.
    this.#chosenBy = { get: (name) => (ofClient.has(name) ? lineOf(fields, name) : state.head.fields.get(name)) }
    const shown = lineOf(state.fields, 'cookie') ?? ''
    this.#partition = partitionOf(caller, shown)
    this.asking = {
      known: caller !== guest,
      unclear: caller === guest && (shown !== '' || lineOf(state.fields, 'authorization') !== undefined),
      directives: parseDirectives(state.head.fields.get('cache-control') ?? state.head.fields.get('pragma')),
      personal: (name) => state.route.covers('header', name),
    }
  }

  find(): KeptAnswer | undefined {
    const fields = this.#chosenBy
    const own = this.asking.known
      ? this.#answers.find(this.#target, this.#partition, fields)
      : this.asking.unclear
        ? undefined
        : this.#answers.find(this.#target, partitions.guests, fields)
    return own ?? this.#answers.find(this.#target, partitions.everybody, fields)
  }

  takes(kept: KeptAnswer): boolean {
    return accepts(this.asking.directives, this.#ageOf(kept), kept.lifetime.fresh)
  }

  mayServeStale(kept: KeptAnswer): boolean {
    return this.#ageOf(kept) - kept.lifetime.fresh <= kept.lifetime.staleIfError
  }

  /** Nothing that the service would answer is going to be kept. */
  get hopeless(): boolean {
    return this.asking.directives.has('no-store') || this.#answers.habit(this.#target) === 'never'
  }

  /** Who waits for the same answer: as long as nothing else is known, everybody who asks for the target. */
  get crowd(): string {
    return this.#answers.habit(this.#target) === 'private' ? `${this.#target}\n${this.#partition}` : this.#target
  }

  /** Prepare the request so that its answer can be kept, or a kept one be refreshed. `done` is called when it is known which. */
  ask(stale: KeptAnswer | undefined, done: () => void): void {
    const { state } = this
    const written = state.fields
    const fields: string[] = []
    for (let i = 0; i < written.length; i += 2) if (!isCondition(written[i]!)) fields.push(written[i]!, written[i + 1]!)
    if (stale) fields.push(...conditionsOf(stale.fields))
    state.fields = fields
    state.collect = (answer) => {
      if (stale && answer.status === 304) return this.#collection(done, () => this.#refresh(stale, answer.fields))
      if (stale && answer.status >= 500 && this.mayServeStale(stale))
        return this.#collection(done, () => this.#answerOf(stale, 'stale'))
      const lifetime = lifetimeOf(this.asking, answer, state.route.cache!.for)
      if (!lifetime) {
        // A failure says nothing of the next answer, and neither does one to a guest who may be somebody.
        if (answer.status < 400 && !this.asking.unclear) this.#answers.learn(this.#target, 'never')
        done()
        return undefined
      }
      return this.#collection(done, (content) => this.#keep(answer, lifetime, content))
    }
  }

  /** Answer with what is kept. */
  give(kept: KeptAnswer, how: 'hit' | 'stale'): void {
    const { ctx } = this
    const { status, fields, content } = this.#answerOf(kept, how)
    ctx.respond = false
    ctx.res.writeHead(status, fields)
    endWith(ctx.res, this.head.method === 'HEAD' || status === 304 ? undefined : content)
  }

  #collection(done: () => void, complete: (content: Buffer) => CollectedAnswer): Collection {
    return {
      limit: this.state.route.cache!.largest,
      complete: (content) => {
        try {
          return complete(content)
        } finally {
          done()
        }
      },
      abandon: done,
    }
  }

  #refresh(stale: KeptAnswer, news: readonly string[]): CollectedAnswer {
    const fields = refreshed(stale.fields, this.#outward(news))
    const lifetime = lifetimeOf(this.asking, { status: stale.status, fields }, this.state.route.cache!.for)
    if (!lifetime) {
      // This client gets what came with it, a cookie for instance; nobody else does.
      this.#answers.forget(this.#target)
      return this.#answerOf({ ...stale, fields, lifetime: { ...stale.lifetime, fresh: 0 } }, 'revalidated')
    }
    const kept = { ...stale, fields, lifetime, since: this.#now(), vary: this.#choice(fields) }
    this.#store(kept)
    return this.#answerOf(kept, 'revalidated')
  }

  #keep(answer: { readonly status: number; readonly fields: readonly string[] }, lifetime: Lifetime, content: Buffer) {
    const fields = filterLines(this.#outward(answer.fields), (name) => name !== 'content-length')
    // RFC 9110 §8.6
    if (answer.status !== 204) fields.push('Content-Length', String(content.length))
    const vary = this.#choice(answer.fields)
    const kept: KeptAnswer = { status: answer.status, fields, content, lifetime, since: this.#now(), vary }
    this.#store(kept)
    return this.#answerOf(kept, 'miss')
  }

  #choice(fields: readonly string[]): KeptAnswer['vary'] {
    const names = varyOf(fields)
    return new Map(names === '*' ? [] : names.map((name) => [name, this.#chosenBy.get(name)]))
  }

  #store(kept: KeptAnswer): void {
    const { audience } = kept.lifetime
    this.#answers.learn(this.#target, audience === 'caller' ? 'private' : 'shared')
    const partition = audience === 'caller' ? this.#partition : partitions[audience]
    this.#answers.keep(this.#target, partition, kept, this.#began)
  }

  /** The service's fields as they go to clients, without those of one answer alone. */
  #outward(raw: readonly string[]): string[] {
    const { route } = this.state
    const fields = route.responseFields(raw)
    route.service.rewriteLocations(fields)
    return withoutAge(fields)
  }

  #ageOf({ since, lifetime }: KeptAnswer): number {
    return this.#now() - since + lifetime.age
  }

  #answerOf(kept: KeptAnswer, how: NonNullable<State['cached']>): CollectedAnswer {
    const { state } = this
    state.cached = how
    const unchanged = isUnchanged(this.head.fields, kept.fields) && kept.status === 200
    const fields = unchanged ? withoutContent(kept.fields) : [...kept.fields]
    const age = this.#ageOf(kept)
    const left = Math.floor((kept.lifetime.fresh - age) / 1_000)
    fields.push('Age', String(Math.max(0, Math.floor(age / 1_000))), 'Cache-Status', statusOf(how, left))
    for (const text of state.announced) fields.push(text)
    return { status: unchanged ? 304 : kept.status, fields, content: unchanged ? nothing : kept.content }
  }
}

const nothing = Buffer.alloc(0)

const ofClient: ReadonlySet<string> = new Set(['x-forwarded-for', 'forwarded'])

const partitions = { everybody: 'everybody', guests: 'guests' } as const

/**
 * The target as a client means it (RFC 9111 §2): with the host that it named, because what a service writes into its
 * answers may depend on it, and in the words that the service gets. What the canary says is for those whom it serves.
 */
function targetOf({ head, route, target }: State, canary = false): string {
  return `${route.service.name}${canary ? ' canary' : ''} ${head.client.protocol}://${head.client.host} ${target}`
}

function withoutAge(fields: readonly string[]): string[] {
  return filterLines(fields, (name) => name !== 'age' && name !== 'cache-status')
}

/** RFC 9110 §15.4.5 */
const in304: ReadonlySet<string> = new Set(['etag', 'date', 'cache-control', 'expires', 'vary', 'content-location'])
const withoutContent = (fields: readonly string[]) => filterLines(fields, (name) => in304.has(name))

function filterLines(lines: readonly string[], keep: (name: string) => boolean): string[] {
  const kept: string[] = []
  for (let i = 0; i < lines.length; i += 2) if (keep(lines[i]!.toLowerCase())) kept.push(lines[i]!, lines[i + 1]!)
  return kept
}

/** RFC 9211 */
function statusOf(how: NonNullable<State['cached']>, left: number): string {
  if (how === 'hit') return `sallyport; hit; ttl=${left}`
  if (how === 'stale') return `sallyport; hit; fwd=stale; ttl=${left}`
  if (how === 'revalidated') return 'sallyport; fwd=stale; fwd-status=304; stored'
  return 'sallyport; fwd=miss; stored'
}
