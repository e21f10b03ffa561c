import type { AllowRow } from './allow.ts'
import type { Expression } from './expression.ts'
import type { Question, ResourceNeed } from './policy.ts'
import type { Denial, Undecided } from './requirements.ts'

/** A compiled `when`: an expression, what it wants to read, and what is answered when it does not hold. */
export interface Condition {
  readonly expression: Expression
  readonly denial: Denial
  readonly resource: ResourceNeed | undefined
}

/** The row of a condition. What cannot be evaluated denies, and is reported. */
export function conditionRow(
  { expression, resource }: Pick<Condition, 'expression' | 'resource'>,
  pointer: string,
  report: (error: unknown) => void,
): AllowRow {
  const denial: Denial = Object.freeze({
    verdict: 'deny',
    code: 'policy-denied',
    row: pointer,
    detail: 'A condition on the caller and the request does not hold.',
  })
  const condition: Condition = { expression, denial, resource }
  return {
    pointer,
    needs: 'a condition on the caller and the request',
    condition,
    check: function checkCondition(question) {
      try {
        return ask(condition, question)
      } catch (error) {
        report(error)
        return denial
      }
    },
  }
}

/**
 * What a condition comes to; undefined when it holds. Throws what went wrong while it was evaluated.
 *
 * A thing that has not been read is an error to the expression, and an error on one side of `||` or `&&` does not matter
 * when the other side settles the matter (CEL). So what the expression yields without the thing it yields with any, and
 * only an error in whose making the thing was asked for leaves the matter open.
 */
export function ask({ expression, denial, resource }: Condition, question: Question): Denial | Undecided | undefined {
  if (resource === undefined) return expression.holds(question) ? undefined : denial
  const known = question.resources?.get(resource.get)
  const reading = readResource(resource, question)
  try {
    return expression.holds(question, reading.read) ? undefined : denial
  } catch (error) {
    if (!reading.asked || known?.outcome === 'read') throw error
    if (known === undefined) return { verdict: 'undecided', needs: [resource] }
    return known.outcome === 'failed' ? { ...denial, problem: known.problem } : denial
  }
}

/** `resource` of an expression: its value, or why there is none. */
export function readResource({ get }: ResourceNeed, { resources }: Question) {
  const known = resources?.get(get)
  const reading = {
    asked: false,
    read(): unknown {
      reading.asked = true
      if (known === undefined) throw new Error('it has not been read')
      if (known.outcome === 'hidden') throw new Error('the service shows the caller no such thing')
      if (known.outcome === 'failed') throw new Error('it could not be read')
      return known.value
    },
  }
  return reading
}
