import { readFile, realpath, stat } from 'node:fs/promises'
import { dirname, relative, sep } from 'node:path'
import { parse, parseLimits } from './parse.ts'

/** Documents of more files, or of more bytes in all, are not an operator's own. */
const limits = { files: 2_000, bytes: parseLimits.json } as const

export interface LocalFiles {
  /** The text of a file at or below the root. Throws for everything else. */
  load(reference: string): Promise<string>
  /** What was read, symbolic links resolved. */
  readonly read: ReadonlySet<string>
}

/**
 * The files that a local document may consist of: those at or below `root`, with symbolic links resolved first. Nothing
 * is ever fetched. `root` defaults to the folder of the document.
 */
export async function createLocalFiles(file: string, root = dirname(file)): Promise<LocalFiles> {
  const home = await realpath(root)
  const read = new Set<string>()
  let bytes = 0
  return {
    read,
    async load(reference) {
      if (/^[a-z][a-z0-9+.-]+:/i.test(reference)) throw new Error('other hosts are not asked')
      const path = await realpath(reference)
      const way = relative(home, path)
      if (way.startsWith(`..${sep}`) || way === '..') throw new Error('files outside of the folder are not read')
      read.add(path)
      bytes += (await stat(path)).size
      if (read.size > limits.files || bytes > limits.bytes) throw new Error('the document has too many files or bytes')
      const text = await readFile(path, 'utf8')
      // The library's own reader has no limits; what ours refuses must not get there.
      if (/\.(?:json|ya?ml)$/i.test(path)) {
        const parsed = parse(text)
        if (parsed.outcome === 'unreadable' && parsed.mistake.code !== 'not-an-object')
          throw new Error(parsed.mistake.message)
      }
      return text
    },
  }
}
