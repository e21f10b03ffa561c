import { loadDefinition } from '../config/load.ts'
import { type Command, UsageError } from './command.ts'

/** Validate everything that can be known without serving. */
export const check: Command = {
  usage: 'check',
  summary: 'validate services.json; every mistake at once, with pointer and line',
  async run(words, { config, json }, { environment, out }) {
    if (words.length > 0) throw new UsageError(`check takes no "${words[0]}"`)
    const definition = await loadDefinition(config, environment)
    const { services, issuers, securitySchemes } = definition
    const count = (number: number, what: string) => `${number} ${what}${number === 1 ? '' : 's'}`
    if (json) out(JSON.stringify({ file: config, mistakes: [] }))
    else {
      const parts = [
        count(services.length, 'service'),
        count(Object.keys(securitySchemes).length, 'security scheme'),
        count(Object.keys(issuers).length, 'issuer'),
      ]
      out(`${config} is sound: ${parts.join(', ')}`)
    }
    return 0
  },
}
