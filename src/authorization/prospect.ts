import type { ASTNode } from '@marcbachmann/cel-js'
import type { AllowPolicy } from './allow.ts'
import { childrenOf, type Expression, type Observe } from './expression.ts'
import type { Question } from './policy.ts'

/**
 * Whether a policy may let a caller through who has not asked yet. `question` holds who calls, the service, the route
 * and the method; what else stands in its head is not looked at.
 *
 * Rows about the caller say what they will say. Of a condition, the parts that speak of the caller, the service, the
 * route or `request.method` have their value now; a part that speaks of anything else of the request may come out
 * either way. `false` is therefore certain: no request of this caller will be permitted.
 */
export function mayPermit(policy: AllowPolicy, question: Question): boolean {
  const decision = policy.conclude((row) => {
    if (!row.condition) return row.check(question)
    return mayHold(row.condition.expression, question) ? undefined : row.condition.denial
  })
  return decision.verdict === 'permit'
}

function mayHold({ tree, observe }: Expression, question: Question): boolean {
  return (outcomesOf(tree, observe(question)) & outcomes.true) !== 0
}

/** What a part of an expression may come to, as a set. Anything that is not a boolean ends the evaluation: an error. */
const outcomes = { true: 1, false: 2, error: 4, any: 7 } as const

function outcomesOf(node: ASTNode, observe: Observe): number {
  if (!isOpen(node)) return outcomeOf(node, observe)
  switch (node.op) {
    case '&&':
      return together(node.args, outcomes.false, outcomes.true, observe)
    case '||':
      return together(node.args, outcomes.true, outcomes.false, observe)
    case '!_': {
      const inner = outcomesOf(node.args, observe)
      return (
        (inner & outcomes.true ? outcomes.false : 0) |
        (inner & outcomes.false ? outcomes.true : 0) |
        (inner & outcomes.error)
      )
    }
    case '?:': {
      const [condition, one, other] = node.args
      const first = outcomesOf(condition, observe)
      return (
        (first & outcomes.true ? outcomesOf(one, observe) : 0) |
        (first & outcomes.false ? outcomesOf(other, observe) : 0) |
        (first & outcomes.error)
      )
    }
    default:
      return outcomes.any
  }
}

/** `&&` and `||`: one operand that settles the matter does so even beside an error, as CEL has it. */
function together(operands: readonly ASTNode[], settles: number, goesOn: number, observe: Observe): number {
  let some = 0
  let every: number = goesOn
  for (const operand of operands) {
    const found = outcomesOf(operand, observe)
    if (found === settles) return settles
    some |= found
    every &= found
  }
  return (some & (settles | outcomes.error)) | every
}

function outcomeOf(node: ASTNode, observe: Observe): number {
  try {
    const value = observe(node)
    return value === true ? outcomes.true : value === false ? outcomes.false : outcomes.error
  } catch {
    return outcomes.error
  }
}

const open: ReadonlySet<string> = new Set(['request', 'resource'])

/** Whether a part speaks of what only a request can say. */
function isOpen(node: ASTNode): boolean {
  if (node.op === 'id') return open.has(node.args)
  if (node.op === '.' && node.args[1] === 'method' && node.args[0].op === 'id' && node.args[0].args === 'request')
    return false
  return childrenOf(node).some(isOpen)
}
