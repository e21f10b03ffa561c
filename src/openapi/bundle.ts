import { realpath } from 'node:fs/promises'
import { dirname, relative } from 'node:path'
import type { JsonObject } from './document.ts'
import { createLocalFiles } from './local-files.ts'
import type { Mistake } from './parse.ts'
import { copyPlain, isObject, NotPlain } from './plain.ts'

export type Bundled =
  | { readonly outcome: 'read'; readonly document: JsonObject; readonly files: readonly string[] }
  | { readonly outcome: 'unreadable'; readonly mistake: Mistake }

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
  const files = await createLocalFiles(file, root)

  class LocalResolver extends BaseResolver {
    override async loadExternalRef(reference: string): Promise<InstanceType<typeof Source>> {
      try {
        return new Source(reference, await files.load(reference))
      } catch (error) {
        throw new ResolveError(error as Error)
      }
    }
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
    const parts = [...files.read].filter((path) => path !== entry)
    return { outcome: 'read', document, files: parts.sort() }
  } catch (error) {
    if (error instanceof NotPlain) return unreadable(error.code, error.message)
    return unreadable('bundle', `the files of the document could not be put together: ${(error as Error).message}`)
  }
}

function unreadable(code: string, message: string): Bundled {
  return { outcome: 'unreadable', mistake: { code, message } }
}
