import assert from 'node:assert/strict'
import { execFile } from 'node:child_process'
import { randomBytes } from 'node:crypto'
import { chmodSync, globSync, mkdirSync, readFileSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { after, before, describe, test } from 'node:test'
import { type Backend, startBackend } from '../backend.ts'
import { type GatewayProcess, startProcess } from '../processes.ts'

/**
 * Every `sh` block of README.md and docs/guides is run as it stands there, in the folder of a services.json that says
 * what the guides say. Each command must end with 0. Where a block without a language follows, that is what it prints.
 */
const root = join(import.meta.dirname, '..', '..')

/** Blocks that are not run here, by how they begin, and why. */
const elsewhere: readonly (readonly [start: string, reason: string])[] = [
  ['npm ci', 'test/examples/start.test.ts starts the demo'],
  ['npm run -s sallyport -- check', 'serves until it is stopped; test/cli'],
  ['sallyport start --workers', 'serves until it is stopped; test/features/workers.test.ts'],
  ['git show origin/main:services.json', 'wants a repository with two revisions; test/guides/policies.test.ts'],
  ['npm run bench', 'takes minutes'],
]
/** Blocks that end with another exit code than 0, by how they begin. */
const codes: Readonly<Record<string, number>> = { 'sallyport explain GET /orders/ada': 1 }

interface Block {
  readonly file: string
  readonly command: string
  /** What the guide says that is printed. */
  readonly printed: string | undefined
}

const read = (file: string) => readFileSync(join(root, file), 'utf8')
const blocks = ['README.md', ...globSync('docs/guides/*.md', { cwd: root }).sort()].flatMap((file) =>
  [...read(file).matchAll(/^```sh\n([\s\S]*?)^```$(?:\n+^```\n([\s\S]*?)^```$)?/gm)].map(
    ([, command, printed]): Block => ({ file, command: command!, printed }),
  ),
)
const isElsewhere = ({ command }: Block) => elsewhere.some(([start]) => command.startsWith(start))

/** The JSON of a guide that has a member of this name, or is a list. */
function exampleOf(guide: string, member: string) {
  const examples = [...read(`docs/guides/${guide}.md`).matchAll(/^```json\n([\s\S]*?)^```$/gm)].map(([, text]) => text!)
  const found = examples.find(
    (text) => text.trimStart().startsWith(member === '[' ? '[' : '{') && text.includes(member),
  )
  assert(found, `docs/guides/${guide}.md has no example with ${member}`)
  return JSON.parse(found)
}

let backend: Backend
let gateway: GatewayProcess
let environment: Record<string, string>

before(async () => {
  const document = { openapi: '3.1.0', info: { title: 'Orders', version: '1' }, paths: { '/{owner}': { get: {} } } }
  backend = await startBackend((_req, res) => {
    res.setHeader('Content-Type', 'application/json')
    res.end(JSON.stringify(document))
  })
  const { issuers, ...rest } = exampleOf('built-in-issuer', '"issuers"')
  const service = exampleOf('explain', '"targets"')
  const definition = {
    ...rest,
    ...exampleOf('cors', '"cors"'),
    issuers: {
      ...issuers,
      old: {
        type: 'secret',
        issuer: 'https://old.example',
        audience: 'api',
        secret: randomBytes(48).toString('base64'),
        revocation: 'allowlist',
      },
    },
    services: [{ ...service, targets: [backend.url] }],
  }
  environment = { REPORT_SECRET: 'of-the-report' }
  gateway = await startProcess(definition, {
    environment,
    files: {
      'users.json': JSON.stringify(exampleOf('built-in-issuer', '[')),
      'personas.json': JSON.stringify(exampleOf('policies', '"guest": null')),
    },
  })
  const { folder, url, adminUrl } = gateway
  const programs = join(folder, 'bin')
  mkdirSync(programs)
  writeFileSync(
    join(programs, 'sallyport'),
    `#!/bin/sh\nexec "${process.execPath}" "${join(root, 'src', 'main.ts')}" "$@"\n`,
  )
  chmodSync(join(programs, 'sallyport'), 0o755)
  writeFileSync(join(folder, '.curlrc'), 'silent\nshow-error\nfail-with-body\nmax-time = 20\n')
  Object.assign(environment, {
    PATH: `${programs}:${process.env['PATH']}`,
    CURL_HOME: folder,
    PORT: new URL(url).port,
    ADMIN_PORT: new URL(adminUrl).port,
  })
})
after(async () => {
  await gateway?.[Symbol.asyncDispose]()
  await backend?.[Symbol.asyncDispose]()
})

function shell(command: string): Promise<{ readonly code: number; readonly out: string; readonly err: string }> {
  return new Promise((resolve) => {
    const child = execFile(
      'sh',
      ['-eu', '-c', command],
      { cwd: gateway.folder, env: environment, timeout: 60_000 },
      (error, out, err) => resolve({ code: error ? Number(error.code ?? -1) : 0, out, err }),
    )
    // A password for whoever asks for one.
    child.stdin!.end('secret1234\n')
  })
}

/** Names that are different at every gateway, by those that stand in the guides. */
async function namesHere(command: string): Promise<string> {
  const { url, adminUrl } = gateway
  const here = command
    .replaceAll(/http:\/\/(?:localhost|127\.0\.0\.1):8080/g, url)
    .replaceAll(/http:\/\/(?:localhost|127\.0\.0\.1):8081/g, adminUrl)
  const first = async (words: string, at: (value: never) => string) =>
    at(JSON.parse((await shell(`${words} --json`)).out) as never)
  if (here.includes('Om2pMFST'))
    return here.replaceAll(
      'Om2pMFST',
      await first('sallyport keys list', ({ keys }: { keys: { id: string }[] }) => keys[0]!.id),
    )
  if (here.includes('K5xQm…'))
    return here.replaceAll(
      'K5xQm…',
      await first('sallyport issuer-keys list', ({ keys }: { keys: { kid: string }[] }) => keys[0]!.kid),
    )
  if (!here.includes('8c30a87d02376665-000001')) return here
  const refused = (await (await fetch(`${url}/orders/ada`)).json()) as { instance: string }
  return here.replaceAll('8c30a87d02376665-000001', refused.instance)
}

describe('the commands in README.md and docs/guides', () => {
  test('are all found, and none that is run elsewhere is gone', () => {
    assert(blocks.length >= 15, `${blocks.length}`)
    for (const [start] of elsewhere)
      assert(
        blocks.some(({ command }) => command.startsWith(start)),
        start,
      )
    for (const start of Object.keys(codes))
      assert(
        blocks.some(({ command }) => command.startsWith(start)),
        start,
      )
  })

  for (const block of blocks) {
    if (isElsewhere(block)) continue
    const { file, command, printed } = block
    test(`${file}: ${command.split('\n')[0]}`, async () => {
      const { code, out, err } = await shell(await namesHere(command))
      const expected = Object.entries(codes).find(([start]) => command.startsWith(start))?.[1] ?? 0
      assert.equal(code, expected, `${out}\n${err}`)
      if (printed !== undefined) assert.equal(out, printed)
    })
  }
})
