import { readdirSync, readFileSync } from 'node:fs'
import { parse } from '../../src/openapi/parse.ts'
import { hasShared, sharedPath } from '../vectors.ts'
import { deepFreeze, type Loose } from './service.ts'

export interface CorpusDocument {
  readonly file: string
  /** Made of the file's name: fit for a service. */
  readonly name: string
  /** Frozen: nothing may be changed in it. */
  readonly document: Loose
}

/** Every document of the corpus that is one file and can be read, frozen. */
export function corpus(): readonly CorpusDocument[] {
  if (!hasShared) return []
  return readdirSync(sharedPath('corpus'))
    .filter((file) => /\.(?:json|ya?ml)$/.test(file))
    .sort()
    .flatMap((file) => {
      const parsed = parse(readFileSync(sharedPath('corpus', file)))
      if (parsed.outcome === 'unreadable') return []
      const name = file
        .toLowerCase()
        .replace(/\.\w+$/, '')
        .replace(/[^a-z0-9]+/g, '-')
      return [{ file, name, document: deepFreeze(parsed.document) }]
    })
}
