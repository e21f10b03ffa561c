/** One segment of a path template (OpenAPI 3.1, Path Templating), and `*` for everything that may follow. */
export type TemplatePart =
  | { readonly literal: string }
  | { readonly name: string }
  | { readonly pieces: readonly string[]; readonly names: readonly string[] }
  | 'tail'

/**
 * `{name}` as a whole segment is a parameter; `*` as the last one stands for one or more segments. A segment that only
 * has parameters in it, `{id}:cancel`, is given as the literal pieces around them: one more than there are names. Without `tails` a `*` is a character like others.
 */
export function parseTemplate(
  template: string,
  { tails = true }: { readonly tails?: boolean } = {},
): readonly TemplatePart[] {
  const segments = template.split('/').slice(1)
  if (segments.at(-1) === '') segments.pop()
  return segments.map((segment, index) => {
    if (tails && segment === '*' && index === segments.length - 1) return 'tail'
    const split = segment.split(/\{([^{}]*)\}/)
    if (split.length === 1) return { literal: segment }
    if (split.length === 3 && split[0] === '' && split[2] === '') return { name: split[1]! }
    return {
      pieces: split.filter((_, at) => at % 2 === 0),
      names: split.filter((_, at) => at % 2 === 1),
    }
  })
}

/** The names of a template's parameters, in order. */
export function parameterNames(template: string): readonly string[] {
  return parseTemplate(template).flatMap((part) => (typeof part === 'object' && 'name' in part ? [part.name] : []))
}

/** Whether a segment is literal pieces with at least one character between each two of them. Linear: nothing is tried twice. */
export function fitsPieces(pieces: readonly string[], segment: string): boolean {
  const [first, ...middle] = pieces as [string, ...string[]]
  const last = middle.pop()!
  if (!segment.startsWith(first)) return false
  let end = first.length
  for (const piece of middle) {
    const at = segment.indexOf(piece, end + 1)
    if (at < 0) return false
    end = at + piece.length
  }
  return segment.endsWith(last) && segment.length - last.length > end
}
