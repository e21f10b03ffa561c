import { isUtf8 } from 'node:buffer'
import { EventEmitter } from 'node:events'
import type { ServerResponse } from 'node:http'
import { type Composition, compositionParams, type Part } from '../gateway/compositions.ts'
import { affinityOf, createWholeJsonFields, timeoutsOf } from '../gateway/outbound.ts'
import type { Found } from '../gateway/router.ts'
import { createFields } from '../http/fields.ts'
import { jsonMediaType } from '../http/media-type.ts'
import { Problem, type ProblemCode } from '../http/problem.ts'
import { endWith } from '../http/whole.ts'
import { withPatience } from '../upstream/deadline.ts'
import { type Endable, Ending } from '../upstream/ending.ts'
import { inTime } from './in-time.ts'
import type { State, Step, StepContext } from './state.ts'

/** Bytes of one part's answer. */
const largestPart = 5 * 1_048_576

/** The answer of one part: its bytes, which go out as they came, and what they say, for parts that need it. */
interface Answered {
  readonly outcome: 'answered'
  readonly body: Buffer
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
  const asking: Asking = { steps, wholeJson: createWholeJsonFields() }
  return function compose(ctx, next) {
    const { gateway, head } = ctx.state
    const found = gateway.compositions.match(head.method, head.path)
    return found ? answer(ctx, found, asking) : next()
  }
}

/** How parts are asked for. */
interface Asking {
  readonly steps: readonly Step[]
  readonly wholeJson: ReturnType<typeof createWholeJsonFields>
}

async function answer(ctx: StepContext, found: Found<Composition>, asking: Asking): Promise<void> {
  const { parts, id } = found.value
  const { state, res } = ctx
  const params = compositionParams(found)
  const ending = new Ending()
  res.on('close', () => {
    // It closes in any case; making a problem of every answer would cost a tenth of it.
    if (!res.writableEnded) ending.end(new Problem('client-closed-request', 'The client left before the answer'))
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
      return await fetchPart(ctx, part, part.target({ params, answers }), asking, ending)
    } catch (error) {
      if (error instanceof Problem) return { outcome: 'failed', problem: error }
      throw error
    }
  }

  state.composition = id
  const settled = await Promise.all(
    parts.map(async (part) => {
      const outcome = await outcomeOf(part.name)
      if (outcome.outcome === 'answered' || part.optional) return outcome
      const { state: refused, problem } = outcome
      // The first to fail is the reason; what fails from now on fails because nobody waits for it.
      if (!ending.over) {
        if (refused) state.refusedPart = { name: part.name, state: refused, problem }
        ending.end(problem)
      }
      throw named(problem, part.name)
    }),
  )

  deliver(ctx, merge(parts, settled, state))
}

/** One JSON object of all answers, and what `state` tells the log of those that are missing. */
function merge(parts: readonly Part[], outcomes: readonly PartOutcome[], state: State): Buffer {
  const pieces: Buffer[] = []
  const problems: Record<string, object> = {}
  const missing: Record<string, ProblemCode> = {}
  for (const [index, outcome] of outcomes.entries()) {
    const { name, opening } = parts[index]!
    pieces.push(opening)
    if (outcome.outcome === 'answered') pieces.push(outcome.body)
    else {
      const { code, status, detail } = outcome.problem
      problems[name] = { code, status, detail }
      missing[name] = code
      pieces.push(nothing)
    }
  }
  if (Object.keys(problems).length > 0) {
    state.missingParts = missing
    pieces.push(Buffer.from(`,"$problems":${JSON.stringify(problems)}`))
  }
  pieces.push(closing)
  return Buffer.concat(pieces)
}

const nothing = Buffer.from('null')
const closing = Buffer.from('}')

/** Not through Koa, which would spend a tenth of the whole request on it. */
function deliver(ctx: StepContext, content: Buffer): void {
  const { state, res, method } = ctx
  ctx.respond = false
  res.writeHead(200, [
    ...state.announced,
    ...['Cache-Control', 'private, no-cache'],
    ...['Content-Type', 'application/json; charset=utf-8'],
    ...['Content-Length', String(content.length)],
  ])
  endWith(res, method === 'HEAD' ? undefined : content)
}

/**
 * What the steps take for the response of a part: it closes when the part has ended, so that what they hold until then,
 * a place at the service above all, is free for the next part.
 */
class PartResponse extends EventEmitter implements Endable {
  destroyed = false

  ended(): void {
    if (this.destroyed) return
    this.destroyed = true
    this.emit('close')
  }
}

async function fetchPart(
  ctx: StepContext,
  part: Part,
  { path, query }: { readonly path: string; readonly query: string },
  asking: Asking,
  ending: Ending,
): Promise<PartOutcome> {
  const target = query === '' ? path : `${path}?${query}`
  const head = { ...ctx.state.head, method: 'GET', path, query, target }
  const { id, gateway } = ctx.state
  const state = { id, gateway, head, announced: [] as string[] } as unknown as State
  const res = new PartResponse()
  const own = { state, req: ctx.req, res: res as unknown as ServerResponse, method: 'GET' } as unknown as StepContext
  ending.add(res)
  try {
    const began = part.service.upstream.clock()
    try {
      if (ending.over) throw ending.reason
      const walked = walk(own, asking.steps)
      await (part.timeout === undefined ? walked : inTime(walked, part.timeout, () => overdue(part)))
    } catch (problem) {
      if (!(problem instanceof Problem)) throw problem
      return { outcome: 'failed', problem, state }
    }
    const spent = part.service.upstream.clock() - began
    return await ask(state, part, part.timeout && part.timeout - spent, asking, ending)
  } finally {
    ending.delete(res)
    res.ended()
  }
}

/** Asks the service, now that it may be asked. `patience`: milliseconds that are left. */
async function ask(
  state: State,
  part: Part,
  patience: number | undefined,
  { wholeJson }: Asking,
  ending: Ending,
): Promise<PartOutcome> {
  const { service } = state.route
  if (service !== part.service) throw new Problem('not-found', 'The path of the part belongs to another service')
  const { status, fields, body } = await service.upstream.fetch({
    method: 'GET',
    target: state.target,
    fields: wholeJson(state.fields),
    limit: largestPart,
    affinity: affinityOf(state),
    ending,
    timeouts: withPatience(timeoutsOf(state) ?? service.upstream.timeouts, patience),
  })
  if (status !== 200) throw refused(status)
  if (!jsonMediaType.test(createFields(fields).get('content-type') ?? '')) throw unreadable()
  const text = body.toString('utf8')
  try {
    const value = JSON.parse(text)
    // What is no UTF-8 was replaced in the text, and must not make the whole answer unreadable.
    return { outcome: 'answered', body: isUtf8(body) ? body : Buffer.from(text), value }
  } catch (cause) {
    throw unreadable(cause)
  }
}

/** The steps in their order, each through the one before it; what comes after the last is our own. */
function walk(ctx: StepContext, steps: readonly Step[]): Promise<unknown> {
  const at = (index: number): Promise<unknown> =>
    index < steps.length ? steps[index]!(ctx, () => at(index + 1)) : passed
  return at(0)
}

const passed = Promise.resolve()

function overdue({ service, timeout }: Part): Problem {
  return new Problem('upstream-timeout', `The service "${service.name}" could not be asked within ${timeout} ms`)
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
