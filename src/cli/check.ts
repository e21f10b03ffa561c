import { dirname, resolve } from 'node:path'
import { loadLocated } from '../config/load.ts'
import { looseEnds } from '../config/loose-ends.ts'
import { checkFiles } from './check-files.ts'
import { type Command, UsageError } from './command.ts'
import { formatFinding } from './format-finding.ts'

/** Validate everything that can be known without serving. */
export const check: Command = {
  usage: 'check',
  summary: 'validate services.json and the files it names; every mistake at once, with pointer and line',
  async run(words, { config, json }, { environment, out, err }) {
    if (words.length > 0) throw new UsageError(`check takes no "${words[0]}"`)
    const { definition, faults } = await loadLocated(config, environment)
    const { faults: mistakes, findings } = await checkFiles(definition, dirname(resolve(config)))
    if (mistakes.length > 0) throw faults(mistakes)
    const warnings = faults(looseEnds(definition)).mistakes
    const { services, issuers, securitySchemes } = definition
    const count = (number: number, what: string) => `${number} ${what}${number === 1 ? '' : 's'}`
    if (json) out(JSON.stringify({ file: config, mistakes: [], warnings, findings }))
    else {
      for (const { line, column, pointer, message } of warnings)
        err(`${config}:${line}:${column} warning: ${pointer}: ${message}`)
      for (const finding of findings) if (finding.severity !== 'info') err(formatFinding(finding))
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
