import { mkdir, writeFile } from 'node:fs/promises'
import { dirname, join, resolve } from 'node:path'
import { loadDefinition } from '../config/load.ts'
import { jsonSchema } from '../config/schema.ts'
import { documentOf } from '../gateway/documents.ts'
import { withoutSecrets } from '../http/query.ts'
import type { Finding } from '../openapi/document.ts'
import { lint } from '../openapi/lint.ts'
import { countsOf } from '../openapi/report.ts'
import { silent } from '../telemetry/log.ts'
import { assemble } from './assemble.ts'
import { type Command, type CommonOptions, type ExitCode, type Terminal, UsageError } from './command.ts'
import { formatFinding } from './format-finding.ts'
import { formatVerification } from './verify/format.ts'
import { verify } from './verify/verify.ts'

/** Milliseconds: a service that is asked for its document answers within five seconds, or not at all. */
const documentPatience = 30_000

/** The published document: written down for reviews and editors, or held against the gateway that publishes it. */
export const docs: Command = {
  usage: 'docs build|lint|verify',
  summary: 'write the document to openapi/, say what is wrong in those of services, or prove that all is as it says',
  details: [
    'docs build   write openapi/openapi.json and openapi/services.schema.json beside services.json',
    'docs lint [SERVICE…]',
    '             what is wrong or ambiguous in the documents of services, and what was made of it, with line and column',
    'docs verify  for every operation and every alternative of its security: is the request that the documentation',
    '             page sends after Authorize authenticated, and is it refused without a credential? Services are',
    '             asked for their documents and for nothing else.',
    'Exit code 1 when a document cannot be read, when one is wrong, or when something is not as the document says.',
  ],
  async run([verb, ...rest], options, terminal) {
    if (rest.length === 0 && verb === 'build') return buildDocuments(options, terminal)
    if (rest.length === 0 && verb === 'verify') return verifyDocuments(options, terminal)
    if (verb === 'lint') return lintDocuments(rest, options, terminal)
    throw new UsageError('docs is followed by "build", "lint" or "verify"')
  },
}

/** A gateway with every document that can be had, which serves nobody. */
async function assembleDocuments({ config }: CommonOptions, { environment }: Terminal) {
  const definition = await loadDefinition(config, environment)
  const { port } = definition.gateway.listen
  const tools = { log: silent, now: Date.now, ephemeral: true, patience: documentPatience }
  return { definition, assembly: await assemble(definition, { config, port, ...tools }) }
}

async function buildDocuments(options: CommonOptions, terminal: Terminal): Promise<ExitCode> {
  const { config, json } = options
  const { out, err } = terminal
  const folder = join(dirname(resolve(config)), 'openapi')
  const { assembly } = await assembleDocuments(options, terminal)
  try {
    const { documents, services } = assembly.live.current
    const missing = services.filter(({ name }) => !['fresh', 'none'].includes(documents.state(name).status))
    if (missing.length > 0) {
      for (const { name } of missing) {
        const state = documents.state(name)
        err(`the document of "${name}" could not be read: ${'reason' in state ? state.reason : state.status}`)
      }
      return 1
    }
    const files = [
      { path: join(folder, 'openapi.json'), content: JSON.parse(documents.published.json.body.toString()) },
      { path: join(folder, 'services.schema.json'), content: jsonSchema() },
    ]
    const { findings } = documents.published
    for (const finding of findings) if (finding.severity !== 'info') err(formatFinding(finding))
    await mkdir(folder, { recursive: true })
    for (const { path, content } of files) await writeFile(path, `${JSON.stringify(content, null, 2)}\n`)
    out(
      json
        ? JSON.stringify({ files: files.map(({ path }) => path), findings })
        : files.map(({ path }) => `wrote ${path}`).join('\n'),
    )
    return 0
  } finally {
    await assembly.close()
  }
}

interface Linted {
  readonly service: string
  /** Where its document is, as services.json says. */
  readonly from: string
  /** In the order of the document. */
  readonly findings: readonly Finding[]
}

async function lintDocuments(names: readonly string[], options: CommonOptions, terminal: Terminal): Promise<ExitCode> {
  const { definition, assembly } = await assembleDocuments(options, terminal)
  try {
    const unknown = names.find((name) => definition.services.every((service) => service.name !== name))
    if (unknown !== undefined) throw new UsageError(`services.json has no service "${unknown}"`)
    const { documents } = assembly.live.current
    const linted: Linted[] = []
    for (const service of definition.services) {
      const { name } = service
      const { from } = documentOf(service)
      if (from === undefined || (names.length > 0 && !names.includes(name))) continue
      const text = documents.text(name)
      const state = documents.state(name)
      const ours = documents.published.findings.filter((finding) => finding.service === name)
      const findings = text ? [...(await lint({ service: name, ...text })), ...ours] : ours
      // What the lint says of a text that is no document is more than the reason why there is none.
      const told = findings.some(({ severity }) => severity === 'error')
      const absent: Finding[] =
        'reason' in state && !told
          ? [{ service: name, severity: 'error', code: 'not-read', message: `it could not be read: ${state.reason}` }]
          : []
      linted.push({ service: name, from: withoutSecrets(from), findings: inOrder([...absent, ...findings]) })
    }
    terminal.out(options.json ? JSON.stringify({ documents: linted }) : formatLinted(linted))
    return linted.some(({ findings }) => countsOf(findings).errors > 0) ? 1 : 0
  } finally {
    await assembly.close()
  }
}

function inOrder(findings: readonly Finding[]): readonly Finding[] {
  const place = ({ line = Number.POSITIVE_INFINITY, column = 0 }: Finding) => [line, column] as const
  return findings.toSorted((one, other) => {
    const [[line, column], [otherLine, otherColumn]] = [place(one), place(other)]
    return line === otherLine ? column - otherColumn : line < otherLine ? -1 : 1
  })
}

function formatLinted(linted: readonly Linted[]): string {
  const lines = linted.flatMap(({ from, findings }) => findings.map((finding) => formatFinding(finding, from)))
  const { errors, warnings } = countsOf(linted.flatMap(({ findings }) => findings))
  const total = `${linted.length} ${linted.length === 1 ? 'document' : 'documents'}: ${errors} errors, ${warnings} warnings`
  return [...lines, total].join('\n')
}

async function verifyDocuments({ config, json }: CommonOptions, { environment, out }: Terminal): Promise<ExitCode> {
  const verification = await verify(await loadDefinition(config, environment), { config, now: Date.now })
  out(json ? JSON.stringify(verification) : formatVerification(verification))
  return verification.outcome === 'verified' && verification.report.failures.length === 0 ? 0 : 1
}
