import { randomBytes } from 'node:crypto'
import { createKeyStore, type KeyStore } from '../authentication/key-store.ts'
import { openRevocations, type Revocations } from '../authentication/revocation.ts'
import { revocationRequest, revoke } from '../authentication/revoke.ts'
import { parseDuration } from '../values.ts'
import { longestLife } from './assemble.ts'
import { type Command, type CommonOptions, type ExitCode, parseOptions, type Terminal, UsageError } from './command.ts'
import { tableOf, timeOf } from './table.ts'
import { withStore } from './with-store.ts'

interface Kept {
  readonly revocations: Revocations
  readonly keys: KeyStore
}

type Work = (kept: Kept, words: readonly string[], options: CommonOptions, terminal: Terminal) => Promise<ExitCode>

const verbs: Readonly<Record<string, Work>> = { add, list }

/** What is no longer believed, in the store of services.json. */
export const revocations: Command = {
  usage: 'revocations add|list',
  summary: 'end a token, a login, or everything a subject was given; gateways on the store follow within a second',
  details: [
    'add --token-id JTI [--issuer ISS] [--for 30d]   one token',
    'add --family ID    [--issuer ISS] [--for 30d]   every token of one login (the claim "fam")',
    'add --subject WHO  [--issuer ISS] [--for 30d]   everything until now: tokens, sessions, and without --issuer API keys',
    'list',
  ],
  async run([verb = '', ...words], options, terminal) {
    const work = verbs[verb]
    if (!work) throw new UsageError(`revocations is followed by ${Object.keys(verbs).join(', ')}`)
    return withStore(options, terminal, 'POST /revocations', async (store, definition, tools) => {
      const keys = createKeyStore({}, { ...tools, store, random: randomBytes })
      try {
        const revocations = await openRevocations(store, { lifetime: longestLife(definition) }, tools)
        try {
          return await work({ revocations, keys }, words, options, terminal)
        } finally {
          revocations.close()
        }
      } finally {
        await keys.close()
      }
    })
  },
}

async function add(
  kept: Kept,
  words: readonly string[],
  { json }: CommonOptions,
  { out }: Terminal,
): Promise<ExitCode> {
  const { values, positionals } = parseOptions(words, {
    'token-id': { type: 'string' },
    family: { type: 'string' },
    subject: { type: 'string' },
    issuer: { type: 'string' },
    for: { type: 'string' },
  })
  if (positionals.length > 0) throw new UsageError(`revocations add takes no "${positionals[0]}"`)
  const { 'token-id': tokenId, for: length, ...others } = values
  const life = length === undefined ? undefined : parseDuration(length)
  if (length !== undefined && life === undefined)
    throw new UsageError('--for is how long the longest-lived credential still lives, such as "30d"')
  const parsed = revocationRequest.safeParse({
    ...others,
    ...(tokenId !== undefined && { tokenId }),
    ...(life !== undefined && { until: Math.ceil((Date.now() + life) / 1_000) }),
  })
  if (!parsed.success) throw new UsageError('revocations add needs one of --token-id, --family and --subject')
  const { keys } = await revoke(parsed.data, kept)
  const also = keys.length === 0 ? '' : ` API keys that ended: ${keys.join(', ')}.`
  out(json ? JSON.stringify({ revoked: parsed.data, keys }) : `It is revoked.${also}`)
  return 0
}

async function list(
  { revocations }: Kept,
  words: readonly string[],
  { json }: CommonOptions,
  { out }: Terminal,
): Promise<ExitCode> {
  if (words.length > 0) throw new UsageError(`revocations list takes no "${words[0]}"`)
  const found = revocations.list()
  if (json) out(JSON.stringify({ revocations: found }))
  else if (found.length === 0) out('Nothing is revoked.')
  else {
    const rows = found.map(({ kind, id, issuer, at, until }) => [kind, id, issuer ?? 'any', timeOf(at), timeOf(until)])
    out(tableOf([['WHAT', 'ID', 'ISSUER', 'SINCE', 'KEPT UNTIL'], ...rows]))
  }
  return 0
}
