import assert from 'node:assert/strict'
import { mkdtemp, rm, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { describe, test } from 'node:test'
import { startBackends } from '../../examples/backends.ts'
import { run } from '../../src/cli/run.ts'
import { type Proof, prove } from '../../src/cli/verify/prove.ts'
import { openTrial } from '../../src/cli/verify/verify.ts'
import { loadDefinition } from '../../src/config/load.ts'
import { type Backend, startBackend } from '../backend.ts'

const operation = (operationId: string, more: object = {}) => ({
  operationId,
  responses: { 200: { description: 'ok' } },
  ...more,
})
const id = { name: 'id', in: 'path', required: true, schema: { type: 'string' } }
const api = {
  openapi: '3.1.0',
  info: { title: 'Orders', version: '1' },
  paths: {
    '/': {
      get: operation('list'),
      post: operation('create', { requestBody: { content: { 'application/json': {} } } }),
    },
    '/{id}': { get: operation('read', { parameters: [id] }), delete: operation('remove', { parameters: [id] }) },
    '/health': { get: operation('health') },
  },
}

const securitySchemes = {
  bearer: { type: 'http', scheme: 'bearer', issuers: ['local'] },
  apiKey: { type: 'apiKey', in: 'header', name: 'X-API-Key' },
  keyInQuery: { type: 'apiKey', in: 'query', name: 'api_key' },
}

const orders = (backend: Pick<Backend, 'url'>, more: object = {}, rest: object = {}) => ({
  store: { type: 'memory' },
  issuers: { local: { type: 'embedded' } },
  securitySchemes,
  services: [
    {
      name: 'orders',
      path: '/orders',
      targets: [backend.url],
      security: [{ bearer: [] }, { apiKey: [] }],
      routes: [{ match: 'GET /health', security: [] }],
      ...more,
    },
  ],
  ...rest,
})

const serving = (document: object) => startBackend((_req, res) => res.end(JSON.stringify(document)))

async function written<T>(definition: object, use: (config: string) => Promise<T>): Promise<T> {
  const folder = await mkdtemp(join(tmpdir(), 'sallyport-verify-'))
  try {
    const config = join(folder, 'services.json')
    await writeFile(config, JSON.stringify(definition))
    return await use(config)
  } finally {
    await rm(folder, { recursive: true })
  }
}

/** Everything that `docs verify` has in hand, for a test to spoil some of it. */
const trying = <T>(definition: object, use: (proof: Proof, notes: readonly string[]) => Promise<T>): Promise<T> =>
  written(definition, async (config) => {
    const trial = await openTrial(await loadDefinition(config, {}), { config, now: Date.now })
    assert(trial.outcome === 'ready', JSON.stringify(trial))
    try {
      return await use(trial.proof, trial.notes)
    } finally {
      await trial.close()
    }
  })

async function command(words: readonly string[], definition: object) {
  const lines: string[] = []
  const write = (text: string) => void lines.push(text)
  const code = await written(definition, (config) =>
    run([...words, '--config', config], { environment: {}, out: write, err: write }),
  )
  return { code, text: lines.join('\n') }
}

// biome-ignore lint/suspicious/noExplicitAny: a document is spoilt here at will
type Loose = any
const copy = (document: object): Loose => structuredClone(document)
const kinds = (failures: readonly { kind: string; operation: string }[]) =>
  failures.map(({ kind, operation }) => `${kind} ${operation}`)

describe('docs verify', () => {
  test('sends what a service checks itself beside what the gateway checks', async () => {
    const partner = { type: 'apiKey', in: 'header', name: 'X-Partner' }
    await using backend = await serving({
      ...api,
      security: [{ partner: [] }],
      components: { securitySchemes: { partner } },
    })
    await trying(orders(backend, { forward: { upstreamSecurity: ['partner'] } }), async (proof) => {
      const { paths, components } = proof.document as Loose
      assert.deepEqual(paths['/orders/{id}'].get.security, [
        { bearer: [], orders_partner: [] },
        { apiKey: [], orders_partner: [] },
      ])
      assert.deepEqual(paths['/orders/health'].get.security, [{ orders_partner: [] }])
      assert.deepEqual(components.securitySchemes.orders_partner, { ...partner, 'x-sallyport-upstream': 'orders' })
      const sent: Record<string, string>[] = []
      const report = await prove({
        ...proof,
        send(request) {
          sent.push(request.headers)
          return proof.send(request)
        },
      })
      assert.deepEqual(report.failures, [])
      assert.deepEqual(report.notSent, {})
      assert(sent.some((fields) => fields['X-Partner'] === 'verified' && fields.Authorization?.startsWith('Bearer ')))
      assert(sent.some((fields) => fields['X-Partner'] === 'verified' && fields['X-API-Key'] !== undefined))
    })
  })

  test('proves the demo: every scheme of it, the compositions, and what is public', async () => {
    const backends = await startBackends({ ...process.env, ORDERS_PORT: '0', INVENTORY_PORT: '0', REPORTS_PORT: '0' })
    const lines: string[] = []
    const out = (text: string) => void lines.push(text)
    try {
      const code = await run(['docs', 'verify', '--json'], { environment: backends.env, out, err: out })
      const { report } = JSON.parse(lines.join('\n'))
      assert.deepEqual(report.failures, [])
      assert.deepEqual(report.notSent, {})
      assert(report.authenticated > 4 * report.refusedWithout - 10, JSON.stringify(report))
      assert.equal(code, 0)
    } finally {
      await backends.close()
    }
  })

  test('says in a few lines what was proved, and ends with 0', async () => {
    await using backend = await serving(api)
    const { code, text } = await command(['docs', 'verify'], orders(backend))
    assert.match(text, /The gateway enforces what its document says\.$/)
    assert.equal(code, 0)
  })

  test('has a credential for every kind of issuer and scheme, sets of them, and optional ones', async () => {
    await using backend = await serving(api)
    const definition = orders(
      backend,
      {
        security: [
          ...['bearer', 'entra', 'legacy', 'opaque', 'inHeader', 'apiKey', 'keyInQuery', 'session'].map((name) => ({
            [name]: [],
          })),
          { apiKey: ['admin'], keyInQuery: [] },
          {},
        ],
      },
      {
        issuers: {
          local: { type: 'embedded', grants: ['authorization_code', 'refresh_token'] },
          // Nothing listens there: what it would say of itself is made up.
          entra: {
            type: 'oidc',
            issuer: 'http://127.0.0.1:9/tenant',
            audience: 'api://orders',
            algorithms: ['ES256'],
            claims: { roles: 'realm_access.roles', permissions: '/https:~1~1orders.example~1permissions' },
          },
          legacy: { type: 'secret', issuer: 'old', audience: 'api', secret: 'kL9#vQ2!xT7@mW4$zR8%nB5^pD3&hJ6*' },
          opaque: {
            type: 'introspection',
            endpoint: 'http://127.0.0.1:9/introspect',
            clientId: 'gateway',
            clientSecret: 'nobody-hears-this',
            audience: 'api',
          },
        },
        securitySchemes: {
          ...securitySchemes,
          entra: { type: 'openIdConnect', issuers: ['entra'] },
          legacy: { type: 'http', scheme: 'bearer', issuers: ['legacy'] },
          opaque: { type: 'oauth2', issuers: ['opaque'] },
          inHeader: { type: 'apiKey', in: 'header', name: 'X-Token', issuers: ['entra'] },
          session: { type: 'apiKey', in: 'cookie', name: '__Host-shop', session: { issuer: 'local' } },
        },
      },
    )
    await trying(definition, async (proof, notes) => {
      const report = await prove(proof)
      assert.deepEqual(report.failures, [])
      assert(report.authenticated >= 4 * 9, JSON.stringify(report))
      for (const named of [/entra.*stand-in/, /opaque.*stand-in/, /session/])
        assert(notes.some((note) => named.test(note)))
      assert(!notes.some((note) => /local|legacy/.test(note)), 'what is real needs no note')
    })
  })

  test('puts its tokens on record where only what is on record is believed', async () => {
    await using backend = await serving(api)
    const issuers = {
      local: { type: 'embedded', revocation: 'allowlist' },
      legacy: {
        type: 'secret',
        issuer: 'old',
        audience: 'api',
        secret: 'kL9#vQ2!xT7@mW4$zR8%nB5^pD3&hJ6*',
        revocation: 'allowlist',
      },
    }
    const legacy = { type: 'http', scheme: 'bearer', issuers: ['legacy'] }
    const security = [{ bearer: [] }, { legacy: [] }]
    const definition = orders(backend, { security }, { issuers, securitySchemes: { ...securitySchemes, legacy } })
    await trying(definition, async (proof) => {
      const report = await prove(proof)
      assert.deepEqual(report.failures, [])
      assert(report.authenticated >= 4 * 2, JSON.stringify(report))
    })
  })

  test('counts what "allow" refuses afterwards as authenticated', async () => {
    await using backend = await serving(api)
    const allow = { roles: ['owner'], when: "caller.subject == 'nobody at all'" }
    await trying(orders(backend, { allow }), async (proof) => {
      const report = await prove(proof)
      assert.deepEqual(report.failures, [])
      assert(report.refusedAfterwards > 0)
    })
  })
})

describe('docs verify fails', () => {
  test('when the gateway lets in without a credential, or with another one than the document says', async () => {
    await using backend = await serving(api)
    await trying(orders(backend), (sound) =>
      trying(orders(backend, { security: [], routes: [] }), async (broken) => {
        const { failures } = await prove({ ...sound, send: broken.send })
        assert(kinds(failures).includes('open GET /orders'), JSON.stringify(failures))
        assert(kinds(failures).includes('not-authenticated GET /orders'), 'nobody looked at the token')
      }),
    )
    await trying(orders(backend), (sound) =>
      trying(orders(backend, { security: [{ keyInQuery: [] }] }), async (broken) => {
        const { failures } = await prove({ ...sound, send: broken.send })
        assert(kinds(failures).includes('not-authenticated DELETE /orders/{id}'))
      }),
    )
  })

  test('when the document is wrong: about a field, about a scheme, about what is public', async () => {
    await using backend = await serving(api)
    await trying(orders(backend), async (proof) => {
      const spoilt = async (spoil: (document: Loose) => void) => {
        const document = copy(proof.document)
        spoil(document)
        return kinds((await prove({ ...proof, document })).failures)
      }
      const field = await spoilt(({ components }) => {
        components.securitySchemes.apiKey.name = 'X-Other-Key'
      })
      assert.deepEqual(
        field.filter((line) => line.includes('/orders')),
        ['DELETE /orders/{id}', 'GET /orders', 'GET /orders/{id}', 'POST /orders'].map(
          (line) => `not-authenticated ${line}`,
        ),
      )
      const scheme = await spoilt(({ paths }) => {
        paths['/orders'].get.security = [{ nowhere: [] }]
      })
      assert.deepEqual(scheme, ['not-authenticated GET /orders'])
      const openly = await spoilt(({ paths }) => {
        paths['/orders'].get.security = []
        paths['/orders/health'].get.security = [{ bearer: [] }]
      })
      assert.deepEqual(openly.sort(), [
        'closed GET /orders',
        'not-authenticated GET /orders/health',
        'open GET /orders/health',
      ])
      // OpenAPI ignores such a parameter, and so does the page: it cannot stand for a scheme.
      const parameter = await spoilt(({ paths, components }) => {
        paths['/orders'].get.parameters = [
          { name: 'Authorization', in: 'header', required: true, schema: { type: 'string' } },
        ]
        components.securitySchemes.bearer = { type: 'http', scheme: 'digest' }
      })
      assert(parameter.includes('not-authenticated GET /orders'), parameter.join())
    })
  })

  test('when something is documented and not answered, or answered and not documented', async () => {
    await using backend = await serving(api)
    await using other = await serving({ ...api, paths: { '/x': { get: operation('x') } } })
    const definition = orders(backend, { expose: 'documented' })
    definition.services.push({
      ...definition.services[0]!,
      name: 'other',
      path: '/other',
      targets: [other.url],
      routes: [],
    })
    await trying(definition, async (proof) => {
      assert.deepEqual((await prove(proof)).failures, [])
      const document = copy(proof.document)
      document.paths['/orders/vanished/away'] = { get: { ...document.paths['/orders'].get, operationId: 'gone' } }
      delete document.paths['/orders/{id}'].delete
      const serviceOf = (path: string, method: string) =>
        path === '/other/x' || path.includes('vanished') ? 'orders' : proof.serviceOf(path, method)
      const { failures } = await prove({ ...proof, document, serviceOf })
      assert.deepEqual(kinds(failures), [
        'undocumented DELETE /orders/{id}',
        'unreachable GET /orders/vanished/away',
        'unreachable GET /other/x',
      ])
    })
  })

  test('with 1 when a document cannot be read, and with 2 when it is called wrongly', async () => {
    await using backend = await serving({ openapi: '9.0.0' })
    const unread = await command(['docs', 'verify'], orders(backend))
    assert.equal(unread.code, 1)
    assert.match(unread.text, /the document of "orders" could not be read/)
    assert.equal((await command(['docs', 'verify', 'me'], orders(backend))).code, 2)
    assert.equal((await command(['docs'], orders(backend))).code, 2)
  })
})
