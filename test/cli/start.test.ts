import assert from 'node:assert/strict'
import { execFileSync } from 'node:child_process'
import { readFileSync, writeFileSync } from 'node:fs'
import { mkdtemp, rm, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { describe, test } from 'node:test'
import { pathToFileURL } from 'node:url'
import { start } from '../../src/cli/start.ts'
import { silent } from '../../src/telemetry/log.ts'
import { startBackend } from '../backend.ts'
import { startProcess } from '../processes.ts'

const notes = pathToFileURL(join(import.meta.dirname, 'note-modules.ts')).href

/** Each of them costs a start more than the chain that a request walks through. */
const needless = {
  main: [
    '@redocly/openapi-core',
    '@scalar/openapi-upgrader',
    'ajv',
    'got',
    'ioredis',
    'js-yaml',
    'pino',
    'undici',
    'yaml',
  ],
  thread: ['@redocly/openapi-core', 'ajv', 'got', 'yaml', 'zod'],
}

describe('sallyport start', () => {
  test('says at once that the file of its store is none, and does not try again', async (t) => {
    const folder = await mkdtemp(join(tmpdir(), 'sallyport-start-'))
    t.after(() => rm(folder, { recursive: true, force: true }))
    const config = join(folder, 'services.json')
    const service = { name: 'orders', path: '/orders', targets: ['http://127.0.0.1:9'], openapi: false, security: [] }
    await writeFile(config, JSON.stringify({ store: { type: 'sqlite', path: 'services.json' }, services: [service] }))
    const logged: string[] = []
    const note = (_facts: object, message: string) => void logged.push(message)
    const log = { debug: note, info: note, warn: note, error: note }
    await assert.rejects(
      start({ config, environment: { PORT: '0', ADMIN_PORT: '0' }, log }),
      /is not a SQLite database; name another path, or move it away/,
    )
    assert.deepEqual(
      logged.filter((message) => /try/.test(message)),
      [],
    )
  })

  test('takes up what is written while it starts', async (t) => {
    const folder = await mkdtemp(join(tmpdir(), 'sallyport-start-'))
    t.after(() => rm(folder, { recursive: true, force: true }))
    const config = join(folder, 'services.json')
    const write = (path: string) => {
      const service = { name: 'orders', path, targets: ['http://127.0.0.1:9'], openapi: false, security: [] }
      writeFileSync(config, JSON.stringify({ store: { type: 'memory' }, services: [service] }))
    }
    write('/before')
    let seen = false
    const environment = {
      PORT: '0',
      get ADMIN_PORT() {
        // Looked at when the file has been read.
        if (!seen) write('/after')
        seen = true
        return '0'
      },
    }
    const gateway = await start({ config, environment, log: silent })
    t.after(() => gateway.close())
    assert(seen)
    assert.equal((await fetch(`${gateway.url}/before`)).status, 404)
    assert.equal((await fetch(`${gateway.url}/after`)).status, 502)
  })

  test('reads nothing before its first answer that the answer does not need', async (t) => {
    const folder = await mkdtemp(join(tmpdir(), 'sallyport-start-'))
    t.after(() => rm(folder, { recursive: true, force: true }))
    await using backend = await startBackend()
    const list = join(folder, 'modules')
    await using gateway = await startProcess(
      {
        store: { type: 'memory' },
        services: [{ name: 'orders', path: '/orders', targets: [backend.url], openapi: false, security: [] }],
      },
      { environment: { NODE_OPTIONS: `--import=${notes}`, NOTE_MODULES: list } },
    )
    const packagesOf = (thread: string) =>
      new Set(
        readFileSync(list, 'utf8')
          .split('\n')
          .filter((line) => line.startsWith(`${thread} `))
          .flatMap((line) => /.*\/node_modules\/((?:@[^/]+\/)?[^/]+)/.exec(line)?.[1] ?? []),
      )

    assert.equal((await fetch(`${gateway.url}/orders/1`)).status, 200)
    const [main, thread] = [packagesOf('main'), packagesOf('thread')]
    // What is noted is what is read: these are.
    for (const needed of ['koa', '@koa/router', 'zod']) assert(main.has(needed), needed)
    assert(thread.has('js-yaml'))
    // Nobody can sign in here, and nobody is signed in elsewhere.
    for (const name of [...needless.main, 'oidc-provider', 'openid-client']) assert(!main.has(name), name)
    for (const name of needless.thread) assert(!thread.has(name), name)

    // The issuer that knows nobody is there all the same.
    const discovery = await fetch(`${gateway.url}/oauth2/.well-known/openid-configuration`)
    assert.equal(discovery.status, 200)
    assert.equal(
      ((await discovery.json()) as { issuer: string }).issuer,
      `${new URL(gateway.out().match(/serves (\S+),/)![1]!).origin}/oauth2`,
    )
    assert(packagesOf('main').has('oidc-provider'))
  })
  test('sets no flag that V8 does not know', () => {
    const entrance = readFileSync(join(import.meta.dirname, '../../src/main.ts'), 'utf8')
    const flags = [...entrance.matchAll(/setFlagsFromString\('(--[a-z-]+)'\)/g)].map(([, flag]) => flag!)
    assert.equal(flags.length, 2)
    const known = execFileSync(process.execPath, ['--v8-options'], { encoding: 'utf8' })
    for (const flag of flags) assert.match(known, new RegExp(`^  ${flag.replace('--no-', '--')} `, 'm'))
  })
})
