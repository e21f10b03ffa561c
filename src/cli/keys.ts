import { randomBytes } from 'node:crypto'
import type { z } from 'zod'
import { keyRequest, overlap } from '../authentication/key-request.ts'
import { createKeyStore, type KeyInfo, type KeyStore } from '../authentication/key-store.ts'
import type { Definition } from '../config/schema.ts'
import { plainly } from '../values.ts'
import { type Command, type CommonOptions, type ExitCode, parseOptions, type Terminal, UsageError } from './command.ts'
import { tableOf, timeOf } from './table.ts'
import { withStore } from './with-store.ts'

type Work = (
  keys: KeyStore,
  words: readonly string[],
  options: CommonOptions,
  terminal: Terminal,
  definition: Definition,
) => Promise<ExitCode>

const verbs: Readonly<Record<string, Work>> = { create, list, rotate, revoke }

/** API keys, in the store of services.json. Gateways that run on the same store follow within a second. */
export const keys: Command = {
  usage: 'keys create|list|rotate|revoke',
  summary: 'API keys in the store; gateways that run on it follow within a second',
  details: [
    'create --owner WHO [--name TEXT] [--organization NAME] [--roles a,b] [--permissions a,b] [--scopes a,b]',
    '       [--plan NAME] [--cidrs 10.0.0.0/8,…] [--expires 90d|2027-01-31] [--not-before …]   prints the key, once',
    'list [--owner WHO]',
    'rotate ID [--overlap 24h]   prints a new key; the old one goes on for the overlap',
    'revoke ID',
  ],
  async run([verb = '', ...words], options, terminal) {
    const work = verbs[verb]
    if (!work) throw new UsageError(`keys is followed by ${Object.keys(verbs).join(', ')}`)
    return withStore(options, terminal, 'POST /keys', async (store, definition, tools) => {
      const keyStore = createKeyStore({}, { ...tools, store, random: randomBytes })
      try {
        return await work(keyStore, words, options, terminal, definition)
      } finally {
        await keyStore.close()
      }
    })
  },
}

const listed = { type: 'string', multiple: true } as const

async function create(
  keys: KeyStore,
  words: readonly string[],
  { json }: CommonOptions,
  { out, err }: Terminal,
  { plans }: Definition,
): Promise<ExitCode> {
  const { values, positionals } = parseOptions(words, {
    owner: { type: 'string' },
    name: { type: 'string' },
    plan: { type: 'string' },
    organization: { type: 'string' },
    roles: listed,
    permissions: listed,
    scopes: listed,
    cidrs: listed,
    expires: { type: 'string' },
    'not-before': { type: 'string' },
  })
  if (positionals.length > 0) throw new UsageError(`keys create takes no "${positionals[0]}"`)
  if (values.owner === undefined) throw new UsageError('keys create needs --owner: who will hold the key')
  const { 'not-before': notBefore, roles, permissions, scopes, cidrs, ...texts } = values
  const request = read(
    keyRequest(Date.now, () => Object.keys(plans)),
    {
      ...texts,
      ...(notBefore !== undefined && { notBefore }),
      roles: names(roles),
      permissions: names(permissions),
      scopes: names(scopes),
      cidrs: names(cidrs),
    },
  )
  const created = await keys.create(request)
  tell(created, json, { out, err })
  return 0
}

async function list(
  keys: KeyStore,
  words: readonly string[],
  { json }: CommonOptions,
  { out }: Terminal,
): Promise<ExitCode> {
  const { values, positionals } = parseOptions(words, { owner: { type: 'string' } })
  if (positionals.length > 0) throw new UsageError(`keys list takes no "${positionals[0]}"`)
  const found = await keys.list(values.owner === undefined ? {} : { owner: values.owner })
  out(json ? JSON.stringify({ keys: found }) : listing(found))
  return 0
}

async function rotate(
  keys: KeyStore,
  words: readonly string[],
  { json }: CommonOptions,
  { out, err }: Terminal,
): Promise<ExitCode> {
  const { values, positionals } = parseOptions(words, { overlap: { type: 'string', default: '24h' } })
  const id = theOne(positionals, 'rotate')
  const rotated = await keys.rotate(id, read(overlap, values.overlap))
  if (rotated.outcome === 'refused') {
    const why = rotated.reason === 'unknown' ? `there is no key ${id}` : `the key ${id} is ${rotated.reason}`
    err(`sallyport: ${why}`)
    return 1
  }
  const { outcome: _, ...created } = rotated
  tell(created, json, { out, err })
  if (!json) err(`The key ${id} goes on for ${values.overlap}.`)
  return 0
}

async function revoke(
  keys: KeyStore,
  words: readonly string[],
  { json }: CommonOptions,
  { out, err }: Terminal,
): Promise<ExitCode> {
  const id = theOne(parseOptions(words, {}).positionals, 'revoke')
  if (!(await keys.revoke(id))) {
    err(`sallyport: there is no key ${id}`)
    return 1
  }
  out(json ? JSON.stringify({ revoked: id }) : `The key ${id} is revoked.`)
  return 0
}

/** The key alone goes to standard output, so that `KEY=$(sallyport keys create …)` works. */
function tell(
  created: { readonly text: string; readonly key: KeyInfo },
  json: boolean,
  { out, err }: Pick<Terminal, 'out' | 'err'>,
): void {
  if (json) {
    out(JSON.stringify(created))
    return
  }
  const { id, subject, expires } = created.key
  out(created.text)
  err(
    `This is the only time the key is shown. Its id is ${id}, it stands for ${subject} and ${expires === undefined ? 'does not expire' : `expires ${timeOf(expires)}`}.`,
  )
}

/** `--roles a,b --roles c` → a, b, c. */
function names(given: readonly string[] | undefined): readonly string[] {
  return (given ?? [])
    .flatMap((text) => text.split(','))
    .map((name) => name.trim())
    .filter((name) => name !== '')
}

function theOne(positionals: readonly string[], verb: string): string {
  const [id, ...others] = positionals
  if (id === undefined || others.length > 0)
    throw new UsageError(`keys ${verb} needs the id of one key; keys list has it`)
  return id
}

function read<Schema extends z.ZodType>(schema: Schema, value: unknown): z.output<Schema> {
  const parsed = schema.safeParse(value)
  if (parsed.success) return parsed.data
  throw new UsageError(
    parsed.error.issues
      .map((issue) => `${issue.path.length > 0 ? `--${issue.path[0]?.toString()}: ` : ''}${plainly(issue)}`)
      .join('; '),
  )
}

function listing(keys: readonly KeyInfo[]): string {
  if (keys.length === 0) return 'There are no keys. sallyport keys create --owner … makes one.'
  return tableOf([
    ['ID', 'OWNER', 'STATE', 'EXPIRES', 'LAST USED', 'ROLES', 'PLAN', 'NAME'],
    ...keys.map(({ id, subject, state, expires, lastUsed, roles, plan, name }) => [
      id,
      subject,
      state,
      expires === undefined ? 'never' : timeOf(expires),
      lastUsed === undefined ? 'never' : timeOf(lastUsed),
      roles.join(',') || '-',
      plan ?? '-',
      name ?? '',
    ]),
  ])
}
