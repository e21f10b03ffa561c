import { realpath } from 'node:fs/promises'
import { dirname, relative } from 'node:path'
import type { NormalizedProblem } from '@redocly/openapi-core'
import type { Finding, JsonObject } from './document.ts'
import { createLocalFiles } from './local-files.ts'
import { locateFindings } from './locate.ts'
import { fromPointer } from './pointer.ts'
import { type LocalFile, readDocument } from './read.ts'
import { createReport } from './report.ts'
import { follow } from './walk.ts'

export interface LintOrder {
  readonly service: string
  readonly bytes: Uint8Array
  /** Given for a document that is a file of the operator's: others of its folder belong to it then. */
  readonly local?: LocalFile
}

/**
 * Rules that find what makes a document wrong or ambiguous, whatever anybody's taste. Documents of others are used all
 * the same: what the specification does not allow is an error, what one may get wrong while keeping to it a warning.
 */
const rules = {
  struct: 'error',
  'no-unresolved-refs': 'error',
  'no-identical-paths': 'error',
  'operation-operationId-unique': 'error',
  'operation-parameters-unique': 'error',
  'path-declaration-must-exist': 'error',
  'path-parameters-defined': 'error',
  'path-not-include-query': 'error',
  'no-undefined-server-variable': 'error',
  'no-server-variables-empty-enum': 'error',
  'spec-components-invalid-map-name': 'error',
  'spec-strict-refs': 'warn',
  'no-ambiguous-paths': 'warn',
  'no-enum-type-mismatch': 'warn',
  'no-schema-type-mismatch': 'warn',
} as const

/** A name that nothing has, so that relative references are those of no folder. */
const nowhere = '/document.invalid/openapi'
/** A document is wrong in the same way a thousand times: so many places of each rule are told. */
const perRule = 10

/**
 * What Redocly finds in a service's own document, as it was written, with line and column. It takes seconds for a large
 * one and is never done for a request. Other hosts are never asked, and no file is read but those of a local document.
 */
export async function lint({ service, bytes, local }: LintOrder): Promise<readonly Finding[]> {
  const report = createReport(service)
  const read = await readDocument(bytes)
  if (read.outcome === 'unreadable') {
    const { code, message, line, column } = read.mistake
    report.error(code, message)
    return report.findings.map((finding) => ({ ...finding, ...(line !== undefined && { line, column: column! }) }))
  }
  const found: Finding[] = []
  const problems = await problemsOf(bytes, local).catch((error: Error) => {
    // It gives up on some things that may stand in a document, such as a reference where it expects none.
    found.push({ service, severity: 'info', code: 'lint', message: `not everything was looked at: ${error.message}` })
    return [] as readonly NormalizedProblem[]
  })
  const entry = local ? await realpath(local.path) : nowhere
  const byFile = new Map<string, { readonly text: Uint8Array; readonly findings: Finding[] }>()
  const counts = new Map<string, number>()
  for (const problem of problems) {
    const { ruleId } = problem
    const count = (counts.get(ruleId) ?? 0) + 1
    counts.set(ruleId, count)
    if (count > perRule) continue
    const source = problem.location[0]?.source
    const file = source?.absoluteRef ?? entry
    const text = file === entry ? bytes : Buffer.from(source!.body)
    const known = byFile.get(file) ?? { text, findings: [] as Finding[] }
    byFile.set(file, known)
    const prefix = file === entry ? '' : `${relative(dirname(entry), file)}: `
    known.findings.push(findingOf(service, problem, prefix, file === entry ? read.document : undefined))
  }
  for (const { findings, text } of byFile.values()) found.push(...locateFindings(findings, text))
  for (const [ruleId, count] of counts) {
    if (count <= perRule) continue
    found.push({ service, severity: 'info', code: ruleId, message: `the same in ${count - perRule} more places` })
  }
  return found
}

function findingOf(
  service: string,
  { ruleId, severity, message, suggest, location }: NormalizedProblem,
  prefix: string,
  document: JsonObject | undefined,
): Finding {
  const pointer = location[0]?.pointer?.replace(/^#/, '') || undefined
  const mild = severity !== 'error' || (document !== undefined && isOpen(document, message, pointer))
  const advice = suggest.length > 0 ? `; did you mean ${suggest.slice(0, 3).join(', ')}?` : ''
  const report = createReport(service)
  report[mild ? 'warning' : 'error'](ruleId, `${prefix}${sentence(message)}${advice}`, pointer)
  return report.findings[0]!
}

async function problemsOf(bytes: Uint8Array, local: LocalFile | undefined): Promise<readonly NormalizedProblem[]> {
  // Costs a quarter of a second to load.
  const { BaseResolver, createConfig, lintFromString, ResolveError, Source } = await import('@redocly/openapi-core')
  const files = local && (await createLocalFiles(local.path, local.root))

  class OwnFilesResolver extends BaseResolver {
    override async loadExternalRef(reference: string): Promise<InstanceType<typeof Source>> {
      try {
        if (!files) throw new Error('other files and hosts are not read')
        return new Source(reference, await files.load(reference))
      } catch (error) {
        throw new ResolveError(error as Error)
      }
    }
  }

  const source = new TextDecoder().decode(bytes)
  return lintFromString({
    source,
    absoluteRef: local ? await realpath(local.path) : nowhere,
    config: await createConfig({ rules }),
    externalRefResolver: new OwnFilesResolver(),
  })
}

/** A keyword that JSON Schema does not know is allowed since 3.1, and may be a slip of the pen all the same. */
function isOpen(document: JsonObject, message: string, pointer: string | undefined): boolean {
  if (pointer === undefined || !/is not expected here/.test(message)) return false
  if (!/^3\.[1-9]/.test(String(document.openapi))) return false
  return follow(document, fromPointer(pointer).slice(0, -1))?.kind === 'Schema'
}

const sentence = (message: string): string =>
  message
    .replaceAll('`', '"')
    .replace(/\s*\n\s*/g, ' ')
    .replace(/\.$/, '')
