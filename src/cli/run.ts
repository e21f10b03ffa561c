import { parseArgs } from 'node:util'
import { type Command, type ExitCode, type Terminal, UsageError } from './command.ts'

/** Read when they are called: most need a fraction of what is here, and the one that watches workers hardly anything. */
const commands: Readonly<Record<string, () => Promise<Command>>> = {
  start: async () => (await import('./start-command.ts')).startCommand,
  init: async () => (await import('./init.ts')).init,
  check: async () => (await import('./check.ts')).check,
  routes: async () => (await import('./routes.ts')).routes,
  docs: async () => (await import('./docs.ts')).docs,
  drift: async () => (await import('./drift.ts')).drift,
  explain: async () => (await import('./explain.ts')).explain,
  matrix: async () => (await import('./matrix.ts')).matrix,
  keys: async () => (await import('./keys.ts')).keys,
  revocations: async () => (await import('./revocations.ts')).revocations,
  'issuer-keys': async () => (await import('./issuer-keys.ts')).issuerKeys,
  users: async () => (await import('./users.ts')).users,
  bench: async () => (await import('./bench.ts')).bench,
}

/** The command line. Returns the exit code; never throws for what somebody typed or wrote into services.json. */
export async function run(words: readonly string[], terminal: Terminal): Promise<ExitCode> {
  let json = false
  let called: Command | undefined
  try {
    // Only the common options are read here; what a command does not know it refuses itself.
    const { values, tokens } = parseArgs({
      args: [...words],
      options: {
        config: { type: 'string', short: 'c', default: 'services.json' },
        json: { type: 'boolean', default: false },
        help: { type: 'boolean', short: 'h', default: false },
      },
      strict: false,
      allowPositionals: true,
      tokens: true,
    })
    json = values.json === true
    const rest = tokens.flatMap((token) => {
      if (token.kind === 'positional') return [token.value]
      if (token.kind !== 'option' || token.name in { config: 1, json: 1, help: 1 }) return []
      return token.value === undefined ? [token.rawName] : [`${token.rawName}=${token.value}`]
    })
    const [name, ...others] = rest
    const asked = name === 'help' ? others[0] : name
    const command = asked !== undefined && Object.hasOwn(commands, asked) ? await commands[asked]!() : undefined
    if (asked !== undefined && !command) throw new UsageError(await unknownCommand(asked))
    if (values.help || name === undefined || name === 'help') {
      terminal.out(command ? help(command) : await overview())
      return name === undefined && !values.help ? 2 : 0
    }
    called = command!
    if (typeof values.config !== 'string') throw new UsageError('--config needs the path of a services.json')
    return await called.run(others, { config: values.config, json }, terminal)
  } catch (error) {
    if (error instanceof UsageError) {
      terminal.err(`sallyport: ${error.message}\n\n${called ? help(called) : await overview()}`)
      return 2
    }
    const { InvalidConfiguration, isForOperator } = await import('./refusals.ts')
    if (json && error instanceof InvalidConfiguration) {
      terminal.out(JSON.stringify({ file: error.file, mistakes: error.mistakes }))
      return 1
    }
    if (isForOperator(error)) {
      terminal.err(error instanceof InvalidConfiguration ? error.message : `sallyport: ${error.message}`)
      return 1
    }
    throw error
  }
}

const common = [
  '-c, --config FILE   the services.json; the one of this folder if left out',
  '--json              the answer as one JSON value, for machines',
]

function help({ usage, summary, details = [] }: Command): string {
  const indented = [details, common].filter((lines) => lines.length > 0)
  return [
    `usage: sallyport ${usage}`,
    '',
    summary,
    ...indented.flatMap((lines) => ['', ...lines.map((line) => `  ${line}`.trimEnd())]),
  ].join('\n')
}

/** Read late: whoever types a command that is there needs nothing of it. */
async function unknownCommand(typed: string): Promise<string> {
  const { suggest } = await import('../config/suggest.ts')
  const meant = suggest(typed, Object.keys(commands))
  return `there is no command "${typed}"${meant ? `; did you mean "${meant}"?` : ''}`
}

async function overview(): Promise<string> {
  const rows = await Promise.all(Object.values(commands).map((read) => read()))
  const width = Math.max(...rows.map(({ usage }) => usage.length))
  return [
    'usage: sallyport <command> [--config services.json] [--json]',
    '',
    ...rows.map(({ usage, summary }) => `  ${usage.padEnd(width)}  ${summary}`),
    '',
    'sallyport <command> --help says what may follow.',
  ].join('\n')
}
