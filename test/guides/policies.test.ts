import assert from 'node:assert/strict'
import { readFileSync } from 'node:fs'
import { mkdtemp, rm, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { describe, test } from 'node:test'
import { run } from '../../src/cli/run.ts'
import { readDefinition } from '../../src/config/load.ts'

/** The examples of docs/guides/policies.md that are a services.json. */
const guide = readFileSync(join(import.meta.dirname, '..', '..', 'docs', 'guides', 'policies.md'), 'utf8')
const examples = [...guide.matchAll(/^```json\n([\s\S]*?)^```$/gm)].map(([, text]) => text!)

describe('the guide about policies', () => {
  for (const text of examples.filter((example) => 'services' in JSON.parse(example))) {
    test(`is sound: ${JSON.stringify(JSON.parse(text)).slice(0, 60)}…`, () => {
      assert.equal(readDefinition(text, {}).services[0]?.name, 'articles')
    })
  }

  test('its line for a pipeline says what a change opens to its personas', async (t) => {
    const [first, thing] = examples.filter((example) => 'services' in JSON.parse(example))
    const personas = examples.find((example) => 'guest' in JSON.parse(example))!
    const words = /sallyport (matrix .*--against.*)$/m.exec(guide)![1]!.split(' ')
    const folder = await mkdtemp(join(tmpdir(), 'sallyport-guide-'))
    t.after(() => rm(folder, { recursive: true }))
    const schemes = {
      bearer: { type: 'http', scheme: 'bearer' },
      apiKey: { type: 'apiKey', in: 'header', name: 'X-API-Key' },
    }
    const write = (file: string, text: string) =>
      writeFile(
        join(folder, file),
        JSON.stringify({ store: { type: 'memory' }, securitySchemes: schemes, ...JSON.parse(text) }),
      )
    await write('services.before.json', first!)
    await write('services.json', thing!)
    await writeFile(join(folder, 'personas.json'), personas)
    const printed: string[] = []
    const files = words.map((word) => (word.endsWith('.json') ? join(folder, word) : word))
    const code = await run([...files, '--config', join(folder, 'services.json')], {
      environment: {},
      out: (text) => void printed.push(text),
      err: (text) => void printed.push(text),
    })
    assert.equal(code, 1)
    assert.match(printed.join('\n'), /^\+ {2}POST \/articles +reader +403 \/permissions → allow$/m)
    assert.match(printed.join('\n'), /^- {2}PUT \/articles\/\{id\} +reader +allow → depends on what the service says/m)
  })
})
