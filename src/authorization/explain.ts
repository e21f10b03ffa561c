import type { ASTNode } from '@marcbachmann/cel-js'
import type { AllowPolicy, AllowRow } from './allow.ts'
import { ask, type Condition, readResource } from './condition.ts'
import { childrenOf, type Observe } from './expression.ts'
import type { Decision, Question, Resource } from './policy.ts'
import type { Denial, Undecided } from './requirements.ts'

/** Why a policy decides as it does: every row of every block, whether or not the decision needed it. */
export interface Explanation {
  readonly decision: Decision
  readonly blocks: readonly ExplainedBlock[]
}

export interface ExplainedBlock {
  /** JSON pointer below `allow`: empty for a single block, `/0` in a list. */
  readonly pointer: string
  readonly verdict: Decision['verdict']
  readonly rows: readonly ExplainedRow[]
}

export interface ExplainedRow {
  /** JSON pointer below `allow`: `/roles`, `/0/when`. */
  readonly pointer: string
  readonly verdict: Decision['verdict']
  /** What the row needs: `one of the roles admin, editor`. */
  readonly needs: string
  /** What a caller is told when the row denies. */
  readonly detail?: string
  /** The thing that the row may want to read, and what came of it. `unread`: nobody has asked for it. */
  readonly resource?: { readonly get: string; readonly outcome: Resource['outcome'] | 'unread' }
  /** The expression of `when`, term by term. For operators: it shows claims and fields of the request. */
  readonly term?: Term
}

/** One part of an expression and what it came to. */
export interface Term {
  /** As it is written. */
  readonly text: string
  /** In JSON's types: times in ISO 8601, integers beyond 2^53 as strings. Absent when there is an error. */
  readonly value?: unknown
  /** Why there is no value. */
  readonly error?: string
  /** The decision does not depend on this part: what stands before it settled the matter. */
  readonly skipped?: true
  readonly children: readonly Term[]
}

/** Decides a question and shows the working, with the compiled rows and expressions that `decide` uses. Reports nothing to `onError`. */
export function explainAllow(policy: AllowPolicy, question: Question): Explanation {
  const verdicts = new Map<AllowRow, Denial | Undecided>()
  const blocks = policy.blocks.map(({ pointer, rows }): ExplainedBlock => {
    const explained = rows.map((row): ExplainedRow => {
      const { condition } = row
      const verdict = condition ? quietly(condition, question) : row.check(question)
      if (verdict) verdicts.set(row, verdict)
      const need = condition?.resource
      return {
        pointer: row.pointer,
        verdict: verdict?.verdict ?? 'permit',
        needs: row.needs,
        ...(verdict?.verdict === 'deny' && { detail: verdict.detail }),
        ...(need && { resource: { get: need.get, outcome: question.resources?.get(need.get)?.outcome ?? 'unread' } }),
        ...(condition && { term: trace(condition, question) }),
      }
    })
    return { pointer, verdict: all(explained.map((row) => row.verdict)), rows: explained }
  })
  return { decision: policy.conclude((row) => verdicts.get(row)), blocks }
}

function quietly(condition: Condition, question: Question): Denial | Undecided | undefined {
  try {
    return ask(condition, question)
  } catch {
    return condition.denial
  }
}

function all(verdicts: readonly Decision['verdict'][]): Decision['verdict'] {
  if (verdicts.includes('deny')) return 'deny'
  return verdicts.includes('undecided') ? 'undecided' : 'permit'
}

/** An explanation as lines of text, one per row and term, indented: for terminals. */
export function formatTerm(term: Term, indent = ''): readonly string[] {
  const outcome = term.error === undefined ? JSON.stringify(term.value) : `error: ${term.error}`
  return [
    `${indent}${term.text}  ⇒  ${outcome}${term.skipped ? ' (not needed)' : ''}`,
    ...term.children.flatMap((child) => formatTerm(child, `${indent}  `)),
  ]
}

function trace({ expression, resource }: Condition, question: Question): Term {
  const { source, tree } = expression
  const observe = expression.observe(question, resource && readResource(resource, question).read)
  const term = explain(tree, observe, source, false)
  return { ...term, text: source.trim() }
}

function explain(node: ASTNode, observe: Observe, source: string, skipped: boolean): Term {
  const outcome = outcomeOf(node, observe)
  const parts = termsOf(node)
  const children: Term[] = []
  for (const part of parts) {
    children.push(explain(part, observe, source, skipped || isSettled(node, part, children)))
  }
  return { text: textOf(node, source), ...outcome, ...(skipped && { skipped: true as const }), children }
}

function outcomeOf(node: ASTNode, observe: Observe): { readonly value: unknown } | { readonly error: string } {
  try {
    return { value: plain(observe(node)) }
  } catch (error) {
    if (!(error instanceof Error)) return { error: String(error) }
    // Without the excerpt of the source that the engine puts behind the message.
    return { error: 'summary' in error && typeof error.summary === 'string' ? error.summary : error.message }
  }
}

/** Whether what was found before `part` decides `node` already, as the evaluation would find. */
function isSettled(node: ASTNode, part: ASTNode, before: readonly Term[]): boolean {
  const [first] = before
  if (first === undefined) return false
  switch (node.op) {
    case '&&':
      return before.some((term) => term.value === false)
    case '||':
      return before.some((term) => term.value === true)
    case '?:':
      return part === node.args[1] ? first.value !== true : first.value !== false
    default:
      return false
  }
}

/** The parts of a node that are worth a line: never what is written out, nor the way to a field. */
function termsOf(node: ASTNode): readonly ASTNode[] {
  switch (node.op) {
    case 'id':
    case 'value':
    case '.':
    case '.?':
    case '[]':
    case '[?]':
      return []
    case '&&':
    case '||':
      return chainOf(node, node.op)
    case 'call':
      if (node.args[0] === 'has') return []
      break
    case 'rcall':
      // What stands inside a loop has no value of its own: show what is run through.
      if (isMacro(node)) return [node.args[1]].filter((range) => range.op !== 'id' && isTelling(range))
      break
    default:
  }
  return childrenOf(node).filter(isTelling)
}

/** `a && b && c` is a tree of two in the engine, and a list of three to a reader. */
function chainOf(node: ASTNode, op: '&&' | '||'): readonly ASTNode[] {
  return node.op === op ? node.args.flatMap((operand) => chainOf(operand, op)) : [node]
}

const macros: ReadonlySet<string> = new Set(['all', 'exists', 'exists_one', 'map', 'filter', 'bind'])

function isMacro(node: ASTNode): boolean {
  return node.op === 'rcall' && macros.has(node.args[0])
}

function isTelling(node: ASTNode): boolean {
  if (node.op === 'value') return false
  if (node.op === 'list') return node.args.some(isTelling)
  return true
}

/** The text of a node. The engine's positions leave out the parentheses around operands: they are put back. */
function textOf(node: ASTNode, source: string): string {
  const { start, end } = extentOf(node, source)
  return source.slice(start, end)
}

interface Extent {
  readonly start: number
  readonly end: number
}

function extentOf(node: ASTNode, source: string): Extent {
  switch (node.op) {
    case 'value':
    case 'id':
    case 'call':
    case 'list':
    case 'map':
      return { start: node.start, end: node.end }
    case '.':
    case '.?':
    case '[]':
    case '[?]':
      return { start: operandOf(node.args[0], source).start, end: node.end }
    case 'rcall':
      return { start: operandOf(node.args[1], source).start, end: node.end }
    case '!_':
    case '-_':
      return { start: node.start, end: operandOf(node.args, source).end }
    default:
      return {
        start: operandOf(node.args[0], source).start,
        end: operandOf(node.args.at(-1) as ASTNode, source).end,
      }
  }
}

/** The extent of an operand with the parentheses around it. */
function operandOf(node: ASTNode, source: string): Extent {
  let { start, end } = extentOf(node, source)
  for (;;) {
    const before = source.slice(0, start).trimEnd()
    const after = source.slice(end)
    if (!before.endsWith('(') || !after.trimStart().startsWith(')')) return { start, end }
    start = before.length - 1
    end += after.indexOf(')') + 1
  }
}

/** Of a text, in UTF-16 code units: a thing may hold whole pages, and a thousand refusals are kept. */
const longestShown = 1_000

/** A value of the engine in JSON's types. */
function plain(value: unknown, depth = 5): unknown {
  switch (typeof value) {
    case 'bigint':
      return Number.isSafeInteger(Number(value)) ? Number(value) : String(value)
    case 'number':
      return Number.isFinite(value) ? value : String(value)
    case 'string':
      return value.length > longestShown ? `${value.slice(0, longestShown)}…` : value
    case 'object':
      break
    default:
      return value
  }
  if (value === null) return null
  if (value instanceof Date) return value.toISOString()
  if (depth === 0) return '…'
  if (Array.isArray(value)) return value.slice(0, 100).map((item) => plain(item, depth - 1))
  if (value instanceof Map) return plainEntries([...value], depth)
  if (Object.getPrototypeOf(value) === Object.prototype) return plainEntries(Object.entries(value), depth)
  return String(value)
}

function plainEntries(entries: readonly (readonly [unknown, unknown])[], depth: number): unknown {
  return Object.fromEntries(entries.slice(0, 100).map(([key, item]) => [String(key), plain(item, depth - 1)]))
}
