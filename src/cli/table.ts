/** Rows with their columns one below the other; the first row is the head. */
export function tableOf(rows: readonly (readonly string[])[]): string {
  const widths = rows[0]!.map((_, column) => Math.max(...rows.map((row) => row[column]!.length)))
  return rows
    .map((row) =>
      row
        .map((cell, column) => cell.padEnd(widths[column]!))
        .join('  ')
        .trimEnd(),
    )
    .join('\n')
}

/** Seconds since the epoch, to the minute, in UTC. */
export function timeOf(seconds: number): string {
  return new Date(seconds * 1_000)
    .toISOString()
    .replace(/:\d\d\.000Z$/, 'Z')
    .replace('T', ' ')
}
