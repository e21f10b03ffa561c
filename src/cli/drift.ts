import got from 'got'
import { loadDefinition } from '../config/load.ts'
import type { Definition } from '../config/schema.ts'
import type { ServiceDrift } from '../gateway/drift.ts'
import { silent } from '../telemetry/log.ts'
import { assemble, hostInUrl } from './assemble.ts'
import { type Command, parseOptions, UsageError } from './command.ts'

/** Where services, their documents and the gateway do not agree. */
export const drift: Command = {
  usage: 'drift',
  summary: 'where services and their documents disagree with the gateway',
  details: [
    'looser, stricter     the gateway enforces less, or more, than a service says of itself',
    'undocumented         answered by a service although its document does not have it; a running gateway counts these',
    'vanished, breaking   what changed since the document that clients know: the first one, until another is accepted',
    '',
    '--accept SERVICE     take its document as it is now for what clients know; may be repeated',
    '--offline            read the documents here, and do not ask the running gateway',
    'Exit code 1 when something was found.',
  ],
  async run(words, { config, json }, { environment, out, err }) {
    const { values, positionals } = parseOptions(words, {
      accept: { type: 'string', multiple: true },
      offline: { type: 'boolean', default: false },
    })
    if (positionals.length > 0) throw new UsageError(`drift takes no "${positionals[0]}"`)
    const definition = await loadDefinition(config, environment)
    const accept = values.accept ?? []
    const unknown = accept.find((name) => !definition.services.some((service) => service.name === name))
    if (unknown !== undefined) throw new UsageError(`there is no service "${unknown}"`)

    const asked = values.offline ? undefined : await askGateway(definition, accept)
    const answer = asked ?? (await lookHere(definition, config, accept))
    const missing = accept.filter((name) => !answer.accepted.includes(name))
    for (const name of missing) err(`the document of "${name}" cannot be read now, so it was not accepted`)
    out(json ? JSON.stringify({ live: asked !== undefined, ...answer }) : format(answer, asked !== undefined))
    return missing.length > 0 || answer.services.some(({ findings }) => findings.length > 0) ? 1 : 0
  },
}

interface Answer {
  readonly services: readonly ServiceDrift[]
  readonly accepted: readonly string[]
}

/** Undefined when no gateway answers at the admin port. */
async function askGateway({ gateway: { admin } }: Definition, accept: readonly string[]): Promise<Answer | undefined> {
  const url = `http://${hostInUrl(admin.host)}:${admin.port}`
  const options = { timeout: { request: 10_000 }, retry: { limit: 0 }, followRedirect: false } as const
  try {
    const accepted =
      accept.length === 0
        ? []
        : (
            await got
              .post(`${url}/drift/accept`, { ...options, json: { services: accept } })
              .json<{ readonly accepted: readonly string[] }>()
          ).accepted
    const { services } = await got(`${url}/drift`, options).json<{ readonly services: readonly ServiceDrift[] }>()
    return { services, accepted }
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code === 'ECONNREFUSED') return undefined
    throw new UsageError(`the gateway at ${url} gave no usable answer (${(error as Error).message}); try --offline`)
  }
}

/** What is known without a gateway that runs: the documents as they are now, and what the store remembers of them. */
async function lookHere(definition: Definition, config: string, accept: readonly string[]): Promise<Answer> {
  const port = definition.gateway.listen.port
  const assembly = await assemble(definition, { config, port, log: silent, now: Date.now, patience: 30_000 })
  try {
    const { documents, drift } = assembly.live.current
    await documents.refresh()
    const accepted = await drift.accept(accept)
    return { services: drift.report(), accepted }
  } finally {
    await assembly.close()
  }
}

const most = 50

function format({ services, accepted }: Answer, live: boolean): string {
  const lines = accepted.map((name) => `the document of "${name}" is what clients know from now on`)
  for (const { service, document, findings } of services) {
    if (document.status === 'stale' || document.status === 'absent')
      lines.push(`${service}: its document cannot be read (${document.reason})`)
    if (findings.length === 0) continue
    lines.push(`${service}:`)
    const width = Math.max(...findings.map(({ kind }) => kind.length))
    for (const { kind, operation, detail } of findings.slice(0, most))
      lines.push(`  ${kind.padEnd(width)}  ${operation}: ${detail}`)
    if (findings.length > most) lines.push(`  and ${findings.length - most} more; --json has them all`)
  }
  if (services.every(({ findings }) => findings.length === 0))
    lines.push(lines.length === accepted.length ? 'No drift.' : 'No drift, as far as documents can be read.')
  if (!live) lines.push('No running gateway was asked: what services answer beyond their documents is not known.')
  return lines.join('\n')
}
