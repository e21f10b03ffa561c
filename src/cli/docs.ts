import { mkdir, writeFile } from 'node:fs/promises'
import { dirname, join, resolve } from 'node:path'
import { loadDefinition } from '../config/load.ts'
import { jsonSchema } from '../config/schema.ts'
import { silent } from '../telemetry/log.ts'
import { assemble } from './assemble.ts'
import { type Command, UsageError } from './command.ts'

/** The published document and the schema of services.json as files, for reviews and for editors. */
export const docs: Command = {
  usage: 'docs build',
  summary: 'write openapi/openapi.json and openapi/services.schema.json beside services.json',
  async run([verb, ...rest], { config, json }, { environment, out, err }) {
    if (verb !== 'build' || rest.length > 0) throw new UsageError('docs is followed by "build"')
    const folder = join(dirname(resolve(config)), 'openapi')
    const definition = await loadDefinition(config, environment)
    const { port } = definition.gateway.listen
    const assembly = await assemble(definition, { config, port, log: silent, now: Date.now, ephemeral: true })
    try {
      const { documents, services } = assembly.live.current
      const missing = services.filter(({ name }) => !['fresh', 'none'].includes(documents.state(name).status))
      if (missing.length > 0) {
        for (const { name } of missing) {
          const state = documents.state(name)
          err(`the document of "${name}" could not be read: ${'reason' in state ? state.reason : state.status}`)
        }
        return 1
      }
      const files = [
        { path: join(folder, 'openapi.json'), content: JSON.parse(documents.published.json.body.toString()) },
        { path: join(folder, 'services.schema.json'), content: jsonSchema() },
      ]
      await mkdir(folder, { recursive: true })
      for (const { path, content } of files) await writeFile(path, `${JSON.stringify(content, null, 2)}\n`)
      out(
        json
          ? JSON.stringify({ files: files.map(({ path }) => path) })
          : files.map(({ path }) => `wrote ${path}`).join('\n'),
      )
      return 0
    } finally {
      await assembly.close()
    }
  },
}
