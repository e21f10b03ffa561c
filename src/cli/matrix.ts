import { existsSync } from 'node:fs'
import { readFile } from 'node:fs/promises'
import { dirname, join, resolve } from 'node:path'
import { z } from 'zod'
import { ownPaths } from '../config/check.ts'
import { loadDefinition } from '../config/load.ts'
import type { Definition } from '../config/schema.ts'
import type { DocumentedOperation } from '../gateway/documents.ts'
import type { Gateway, Service } from '../gateway/gateway.ts'
import {
  changesBetween,
  type MatrixRow,
  matrixOf,
  type Operation,
  type Persona,
  undocumentedOperations,
} from '../gateway/matrix.ts'
import { Router } from '../gateway/router.ts'
import { type Command, type ExitCode, parseOptions, UsageError } from './command.ts'
import { formatChanges, formatMarkdown, formatMatrix } from './format-matrix.ts'
import { type Looked, look } from './look.ts'

/** What everybody gets of everything: one table for a review, one exit code for a pipeline. */
export const matrix: Command = {
  usage: 'matrix --personas personas.json',
  summary: 'who may call what: every operation by every persona; with --against, what became reachable',
  details: [
    '--personas FILE   { "guest": null, "editor": { "roles": ["editor"] }, "partner": { "sub": "p", "scope": "orders" } }:',
    '                  by name nobody, a caller as policies see it, or the claims of a token; each may also say',
    '                  "scheme", "params" for the parameters of paths and "resource" for what allow.resource reads',
    '--against FILE    an older services.json: only what became reachable or unreachable is printed',
    '--markdown        as a table for a pull request',
    'Nothing is sent but for the documents of the services. Exit code 1 when something became reachable, or could not be told.',
  ],
  async run(words, { config, json }, { environment, out, err }) {
    const { values, positionals } = parseOptions(words, {
      personas: { type: 'string' },
      against: { type: 'string' },
      markdown: { type: 'boolean' },
    })
    if (positionals.length > 0) throw new UsageError(`matrix takes no "${positionals[0]}"`)
    if (values.personas === undefined) throw new UsageError('matrix needs --personas, the path of a JSON file')
    const personas = await readPersonas(values.personas)
    const format = json ? 'json' : values.markdown ? 'markdown' : 'text'
    const definition = await loadDefinition(config, environment)
    const options = { config, ephemeral: !hasFile(definition) }

    if (values.against === undefined) {
      const found = await look(definition, options, async (looked) =>
        survey(looked, await operationsOf(looked, config), personas),
      )
      out(
        format === 'json'
          ? JSON.stringify(jsonOf(found.rows, personas))
          : format === 'markdown'
            ? formatMarkdown(found.rows, personas)
            : formatMatrix(found.rows, personas),
      )
      return conclude(found.rows, found.missing, err)
    }

    const older = values.against
    const past = await loadDefinition(older, environment)
    // What either knows is asked of both, so that what is gone or new is compared too.
    const [before, after] = await look(past, { config: older, ephemeral: true }, (then) =>
      look(definition, options, async (now) => {
        const [known, knownNow] = [await operationsOf(then, older), await operationsOf(now, config)]
        const operations = distinct([...knownNow.operations, ...known.operations])
        return [
          await survey(then, { ...known, operations }, personas),
          await survey(now, { ...knownNow, operations }, personas),
        ] as const
      }),
    )
    const changes = changesBetween(before.rows, after.rows, personas)
    out(format === 'json' ? JSON.stringify(changes) : formatChanges(changes, format))
    const told = conclude([...after.rows, ...before.rows], [...new Set([...after.missing, ...before.missing])], err)
    return changes.reachable.length > 0 ? 1 : told
  },
}

/* Personas */

const shared = {
  scheme: z.string().optional(),
  params: z.record(z.string(), z.string()).default({}),
  resource: z.unknown().optional(),
}
const names = z.array(z.string())
const persona = z.union([
  z.null(),
  z.looseObject({ ...shared, sub: z.string() }),
  z.strictObject({ ...shared, anonymous: z.literal(true) }),
  z.strictObject({
    ...shared,
    subject: z.string().optional(),
    issuer: z.string().optional(),
    clientId: z.string().optional(),
    name: z.string().optional(),
    email: z.string().optional(),
    organization: z.string().optional(),
    roles: names.optional(),
    permissions: names.optional(),
    scopes: names.optional(),
    claims: z.record(z.string(), z.unknown()).optional(),
  }),
])
const personasFile = z.record(z.string().min(1), persona)

async function readPersonas(file: string): Promise<readonly Persona[]> {
  let written: unknown
  try {
    written = JSON.parse(await readFile(file, 'utf8'))
  } catch (error) {
    throw new UsageError(`--personas is the path of a JSON file: ${(error as Error).message}`)
  }
  const parsed = personasFile.safeParse(written)
  if (!parsed.success) {
    const where = [...new Set(parsed.error.issues.map(({ path }) => String(path[0] ?? 'the file')))].join(', ')
    throw new UsageError(
      `${file}: ${where} is no persona: null, { "sub": … } with the claims of a token, or a caller with "subject", "roles", "permissions", "scopes", "claims"`,
    )
  }
  const personas = Object.entries(parsed.data).map(([name, value]): Persona => {
    if (value === null) return { name, claims: undefined, scheme: undefined, params: {} }
    const { scheme, params, resource, ...claims } = value
    const nobody = 'anonymous' in claims
    return {
      name,
      claims: nobody ? undefined : 'sub' in claims ? claims : { subject: name, ...claims },
      scheme,
      params,
      ...(resource !== undefined && { resource }),
    }
  })
  if (personas.length === 0) throw new UsageError(`${file} has no persona`)
  return personas
}

/* What there is to ask for */

interface Known {
  readonly operations: readonly Operation[]
  /** Services whose document could neither be read nor found among what is committed. */
  readonly missing: readonly string[]
  /** The gateway, which takes what is committed for the document of a service that could not be read. */
  readonly gateway: Gateway
}

async function operationsOf({ gateway }: Pick<Looked, 'gateway'>, config: string): Promise<Known> {
  const { documents, services, definition } = gateway
  await documents.refresh()
  const absent = services.filter(({ name }) => documents.state(name).status === 'absent')
  const committed = absent.length > 0 ? await readCommitted(config) : []
  const standIns = new Map<string, readonly Operation[]>()
  for (const service of absent) {
    const own = committed.filter(({ template }) => isBelow(service, template))
    if (own.length > 0) standIns.set(service.name, own)
  }
  const documented = [
    ...definition.compositions.map(({ match }) => operation('GET', match.slice('GET '.length))),
    ...services.flatMap(
      ({ name }) =>
        standIns.get(name) ?? documents.listed(name).map(({ method, published }) => operation(method, published)),
    ),
  ].filter(({ template }) => !ownPaths.some((own) => template === own || template.startsWith(`${own}/`)))
  return {
    operations: distinct([...documented, ...undocumentedOperations(gateway, documented)]),
    missing: absent.flatMap(({ name }) => (standIns.has(name) ? [] : [name])),
    gateway: {
      ...gateway,
      documents: {
        ...documents,
        operations(name) {
          const standIn = standIns.get(name)
          return standIn ? tableOf(name, standIn) : documents.operations(name)
        },
      },
    },
  }
}

function operation(method: string, template: string): Operation {
  return { method, template, documented: true }
}

/** The operations of openapi/openapi.json beside services.json, as `docs build` writes it. */
async function readCommitted(config: string): Promise<readonly Operation[]> {
  const file = join(dirname(resolve(config)), 'openapi', 'openapi.json')
  if (!existsSync(file)) return []
  const { paths } = JSON.parse(await readFile(file, 'utf8')) as { readonly paths?: Readonly<Record<string, object>> }
  return Object.entries(paths ?? {}).flatMap(([template, item]) =>
    Object.keys(item)
      .filter((key) => /^(?:get|put|post|delete|options|head|patch)$/.test(key))
      .map((method) => operation(method.toUpperCase(), template)),
  )
}

function isBelow({ prefix }: Service, template: string): boolean {
  return template === prefix || template.startsWith(`${prefix}/`)
}

function tableOf(service: string, committed: readonly Operation[]): Router<DocumentedOperation> {
  const operations = committed
    .filter(({ template }) => !/[?#]/.test(template))
    .map(({ method, template }) => ({
      ...{ method, path: template, published: template },
      ...{ operationId: '', variant: false, authorization: false },
    }))
  const document = { service, operations, findings: [], release() {} }
  const table = new Router<DocumentedOperation>({ caseSensitive: true, tails: false })
  for (const [index, { method, path }] of operations.entries()) table.add(method, path, { document, index })
  return table
}

/** Each once; that one is documented anywhere counts. */
function distinct(operations: readonly Operation[]): readonly Operation[] {
  const found = new Map<string, Operation>()
  for (const one of operations) {
    const key = `${one.method} ${one.template}`
    if (!found.get(key)?.documented) found.set(key, one)
  }
  return [...found.values()]
}

/* The answer */

async function survey({ explain }: Looked, { operations, missing, gateway }: Known, personas: readonly Persona[]) {
  const rows = await matrixOf(gateway, (inquiry) => explain(inquiry, gateway), operations, personas)
  return { rows, missing }
}

/** The last good documents are kept in a file; a store elsewhere is not asked, and looking must not make one. */
function hasFile({ store }: Definition): boolean {
  return store.type === 'sqlite' && existsSync(store.path)
}

function conclude(rows: readonly MatrixRow[], missing: readonly string[], err: (text: string) => void): ExitCode {
  for (const name of missing)
    err(
      `the document of "${name}" could not be read, and openapi/openapi.json has nothing of it: its operations are missing`,
    )
  const unknown = rows.flatMap(({ method, template, reach }) =>
    reach.flatMap((one) => (one.verdict === 'unknown' ? [`${method} ${template}: ${one.why}`] : [])),
  )
  for (const text of new Set(unknown)) err(`cannot be told: ${text}`)
  return missing.length > 0 || unknown.length > 0 ? 1 : 0
}

function jsonOf(rows: readonly MatrixRow[], personas: readonly Persona[]) {
  return {
    personas: personas.map(({ name }) => name),
    operations: rows.map(({ method, template, documented, reach }) => ({
      method,
      path: template,
      documented,
      reach: Object.fromEntries(reach.map((one, index) => [personas[index]!.name, one])),
    })),
  }
}
