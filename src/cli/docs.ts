import { mkdir, writeFile } from 'node:fs/promises'
import { dirname, join, resolve } from 'node:path'
import { loadDefinition } from '../config/load.ts'
import { jsonSchema } from '../config/schema.ts'
import type { Finding } from '../openapi/document.ts'
import { silent } from '../telemetry/log.ts'
import { assemble } from './assemble.ts'
import { type Command, type CommonOptions, type ExitCode, type Terminal, UsageError } from './command.ts'
import { formatVerification } from './verify/format.ts'
import { verify } from './verify/verify.ts'

/** Milliseconds: a service that is asked for its document answers within five seconds, or not at all. */
const documentPatience = 30_000

/** The published document: written down for reviews and editors, or held against the gateway that publishes it. */
export const docs: Command = {
  usage: 'docs build|verify',
  summary: 'write the document to openapi/, or prove that the gateway enforces what it says',
  details: [
    'docs build   write openapi/openapi.json and openapi/services.schema.json beside services.json',
    'docs verify  for every operation and every alternative of its security: is the request that the documentation',
    '             page sends after Authorize authenticated, and is it refused without a credential? Services are',
    '             asked for their documents and for nothing else.',
    'Exit code 1 when a document cannot be read, or when something is not as the document says.',
  ],
  async run([verb, ...rest], options, terminal) {
    if (rest.length === 0 && verb === 'build') return buildDocuments(options, terminal)
    if (rest.length === 0 && verb === 'verify') return verifyDocuments(options, terminal)
    throw new UsageError('docs is followed by "build" or "verify"')
  },
}

async function buildDocuments({ config, json }: CommonOptions, { environment, out, err }: Terminal): Promise<ExitCode> {
  const folder = join(dirname(resolve(config)), 'openapi')
  const definition = await loadDefinition(config, environment)
  const { port } = definition.gateway.listen
  const assembly = await assemble(definition, {
    config,
    port,
    log: silent,
    now: Date.now,
    ephemeral: true,
    patience: documentPatience,
  })
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

/** `orders:12:5 warning: …`, as compilers write it: the service, the line and the column of its document. */
function formatFinding({ service, severity, code, message, line, column, pointer }: Finding): string {
  const place = line === undefined ? '' : `:${line}:${column}`
  const where = pointer === undefined ? '' : `, at ${pointer}`
  return `${service}${place} ${severity}: ${message} (${code}${where})`
}

async function verifyDocuments({ config, json }: CommonOptions, { environment, out }: Terminal): Promise<ExitCode> {
  const verification = await verify(await loadDefinition(config, environment), { config, now: Date.now })
  out(json ? JSON.stringify(verification) : formatVerification(verification))
  return verification.outcome === 'verified' && verification.report.failures.length === 0 ? 0 : 1
}
