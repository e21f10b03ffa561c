import { decodeSegment } from '../http/path.ts'
import { fitsPieces, parseTemplate } from '../http/template.ts'

/**
 * The table of routes: from method and path to whatever was added, in time that does not grow with their number.
 *
 * A tree of path segments. At each segment a literal is tried before a parameter and a parameter before a tail (a
 * segment with parameters in it, `{id}:cancel`, between literal and parameter), and
 * a branch that leads nowhere is left again, so the most specific template wins and a method that a template does
 * not offer falls through to the next. Paths must be canonical (`http/path.ts`): segments are compared as bytes.
 *
 * Three leniencies, each because the looser answer could be a bypass: letters compare without regard to case
 * (`/Admin` is decided like `/admin`), one trailing slash is ignored, and HEAD is decided like GET.
 */
export interface Found<T> {
  readonly value: T
  /** Raw segments in the order of `names`; percent-encoding untouched. */
  readonly segments: readonly string[]
  readonly names: readonly string[]
}

/** A method token, or `*` for any. */
export type MethodPattern = string

export interface Candidate<T> {
  readonly method: MethodPattern
  readonly value: T
}

interface Entry<T> {
  readonly value: T
  readonly names: readonly string[]
}

/** A segment with parameters in it, `{id}:cancel`. */
interface Pattern<T> {
  readonly pieces: readonly string[]
  readonly node: Node<T>
}

class Node<T> {
  readonly literals = new Map<string, Node<T>>()
  /** In the order they were added; most templates have none. */
  patterns: Pattern<T>[] | undefined
  parameter: Node<T> | undefined
  /** Everything below this node, by method. */
  tail: Map<MethodPattern, Entry<T>> | undefined
  /** This node itself, by method. */
  here: Map<MethodPattern, Entry<T>> | undefined
}

interface RouterOptions {
  readonly caseSensitive?: boolean
  readonly tails?: boolean
}

export class Router<T> {
  readonly #root = new Node<T>()
  readonly #fold: (segment: string) => string

  readonly #tails: boolean

  /**
   * `caseSensitive`: for tables that only tell what exists, where nothing is decided by a spelling. `tails`: whether a
   * `*` at the end stands for everything below, or for itself.
   */
  constructor({ caseSensitive = false, tails = true }: RouterOptions = {}) {
    this.#tails = tails
    this.#fold = caseSensitive ? (segment) => segment : (segment) => segment.toLowerCase()
  }

  /** Returns what already stood at this method and shape, and leaves it there; undefined when the place was free. */
  add(method: MethodPattern, template: string, value: T): T | undefined {
    let node = this.#root
    const names: string[] = []
    for (const part of parseTemplate(template, { tails: this.#tails })) {
      if (part === 'tail') {
        node.tail ??= new Map()
        return occupy(node.tail, method, { value, names })
      }
      if ('name' in part) {
        names.push(part.name)
        node.parameter ??= new Node()
        node = node.parameter
      } else if ('pieces' in part) {
        names.push(part.names.join())
        node = patternOf(node, part.pieces.map(this.#fold))
      } else {
        const key = this.#fold(part.literal)
        let next = node.literals.get(key)
        if (!next) {
          next = new Node()
          node.literals.set(key, next)
        }
        node = next
      }
    }
    node.here ??= new Map()
    return occupy(node.here, method, { value, names })
  }

  match(method: string, path: string): Found<T> | undefined {
    const segments: string[] = []
    const end = path.length > 1 && path.charCodeAt(path.length - 1) === 47 ? path.length - 1 : path.length
    const entry = descend(this.#root, this.#fold, method, path, 1, end, segments)
    return entry && { value: entry.value, segments, names: entry.names }
  }

  /** Every row whose template fits a path, whatever its method, most specific first: what `match` chooses from. */
  candidates(path: string): readonly Candidate<T>[] {
    const found: Candidate<T>[] = []
    const take = (slot: Map<MethodPattern, Entry<T>> | undefined) => {
      for (const [method, { value }] of slot ?? []) found.push({ method, value })
    }
    const segments = path.split('/').slice(1)
    if (segments.at(-1) === '') segments.pop()
    const visit = (node: Node<T>, depth: number) => {
      const segment = segments[depth]
      if (segment === undefined) return take(node.here)
      const literal = literalOf(node, this.#fold, segment)
      if (literal) visit(literal, depth + 1)
      for (const pattern of fitting(node, this.#fold, segment)) visit(pattern, depth + 1)
      if (node.parameter) visit(node.parameter, depth + 1)
      take(node.tail)
    }
    visit(this.#root, 0)
    return found
  }

  /** Methods offered at a path, for `Allow` (RFC 9110 §10.2.1); empty when the path leads nowhere. */
  methods(path: string): readonly string[] {
    const found = new Set<string>()
    const visit = (node: Node<T>, rest: readonly string[]) => {
      if (rest.length > 0) for (const method of node.tail?.keys() ?? []) found.add(method)
      const [segment, ...others] = rest
      if (segment === undefined) {
        for (const method of node.here?.keys() ?? []) found.add(method)
        return
      }
      const literal = literalOf(node, this.#fold, segment)
      if (literal) visit(literal, others)
      for (const pattern of fitting(node, this.#fold, segment)) visit(pattern, others)
      if (node.parameter) visit(node.parameter, others)
    }
    const segments = path.split('/').slice(1)
    if (segments.at(-1) === '') segments.pop()
    visit(this.#root, segments)
    if (found.has('GET')) found.add('HEAD')
    return [...found].filter((method) => method !== '*').sort()
  }
}

function occupy<T>(slot: Map<MethodPattern, Entry<T>>, method: MethodPattern, entry: Entry<T>): T | undefined {
  const occupant = slot.get(method)
  if (occupant) return occupant.value
  slot.set(method, entry)
  return undefined
}

function descend<T>(
  node: Node<T>,
  fold: (segment: string) => string,
  method: string,
  path: string,
  start: number,
  end: number,
  segments: string[],
): Entry<T> | undefined {
  if (start > end || (start === end && end === 1)) return choose(node.here, method)
  const slash = path.indexOf('/', start)
  const stop = slash < 0 || slash > end ? end : slash
  const segment = path.slice(start, stop)
  if (node.literals.size > 0) {
    const literal = literalOf(node, fold, segment)
    const entry = literal && descend(literal, fold, method, path, stop + 1, end, segments)
    if (entry) return entry
  }
  if (node.patterns) {
    const depth = segments.push(segment)
    for (const pattern of fitting(node, fold, segment)) {
      const entry = descend(pattern, fold, method, path, stop + 1, end, segments)
      if (entry) return entry
    }
    segments.length = depth - 1
  }
  if (node.parameter && segment !== '') {
    const depth = segments.push(segment)
    const entry = descend(node.parameter, fold, method, path, stop + 1, end, segments)
    if (entry) return entry
    segments.length = depth - 1
  }
  return choose(node.tail, method)
}

function literalOf<T>(node: Node<T>, fold: (segment: string) => string, segment: string): Node<T> | undefined {
  return (
    node.literals.get(segment) ??
    node.literals.get(fold(segment)) ??
    // A service decodes `%3A`: what it will take for the literal is decided like the literal.
    (segment.includes('%') ? node.literals.get(fold(decodeSegment(segment))) : undefined)
  )
}

function patternOf<T>(node: Node<T>, pieces: readonly string[]): Node<T> {
  node.patterns ??= []
  const known = node.patterns.find((pattern) => pattern.pieces.join('{}') === pieces.join('{}'))
  if (known) return known.node
  const pattern = { pieces, node: new Node<T>() }
  node.patterns.push(pattern)
  return pattern.node
}

/** As with literals, a service decodes: `7%3Acancel` is `7:cancel`. */
function fitting<T>({ patterns }: Node<T>, fold: (segment: string) => string, segment: string): readonly Node<T>[] {
  if (!patterns) return []
  const folded = fold(decodeSegment(segment))
  return patterns.filter(({ pieces }) => fitsPieces(pieces, folded)).map(({ node }) => node)
}

function choose<T>(slot: Map<MethodPattern, Entry<T>> | undefined, method: string): Entry<T> | undefined {
  if (!slot) return undefined
  return slot.get(method) ?? (method === 'HEAD' ? slot.get('GET') : undefined) ?? slot.get('*')
}
