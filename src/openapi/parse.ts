import { createRequire } from 'node:module'
import { CORE_SCHEMA, constructFromEvents, EVENT_ID, mergeTag, parseEvents } from 'js-yaml'
import { visit as scan } from 'jsonc-parser'
import type { Document } from 'yaml'
import type { JsonObject } from './document.ts'
import { copyPlain, isObject, NotPlain, plainLimits, settlePlain } from './plain.ts'

// Seventy files, read when a document has a fault that needs words: most have none.
const require = createRequire(import.meta.url)
const carefully = (): typeof import('yaml') => require('yaml')

/** What reading a text gave: a document, or where and why it is none. */
export type Parsed =
  | { readonly outcome: 'read'; readonly document: JsonObject }
  | { readonly outcome: 'unreadable'; readonly mistake: Mistake }

export interface Mistake {
  /** Stable, kebab-case. */
  readonly code: string
  /** One sentence for the operator. */
  readonly message: string
  /** From 1; absent when the mistake has no place. */
  readonly line?: number
  readonly column?: number
}

export interface ParseLimits {
  /** Bytes of a JSON text. Default 20 MB. */
  readonly json: number
  /** Bytes of a YAML text, which costs several times the work. Default 10 MB. */
  readonly yaml: number
}

export const parseLimits: ParseLimits = { json: 20 * 1_048_576, yaml: 10 * 1_048_576 }

/** YAML counts an alias once for each use, inner aliases multiplied; hand-written documents stay below a hundred. */
const aliasLimit = 1_000

/**
 * Read an OpenAPI document. Whether it is JSON or YAML is told from its content, never from a name or a content type,
 * because backends lie about both. The text must be UTF-8; a byte order mark is skipped.
 *
 * The result is plain data (`plain.ts`) of its own. Whether it is an OpenAPI document is not decided here.
 */
export function parse(bytes: Uint8Array | string, limits: ParseLimits = parseLimits): Parsed {
  const size = bytes.length
  if (size > limits.json) return unreadable('too-large', `the document is larger than ${megabytes(limits.json)}`)
  let text: string
  if (typeof bytes === 'string') {
    text = bytes.charCodeAt(0) === 0xfeff ? bytes.slice(1) : bytes
  } else {
    try {
      text = new TextDecoder('utf-8', { fatal: true }).decode(bytes)
    } catch {
      return unreadable('not-utf-8', 'the document is not UTF-8')
    }
  }
  const first = /\S/.exec(text)?.[0]
  if (first === undefined) return unreadable('empty', 'the document is empty')
  if (first === '<') return unreadable('markup', 'this is an HTML or XML page, not an OpenAPI document')
  const parsed = first === '{' || first === '[' ? parseJson(text) : parseYaml(text, size, limits.yaml)
  if (parsed.outcome === 'unreadable') return parsed
  try {
    // Text cannot hold more values than half its length; what goes far beyond was multiplied by aliases.
    const nodes = Math.min(plainLimits.nodes, 100_000 + size)
    const document = (parsed.shares ? copyPlain : settlePlain)(parsed.value, { ...plainLimits, nodes })
    if (!isObject(document)) return unreadable('not-an-object', 'the document is not an object with members')
    return { outcome: 'read', document }
  } catch (error) {
    if (error instanceof NotPlain) return unreadable(error.code, error.message)
    throw error
  }
}

type Value =
  | {
      readonly outcome: 'value'
      readonly value: unknown
      /** Parts of it may stand in several places, or inside of themselves. */
      readonly shares: boolean
    }
  | Extract<Parsed, { outcome: 'unreadable' }>

function parseJson(text: string): Value {
  try {
    return { outcome: 'value', value: JSON.parse(text), shares: false }
  } catch (error) {
    // V8 quotes the text around the mistake, which may be anything the backend sent: only the first words are kept.
    const said = (error as SyntaxError).message.replace(/ in JSON at position.*$/s, '').replace(/, (\.{3})?".*$/s, '')
    const place = firstJsonMistake(text)
    return unreadable('invalid-json', `the document is not valid JSON: ${said}`, place?.line, place?.column)
  }
}

/** V8 does not always say where a text stopped being JSON. */
function firstJsonMistake(text: string): { line: number; column: number } | undefined {
  let place: { line: number; column: number } | undefined
  const onError = (_code: number, _offset: number, _length: number, line: number, character: number) => {
    place ??= { line: line + 1, column: character + 1 }
  }
  try {
    scan(text, { onError }, { disallowComments: true })
  } catch (error) {
    if (!(error instanceof RangeError)) throw error
  }
  return place
}

function parseYaml(text: string, size: number, limit: number): Value {
  if (size > limit) return unreadable('too-large', `a document in YAML is read up to ${megabytes(limit)}; serve JSON`)
  return readQuickly(text) ?? readCarefully(text)
}

const yamlSchema = CORE_SCHEMA.withTags(mergeTag)

/** js-yaml takes a sixth of the time; what it does not like, the other one is to like or to find a word for. */
function readQuickly(text: string): Value | undefined {
  try {
    const events = parseEvents(text, { maxDepth: plainLimits.depth })
    const documents = constructFromEvents(events, { source: text, schema: yamlSchema, maxAliases: aliasLimit })
    if (documents.length !== 1) return undefined
    return { outcome: 'value', value: documents[0], shares: events.some(({ type }) => type === EVENT_ID.ALIAS) }
  } catch {
    return undefined
  }
}

function readCarefully(text: string): Value {
  const { LineCounter, parseDocument } = carefully()
  const lines = new LineCounter()
  // Comparing every key with every other takes a minute for a map of 100,000: duplicates are looked for below.
  const options = {
    merge: true,
    uniqueKeys: false,
    prettyErrors: false,
    logLevel: 'error',
    lineCounter: lines,
  } as const
  try {
    const tree = parseDocument(text, options)
    const [error] = tree.errors
    if (error) {
      const { line, col } = lines.linePos(error.pos[0])
      return unreadable('invalid-yaml', `the document is not valid YAML: ${firstLine(error.message)}`, line, col)
    }
    const duplicate = duplicateKey(tree)
    if (duplicate) {
      const { line, col } = lines.linePos(duplicate.offset)
      return unreadable('duplicate-key', `the key "${duplicate.key}" stands twice in one map`, line, col)
    }
    return { outcome: 'value', value: tree.toJS({ maxAliasCount: aliasLimit }), shares: true }
  } catch (error) {
    if (error instanceof RangeError) return unreadable('too-deep', 'the document is nested too deeply')
    if (error instanceof ReferenceError)
      return unreadable('alias', `the document is not valid YAML: ${firstLine(error.message)}`)
    throw error
  }
}

function duplicateKey(tree: Document.Parsed): { key: string; offset: number } | undefined {
  const { isMap, isScalar, visit } = carefully()
  let found: { key: string; offset: number } | undefined
  visit(tree, {
    Map(_, map) {
      if (!isMap(map)) return undefined
      const seen = new Set<string>()
      for (const { key } of map.items) {
        if (!isScalar(key)) continue
        const name = String(key.value)
        // Several merge keys in one map are what `merge` is for.
        if (seen.has(name) && name !== '<<') {
          found = { key: name.slice(0, 80), offset: key.range?.[0] ?? 0 }
          return visit.BREAK
        }
        seen.add(name)
      }
      return undefined
    },
  })
  return found
}

function unreadable(code: string, message: string, line?: number, column?: number) {
  const place = line === undefined || column === undefined ? {} : { line, column }
  return { outcome: 'unreadable', mistake: { code, message, ...place } } as const
}

const firstLine = (text: string): string => text.split('\n', 1)[0]!.slice(0, 200)
const megabytes = (bytes: number): string => `${Math.floor(bytes / 1_048_576)} MB`
