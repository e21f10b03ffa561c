import { EventEmitter } from 'node:events'
import type { ServerResponse } from 'node:http'
import { type Composition, compositionParams, type Part } from '../gateway/compositions.ts'
import { affinityOf, forWholeJson, timeoutsOf } from '../gateway/outbound.ts'
import type { Found } from '../gateway/router.ts'
import { createFields } from '../http/fields.ts'
import { jsonMediaType } from '../http/media-type.ts'
import { Problem, type ProblemCode } from '../http/problem.ts'
import { withPatience } from '../upstream/deadline.ts'
import { announce } from './announce.ts'
import type { State, Step, StepContext } from './state.ts'

/** Bytes of one part's answer. */
const largestPart = 5 * 1_048_576

/** The answer of one part: its text, which goes out as it came, and what it says, for parts that need it. */
interface Answered {
  readonly outcome: 'answered'
  readonly text: string
  readonly value: unknown
}

type PartOutcome = Answered | { readonly outcome: 'failed'; readonly problem: Problem; readonly state?: State }

/**
 * One request in, several out, one JSON back. Each part walks the same steps as a request of its own would, with the
 * caller's credential and the service's rules, so a composition never shows what its caller could not fetch alone.
 *
 * Parts run at once, but for those that need another's answer. A part that fails ends the composition with its problem,
 * and the others with it; an optional one is null, and `$problems` says why.
 */
export function compose(steps: readonly Step[]): Step {
  return function compose(ctx, next) {
    const { gateway, head } = ctx.state
    const found = gateway.compositions.match(head.method, head.path)
    return found ? answer(ctx, found, steps) : next()
  }
}

async function answer(ctx: StepContext, found: Found<Composition>, steps: readonly Step[]): Promise<void> {
  const { parts, id } = found.value
  const params = compositionParams(found)
  const ending = new AbortController()
  ctx.res.on('close', () => {
    // It closes in any case; making a problem of every answer would cost a tenth of it.
    if (!ctx.res.writableEnded) ending.abort(new Problem('client-closed-request', 'The client left before the answer'))
  })

  const outcomes = new Map<string, Promise<PartOutcome>>()
  const outcomeOf = (name: string): Promise<PartOutcome> => {
    const known = outcomes.get(name)
    if (known) return known
    const outcome = run(parts.find((part) => part.name === name)!)
    outcomes.set(name, outcome)
    return outcome
  }
  const run = async (part: Part): Promise<PartOutcome> => {
    try {
      const answers = new Map<string, unknown>()
      for (const name of part.needs) {
        const needed = await outcomeOf(name)
        if (needed.outcome === 'failed') return needed
        answers.set(name, needed.value)
      }
      return await fetchPart(ctx, part, part.target({ params, answers }), steps, ending.signal)
    } catch (error) {
      if (error instanceof Problem) return { outcome: 'failed', problem: error }
      throw error
    }
  }

  ctx.state.composition = id
  const settled = await Promise.all(
    parts.map(async (part) => {
      const outcome = await outcomeOf(part.name)
      if (outcome.outcome === 'answered' || part.optional) return { part, outcome }
      const { state, problem } = outcome
      // The first to fail is the reason; what fails from now on fails because nobody waits for it.
      if (!ending.signal.aborted) {
        if (state) ctx.state.refusedPart = { name: part.name, state, problem }
        ending.abort(problem)
      }
      throw named(problem, part.name)
    }),
  )
  const members: string[] = []
  const problems: Record<string, object> = {}
  const missing: Record<string, ProblemCode> = {}
  for (const { part, outcome } of settled) {
    if (outcome.outcome === 'answered') members.push(`${JSON.stringify(part.name)}:${outcome.text}`)
    else {
      const { code, status, detail } = outcome.problem
      problems[part.name] = { code, status, detail }
      missing[part.name] = code
      members.push(`${JSON.stringify(part.name)}:null`)
    }
  }
  if (Object.keys(problems).length > 0) {
    ctx.state.missingParts = missing
    members.push(`"$problems":${JSON.stringify(problems)}`)
  }

  announce(ctx)
  ctx.status = 200
  ctx.set('Cache-Control', 'private, no-cache')
  ctx.type = 'application/json'
  ctx.body = `{${members.join(',')}}`
}

/**
 * What the steps take for the response of a part: it closes when the part has ended, so that what they hold until then,
 * a place at the service above all, is free for the next part.
 */
class PartResponse extends EventEmitter {
  destroyed = false

  close(): void {
    if (this.destroyed) return
    this.destroyed = true
    this.emit('close')
  }
}

async function fetchPart(
  ctx: StepContext,
  part: Part,
  { path, query }: { readonly path: string; readonly query: string },
  steps: readonly Step[],
  signal: AbortSignal,
): Promise<PartOutcome> {
  const target = query === '' ? path : `${path}?${query}`
  const head = { ...ctx.state.head, method: 'GET', path, query, target }
  const { id, gateway } = ctx.state
  const state = { id, gateway, head, announced: [] as string[] } as unknown as State
  const res = new PartResponse()
  const close = () => res.close()
  const own = { state, req: ctx.req, res: res as unknown as ServerResponse, method: 'GET' } as unknown as StepContext
  signal.addEventListener('abort', close, { once: true })
  try {
    const began = part.service.upstream.clock()
    try {
      signal.throwIfAborted()
      await walk(own, steps)
    } catch (problem) {
      if (!(problem instanceof Problem)) throw problem
      return { outcome: 'failed', problem, state }
    }
    const spent = part.service.upstream.clock() - began
    return await ask(state, part, part.timeout && part.timeout - spent, signal)
  } finally {
    signal.removeEventListener('abort', close)
    close()
  }
}

/** Asks the service, now that it may be asked. `patience`: milliseconds that are left. */
async function ask(state: State, part: Part, patience: number | undefined, signal: AbortSignal): Promise<PartOutcome> {
  const { service } = state.route
  if (service !== part.service) throw new Problem('not-found', 'The path of the part belongs to another service')
  const fetched = await service.upstream.fetch({
    method: 'GET',
    target: state.target,
    fields: forWholeJson(state.fields),
    limit: largestPart,
    affinity: affinityOf(state),
    signal,
    timeouts: withPatience(timeoutsOf(state) ?? service.upstream.timeouts, patience),
  })
  if (fetched.status !== 200) throw refused(fetched.status)
  const text = fetched.body.toString('utf8')
  if (!jsonMediaType.test(createFields(fetched.fields).get('content-type') ?? '')) throw unreadable()
  try {
    return { outcome: 'answered', text, value: JSON.parse(text) }
  } catch (cause) {
    throw unreadable(cause)
  }
}

/** The steps in their order, each through the one before it; what comes after the last is our own. */
function walk(ctx: StepContext, steps: readonly Step[]): Promise<unknown> {
  const at = (index: number): Promise<unknown> => Promise.resolve(steps[index]?.(ctx, () => at(index + 1)))
  return at(0)
}

function refused(status: number): Problem {
  if (status === 404) return new Problem('not-found', 'The service knows nothing of this')
  return new Problem('part-failed', `The service answered with status ${status}`)
}

function unreadable(cause?: unknown): Problem {
  return new Problem('part-failed', 'The answer of the service is not JSON', { cause })
}

function named(problem: Problem, part: string): Problem {
  const { code, detail, fields, members, cause } = problem
  return new Problem(code, detail, { fields, members: { ...members, part }, cause })
}
