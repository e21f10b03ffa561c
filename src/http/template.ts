/** One segment of a path template (OpenAPI 3.1, Path Templating), and `*` for everything that may follow. */
export type TemplatePart = { readonly literal: string } | { readonly name: string } | 'tail'

/** `{name}` as a whole segment is a parameter; `*` as the last one stands for one or more segments. */
export function parseTemplate(template: string): readonly TemplatePart[] {
  const segments = template.split('/').slice(1)
  if (segments.at(-1) === '') segments.pop()
  return segments.map((segment, index) => {
    if (segment === '*' && index === segments.length - 1) return 'tail'
    if (segment.startsWith('{') && segment.endsWith('}')) return { name: segment.slice(1, -1) }
    return { literal: segment }
  })
}

/** The names of a template's parameters, in order. */
export function parameterNames(template: string): readonly string[] {
  return parseTemplate(template).flatMap((part) => (typeof part === 'object' && 'name' in part ? [part.name] : []))
}
