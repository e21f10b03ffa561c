import assert from 'node:assert/strict'
import { spawn, spawnSync } from 'node:child_process'
import { cpSync, existsSync, mkdirSync, mkdtempSync, readFileSync, rmSync, statSync, writeFileSync } from 'node:fs'
import { createServer } from 'node:http'
import type { AddressInfo } from 'node:net'
import { tmpdir } from 'node:os'
import { basename, delimiter, dirname, join, resolve } from 'node:path'
import { after, before, describe, test } from 'node:test'
import { setTimeout as wait } from 'node:timers/promises'
import { parse as parseYaml } from 'yaml'
import { loadDefinition } from '../src/config/load.ts'

const root = resolve(import.meta.dirname, '..')

interface Instruction {
  readonly keyword: string
  readonly flags: Readonly<Record<string, string>>
  /** The words, or the elements of the JSON form. */
  readonly words: readonly string[]
  readonly text: string
}

interface Stage {
  readonly base: string
  readonly name: string
  readonly instructions: readonly Instruction[]
}

/** As much of the Dockerfile language as ours uses; anything else is an error, so that no line goes untested. */
function parse(text: string): Stage[] {
  const stages: { base: string; name: string; instructions: Instruction[] }[] = []
  const logical = text
    .replace(/^#.*$/gm, '')
    .replace(/\\\n\s*/g, ' ')
    .split('\n')
    .map((line) => line.trim())
    .filter(Boolean)
  for (const line of logical) {
    const [, keyword, flagText, rest] = /^([A-Z]+)\s+((?:--[a-z-]+=\S+\s+)*)(.*)$/.exec(line)!
    const flags = Object.fromEntries(
      [...flagText!.matchAll(/--([a-z-]+)=(\S+)/g)].map(([, name, value]) => [name, value]),
    )
    const json = /^(?:CMD\s+)?(\[.*\])$/.exec(rest!)
    const words = json ? (JSON.parse(json[1]!) as string[]) : rest!.split(/\s+/)
    if (keyword === 'FROM') {
      assert.ok(words.length === 1 || words[1] === 'AS', line)
      stages.push({ base: words[0]!, name: words[2] ?? '', instructions: [] })
    } else {
      stages.at(-1)!.instructions.push({ keyword: keyword!, flags, words, text: rest! })
    }
  }
  return stages
}

const stages = parse(readFileSync(join(root, 'Dockerfile'), 'utf8'))
const final = stages.at(-1)!
const all = stages.flatMap((stage) => stage.instructions)
const only = (keyword: string) => {
  const found = final.instructions.filter((instruction) => instruction.keyword === keyword)
  assert.equal(found.length, 1, `the last stage has one ${keyword}`)
  return found[0]!
}

describe('the container image', () => {
  test('copies only files that exist and that the ignore file lets through', () => {
    const allowed = readFileSync(join(root, '.dockerignore'), 'utf8')
      .split('\n')
      .filter((line) => line.startsWith('!'))
    const sources = all
      .filter(({ keyword, flags }) => keyword === 'COPY' && !flags['from'])
      .flatMap(({ words }) => words.slice(0, -1))
    assert.ok(sources.length >= 5)
    for (const source of sources) {
      assert.ok(existsSync(join(root, source)), source)
      assert.ok(
        allowed.some((line) => source === line.slice(1) || source.startsWith(`${line.slice(1)}/`)),
        source,
      )
    }
    for (const line of allowed)
      assert.ok(
        sources.some((source) => source === line.slice(1)),
        `${line} is of no use`,
      )
  })

  test('runs on the Node version that the package asks for, as a user without rights', () => {
    const { engines } = JSON.parse(readFileSync(join(root, 'package.json'), 'utf8'))
    for (const { base } of stages) assert.equal(base, `node:${/\d+/.exec(engines.node)![0]}-slim`)
    const keywords = final.instructions.map(({ keyword }) => keyword)
    assert.equal(only('USER').text, 'node')
    assert.ok(keywords.lastIndexOf('RUN') < keywords.indexOf('USER'), 'nothing is installed after the change of user')
  })
})

describe('compose.yaml', () => {
  interface ComposeService {
    readonly build?: string | { readonly context: string; readonly target: string }
    readonly image?: string
    readonly command?: readonly string[]
    readonly ports?: readonly string[]
    readonly volumes?: readonly string[]
    readonly environment?: Readonly<Record<string, string>>
    readonly healthcheck?: object
    readonly read_only?: boolean
    readonly cap_drop?: readonly string[]
    readonly security_opt?: readonly string[]
  }
  const text = readFileSync(join(root, 'compose.yaml'), 'utf8')
  const services = Object.entries<ComposeService>(parseYaml(text, { merge: true }).services)

  test('gives no container more than it needs', () => {
    for (const [name, { read_only, cap_drop, security_opt, ports }] of services) {
      assert.equal(read_only, true, name)
      assert.deepEqual(cap_drop, ['ALL'], name)
      assert.deepEqual(security_opt, ['no-new-privileges:true'], name)
      assert.equal(ports !== undefined, name === 'gateway', `${name}: only the gateway has a port outside`)
      for (const port of ports ?? []) assert.match(port, /^127\.0\.0\.1:/)
    }
    assert.ok(Object.fromEntries(services)['redis']?.healthcheck)
  })

  test('names only stages, files and volumes that exist', () => {
    const named = Object.keys(parseYaml(text).volumes)
    for (const [, { build, command, volumes }] of services) {
      if (typeof build === 'object')
        assert.ok(
          stages.some(({ name }) => name === build.target),
          build.target,
        )
      if (command?.[0] === 'node') assert.ok(existsSync(join(root, command[1]!)), command[1])
      for (const volume of volumes ?? []) {
        const [source] = volume.split(':')
        assert.ok(source!.startsWith('./') ? existsSync(join(root, source!)) : named.includes(source!), volume)
      }
    }
  })

  test('runs the gateway with a configuration that holds, and services at the places it names', async () => {
    const { environment, volumes } = Object.fromEntries(services)['gateway']!
    const file = volumes!.map((volume) => volume.split(':')).find(([, target]) => target === '/app/services.json')![0]!
    const { PUBLIC_URL: _, ...rest } = environment!
    const definition = await loadDefinition(join(root, file), rest)
    for (const { name, targets } of definition.services) {
      for (const { url } of targets) {
        const { hostname, port } = new URL(url)
        const service = Object.fromEntries(services)[hostname]
        assert.ok(service, `${name} is at ${hostname}, which compose.yaml does not start`)
        assert.ok(Object.values(service.environment!).includes(port), `${hostname} does not listen on ${port}`)
      }
    }
  })
})

describe('what the image holds, built from exactly the files it copies', { timeout: 540_000 }, () => {
  const workshop = mkdtempSync(join(tmpdir(), 'sallyport-image-'))
  after(() => rmSync(workshop, { recursive: true, force: true }))

  // This machine need not know the image's user, and Node 24 is the project's own.
  const tools = join(workshop, 'tools')
  const environment: Record<string, string> = {
    PATH: [tools, join(root, 'node_modules', '.bin'), process.env['PATH']].join(delimiter),
    HOME: process.env['HOME'] ?? workshop,
    npm_config_prefer_offline: 'true',
    // The shared cache of this machine stays: only the image throws its own away.
    npm_config_cache: spawnSync('npm', ['config', 'get', 'cache'], { encoding: 'utf8', cwd: root }).stdout.trim(),
    ...Object.fromEntries(
      Object.entries(process.env).filter(([name]) =>
        /^(https?_proxy|no_proxy|npm_config_registry|NPM_CONFIG_.*|NODE_EXTRA_CA_CERTS)$/i.test(name),
      ),
    ),
  } as Record<string, string>

  /** The folder that stands for a path of a stage's file system. */
  const place = (stage: number, path: string) => join(workshop, String(stage), path)

  before(() => {
    mkdirSync(tools)
    for (const command of ['chown']) writeFileSync(join(tools, command), '#!/bin/sh\n', { mode: 0o755 })
    stages.forEach((stage, number) => {
      let folder = '/'
      for (const { keyword, flags, words, text } of stage.instructions) {
        if (keyword === 'WORKDIR') {
          folder = resolve(folder, text)
          mkdirSync(place(number, folder), { recursive: true })
        } else if (keyword === 'COPY') {
          const from = flags['from'] ? stages.findIndex(({ name }) => name === flags['from']) : -1
          const target = words.at(-1)!
          for (const source of words.slice(0, -1)) {
            const origin = from >= 0 ? place(from, source) : join(root, source)
            const intoFolder = target.endsWith('/') && statSync(origin).isFile()
            const destination = place(number, resolve(folder, intoFolder ? join(target, basename(source)) : target))
            mkdirSync(dirname(destination), { recursive: true })
            cpSync(origin, destination, { recursive: true })
          }
        } else if (keyword === 'RUN') {
          const command = text.replace('npm cache clean --force', 'true')
          const result = spawnSync('bash', ['-ec', command], {
            cwd: place(number, folder),
            env: environment,
            encoding: 'utf8',
            timeout: 300_000,
          })
          assert.equal(result.status, 0, `RUN ${text}\n${result.error ?? ''}${result.stdout}${result.stderr}`)
        } else {
          assert.ok(['ENV', 'USER', 'VOLUME', 'EXPOSE', 'HEALTHCHECK', 'CMD'].includes(keyword), keyword)
        }
      }
    })
  })

  const last = stages.length - 1
  const app = place(last, '/app')

  test('is what runs and nothing else', () => {
    for (const name of ['dist/src/main.js', 'dist/src/docs/page/index.html', 'data', 'node_modules/koa']) {
      assert.ok(existsSync(join(app, name)), name)
    }
    // What only development needs, as the lock file has it: some of it is named there and needed by others, too.
    const { packages } = JSON.parse(readFileSync(join(app, 'package-lock.json'), 'utf8'))
    const onlyInDevelopment = Object.keys(packages).filter((path) => packages[path].dev === true)
    assert.ok(onlyInDevelopment.length > 50)
    for (const name of ['src', 'test', ...onlyInDevelopment]) {
      assert.ok(!existsSync(join(app, name)), name)
    }
  })

  test('starts, is healthy by its own health check, and stops when asked', async () => {
    const document = {
      openapi: '3.0.3',
      info: { title: 'Hello', version: '1' },
      paths: { '/greeting': { get: { operationId: 'greet', responses: { 200: { description: 'hello' } } } } },
    }
    const backend = createServer((request, response) =>
      response.end(request.url === '/openapi.json' ? JSON.stringify(document) : 'hello'),
    )
    await new Promise<void>((listening) => backend.listen(0, '127.0.0.1', listening))
    const port = await freePort()
    const adminPort = await freePort()
    writeFileSync(
      join(app, 'services.json'),
      JSON.stringify({
        gateway: { admin: { port: adminPort }, publicUrl: `http://127.0.0.1:${port}` },
        store: { type: 'memory' },
        services: [
          {
            name: 'hello',
            path: '/hello',
            targets: [`http://127.0.0.1:${(backend.address() as AddressInfo).port}`],
            security: [],
          },
        ],
      }),
    )
    const set = Object.fromEntries(only('ENV').words.map((word) => word.split('=') as [string, string]))
    const env = { ...environment, ...set, HOST: '127.0.0.1', PORT: String(port) }
    const [command, ...parameters] = only('CMD').words
    const gateway = spawn(command!, parameters, { cwd: app, env, stdio: ['ignore', 'pipe', 'pipe'] })
    let said = ''
    for (const stream of [gateway.stdout, gateway.stderr])
      stream.setEncoding('utf8').on('data', (text) => (said += text))
    const ended = new Promise<number | null>((resolve) => gateway.once('exit', resolve))
    try {
      const [check, ...checkParameters] = only('HEALTHCHECK').words
      const healthy = () => spawnSync(check!, checkParameters, { cwd: app, env, timeout: 5_000 }).status === 0
      for (let tries = 0; tries < 60 && gateway.exitCode === null && !healthy(); tries++) await wait(500)
      assert.ok(healthy(), said)
      const answer = await fetch(`http://127.0.0.1:${port}/hello/`)
      assert.equal(await answer.text(), 'hello')
      const published = (await (await fetch(`http://127.0.0.1:${port}/openapi.json`)).json()) as { paths: object }
      assert.ok('/hello/greeting' in published.paths, JSON.stringify(published.paths))
      const docs = await fetch(`http://127.0.0.1:${port}/docs`)
      assert.match(await docs.text(), /swagger-ui-bundle/)
      gateway.kill('SIGTERM')
      assert.equal(await Promise.race([ended, wait(35_000, 'still running', { ref: false })]), 0, said)
    } finally {
      if (gateway.exitCode === null) gateway.kill('SIGKILL')
      backend.closeAllConnections()
      backend.close()
    }
  })
})

async function freePort(): Promise<number> {
  const server = createServer()
  await new Promise<void>((listening) => server.listen(0, '127.0.0.1', listening))
  const { port } = server.address() as AddressInfo
  await new Promise((closed) => server.close(closed))
  return port
}
