/** The paths of a composition's parts: a path and a query with `{name}` for a parameter and `{part.member}` for an answer. */
export interface PartReference {
  readonly name: string
  /** Members of the answer, from the outside in; empty for a parameter. */
  readonly members: readonly string[]
}

export function partReferences(path: string): readonly PartReference[] {
  return [...path.matchAll(/\{([^}]*)\}/g)].map(([, inside]) => {
    const [name = '', ...members] = inside!.split('.')
    return { name, members }
  })
}

export function splitPartPath(path: string): { readonly path: string; readonly query: string } {
  const mark = path.indexOf('?')
  return mark < 0 ? { path, query: '' } : { path: path.slice(0, mark), query: path.slice(mark + 1) }
}
