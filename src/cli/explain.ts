import { existsSync } from 'node:fs'
import { readFile } from 'node:fs/promises'
import { loadDefinition } from '../config/load.ts'
import type { Definition } from '../config/schema.ts'
import { type Inquiry, inquiry } from '../gateway/explain.ts'
import { plainly } from '../values.ts'
import { type Command, parseOptions, UsageError } from './command.ts'
import { formatExplanation } from './format-explanation.ts'
import { look } from './look.ts'

/** What the gateway would do with a request, and why. Nothing listens, and no service is asked anything. */
export const explain: Command = {
  usage: 'explain GET /orders/1',
  summary: 'what would be done with a request, and why; nothing is sent to a service',
  details: [
    '--token TOKEN            with this token in Authorization',
    "--header 'Name: value'   with this header field; may be repeated",
    '--claims FILE            without a token: { "sub": …, "roles": […] }, judged like the claims of one,',
    '                         or { "subject": …, "roles": […] }, a caller as policies see it; JSON itself will do',
    '--scheme NAME            the security scheme that the claims stand for',
    '--resource FILE          what the service would answer where allow.resource reads a thing; JSON itself will do,',
    '                         null for a thing that the caller is not shown',
    '--address ADDRESS        where the connection comes from; 127.0.0.1 if left out',
    'Exit code 0 when the request would go through, 1 when it would be refused or cannot be told.',
  ],
  async run(words, { config, json }, { environment, out }) {
    const asked = await readInquiry(words)
    const definition = withoutDocuments(await loadDefinition(config, environment))
    const explanation = await look(definition, { config, ephemeral: !hasStore(definition) }, ({ explain }) =>
      explain(asked),
    )
    out(json ? JSON.stringify(explanation) : formatExplanation(explanation))
    return ['refused', 'sign-in', 'undecided'].includes(explanation.outcome) ? 1 : 0
  },
}

async function readInquiry(words: readonly string[]): Promise<Inquiry> {
  const { values, positionals } = parseOptions(words, {
    token: { type: 'string' },
    claims: { type: 'string' },
    scheme: { type: 'string' },
    resource: { type: 'string' },
    header: { type: 'string', multiple: true, short: 'H' },
    address: { type: 'string' },
  })
  const [first, second, ...rest] = positionals
  if (first === undefined || rest.length > 0)
    throw new UsageError('explain needs a request: a method and a path, such as GET /orders/1')
  const [method, path] = second === undefined ? ['GET', first] : [first.toUpperCase(), second]
  if (!path.startsWith('/') && !/^https?:\/\//i.test(path))
    throw new UsageError(`"${path}" is no path: it starts with a slash, as in ${method} /orders/1`)
  if (values.token !== undefined && values.claims !== undefined)
    throw new UsageError('--token is a caller and --claims is one; take either')

  const headers: Record<string, string[]> = {}
  for (const line of values.header ?? []) {
    const colon = line.indexOf(':')
    if (colon < 1) throw new UsageError(`"${line}" is no header field: write --header 'Name: value'`)
    const name = line.slice(0, colon).trim()
    headers[name] = [...(headers[name] ?? []), line.slice(colon + 1).trim()]
  }
  if (values.token !== undefined) headers['Authorization'] = [`Bearer ${values.token}`]

  const parsed = inquiry.safeParse({
    method,
    path,
    headers,
    ...(values.claims !== undefined && { claims: await readJson('--claims', values.claims) }),
    ...(values.resource !== undefined && { resource: await readJson('--resource', values.resource) }),
    ...(values.scheme !== undefined && { scheme: values.scheme }),
    ...(values.address !== undefined && { address: values.address }),
  })
  if (parsed.success) return parsed.data
  throw new UsageError(parsed.error.issues.map((issue) => `${issue.path.join(' ')}: ${plainly(issue)}`).join('; '))
}

/** What stands in a file, or the value itself. */
async function readJson(option: string, text: string): Promise<unknown> {
  const written = /^\s*(?:[[{"]|null\s*$)/.test(text)
  try {
    return JSON.parse(written ? text : await readFile(text, 'utf8'))
  } catch (error) {
    throw new UsageError(`${option} is the path of a JSON file, or JSON: ${(error as Error).message}`)
  }
}

/** Documents are read only where they decide what is exposed. */
function withoutDocuments(definition: Definition): Definition {
  return {
    ...definition,
    services: definition.services.map((service) => ({
      ...service,
      openapi: service.expose === 'documented' ? service.openapi : false,
    })),
  }
}

/** The store has the keys of the embedded issuer, API keys and revocations. Looking must not make one. */
function hasStore({ store }: Definition): boolean {
  return store.type !== 'memory' && (store.type !== 'sqlite' || existsSync(store.path))
}
