import { visit } from 'jsonc-parser'
import { isMap, isScalar, isSeq, LineCounter, type Node, parseDocument } from 'yaml'
import type { Finding } from './document.ts'
import { fromPointer, toPointer } from './pointer.ts'

interface Position {
  readonly line: number
  readonly column: number
}

/** YAML is read a second time for this, and that costs ten times as much as JSON. */
const largestYaml = 2 * 1_048_576

/**
 * The findings with the line and column, from 1, of what they point at in the text; of what is around it where a
 * pointer leads further than the text. Texts are gone through only when there is something to look up.
 */
export function locateFindings(findings: readonly Finding[], bytes: Uint8Array): readonly Finding[] {
  const pointers = findings.flatMap(({ pointer }) => (pointer === undefined ? [] : [pointer]))
  if (pointers.length === 0) return findings
  const text = new TextDecoder().decode(bytes)
  const first = /\S/.exec(text)?.[0]
  const positions =
    first === '{' ? inJson(text, pointers) : bytes.length > largestYaml ? new Map() : inYaml(text, pointers)
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
  const lineCounter = new LineCounter()
  const tree = parseDocument(text, {
    merge: true,
    uniqueKeys: false,
    prettyErrors: false,
    logLevel: 'error',
    lineCounter,
  })
  const found = new Map<string, Position>()
  for (const pointer of pointers) {
    const passed: string[] = []
    let node: unknown = tree.contents
    for (const token of fromPointer(pointer)) {
      const [mark, below]: readonly unknown[] = isMap(node)
        ? (node.items
            .filter(({ key }) => isScalar(key) && String(key.value) === token)
            .map(({ key, value }) => [key, value])[0] ?? [])
        : isSeq(node)
          ? [node.items[Number(token)], node.items[Number(token)]]
          : []
      const offset = (mark as Node | undefined)?.range?.[0]
      if (offset === undefined) break
      const { line, col } = lineCounter.linePos(offset)
      passed.push(token)
      found.set(toPointer(passed), { line, column: col })
      node = below
    }
  }
  return found
}

/** `/a`, `/a/b` of `/a/b`, and the whole. */
function prefixes(pointer: string): readonly string[] {
  const tokens = fromPointer(pointer)
  return ['', ...tokens.map((_, index) => toPointer(tokens.slice(0, index + 1)))]
}
