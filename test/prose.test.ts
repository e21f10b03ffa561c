import assert from 'node:assert/strict'
import { existsSync, globSync, readFileSync } from 'node:fs'
import { dirname, join, resolve } from 'node:path'
import { describe, test } from 'node:test'
import { run } from '../src/cli/run.ts'
import { readDefinition } from '../src/config/load.ts'

const root = resolve(import.meta.dirname, '..')
const pages = globSync(['*.md', 'compose.yaml', 'docs/**/*.md', 'bench/*.md', 'examples/**/*.md'], { cwd: root })
const read = (page: string) => readFileSync(join(root, page), 'utf8')
const withoutCode = (text: string) => text.replace(/^```[\s\S]*?^```$/gm, '')

describe('what is written about the project', () => {
  for (const page of pages) {
    test(`${page} leads only to files that exist`, () => {
      const links = [...withoutCode(read(page)).matchAll(/\]\(([^)\s]+)\)/g)].map(([, target]) => target!)
      for (const link of links.filter((target) => !/^(?:https?:|mailto:|#)/.test(target))) {
        assert.ok(existsSync(join(root, dirname(page), link.split('#')[0]!)), `${page} → ${link}`)
      }
      const paths = [
        ...withoutCode(read(page)).matchAll(/`((?:src|test|docs|examples|openapi|bench|\.ci)\/[\w./-]+)`/g),
      ]
      for (const [, path] of paths) assert.ok(existsSync(join(root, path!)), `${page} speaks of ${path}`)
    })
  }

  test('every services.json that README.md shows is a good one', () => {
    const examples = [...read('README.md').matchAll(/^```json\n([\s\S]*?)^```$/gm)].map(([, text]) => text!)
    assert.ok(examples.length > 0)
    for (const text of examples) assert.ok(readDefinition(text, {}).services.length > 0)
  })

  test('every script that README.md and CONTRIBUTING.md name exists', () => {
    const { scripts } = JSON.parse(read('package.json'))
    const named = [...`${read('README.md')}${read('CONTRIBUTING.md')}`.matchAll(/npm (?:run )?(start|test|[a-z]+)\b/g)]
    for (const [call, name] of named) if (name !== 'ci' && name !== 'run') assert.ok(name! in scripts, call)
  })

  test('every command that is shown exists', async () => {
    const said: string[] = []
    const terminal = { environment: {}, out: (text: string) => void said.push(text), err: () => {} }
    assert.equal(await run(['help'], terminal), 0)
    for (const page of pages) {
      const shown = read(page).matchAll(/(?:npm run sallyport --|npx sallyport|node dist\/src\/main\.js) ([a-z]+)/g)
      for (const [call, name] of shown)
        assert.match(`${said.join()}\n  help`, new RegExp(`^ {2}${name}\\b`, 'm'), `${page}: ${call}`)
    }
  })

  test('decisions are numbered without a gap', () => {
    const numbers = globSync('docs/decisions/*.md', { cwd: root })
      .map((path) => Number(/(\d{4})-/.exec(path)?.[1]))
      .sort((a, b) => a - b)
    assert.deepEqual(
      numbers,
      numbers.map((_, index) => index + 1),
    )
  })
})
