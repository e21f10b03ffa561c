import { EVENT_ID, type Event, getScalarValue, parseEvents, SCALAR_STYLE } from 'js-yaml'
import { visit } from 'jsonc-parser'
import type { Finding } from './document.ts'
import { plainLimits } from './plain.ts'
import { fromPointer, toPointer } from './pointer.ts'

interface Position {
  readonly line: number
  readonly column: number
}

/**
 * The findings with the line and column, from 1, of what they point at in the text; of what is around it where a
 * pointer leads further than the text. Texts are gone through only when there is something to look up.
 */
export function locateFindings(findings: readonly Finding[], bytes: Uint8Array): readonly Finding[] {
  const pointers = findings.flatMap(({ pointer }) => (pointer === undefined ? [] : [pointer]))
  if (pointers.length === 0) return findings
  const text = new TextDecoder().decode(bytes)
  const first = /\S/.exec(text)?.[0]
  const positions = first === '{' ? inJson(text, pointers) : inYaml(text, pointers)
  return findings.map((finding) => {
    if (finding.pointer === undefined) return finding
    for (let tokens = fromPointer(finding.pointer); tokens.length > 0; tokens = tokens.slice(0, -1)) {
      const position = positions.get(toPointer(tokens))
      if (position) return { ...finding, ...position }
    }
    return finding
  })
}

/** Only what leads to a pointer is looked into. */
function inJson(text: string, pointers: readonly string[]): ReadonlyMap<string, Position> {
  const wanted = new Set(pointers.flatMap(prefixes))
  const found = new Map<string, Position>()
  const note = (path: readonly (string | number)[], line: number, character: number): boolean => {
    const pointer = toPointer(path)
    if (!wanted.has(pointer)) return false
    // Of a member its name, which comes before the value. Of names that stand twice the last one counts, as in JSON.parse.
    if (typeof path.at(-1) === 'number') found.set(pointer, { line: line + 1, column: character + 1 })
    return true
  }
  visit(text, {
    onObjectProperty(name, _offset, _length, line, character, path) {
      const pointer = toPointer([...path(), name])
      if (wanted.has(pointer)) found.set(pointer, { line: line + 1, column: character + 1 })
    },
    // What is passed over ends only for a visitor that hears of ends.
    onObjectEnd() {},
    onArrayEnd() {},
    onObjectBegin: (_offset, _length, line, character, path) => note(path(), line, character),
    onArrayBegin: (_offset, _length, line, character, path) => note(path(), line, character),
    onLiteralValue(_value, _offset, _length, line, character, path) {
      note(path(), line, character)
    },
  })
  return found
}

function inYaml(text: string, pointers: readonly string[]): ReadonlyMap<string, Position> {
  const wanted = new Set(pointers.flatMap(prefixes))
  const found = new Map<string, Position>()
  const lineOf = createLines(text)
  const events = eventsOf(text)
  let next = 0

  /** `pointer` is undefined where nothing is wanted. Of names that stand twice the first one counts. */
  function read(pointer: string | undefined): void {
    const event = events[next]!
    next += 1
    if (event.type === EVENT_ID.MAPPING) {
      while (events[next]!.type !== EVENT_ID.POP) readPair(pointer)
      next += 1
    } else if (event.type === EVENT_ID.SEQUENCE) {
      for (let index = 0; events[next]!.type !== EVENT_ID.POP; index += 1) read(note(pointer, String(index)))
      next += 1
    }
  }

  function readPair(pointer: string | undefined): void {
    const key = events[next]!
    const below = key.type === EVENT_ID.SCALAR ? note(pointer, getScalarValue(text, key)) : undefined
    read(undefined)
    read(below)
  }

  /** Where the next thing stands, if it is wanted: the pointer to it then. */
  function note(pointer: string | undefined, token: string): string | undefined {
    if (pointer === undefined) return undefined
    const below = pointer + toPointer([token])
    const offset = startOf(events[next]!, text)
    if (!wanted.has(below) || found.has(below) || offset === undefined) return undefined
    found.set(below, lineOf(offset))
    return below
  }

  if (events[0]?.type === EVENT_ID.DOCUMENT) {
    next = 1
    read('')
  }
  return found
}

/** None where js-yaml finds fault with a text that could be read all the same. */
function eventsOf(text: string): readonly Event[] {
  try {
    return parseEvents(text, { maxDepth: plainLimits.depth })
  } catch {
    return []
  }
}

function startOf(event: Event, text: string): number | undefined {
  if (event.type === EVENT_ID.MAPPING || event.type === EVENT_ID.SEQUENCE) return event.start
  if (event.type === EVENT_ID.ALIAS) return event.anchorStart - 1
  if (event.type !== EVENT_ID.SCALAR || event.valueStart < 0) return undefined
  const { valueStart, style } = event
  if (style === SCALAR_STYLE.SINGLE_QUOTED || style === SCALAR_STYLE.DOUBLE_QUOTED) return valueStart - 1
  if (style === SCALAR_STYLE.PLAIN) return valueStart
  // The value of a block is what follows its mark.
  return Math.max(text.lastIndexOf('|', valueStart), text.lastIndexOf('>', valueStart))
}

function createLines(text: string): (offset: number) => Position {
  const starts = [0]
  for (let at = text.indexOf('\n'); at >= 0; at = text.indexOf('\n', at + 1)) starts.push(at + 1)
  return (offset) => {
    let [low, high] = [0, starts.length]
    while (high - low > 1) {
      const middle = (low + high) >> 1
      if (starts[middle]! <= offset) low = middle
      else high = middle
    }
    return { line: low + 1, column: offset - starts[low]! + 1 }
  }
}

/** `/a`, `/a/b` of `/a/b`, and the whole. */
function prefixes(pointer: string): readonly string[] {
  const tokens = fromPointer(pointer)
  return ['', ...tokens.map((_, index) => toPointer(tokens.slice(0, index + 1)))]
}
