import { RE2JS } from 're2js'

/**
 * What of JSON Schema can be made to run for minutes, said in a way that cannot. Used where checks are generated and where
 * they run.
 */

/** `pattern` and `patternProperties` (JSON Schema 2020-12 §6.3.3) by RE2, in time linear to the text. */
export interface Pattern {
  test(text: string): boolean
}

const largestProgram = 5_000

/**
 * Whether an expression is one row of characters from the beginning of the text on, with at most one of them repeated at
 * will: then nothing is tried twice, and JavaScript's own engine, ten times as fast, is linear too. `^[a-z]{2}-\d+$` is.
 */
function isFlat(expression: string): boolean {
  if (!expression.startsWith('^')) return false
  const end = expression.endsWith('$') && !expression.endsWith('\\$') ? expression.length - 1 : expression.length
  /** One character of a kind, and how often. */
  const atom =
    /(?:\\[dDwWsS]|\\[-/.^$*+?()[\]{}|\\]|\[\^?(?:\\.|[^\\[\]])+\]|[^\\^$.|?*+()[\]{}])([*+?]|\{\d{1,3}\})?/uy
  let loose = 0
  atom.lastIndex = 1
  while (atom.lastIndex < end) {
    const found = atom.exec(expression)
    if (!found) return false
    const [, often] = found
    if (often !== undefined && !often.startsWith('{')) loose += 1
  }
  return loose <= 1
}

/** Throws when the expression needs what RE2 has not, such as a look-ahead, or is too large. */
export function compilePattern(expression: string): Pattern {
  if (isFlat(expression)) return new RegExp(expression, 'u')
  const compiled = RE2JS.compile(RE2JS.translateRegExp(expression))
  if (compiled.programSize() > largestProgram) throw new Error('the pattern is too large')
  return { test: (text) => compiled.test(text) }
}

/**
 * The steps that one check may take. A schema that branches on its way down into itself (`and` of two expressions, `or` of
 * two expressions) is held against the innermost value once for each way to it: thirty levels are a thousand million.
 */
export interface Meter {
  /** Says how many steps there are from now on. */
  start(steps: number): void
  /** `wide`: the size of lists and objects counts, because each of their members is looked at. Throws `TooManySteps`. */
  charge(data: unknown, cost: number, wide: boolean): void
}

export class TooManySteps extends Error {}

export function createMeter(): Meter {
  let left = 0
  return {
    start(steps) {
      left = steps
    },
    charge(data, cost, wide) {
      left -= cost
      if (typeof data === 'string') left -= data.length >> 4
      else if (wide && typeof data === 'object' && data !== null)
        left -= Array.isArray(data) ? data.length : Object.keys(data).length
      if (left < 0) throw new TooManySteps()
    },
  }
}

/** Whether no item stands twice (JSON Schema 2020-12 §6.4.3), without comparing each with each. */
export function areUnique(items: readonly unknown[], meter: Meter): boolean {
  const seen = new Set<string>()
  for (const item of items) {
    const key = canonical(item)
    meter.charge(key, 4, false)
    if (seen.has(key)) return false
    seen.add(key)
  }
  return true
}

/** JSON in which equal values are equal texts: members by name. */
function canonical(value: unknown): string {
  if (typeof value !== 'object' || value === null) return JSON.stringify(value)
  if (Array.isArray(value)) return `[${value.map(canonical).join()}]`
  const names = Object.keys(value).sort()
  return `{${names.map((name) => `${JSON.stringify(name)}:${canonical((value as Record<string, unknown>)[name])}`).join()}}`
}
