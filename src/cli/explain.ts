import { randomBytes } from 'node:crypto'
import { existsSync } from 'node:fs'
import { readFile } from 'node:fs/promises'
import { loadDefinition } from '../config/load.ts'
import type { Definition } from '../config/schema.ts'
import { createExplain, inquiry } from '../gateway/explain.ts'
import type { Explanation } from '../gateway/explanation.ts'
import { createTracing } from '../http/trace-context.ts'
import { createVia } from '../http/via.ts'
import { silent } from '../telemetry/log.ts'
import { assemble } from './assemble.ts'
import { type Command, parseOptions, UsageError } from './command.ts'
import { formatExplanation } from './format-explanation.ts'

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
    '--address ADDRESS        where the connection comes from; 127.0.0.1 if left out',
    'Exit code 0 when the request would go through, 1 when it would be refused.',
  ],
  async run(words, { config, json }, { environment, out }) {
    const asked = await readInquiry(words)
    const definition = withoutTraffic(await loadDefinition(config, environment))
    const options = { config, port: definition.gateway.listen.port, log: silent, now: Date.now }
    const assembly = await assemble(definition, { ...options, ephemeral: !hasStore(definition) })
    let explanation: Explanation
    try {
      const ask = createExplain({
        now: Date.now,
        id: () => 'explained',
        trace: createTracing(randomBytes),
        via: createVia('explained'),
      })
      explanation = await ask(assembly.live.current, asked)
    } finally {
      await assembly.close()
    }
    out(json ? JSON.stringify(explanation) : formatExplanation(explanation))
    return explanation.outcome === 'refused' || explanation.outcome === 'sign-in' ? 1 : 0
  },
}

async function readInquiry(words: readonly string[]) {
  const { values, positionals } = parseOptions(words, {
    token: { type: 'string' },
    claims: { type: 'string' },
    scheme: { type: 'string' },
    header: { type: 'string', multiple: true, short: 'H' },
    address: { type: 'string' },
  })
  const [first, second, ...rest] = positionals
  if (first === undefined || rest.length > 0)
    throw new UsageError('explain needs a request: a method and a path, such as GET /orders/1')
  const [method, path] = second === undefined ? ['GET', first] : [first.toUpperCase(), second]
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
    ...(values.claims !== undefined && { claims: await readClaims(values.claims) }),
    ...(values.scheme !== undefined && { scheme: values.scheme }),
    ...(values.address !== undefined && { address: values.address }),
  })
  if (parsed.success) return parsed.data
  throw new UsageError(parsed.error.issues.map(({ path, message }) => `${path.join(' ')}: ${message}`).join('; '))
}

/** A file of claims, or the object itself. */
async function readClaims(text: string): Promise<unknown> {
  const written = text.trimStart().startsWith('{')
  try {
    return JSON.parse(written ? text : await readFile(text, 'utf8'))
  } catch (error) {
    throw new UsageError(`--claims is the path of a JSON file, or JSON: ${(error as Error).message}`)
  }
}

/** Documents are read only where they decide what is exposed, and no instance is asked how it is. */
function withoutTraffic(definition: Definition): Definition {
  return {
    ...definition,
    services: definition.services.map(({ health: _, ...service }) => ({
      ...service,
      openapi: service.expose === 'documented' ? service.openapi : false,
    })),
  }
}

/** The store has the keys of the embedded issuer, API keys and revocations. Looking must not make one. */
function hasStore({ store }: Definition): boolean {
  return store.type !== 'memory' && (store.type !== 'sqlite' || existsSync(store.path))
}
