/** What `read` makes of the words of the command line; undefined, and said why, when it throws. */
export function optionsOf<Options>(program: string, read: (words: readonly string[]) => Options): Options | undefined {
  try {
    return read(process.argv.slice(2))
  } catch (error) {
    process.stderr.write(`${program}: ${(error as Error).message}\n`)
    return undefined
  }
}

/** Those of a list that are named, parted by commas: all of them where nothing is said. */
export function chosen<Name extends string>(
  what: string,
  words: string | undefined,
  all: readonly Name[],
): ReadonlySet<Name> {
  if (words === undefined) return new Set(all)
  const names = words.split(',').map((name) => name.trim())
  const stranger = names.find((name) => !all.includes(name as Name))
  if (stranger !== undefined) throw new Error(`there is no ${what} "${stranger}"; there are ${all.join(', ')}`)
  return new Set(names as Name[])
}
