import { parseArgs } from 'node:util'
import { InvalidConfiguration } from '../config/load.ts'
import { IssuerRefused } from '../issuer/issuer.ts'
import { InvalidUsers } from '../issuer/users.ts'
import { StoreUnavailable } from '../store/store.ts'
import { bench } from './bench.ts'
import { check } from './check.ts'
import { type Command, type ExitCode, type Terminal, UsageError } from './command.ts'
import { docs } from './docs.ts'
import { drift } from './drift.ts'
import { explain } from './explain.ts'
import { init } from './init.ts'
import { issuerKeys } from './issuer-keys.ts'
import { keys } from './keys.ts'
import { matrix } from './matrix.ts'
import { revocations } from './revocations.ts'
import { routes } from './routes.ts'
import { startCommand } from './start.ts'
import { users } from './users.ts'

const commands: Readonly<Record<string, Command>> = {
  start: startCommand,
  init,
  check,
  routes,
  docs,
  drift,
  explain,
  matrix,
  keys,
  revocations,
  'issuer-keys': issuerKeys,
  users,
  bench,
}

/** The command line. Returns the exit code; never throws for what somebody typed or wrote into services.json. */
export async function run(words: readonly string[], terminal: Terminal): Promise<ExitCode> {
  let json = false
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
    const command = name === undefined ? undefined : commands[name]
    if (values.help || name === undefined || name === 'help') {
      terminal.out(command ? help(command) : overview())
      return name === undefined && !values.help ? 2 : 0
    }
    if (!command) throw new UsageError(`there is no command "${name}"`)
    if (typeof values.config !== 'string') throw new UsageError('--config needs the path of a services.json')
    return await command.run(others, { config: values.config, json }, terminal)
  } catch (error) {
    if (error instanceof UsageError) {
      terminal.err(`sallyport: ${error.message}\n\n${overview()}`)
      return 2
    }
    if (error instanceof InvalidConfiguration) {
      if (json) terminal.out(JSON.stringify({ file: error.file, mistakes: error.mistakes }))
      else terminal.err(error.message)
      return 1
    }
    // What an operator mends outside services.json: no stack says more than the message.
    if (error instanceof InvalidUsers || error instanceof IssuerRefused || error instanceof StoreUnavailable) {
      terminal.err(`sallyport: ${error.message}`)
      return 1
    }
    throw error
  }
}

function help({ usage, summary, details }: Command): string {
  return [`sallyport ${usage}`, '', summary, ...(details ? ['', ...details.map((line) => `  ${line}`)] : [])].join('\n')
}

function overview(): string {
  const rows = Object.values(commands).map(({ usage, summary }) => ({ usage, summary }))
  const width = Math.max(...rows.map(({ usage }) => usage.length))
  return [
    'usage: sallyport <command> [--config services.json] [--json]',
    '',
    ...rows.map(({ usage, summary }) => `  ${usage.padEnd(width)}  ${summary}`),
  ].join('\n')
}
