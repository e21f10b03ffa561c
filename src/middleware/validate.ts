import type { Route } from '../gateway/gateway.ts'
import { expectsContinue } from '../http/expectation.ts'
import { hasContent } from '../http/framing.ts'
import { Problem } from '../http/problem.ts'
import type { Log } from '../telemetry/log.ts'
import type { Metrics } from '../telemetry/metrics.ts'
import type { Mistake } from '../validation/mistake.ts'
import type { ValidateDefinition } from '../validation/settings.ts'
import type { ContentValidator, Validator } from '../validation/validator.ts'
import type { Step, StepContext } from './state.ts'

export interface ValidateTools {
  readonly log: Log
  readonly metrics: Metrics
}

/** What checking a request came to. `unchecked`: nobody can say. */
type Verdict =
  | { readonly outcome: 'fits' }
  | { readonly outcome: 'unfit'; readonly problem: Problem }
  | { readonly outcome: 'unchecked'; readonly problem: Problem }

const fits: Verdict = { outcome: 'fits' }

/** Does the request fit the document of its service? 400 with every mistake, 415 for content it does not take. */
export function validate(tools: ValidateTools): Step {
  return createStep(tools, judgeContent)
}

/** The same without content, for a part of a composition: the request that it belongs to is another. */
export function validateParameters(tools: ValidateTools): Step {
  return createStep(tools, async () => fits)
}

type JudgeContent = (
  ctx: StepContext,
  content: ContentValidator,
  settings: ValidateDefinition,
) => Verdict | Promise<Verdict>

function createStep({ log, metrics }: ValidateTools, judge: JudgeContent): Step {
  return function validate(ctx, next) {
    const { route } = ctx.state
    const settings = route.validate
    if (!settings) return next()
    return judgeRequest(ctx, settings, judge).then((verdict) => {
      if (verdict.outcome !== 'fits') answer(ctx, route, settings, verdict)
      return next()
    })
  }

  /** Throws when the request shall go no further. */
  function answer(
    { state }: StepContext,
    route: Route,
    { mode, unchecked }: ValidateDefinition,
    { outcome, problem }: Exclude<Verdict, { outcome: 'fits' }>,
  ): void {
    const { name } = route.service
    const refused = mode === 'enforce' && (outcome === 'unfit' || unchecked === 'refuse')
    metrics.validated(name, outcome === 'unchecked' ? 'unchecked' : refused ? 'refused' : 'shadow')
    if (refused) throw problem
    if (outcome === 'unfit')
      log.info({ id: state.id, route: route.id, errors: problem.members['errors'] }, 'would not fit the document')
  }
}

async function judgeRequest(ctx: StepContext, settings: ValidateDefinition, judge: JudgeContent): Promise<Verdict> {
  const { gateway, route, head } = ctx.state
  const operations = gateway.documents.operations(route.service.name)
  if (!operations) return unknown()
  const found = operations.match(head.method, head.path)
  // What the document does not list is another question; `expose` answers it.
  if (!found) return fits
  const validator = await gateway.contracts.validatorFor(found.value, route)
  if (!validator) return unknown()
  const mistakes = mistakesOf(validator, head, found)
  const content = validator.content ? await judge(ctx, validator.content, settings) : fits
  if (mistakes.length === 0) return content
  const further = content.outcome === 'unfit' ? (content.problem.members['errors'] as readonly Mistake[]) : undefined
  return unfit([...mistakes, ...(further ?? [])])
}

function mistakesOf(
  validator: Validator,
  head: StepContext['state']['head'],
  { names, segments }: { readonly names: readonly string[]; readonly segments: readonly string[] },
): readonly Mistake[] {
  return validator.parameters(head, new Map(names.map((name, index) => [name, segments[index]!])))
}

async function judgeContent(
  ctx: StepContext,
  content: ContentValidator,
  { body: largest }: ValidateDefinition,
): Promise<Verdict> {
  const { req, res, state } = ctx
  if (!hasContent(req)) return content.required ? unfit([{ in: 'body', pointer: '', detail: 'is required' }]) : fits
  const media = content.accepts(req.headers['content-type'])
  if (!media) {
    const detail = `The operation takes ${content.ranges.join(', ')}`
    return { outcome: 'unfit', problem: new Problem('unsupported-media-type', detail) }
  }
  if (!media.readable) return fits
  const coding = req.headers['content-encoding']
  // An empty field is one that says nothing, to the gateway as to the service.
  if (coding !== undefined && !/^(?:identity)?$/i.test(coding.trim()))
    return tooMuch('is coded, and only plain JSON is checked')
  const limit = Math.min(largest, state.route.limits.body)
  const larger = () => tooMuch(`has more than the ${limit} bytes that are checked`)
  if (Number(req.headers['content-length'] ?? 0) > limit) return larger()
  if (expectsContinue(req)) {
    res.writeContinue()
    state.continued = true
  }
  const { upstream } = state.route.service
  const { idle } = state.route.timeouts ?? upstream.timeouts
  const read = await upstream.content(req, { limit, idle })
  if (!read) return larger()
  state.content = read
  const mistakes = media.check(read)
  return mistakes.length > 0 ? unfit(mistakes) : fits
}

/** As many as a person reads. */
const mostErrors = 50

function unfit(mistakes: readonly Mistake[]): Verdict {
  const errors = mistakes.slice(0, mostErrors)
  const [first] = errors
  const place =
    first!.in === 'body'
      ? `the body${first!.pointer && ` at ${first!.pointer}`}`
      : `${first!.in} parameter ${first!.name}`
  const more = mistakes.length > 1 ? `, and ${mistakes.length - 1} more` : ''
  const detail = `${place} ${first!.detail}${more}`
  return { outcome: 'unfit', problem: new Problem('invalid-request-content', detail, { members: { errors } }) }
}

function tooMuch(why: string): Verdict {
  return { outcome: 'unchecked', problem: new Problem('body-too-large', `The body ${why}`) }
}

function unknown(): Verdict {
  const detail = 'The document of the service is not there yet, so the request cannot be checked'
  return { outcome: 'unchecked', problem: new Problem('starting', detail, { fields: { 'Retry-After': '1' } }) }
}
