import type { ASTNode, Environment } from '@marcbachmann/cel-js'
import type { Question } from './policy.ts'
import {
  createEnvironment,
  type Evaluator,
  functionNames,
  type ReadThing,
  type Scope,
  type ScopeOf,
  vocabulary,
} from './vocabulary.ts'

/**
 * The expression of `when`: CEL (Common Expression Language), parsed and type-checked when the file is read.
 *
 * The engine has no budget at run time, so everything that could make an expression expensive is refused here:
 * size, depth, loops in loops in loops, and `matches`, which is a backtracking JavaScript regular expression.
 */
export interface Expression {
  readonly source: string
  /** The parsed expression, for explanations. */
  readonly tree: ASTNode
  /** Whether it speaks of `resource`. */
  readonly asksResource: boolean
  /** Whether the expression yields `true`. Throws what went wrong while it was evaluated; whoever asks must deny. */
  holds(question: Question, resource?: ReadThing): boolean
  /** Evaluates parts of `tree` over a question, with the engine and the compiled nodes that `holds` uses. */
  observe(question: Question, resource?: ReadThing): Observe
}

/** The value of one node; throws as the evaluation does. */
export type Observe = (node: ASTNode) => unknown

/** An expression that cannot be used, with a message for the operator: where, why, what would be right. */
export class InvalidExpression extends Error {
  constructor(message: string, options?: ErrorOptions) {
    super(message, options)
    this.name = 'InvalidExpression'
  }
}

export interface ExpressionOptions {
  /** The parameters of the route's template, when they are known: a misspelt one is then a mistake now, not a refusal later. */
  readonly params?: readonly string[] | undefined
  /** Whether there is a thing to speak of. */
  readonly resource?: boolean
}

export type CompileExpression = (source: string, options?: ExpressionOptions) => Expression

const longestSource = 4_000
const deepestLoop = 2

/** Throws `InvalidExpression`. All expressions of a gateway share what they are compiled in. */
export function createExpressions(scopeOf: ScopeOf): CompileExpression {
  const without = createCompiler(scopeOf, createEnvironment())
  let withResource: CompileExpression | undefined
  return function compileExpression(source, options = {}) {
    if (!options.resource) return without(source, options)
    withResource ??= createCompiler(scopeOf, createEnvironment({ resource: true }))
    return withResource(source, options)
  }
}

function createCompiler(scopeOf: ScopeOf, environment: Environment): CompileExpression {
  const observer = createObserver(environment)
  return function compileExpression(source, { params } = {}) {
    if (source.length > longestSource)
      throw new InvalidExpression(`an expression has at most ${longestSource} characters`)
    const program = attempt(source, () => environment.parse(source))
    const facts = inspect(source, program.ast, params)

    const checked = program.check()
    if (!checked.valid) throw invalid(source, checked.error)
    if (checked.type !== 'bool') {
      throw new InvalidExpression(
        checked.type === 'dyn'
          ? 'the expression yields a value of any type but must yield a bool: compare it, as in `caller.claims.beta == true`'
          : `the expression yields ${checked.type} but must yield a bool`,
      )
    }

    return {
      source,
      tree: program.ast,
      asksResource: facts.resource,
      observe: (question, resource) => observer(scopeOf(question, facts.loops, resource)),
      holds: function holds(question, resource) {
        // A key that is not there is an error object in the engine, ten times dearer with a stack that nobody reads.
        const limit = Error.stackTraceLimit
        Error.stackTraceLimit = 0
        try {
          return program(scopeOf(question, facts.loops, resource)) === true
        } finally {
          Error.stackTraceLimit = limit
        }
      },
    }
  }
}

/**
 * The engine evaluates whole expressions only, but hands its evaluator to macros: one macro in an environment of its own,
 * which no operator's expression can call, passes it on.
 */
function createObserver(environment: Environment): (scope: Scope) => Observe {
  let seen: { readonly evaluator: Evaluator; readonly context: unknown } | undefined
  const observing = environment.clone().registerFunction('observe(ast): bool', () => ({
    async: false,
    typeCheck: (checker: { getType(name: string): unknown }) => checker.getType('bool'),
    evaluate(evaluator: Evaluator, _macro: unknown, context: unknown) {
      seen = { evaluator, context }
      return true
    },
  }))
  const observe = observing.parse('observe(true)')
  return function observer(scope) {
    observe(scope)
    const { evaluator, context } = seen!
    seen = undefined
    return (node) => evaluator.run(node, context)
  }
}

function attempt<T>(source: string, parse: () => T): T {
  try {
    return parse()
  } catch (error) {
    throw invalid(source, error)
  }
}

const loopMacros: ReadonlySet<string> = new Set(['all', 'exists', 'exists_one', 'map', 'filter', 'bind'])

/** What takes as long as a loop, or as two. */
const costs: ReadonlyMap<string, number> = new Map([
  ['re2', 1],
  ['glob', 1],
  ['split', deepestLoop],
])

/**
 * Walks what was written, before macros are expanded: every argument of a loop is in it.
 *
 * Loops multiply. Two over the longest lists are 10,000 steps, some 5 ms. What `split` yields is as long as the text, so
 * it may be run through by one loop and stands inside none. `loops` says whether there is any.
 */
function inspect(
  source: string,
  tree: ASTNode,
  params: readonly string[] | undefined,
): { readonly loops: boolean; readonly resource: boolean } {
  const names = new Set<string>()
  let resource = false

  function visit(node: ASTNode): number {
    const children = childrenOf(node)
    if (node.op === 'id' && node.args === 'resource') resource = true
    if (node.op === 'call' || node.op === 'rcall') {
      const [name] = node.args
      names.add(name)
      if (name === 'matches') {
        throw at(source, node, 'matches() can be made to run for minutes: use re2(text, "pattern"), which cannot')
      }
      if (name.startsWith('get')) checkZone(source, children.at(-1))
      if (node.op === 'rcall' && loopMacros.has(name)) {
        const [range, ...body] = children
        const beside = calls(range!, 'split') ? 1 : 0
        return limited(node, Math.max(visit(range!), 1 + beside + deepest(body)))
      }
      return limited(node, (costs.get(name) ?? 0) + deepest(children))
    }
    if (params && node.op === '.' && isParams(node.args[0]) && !params.includes(node.args[1])) {
      const known = params.length > 0 ? `it has ${params.join(', ')}` : 'it has none'
      throw at(source, node, `the route has no parameter ${node.args[1]}; ${known}`)
    }
    return deepest(children)
  }

  function deepest(nodes: readonly ASTNode[]): number {
    return Math.max(0, ...nodes.map(visit))
  }

  function limited(node: ASTNode, depth: number): number {
    if (depth <= deepestLoop) return depth
    const message = `too much in each other: at most ${deepestLoop} loops, where re2() and glob() count as one, and split() stands in none and with none beside it`
    throw at(source, node, message)
  }

  visit(tree)
  return { loops: [...names].some((name) => loopMacros.has(name)), resource }
}

function calls(node: ASTNode, name: string): boolean {
  if ((node.op === 'call' || node.op === 'rcall') && node.args[0] === name) return true
  return childrenOf(node).some((child) => calls(child, name))
}

/** The zone of `request.time.getHours("Europe/Berlin")`, when it is written out: a misspelt one would deny for ever. */
function checkZone(source: string, node: ASTNode | undefined): void {
  if (node?.op !== 'value' || typeof node.args !== 'string') return
  try {
    new Intl.DateTimeFormat('en-US', { timeZone: node.args })
  } catch {
    throw at(source, node, `there is no time zone "${node.args}"; zones are called "Europe/Berlin" or "UTC"`)
  }
}

function isParams(node: ASTNode): boolean {
  return node.op === '.' && node.args[1] === 'params' && node.args[0].op === 'id' && node.args[0].args === 'request'
}

/** The nodes right below one, in the order they are written. */
export function childrenOf(node: ASTNode): readonly ASTNode[] {
  switch (node.op) {
    case 'value':
    case 'id':
      return []
    case '.':
    case '.?':
      return [node.args[0]]
    case 'call':
      return node.args[1]
    case 'rcall':
      return [node.args[1], ...node.args[2]]
    case 'map':
      return node.args.flat()
    case '!_':
    case '-_':
      return [node.args]
    default:
      return node.args
  }
}

function at(source: string, node: ASTNode, message: string): InvalidExpression {
  return new InvalidExpression(pointOut(source, node.pos, message))
}

/** What the engine says about a mistake, with the names that would be right. */
function invalid(source: string, error: unknown): InvalidExpression {
  if (!(error instanceof Error)) return new InvalidExpression(String(error))
  const { code, summary = error.message, node, range } = error as Error & Partial<EngineError>
  const advice = code === undefined ? '' : adviceOn(code, node)
  const position = node?.pos ?? range?.start
  const message = `${summary}${advice}`
  return new InvalidExpression(position === undefined ? message : pointOut(source, position, message), { cause: error })
}

interface EngineError {
  readonly code: string
  readonly summary: string
  readonly node: ASTNode
  readonly range: { readonly start: number }
}

function adviceOn(code: string, node: ASTNode | undefined): string {
  if (code === 'unknown_variable' && node?.op === 'id' && node.args === 'resource')
    return '; write beside `when` what is read: "resource": { "get": "/{id}" }'
  if (code === 'unknown_variable') return `; there are ${Object.keys(vocabulary).join(', ')}`
  if (code === 'no_matching_overload') return `; besides CEL's own functions there are ${functionNames.join(', ')}`
  if (code === 'limit_exceeded') return '; write a shorter expression, or several blocks'
  if (code === 'no_such_key' && node?.op === '.' && node.args[0].op === 'id') {
    const fields = vocabulary[node.args[0].args]
    if (fields) return `; ${node.args[0].args} has ${fields.join(', ')}`
  }
  return ''
}

/** `line 1, column 8: message`, the line, and a caret below the place. */
function pointOut(source: string, position: number, message: string): string {
  const before = source.slice(0, position)
  const line = before.split('\n').length
  const start = before.lastIndexOf('\n') + 1
  const end = source.indexOf('\n', position)
  const text = source.slice(start, end === -1 ? source.length : end)
  const column = position - start
  const cut = Math.max(0, column - 60)
  const excerpt = text.slice(cut, column + 60)
  return `line ${line}, column ${column + 1}: ${message}\n  ${excerpt}\n  ${' '.repeat(column - cut)}^`
}
