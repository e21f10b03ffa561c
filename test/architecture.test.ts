import assert from 'node:assert/strict'
import { readdirSync, readFileSync } from 'node:fs'
import { dirname, join, relative } from 'node:path'
import { describe, test } from 'node:test'

const source = join(import.meta.dirname, '..', 'src')

/** Ground floor first. A file imports from its own room or from a floor below, never from above. */
const floors = [
  ['kind.ts', 'values.ts', 'http'],
  ['tools.ts', 'telemetry'],
  ['store'],
  ['issuer'],
  ['authentication', 'authorization', 'throttling', 'validation', 'propagation', 'caching', 'upstream'],
  ['catalogue.ts'],
  ['config'],
  ['openapi', 'docs'],
  ['gateway'],
  ['middleware'],
  ['app.ts', 'server.ts'],
  ['admin'],
  ['cli'],
  ['main.ts'],
]

/** Doors through which a room may look although the room itself is out of reach. */
const contracts = new Set(['tools.ts', 'telemetry/log.ts'])

/** The rooms in the order a request meets them: a room may import from those that the request has passed. */
const journey = ['authentication', 'authorization', 'throttling', 'validation', 'propagation', 'caching', 'upstream']

/** Stands alone: it is a library for backends. */
const alone = 'context'

const files = readdirSync(source, { recursive: true, encoding: 'utf8' }).filter((file) => file.endsWith('.ts'))
const roomOf = (file: string) => file.split('/')[0]!
const floorOf = (file: string) => floors.findIndex((floor) => floor.includes(roomOf(file)))

interface Import {
  readonly from: string
  readonly to: string
  readonly typeOnly: boolean
}

function importsOf(file: string): {
  readonly local: readonly Import[]
  readonly packages: readonly { name: string; typeOnly: boolean }[]
} {
  const text = readFileSync(join(source, file), 'utf8')
  const local: Import[] = []
  const packages: { name: string; typeOnly: boolean }[] = []
  for (const match of text.matchAll(
    /^(?:import|export)( type)?\b[^'"`;]*?from '([^']+)'|^import '([^']+)'|\bimport\('([^']+)'\)/gm,
  )) {
    const to = match[2] ?? match[3] ?? match[4]!
    const typeOnly = match[1] !== undefined
    if (to.startsWith('.')) local.push({ from: file, to: relative(source, join(source, dirname(file), to)), typeOnly })
    else packages.push({ name: to, typeOnly })
  }
  return { local, packages }
}

const imports = new Map(files.map((file) => [file, importsOf(file)]))

describe('the house', () => {
  test('every file stands on a floor', () => {
    assert.deepEqual(
      files.filter((file) => floorOf(file) < 0 && roomOf(file) !== alone),
      [],
    )
  })

  test('imports only go down, and along the way a request walks', () => {
    const climbs = [...imports.values()]
      .flatMap(({ local }) => local)
      .filter(({ from, to }) => {
        if (roomOf(from) === roomOf(to) || contracts.has(to)) return false
        const difference = floorOf(to) - floorOf(from)
        if (difference !== 0) return difference > 0
        const [mine, theirs] = [journey.indexOf(roomOf(from)), journey.indexOf(roomOf(to))]
        return mine >= 0 && theirs > mine
      })
      .map(({ from, to }) => `${from} → ${to}`)
    assert.deepEqual(climbs, [])
  })

  test('no import goes round in a circle', () => {
    const done = new Set<string>()
    const visit = (file: string, trail: readonly string[]) => {
      assert(!trail.includes(file), [...trail, file].join(' → '))
      if (done.has(file)) return
      for (const { to, typeOnly } of imports.get(file)?.local ?? []) if (!typeOnly) visit(to, [...trail, file])
      done.add(file)
    }
    for (const file of files) visit(file, [])
  })

  test('Koa begins at the middleware; below it only the issuer, which is an application itself, knows it', () => {
    const rooms = ['middleware', 'app.ts', 'issuer', 'admin', 'cli']
    const users = files.filter((file) =>
      imports.get(file)!.packages.some(({ name }) => /^(koa|@koa\/)/.test(name) && name !== 'koa-jwt'),
    )
    assert.deepEqual(
      users.filter((file) => !rooms.includes(roomOf(file))),
      [],
    )
  })

  test('the library for backends stands alone', () => {
    const strangers = files
      .filter((file) => roomOf(file) === alone)
      .flatMap((file) => imports.get(file)!.local.filter(({ to }) => roomOf(to) !== alone))
    const borrowers = [...imports.values()].flatMap(({ local }) =>
      local.filter(({ from, to }) => roomOf(to) === alone && roomOf(from) !== alone),
    )
    assert.deepEqual([...strangers, ...borrowers], [])
  })

  test('the forwarding path knows no client that rewrites paths', () => {
    const careless = files.filter(
      (file) =>
        ['middleware', 'upstream'].includes(roomOf(file)) &&
        imports.get(file)!.packages.some(({ name, typeOnly }) => name === 'got' && !typeOnly),
    )
    assert.deepEqual(careless, [])
  })
})
