import { signingKeysOf } from '../issuer/issuer.ts'
import { AnnouncedLately, openSigningKeys, type SigningKeyState, type SigningKeys } from '../issuer/signing-keys.ts'
import { type Command, type CommonOptions, type ExitCode, type Terminal, UsageError } from './command.ts'
import { tableOf, timeOf } from './table.ts'
import { withStore } from './with-store.ts'

type Work = (
  keys: SigningKeys,
  words: readonly string[],
  options: CommonOptions,
  terminal: Terminal,
) => Promise<ExitCode>

const verbs: Readonly<Record<string, Work>> = { list, rotate, remove }

/** What the embedded issuer signs with, in the store of services.json. */
export const issuerKeys: Command = {
  usage: 'issuer-keys list|rotate|remove',
  summary: 'the signing keys of the embedded issuer; gateways that run on the store follow within a second',
  details: [
    'list         every key that is published, and what it is for',
    'rotate       announces a new key, which signs in an hour; nobody notices',
    'remove KID   somebody else may have the key: what it has signed is refused at once, and another one signs',
  ],
  async run([verb = '', ...words], options, terminal) {
    const work = verbs[verb]
    if (!work) throw new UsageError(`issuer-keys is followed by ${Object.keys(verbs).join(', ')}`)
    return withStore(options, terminal, '/issuer-keys', async (store, { issuers }, tools) => {
      const embedded = Object.values(issuers).find((issuer) => issuer.type === 'embedded')
      if (!embedded) {
        terminal.err(`sallyport: ${options.config} has no embedded issuer`)
        return 1
      }
      const keys = await openSigningKeys(store, signingKeysOf(embedded), tools)
      try {
        return await work(keys, words, options, terminal)
      } finally {
        keys.close()
      }
    })
  },
}

async function list(
  keys: SigningKeys,
  words: readonly string[],
  { json }: CommonOptions,
  { out }: Terminal,
): Promise<ExitCode> {
  if (words.length > 0) throw new UsageError(`issuer-keys list takes no "${words[0]}"`)
  const found = keys.list()
  out(json ? JSON.stringify({ keys: found }) : listing(found))
  return 0
}

async function rotate(
  keys: SigningKeys,
  words: readonly string[],
  { json }: CommonOptions,
  { out, err }: Terminal,
): Promise<ExitCode> {
  if (words.length > 0) throw new UsageError(`issuer-keys rotate takes no "${words[0]}"`)
  try {
    const announced = await keys.rotate()
    const activeFrom = keys.list().find(({ kid }) => kid === announced)!.activeFrom
    out(json ? JSON.stringify({ announced, activeFrom }) : `${announced} signs from ${timeOf(activeFrom)} on.`)
    return 0
  } catch (error) {
    if (!(error instanceof AnnouncedLately)) throw error
    err(`sallyport: ${error.message}; issuer-keys list shows it`)
    return 1
  }
}

async function remove(
  keys: SigningKeys,
  words: readonly string[],
  { json }: CommonOptions,
  { out, err }: Terminal,
): Promise<ExitCode> {
  const [kid, ...others] = words
  if (kid === undefined || others.length > 0)
    throw new UsageError('issuer-keys remove needs the name of one key; issuer-keys list has it')
  const removal = await keys.remove(kid)
  if (removal.outcome === 'unknown') {
    err(`sallyport: there is no signing key ${kid}; issuer-keys list has their names`)
    return 1
  }
  const { active } = removal
  out(json ? JSON.stringify({ removed: kid, active }) : `${kid} is removed; ${active} signs.`)
  return 0
}

function listing(keys: readonly SigningKeyState[]): string {
  return tableOf([
    ['KEY', 'ALGORITHM', 'STATE', 'SIGNS FROM', 'GONE'],
    ...keys.map(({ kid, algorithm, state, activeFrom, expiresAt }) => [
      kid,
      algorithm,
      state,
      timeOf(Math.floor(activeFrom)),
      expiresAt === undefined ? '-' : timeOf(Math.ceil(expiresAt)),
    ]),
  ])
}
