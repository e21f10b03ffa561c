/** The known name that is most like a mistyped one, near enough to be meant; undefined when none is. */
export function suggest(typed: string, known: readonly string[]): string | undefined {
  const near = known
    .map((name) => ({ name, distance: distance(typed.toLowerCase(), name.toLowerCase()) }))
    .filter(({ name, distance }) => distance <= Math.max(1, Math.floor(name.length / 3)))
    .sort((one, other) => one.distance - other.distance)
  return near[0]?.name
}

/** Levenshtein's edit distance. */
function distance(from: string, to: string): number {
  let row = Array.from({ length: to.length + 1 }, (_, index) => index)
  for (const [i, letter] of [...from].entries()) {
    const next = [i + 1]
    for (const [j, other] of [...to].entries()) {
      next.push(Math.min(next[j]! + 1, row[j + 1]! + 1, row[j]! + (letter === other ? 0 : 1)))
    }
    row = next
  }
  return row[to.length]!
}

/** What to say of a name that is not declared. */
export function unknownName(name: string, what: string, known: readonly string[]): string {
  const meant = suggest(name, known)
  if (meant) return `there is no ${what} "${name}"; did you mean "${meant}"?`
  return `there is no ${what} "${name}"; declared ${known.length === 0 ? 'is none' : `are ${known.join(', ')}`}`
}
