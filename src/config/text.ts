import { findNodeAtLocation, type Node, type ParseError, parseTree, printParseErrorCode } from 'jsonc-parser'

/** A place in services.json and what is wrong there. */
export interface Mistake {
  /** JSON pointer (RFC 6901); empty for the whole file. */
  readonly pointer: string
  /** From 1; 0 when the mistake is not in the file. */
  readonly line: number
  readonly column: number
  /** What is wrong and what would be right, in one sentence. */
  readonly message: string
}

export type Path = readonly (string | number)[]

/** Parsed JSON that still knows where everything stood. */
export interface Source {
  /** Plain data; objects have no prototype surprises because forbidden keys were refused. */
  readonly value: unknown
  /** Where a path stands: the member's own line when it exists, else its nearest ancestor's. */
  locate(path: Path): { readonly line: number; readonly column: number }
}

const syntaxMessages: Readonly<Record<string, string>> = {
  InvalidSymbol: 'this is not a JSON value; strings need double quotes',
  InvalidNumberFormat: 'this is not a JSON number',
  PropertyNameExpected: 'a property name in double quotes is expected here',
  ValueExpected: 'a value is expected here',
  ColonExpected: 'a colon is expected here',
  CommaExpected: 'a comma is expected here',
  CloseBraceExpected: 'the file ends before this object does: a closing brace is missing',
  CloseBracketExpected: 'the file ends before this list does: a closing bracket is missing',
  EndOfFileExpected: 'nothing may follow the end of the object',
  InvalidCommentToken: 'JSON has no comments; write a "description" or a README instead',
  UnexpectedEndOfComment: 'JSON has no comments',
  UnexpectedEndOfString: 'this string is not closed',
  UnexpectedEndOfNumber: 'this number is not finished',
  InvalidUnicode: 'an escape like \\u00e9 needs four hexadecimal digits',
  InvalidEscapeCharacter: "this escape is not one of JSON's; write \\\\ for a backslash",
  InvalidCharacter: 'control characters must be escaped',
}

const deepest = 64
const forbiddenKeys = new Set(['__proto__', 'constructor', 'prototype'])

/** Strict JSON (RFC 8259): no comments, no trailing commas, no duplicate or dangerous names, no numbers that overflow. */
export function parseSource(text: string): { readonly source?: Source; readonly mistakes: readonly Mistake[] } {
  const place = lineReader(text)
  const mistakes: Mistake[] = []
  const complain = (offset: number, pointer: string, message: string) =>
    mistakes.push({ pointer, ...place(offset), message })

  if (text.charCodeAt(0) === 0xfeff) {
    complain(0, '', 'the file starts with a byte order mark; save it as UTF-8 without one (RFC 8259 §8.1)')
    return { mistakes }
  }
  if (text.trim() === '') {
    complain(0, '', 'the file is empty; the smallest that works is { "services": [ … ] }')
    return { mistakes }
  }
  const errors: ParseError[] = []
  const root = parseTree(text, errors, { disallowComments: true, allowTrailingComma: false, allowEmptyContent: false })
  for (const error of errors)
    complain(error.offset, '', syntaxMessages[printParseErrorCode(error.error)] ?? 'this is not JSON')
  if (!root || errors.length > 0) return { mistakes: withoutRepeats(mistakes) }

  const value = read(root, '', 0)
  if (mistakes.length > 0) return { mistakes }
  return { mistakes, source: { value, locate } }

  function read(node: Node, pointer: string, depth: number): unknown {
    if (depth > deepest) {
      complain(node.offset, pointer, `nothing is nested deeper than ${deepest} levels`)
      return undefined
    }
    if (node.type === 'array') {
      return (node.children ?? []).map((child, index) => read(child, `${pointer}/${index}`, depth + 1))
    }
    if (node.type === 'object') {
      const object: Record<string, unknown> = {}
      for (const property of node.children ?? []) {
        const [name, member] = property.children ?? []
        if (!name || !member) continue
        const key = String(name.value)
        const at = `${pointer}/${escapePointer(key)}`
        if (forbiddenKeys.has(key)) complain(name.offset, at, `the name "${key}" is not allowed`)
        else if (Object.hasOwn(object, key)) complain(name.offset, at, `"${key}" stands here twice; keep one`)
        else object[key] = read(member, at, depth + 1)
      }
      return object
    }
    if (node.type === 'number' && !Number.isFinite(node.value))
      complain(node.offset, pointer, 'the number is too large')
    return node.value
  }

  function locate(path: Path) {
    for (let length = path.length; length >= 0; length -= 1) {
      const node = findNodeAtLocation(root!, path.slice(0, length) as (string | number)[])
      // The member's name is where an editor's cursor should go, so the property node rather than its value.
      if (node) return place(node.parent?.type === 'property' ? node.parent.offset : node.offset)
    }
    return place(0)
  }
}

/** RFC 6901 §3. */
export function escapePointer(segment: string): string {
  return segment.replaceAll('~', '~0').replaceAll('/', '~1')
}

export function toPointer(path: Path): string {
  return path.map((segment) => `/${escapePointer(String(segment))}`).join('')
}

/** A parser that has lost its way complains about every following token; the first complaint a line is the useful one. */
function withoutRepeats(mistakes: readonly Mistake[]): readonly Mistake[] {
  const lines = new Set<number>()
  return mistakes.filter(({ line }) => !lines.has(line) && lines.add(line))
}

function lineReader(text: string) {
  const starts = [0]
  for (let at = text.indexOf('\n'); at >= 0; at = text.indexOf('\n', at + 1)) starts.push(at + 1)
  return (offset: number) => {
    let low = 0
    let high = starts.length - 1
    while (low < high) {
      const middle = (low + high + 1) >> 1
      if (starts[middle]! <= offset) low = middle
      else high = middle - 1
    }
    return { line: low + 1, column: offset - starts[low]! + 1 }
  }
}

/** The way back; segments that are numbers index lists. */
export function fromPointer(pointer: string): Path {
  const segments = pointer.split('/').slice(1)
  return segments.map((segment) =>
    /^\d+$/.test(segment) ? Number(segment) : segment.replaceAll('~1', '/').replaceAll('~0', '~'),
  )
}

export function isObject(value: unknown): value is Record<string, unknown> {
  return typeof value === 'object' && value !== null && !Array.isArray(value)
}
