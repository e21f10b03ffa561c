import { readFile, realpath, stat } from 'node:fs/promises'
import { dirname, relative, sep } from 'node:path'
import type { JsonObject } from './document.ts'
import { type Mistake, parse, parseLimits } from './parse.ts'
import { copyPlain, isObject, NotPlain } from './plain.ts'

export type Bundled =
  | { readonly outcome: 'read'; readonly document: JsonObject; readonly files: readonly string[] }
  | { readonly outcome: 'unreadable'; readonly mistake: Mistake }

/** Documents of more files, or of more bytes in all, are not an operator's own. */
const limits = { files: 2_000, bytes: parseLimits.json } as const

/**
 * A local document that is split over files, as one. Only files at or below `root` are read, with symbolic links
 * resolved first; nothing is ever fetched. For documents that came over the network this is never called.
 *
 * `root` defaults to the folder of the document.
 */
export async function bundle(file: string, root = dirname(file)): Promise<Bundled> {
  // Costs a quarter of a second to load, and few services have their document in files.
  const { BaseResolver, bundle: join, createConfig, ResolveError, Source } = await import('@redocly/openapi-core')
  const entry = await realpath(file)
  const home = await realpath(root)
  const files = new Set<string>()
  let bytes = 0

  class LocalResolver extends BaseResolver {
    override async loadExternalRef(reference: string): Promise<InstanceType<typeof Source>> {
      try {
        return new Source(reference, await load(reference))
      } catch (error) {
        throw new ResolveError(error as Error)
      }
    }
  }

  async function load(reference: string): Promise<string> {
    if (/^[a-z][a-z0-9+.-]+:/i.test(reference)) throw new Error('other hosts are not asked')
    const path = await realpath(reference)
    const way = relative(home, path)
    if (way.startsWith(`..${sep}`) || way === '..') throw new Error('files outside of the folder are not read')
    files.add(path)
    bytes += (await stat(path)).size
    if (files.size > limits.files || bytes > limits.bytes) throw new Error('the document has too many files or bytes')
    const text = await readFile(path, 'utf8')
    // The bundler's own reader has no limits; what ours refuses must not get there.
    if (/\.(?:json|ya?ml)$/i.test(path)) {
      const parsed = parse(text)
      if (parsed.outcome === 'unreadable' && parsed.mistake.code !== 'not-an-object')
        throw new Error(parsed.mistake.message)
    }
    return text
  }

  try {
    const config = await createConfig({})
    const { bundle: result, problems } = await join({ ref: entry, config, externalRefResolver: new LocalResolver() })
    const [problem] = problems.filter(({ severity }) => severity === 'error')
    if (problem) {
      const { source, pointer } = problem.location[0] ?? {}
      const place = source ? `${relative(home, source.absoluteRef)} ${pointer ?? ''}: ` : ''
      return unreadable('bundle', `${place}${problem.message}`)
    }
    const document = copyPlain(result.parsed)
    if (!isObject(document)) return unreadable('not-an-object', 'the document is not an object with members')
    files.delete(entry)
    return { outcome: 'read', document, files: [...files].sort() }
  } catch (error) {
    if (error instanceof NotPlain) return unreadable(error.code, error.message)
    return unreadable('bundle', `the files of the document could not be put together: ${(error as Error).message}`)
  }
}

function unreadable(code: string, message: string): Bundled {
  return { outcome: 'unreadable', mistake: { code, message } }
}
