import { readFile } from 'node:fs/promises'
import { dirname, resolve } from 'node:path'
import type { z } from 'zod'
import { plainly } from '../values.ts'
import { check } from './check.ts'
import { expandEnvironment } from './environment.ts'
import { type Definition, definition } from './schema.ts'
import { suggest } from './suggest.ts'
import { isObject, type Mistake, type Path, parseSource, toPointer } from './text.ts'

/** Everything that is wrong with services.json, at once. */
export class InvalidConfiguration extends Error {
  readonly file: string
  readonly mistakes: readonly Mistake[]

  constructor(file: string, mistakes: readonly Mistake[], options?: ErrorOptions) {
    const lines = mistakes.map(({ line, column, pointer, message }) =>
      line === 0 ? `  ${message}` : `  ${file}:${line}:${column} ${pointer || '/'}: ${message}`,
    )
    const count = mistakes.length === 1 ? 'one mistake' : `${mistakes.length} mistakes`
    super(`${file} has ${count}\n${lines.join('\n')}`, options)
    this.name = 'InvalidConfiguration'
    this.file = file
    this.mistakes = mistakes
  }
}

export type Environment = Readonly<Record<string, string | undefined>>

/** Read and check a services.json. Throws `InvalidConfiguration` with every mistake in it. */
export async function loadDefinition(file: string, environment: Environment): Promise<Definition> {
  return resolvePaths(readDefinition(await readText(file), environment, file), dirname(resolve(file)))
}

/** The same for somebody who finds further mistakes, in what services.json names: `faults` says where they stand. */
export async function loadLocated(
  file: string,
  environment: Environment,
): Promise<{ readonly definition: Definition; faults(found: readonly Fault[]): InvalidConfiguration }> {
  const text = await readText(file)
  const definition = resolvePaths(readDefinition(text, environment, file), dirname(resolve(file)))
  const { source } = parseSource(text)
  return {
    definition,
    faults: (found) =>
      new InvalidConfiguration(
        file,
        found.map(({ path, message }) => ({ pointer: toPointer(path), ...source!.locate(path), message })),
      ),
  }
}

export interface Fault {
  readonly path: Path
  readonly message: string
}

async function readText(file: string): Promise<string> {
  try {
    return await readFile(file, 'utf8')
  } catch (cause) {
    const reason =
      (cause as NodeJS.ErrnoException).code === 'ENOENT'
        ? 'there is no such file; `sallyport init` writes one, and --config names another'
        : `cannot be read: ${(cause as Error).message}`
    throw new InvalidConfiguration(file, [{ pointer: '', line: 0, column: 0, message: reason }], { cause })
  }
}

/** The store's file stands beside services.json, wherever the gateway is started. */
function resolvePaths(definition: Definition, folder: string): Definition {
  const { store } = definition
  return store.type === 'sqlite'
    ? { ...definition, store: { ...store, path: resolve(folder, store.path) } }
    : definition
}

/**
 * 1. strict JSON, 2. the environment put in, 3. each part against the schema, 4. what crosses parts.
 * The fourth step also looks at the sound parts of a file that failed the third, so that nothing is reported late.
 */
export function readDefinition(text: string, environment: Environment, file = 'services.json'): Definition {
  const { source, mistakes: syntax } = parseSource(text)
  if (!source) throw new InvalidConfiguration(file, syntax)

  const mistakes: Mistake[] = []
  const known = new Set<string>()
  const complain = (path: Path, message: string) => {
    const pointer = toPointer(path)
    if (known.has(pointer)) return
    known.add(pointer)
    const variable = overrides.get(pointer)
    const from = variable !== undefined && environment[variable] ? `the environment variable ${variable}: ` : ''
    mistakes.push({ pointer, ...source.locate(path), message: from + message })
  }

  const value = withDefaults(expandEnvironment(source.value, environment, complain), environment)
  const parsed = definition.safeParse(value)
  if (!parsed.success) for (const issue of parsed.error.issues) describe(issue, [], complain)
  check(value, parsed.data, complain)

  if (mistakes.length > 0) {
    throw new InvalidConfiguration(
      file,
      mistakes.toSorted((one, other) => one.line - other.line || one.column - other.column),
    )
  }
  return parsed.data!
}

/** What the environment says instead of the file, by place. */
const overrides: ReadonlyMap<string, string> = new Map([
  ['/gateway/listen/host', 'HOST'],
  ['/gateway/listen/port', 'PORT'],
  ['/gateway/admin/host', 'ADMIN_HOST'],
  ['/gateway/admin/port', 'ADMIN_PORT'],
])

/** The smallest file works: an embedded issuer and a bearer scheme stand in where none are declared. */
function withDefaults(value: unknown, environment: Environment): unknown {
  if (!isObject(value)) return value
  const issuers = value['issuers'] ?? { local: { type: 'embedded' } }
  const securitySchemes = value['securitySchemes'] ?? {
    bearer: { type: 'http', scheme: 'bearer', bearerFormat: 'JWT' },
  }
  const gateway = value['gateway'] ?? {}
  if (!isObject(gateway)) return { ...value, issuers, securitySchemes }
  return {
    ...value,
    issuers,
    securitySchemes,
    gateway: {
      ...gateway,
      listen: override(gateway['listen'], environment['HOST'], environment['PORT']),
      admin: override(gateway['admin'], environment['ADMIN_HOST'], environment['ADMIN_PORT']),
    },
  }
}

function override(address: unknown, host: string | undefined, port: string | undefined): unknown {
  if (address !== undefined && !isObject(address)) return address
  return { ...address, ...(host && { host }), ...(port && { port }) }
}

/** One complaint per fault: unions are told by their most fitting branch, unknown keys one by one. */
function describe(issue: z.core.$ZodIssue, base: Path, complain: (path: Path, message: string) => void): void {
  const path = [...base, ...(issue.path as (string | number)[])]
  switch (issue.code) {
    case 'unrecognized_keys':
      for (const key of issue.keys) complain([...path, key], unknownKey(key, path))
      return
    case 'invalid_union': {
      const branch = issue.errors
        .filter((errors) => !isOtherType(errors))
        .toSorted((one, other) => reach(other) - reach(one))[0]
      if (branch) for (const inner of branch) describe(inner, path, complain)
      else if (issue.message === 'Invalid input' && issue.errors[0]?.[0]) describe(issue.errors[0][0], path, complain)
      else complain(path, issue.message)
      return
    }
    case 'invalid_key':
      for (const inner of issue.issues) complain(path, inner.message)
      return
    default:
      complain(path, plainly(issue))
  }
}

/** Whether a branch of a union is not even about a value like this one: a string where it wants an object. */
function isOtherType(issues: readonly z.core.$ZodIssue[]): boolean {
  return issues.some(({ code, path }) => path.length === 0 && (code === 'invalid_type' || code === 'invalid_value'))
}

/** How deep into the value a branch of a union came before it failed. */
function reach(issues: readonly z.core.$ZodIssue[]): number {
  return Math.max(0, ...issues.map(({ path, code }) => path.length + (code === 'unrecognized_keys' ? 1 : 0)))
}

function unknownKey(key: string, parent: Path): string {
  const known = keysAt(parent)
  const meant = suggest(key, known)
  if (meant) return `"${key}" is not a key here; did you mean "${meant}"?`
  return `"${key}" is not a key here${known.length > 0 ? `; the keys are ${known.join(', ')}` : ''}`
}

/** The keys that the schema knows at a path, as far as it is an object there. */
function keysAt(path: Path): readonly string[] {
  let schema = definition as unknown as Schema | undefined
  for (const segment of path) {
    schema = inner(schema)
    const { type, shape, element, valueType, options } = schema?._zod?.def ?? {}
    if (type === 'object') schema = shape?.[segment as string]
    else if (type === 'array') schema = element
    else if (type === 'record') schema = valueType
    else if (type === 'union')
      schema = options?.map(inner).find((option) => option?._zod?.def.shape?.[segment as string])
    else return []
  }
  const { shape, options } = inner(schema)?._zod?.def ?? {}
  if (shape) return Object.keys(shape)
  return [...new Set((options ?? []).flatMap((option) => Object.keys(inner(option)?._zod?.def.shape ?? {})))]
}

interface Schema {
  readonly _zod: {
    readonly def: {
      readonly type: string
      readonly shape?: Record<string, Schema>
      readonly element?: Schema
      readonly valueType?: Schema
      readonly innerType?: Schema
      readonly in?: Schema
      readonly options?: Schema[]
    }
  }
}

/** Past optional, default and transform to what they wrap. */
function inner(schema: Schema | undefined): Schema | undefined {
  let current = schema
  for (;;) {
    const next = current?._zod?.def.innerType ?? current?._zod?.def.in
    if (!next) return current
    current = next
  }
}
