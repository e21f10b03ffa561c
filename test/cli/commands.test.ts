import assert from 'node:assert/strict'
import { mkdtemp, readdir, readFile, rm, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { basename, join } from 'node:path'
import { describe, test } from 'node:test'
import { run } from '../../src/cli/run.ts'
import { startBackend } from '../backend.ts'

const sound = {
  securitySchemes: {
    bearer: { type: 'http', scheme: 'bearer' },
    key: { type: 'apiKey', in: 'header', name: 'X-API-Key' },
  },
  services: [
    {
      name: 'orders',
      path: '/orders',
      targets: ['http://127.0.0.1:4001'],
      openapi: false,
      security: [{ bearer: ['editor'] }, { key: [] }],
      allow: { roles: ['admin'] },
      limits: {
        rate: [{ requests: 100, per: '1m' }],
        quota: [{ requests: 9, per: 'day', by: 'key' }],
        concurrent: 200,
      },
      routes: [
        { match: 'GET /health', security: [] },
        {
          match: 'DELETE /{id}',
          allow: { permissions: ['orders:delete'] },
          limits: { quota: [], plans: false, body: '1kb' },
        },
      ],
    },
  ],
}

interface Outcome {
  readonly code: number
  readonly out: string
  readonly err: string
}

/** Run a command over a services.json in a folder of its own. */
async function sallyport(
  words: string[],
  definition: unknown,
  look?: (folder: string) => Promise<void>,
): Promise<Outcome> {
  const folder = await mkdtemp(join(tmpdir(), 'sallyport-cli-'))
  const lines = { out: [] as string[], err: [] as string[] }
  try {
    const config = join(folder, 'services.json')
    await writeFile(config, typeof definition === 'string' ? definition : JSON.stringify(definition))
    const code = await run([...words, '--config', config], {
      environment: {},
      out: (text) => void lines.out.push(text),
      err: (text) => void lines.err.push(text),
    })
    await look?.(folder)
    return { code, out: lines.out.join('\n'), err: lines.err.join('\n') }
  } finally {
    await rm(folder, { recursive: true })
  }
}

describe('sallyport check', () => {
  test('is 0 and one line when the file is sound', async () => {
    const { code, out } = await sallyport(['check'], sound)
    assert.equal(code, 0)
    assert.match(out, /is sound: 1 service, 2 security schemes, 1 issuer/)
  })

  test('warns of a pattern that guards what is below a path and not the path itself', async () => {
    const guarded = { allow: { roles: ['admin'] } }
    const check = async (routes: object[], words: string[] = []) =>
      sallyport(
        ['check', ...words],
        JSON.stringify({
          services: [{ name: 'a', path: '/a', targets: ['http://127.0.0.1:1'], security: [{ bearer: [] }], routes }],
        }),
      )
    const { code, err } = await check([{ match: '/admin/*', ...guarded }])
    assert.equal(code, 0)
    assert.match(
      err,
      /services\.json:1:\d+ warning: \/services\/0\/routes\/0\/match: "\/admin\/\*" guards what is below \/a\/admin\/, and neither \/a\/admin nor \/a\/admin\/ themselves.*add a route "\/admin"/,
    )
    const machines = await check([{ match: 'DELETE /{id}/*', ...guarded }], ['--json'])
    assert.equal(JSON.parse(machines.out).warnings[0].pointer, '/services/0/routes/0/match')
    for (const routes of [
      [
        { match: '/admin/*', ...guarded },
        { match: '/Admin/', ...guarded },
      ],
      [
        { match: 'DELETE /{id}/*', ...guarded },
        { match: '/{other}', ...guarded },
      ],
      [{ match: '/public/*', security: [] }],
      [{ match: '/admin', ...guarded }],
    ])
      assert.doesNotMatch((await check(routes)).err, /warning/, JSON.stringify(routes))
  })

  test('is 1 with every mistake, each with file, line and pointer', async () => {
    const { code, err } = await sallyport(['check'], '{\n  "services": [{ "name": "A", "path": "/a" }]\n}')
    assert.equal(code, 1)
    assert.match(err, /services\.json:2:\d+ \/services\/0\/name: /)
    assert.match(err, /services\.json:2:\d+ \/services\/0\/targets: /)
  })

  test('warns of checks of requests that are easily got round, unless that is said', async () => {
    const service = { ...sound.services[0], validate: 'enforce' }
    const routes = [
      { match: 'GET /a', validate: { mode: 'enforce', unchecked: 'pass' } },
      { match: 'GET /b', validate: { mode: 'enforce' } },
      { match: 'GET /c', validate: 'shadow' },
    ]
    const definition = { ...sound, services: [{ ...service, routes }] }
    const { code, err } = await sallyport(['check'], definition)
    assert.equal(code, 0)
    assert.equal(err.split('\n').length, 2)
    assert.match(err, /services\.json:1:\d+ warning: \/services\/0\/validate: .*"unchecked": "refuse"/)
    assert.match(err, / warning: \/services\/0\/routes\/1\/validate: /)
  })

  test('says the same to machines', async () => {
    const { code, out } = await sallyport(['check', '--json'], '{ "services": [] }')
    assert.equal(code, 1)
    assert.equal(JSON.parse(out).mistakes[0].pointer, '/services')
  })
})

test('an option that is not there is told, with the one that may be meant', async () => {
  const { code, err } = await sallyport(['keys', 'create', '--owner', 'a', '--rolls', 'x'], sound)
  assert.equal(code, 2)
  assert.match(err, /^sallyport: there is no option --rolls; did you mean --roles\?$/m)
})

test('no drift is found in what cannot be read, and that is said', async () => {
  const definition = { ...sound, services: [{ ...sound.services[0], openapi: './none.yaml' }] }
  const { out } = await sallyport(['drift', '--offline'], definition)
  assert.match(out, /^orders: its document cannot be read \(there is no such file\)$/m)
  assert.match(out, /^No drift, as far as documents can be read\.$/m)
})

describe('sallyport check looks into what services.json names', () => {
  const issuer = (users: string, more: object = {}) => ({
    ...sound,
    issuers: { local: { type: 'embedded', users, ...more } },
    securitySchemes: {
      bearer: { type: 'http', scheme: 'bearer' },
      key: { type: 'apiKey', in: 'header', name: 'X-Key' },
    },
  })
  const service = (openapi: string) => ({ ...sound, services: [{ ...sound.services[0], openapi }] })
  const here = join(import.meta.dirname, '../../examples/users.json')

  test('and says which file is not there, or is not what it should be', async () => {
    for (const [definition, expected] of [
      [issuer('./nobody.json'), /\/issuers\/local\/users: .*nobody\.json: there is no such file/],
      [issuer('./services.json'), /\/issuers\/local\/users: .*services\.json: .*is not a list of users/],
      [
        { ...sound, store: { type: 'sqlite', path: 'services.json' } },
        /\/store\/path: .* is not a SQLite database; name/,
      ],
      [{ ...sound, store: { type: 'sqlite', path: '.' } }, /\/store\/path: .* is a folder; name a file in it/],
      [service('./none.yaml'), /\/services\/0\/openapi: there is no file .*none\.yaml/],
      [service('./services.json'), /\/services\/0\/openapi: .*services\.json: /],
      [
        issuer(here, { clients: [{ id: 'a', secret: 'a-long-secret', grants: ['password'] }] }),
        /\/issuers\/local: the client "a" has the grant "password"/,
      ],
      [
        { ...issuer(here), gateway: { listen: { host: '0.0.0.0' } } },
        /\/issuers\/local\/users: .*password is in the clear, which is for 127\.0\.0\.1 only/,
      ],
      [
        {
          ...issuer(here, { allowDemoUsers: true }),
          gateway: { listen: { host: '0.0.0.0' } },
          store: { type: 'memory' },
        },
        /\/issuers\/local: .*its store forgets signing keys/,
      ],
    ] as const) {
      const { code, err } = await sallyport(['check'], definition)
      assert.equal(code, 1, err)
      assert.match(err, expected)
      assert.match(err, /services\.json:1:\d+/)
    }
  })

  test('all at once, and keeps nothing', async () => {
    const definition = { ...issuer('./nobody.json'), services: [{ ...sound.services[0], openapi: './none.yaml' }] }
    const { code, out } = await sallyport(['check', '--json'], definition, async (folder) =>
      assert.deepEqual(await readdir(folder), ['services.json']),
    )
    assert.equal(code, 1)
    assert.deepEqual(
      JSON.parse(out).mistakes.map(({ pointer }: { pointer: string }) => pointer),
      ['/issuers/local/users', '/services/0/openapi'],
    )
    assert.equal((await sallyport(['check'], issuer(here))).code, 0)
  })
})

describe('sallyport routes', () => {
  test('shows each row as it is enforced', async () => {
    const { code, out } = await sallyport(['routes', '--json'], sound)
    assert.equal(code, 0)
    const limits = '100/1m by caller, 9/day by key, 200 at once'
    assert.deepEqual(JSON.parse(out), [
      { method: 'GET', path: '/orders/health', service: 'orders', security: 'public', allow: '', limits },
      {
        method: 'DELETE',
        path: '/orders/{id}',
        service: 'orders',
        security: 'bearer(editor) | key',
        allow: 'roles admin and permissions orders:delete',
        limits: '100/1m by caller, no plans, 200 at once, body 1024 bytes',
      },
      {
        method: '*',
        path: '/orders/*',
        service: 'orders',
        security: 'bearer(editor) | key',
        allow: 'roles admin',
        limits,
      },
    ])
  })

  test('is a table for people', async () => {
    const { out } = await sallyport(['routes'], sound)
    assert.match(
      out,
      /^METHOD +PATH +SERVICE +SECURITY +ALLOW +LIMITS\nGET +\/orders\/health +orders +public +100\/1m by caller, /,
    )
  })
})

describe('sallyport docs build', () => {
  test('writes the document and the schema beside services.json', async () => {
    await using backend = await startBackend((_req, res) =>
      res.end(
        JSON.stringify({
          openapi: '3.1.0',
          info: { title: 'x', version: '1' },
          paths: { '/a': { get: { responses: { 200: { description: 'x' } } } } },
        }),
      ),
    )
    const services = [{ ...sound.services[0], openapi: '/openapi.json', targets: [backend.url] }]
    const { code, out } = await sallyport(['docs', 'build'], { ...sound, services }, async (folder) => {
      const document = JSON.parse(await readFile(join(folder, 'openapi', 'openapi.json'), 'utf8'))
      assert.deepEqual(document.servers, [{ url: 'http://localhost:8080' }])
      assert.deepEqual(document.paths['/orders/a'].get.security, [{ bearer: ['editor'] }, { key: [] }])
      const schema = JSON.parse(await readFile(join(folder, 'openapi', 'services.schema.json'), 'utf8'))
      assert.equal(schema.properties.services.type, 'array')
      assert.match(JSON.stringify(schema.properties.gateway), /HOST and PORT override it/)
    })
    assert.equal(code, 0, out)
  })

  test('is 1 and names the service whose document cannot be read', async () => {
    const services = [{ ...sound.services[0], openapi: '/openapi.json', targets: ['http://127.0.0.1:9'] }]
    const { code, err } = await sallyport(['docs', 'build'], { ...sound, services })
    assert.equal(code, 1)
    assert.match(err, /the document of "orders" could not be read/)
  })
})

describe('sallyport docs lint', () => {
  const document = (type: string) => ({
    openapi: '3.1.0',
    info: { title: 'x', version: '1' },
    paths: {
      '/a': {
        get: {
          parameters: [{ name: 'Authorization', in: type, schema: {} }],
          responses: { 200: { description: 'x' } },
        },
      },
    },
  })
  const services = (...all: object[]) => ({ ...sound, services: all.map((one) => ({ ...sound.services[0], ...one })) })

  test('says what is wrong in each document, with the place of it, and is 1 then', async () => {
    await using backend = await startBackend((req, res) =>
      res.end(JSON.stringify(document(req.url?.startsWith('/good') ? 'header' : 'head'))),
    )
    const definition = services(
      { name: 'bad', path: '/bad', targets: [backend.url], openapi: '/bad.json' },
      { name: 'good', path: '/good', targets: [backend.url], openapi: `${backend.url}/good.json?key=secret` },
      { name: 'gone', path: '/gone', targets: ['http://127.0.0.1:9'], openapi: '/openapi.json' },
      { name: 'none', path: '/none', targets: [backend.url], openapi: false },
    )
    const { code, out } = await sallyport(['docs', 'lint'], definition)
    assert.equal(code, 1)
    assert.match(
      out,
      /^bad: \/bad\.json:1:\d+ error: .*"query", "header", "path", "cookie".* \(struct, at \/paths\/~1a\/get/m,
    )
    assert.match(out, /^bad: \/bad\.json:1:\d+ warning: a parameter needs a name .*\(unusable-parameter/m)
    assert.match(out, /^good: \S+\/good\.json\S*:1:\d+ warning: .*\(authorization-parameter/m)
    assert.match(out, /^gone: \/openapi\.json error: it could not be read: the connection was refused/m)
    assert.match(out, /^3 documents: \d+ errors, \d+ warnings$/m)
    assert.ok(!out.includes('secret') && !out.includes('none'))
    const one = await sallyport(['docs', 'lint', 'good', '--json'], definition)
    assert.equal(one.code, 0)
    const [{ service, findings }, ...rest] = JSON.parse(one.out).documents
    assert.deepEqual([service, rest.length, findings[0].severity], ['good', 0, 'warning'])
    assert.equal((await sallyport(['docs', 'lint', 'nobody'], definition)).code, 2)
  })

  test('and check prints what is found in documents that are files', async () => {
    const folder = await mkdtemp(join(tmpdir(), 'sallyport-documents-'))
    try {
      await writeFile(join(folder, 'a.json'), JSON.stringify(document('header')))
      const definition = services({ openapi: `../${basename(folder)}/a.json` })
      const { code, err, out } = await sallyport(['check'], definition)
      assert.equal(code, 0)
      assert.match(err, /^orders:1:\d+ warning: .*\(authorization-parameter, at \/paths\/~1a\/get\)$/m)
      assert.match(out, /is sound/)
      const { findings } = JSON.parse((await sallyport(['check', '--json'], definition)).out)
      assert.equal(findings[0].code, 'authorization-parameter')
    } finally {
      await rm(folder, { recursive: true })
    }
  })
})

describe('a command that is called wrongly', () => {
  for (const words of [['bogus'], [], ['check', 'extra'], ['docs'], ['routes', '--nope']]) {
    test(`"${words.join(' ')}" is 2, with how it is called`, async () => {
      const { code, err, out } = await sallyport(words, sound)
      assert.equal(code, 2)
      assert.match(err + out, /usage: sallyport/)
    })
  }

  test('says what was meant by a mistyped name', async () => {
    const { code, err } = await sallyport(['chek'], sound)
    assert.equal(code, 2)
    assert.match(err, /there is no command "chek"; did you mean "check"\?/)
  })

  test('shows the help of the command, not the list of all', async () => {
    const { err } = await sallyport(['keys', 'create'], sound)
    assert.match(err, /needs --owner/)
    assert.match(err, /usage: sallyport keys create\|list/)
    assert.match(err, /create --owner WHO/)
    assert.doesNotMatch(err, /prove that the gateway enforces/)
  })

  test('help, before or after a command, says its options and those of every command', async () => {
    for (const words of [
      ['help', 'keys'],
      ['keys', '--help'],
    ]) {
      const { code, out } = await sallyport(words, sound)
      assert.equal(code, 0)
      assert.match(out, /rotate ID[\s\S]*--config FILE[\s\S]*--json/)
    }
    assert.equal((await sallyport(['help', 'kays'], sound)).code, 2)
  })
})

describe('what stands outside services.json and cannot be used', () => {
  const refused = (store: object, more: object = {}) => ({
    ...sound,
    gateway: { listen: { port: 0 }, admin: { port: 0 } },
    store,
    ...more,
  })

  test('a store that is no database is one line that names it', async () => {
    const { code, err } = await sallyport(['start'], refused({ type: 'sqlite', path: 'services.json' }))
    assert.equal(code, 1)
    assert.match(err, /^sallyport: the store file .*services\.json is not a SQLite database/)
  })

  test('a users file that is not there is one line that names it', async () => {
    const issuers = { local: { type: 'embedded', users: './nobody.json' } }
    const { code, err } = await sallyport(['start'], refused({ type: 'memory' }, { issuers }))
    assert.equal(code, 1)
    assert.match(err, /^sallyport: the users file .*nobody\.json cannot be used\n {2}there is no such file$/)
  })
})
