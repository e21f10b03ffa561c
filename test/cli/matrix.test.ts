import assert from 'node:assert/strict'
import { mkdir, mkdtemp, rm, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { after, before, describe, test } from 'node:test'
import { run } from '../../src/cli/run.ts'
import { type Backend, startBackend } from '../backend.ts'

const document = {
  openapi: '3.1.0',
  info: { title: 'Orders', version: '1' },
  paths: {
    '/': { get: { responses: {} }, post: { responses: {} } },
    '/{owner}': { get: { responses: {} }, delete: { responses: {} } },
  },
}

const personas = {
  guest: null,
  ada: { roles: ['admin'] },
  bob: { roles: ['reader'], params: { owner: 'bob' } },
  author: { subject: 'eve', roles: [], resource: { author: 'eve' } },
  robot: { scheme: 'key', roles: ['reader'] },
  partner: { sub: 'partner', scope: 'orders', roles: ['reader'] },
}

function definition(orders: object = {}, ...more: object[]) {
  return {
    issuers: { partner: { type: 'secret', issuer: 'https://p.example', audience: 'api', secret: '${SECRET}' } },
    securitySchemes: {
      bearer: { type: 'http', scheme: 'bearer' },
      key: { type: 'apiKey', in: 'header', name: 'X-API-Key' },
    },
    store: { type: 'redis', url: 'redis://127.0.0.1:9' },
    services: [
      {
        name: 'orders',
        path: '/orders',
        targets: ['http://127.0.0.1:9'],
        openapi: './orders.json',
        security: [{ bearer: [] }],
        routes: [
          {
            match: 'GET /{owner}',
            allow: { when: "caller.subject == request.params.owner || 'admin' in caller.roles" },
          },
          {
            match: 'DELETE /{owner}',
            allow: { resource: { get: '/{owner}' }, when: 'resource.author == caller.subject' },
          },
          { match: 'POST /', allow: { roles: ['admin'] }, enforce: 'shadow' },
        ],
        ...orders,
      },
      { name: 'health', path: '/health', targets: ['http://127.0.0.1:9'], openapi: false, security: [] },
      ...more,
    ],
  }
}

describe('sallyport matrix', () => {
  let folder: string
  let backend: Backend
  before(async () => {
    folder = await mkdtemp(join(tmpdir(), 'sallyport-matrix-'))
    backend = await startBackend((_req, res) => {
      res.setHeader('Content-Type', 'application/json')
      res.end(JSON.stringify({ ...document, paths: { '/now': { get: { responses: {} } } } }))
    })
    await writeFile(join(folder, 'orders.json'), JSON.stringify(document))
    await writeFile(join(folder, 'personas.json'), JSON.stringify(personas))
  })
  after(async () => {
    await backend[Symbol.asyncDispose]()
    await rm(folder, { recursive: true })
  })

  async function sallyport(definitions: Readonly<Record<string, object>>, ...words: string[]) {
    for (const [name, content] of Object.entries(definitions))
      await writeFile(join(folder, name), JSON.stringify(content))
    const lines = { out: [] as string[], err: [] as string[] }
    const files = words.map((word) => (word.endsWith('.json') ? join(folder, word) : word))
    const code = await run(['matrix', ...files, '--config', join(folder, 'services.json')], {
      environment: { SECRET: 'pLCzRLbMtTR0rr3nT0vY5mLr9vJmBq1dYv2cQW7uK8E=' },
      out: (text) => void lines.out.push(text),
      err: (text) => void lines.err.push(text),
    })
    return { code, out: lines.out.join('\n'), err: lines.err.join('\n') }
  }
  const cells = (line: string) => line.trim().split(/ {2,}/)

  test('says what everybody gets of everything, and why', async () => {
    const { code, out, err } = await sallyport({ 'services.json': definition() }, '--personas', 'personas.json')
    assert.equal(err, '')
    assert.equal(code, 0)
    const depends = 'depends on what the service says to GET /{owner}'
    assert.deepEqual(out.split('\n').map(cells), [
      ['METHOD', 'PATH', 'guest', 'ada', 'bob', 'author', 'robot', 'partner'],
      ['GET', '/orders', '401 no-credentials', 'allow', 'allow', 'allow', '401 no-credentials', 'allow'],
      [
        ...['POST', '/orders', '401 no-credentials', 'allow', 'allow (shadow: 403 /roles)'],
        ...['allow (shadow: 403 /roles)', '401 no-credentials', 'allow (shadow: 403 /roles)'],
      ],
      [
        ...['GET', '/orders/{owner}', '401 no-credentials', 'allow', 'allow', '403 /when', '401 no-credentials'],
        '403 /when',
      ],
      [
        ...['DELETE', '/orders/{owner}', '401 no-credentials', depends, depends, 'allow', '401 no-credentials'],
        depends,
      ],
      [
        ...['GET,DELETE', '/orders/{any}/{any} (undocumented)', '401 no-credentials', 'allow', 'allow', 'allow'],
        ...['401 no-credentials', 'allow'],
      ],
      [
        ...['POST,PUT,PATCH', '/orders/{any} (undocumented)', '401 no-credentials', 'allow', 'allow', 'allow'],
        ...['401 no-credentials', 'allow'],
      ],
      ['*', '/health/{any} (undocumented)', 'allow', 'allow', 'allow', 'allow', 'allow', 'allow'],
    ])
  })

  test('prints Markdown, and JSON with the reasons', async () => {
    const markdown = await sallyport({ 'services.json': definition() }, '--personas', 'personas.json', '--markdown')
    assert.match(markdown.out, /^\| Operation \| guest \| ada \| bob \|/)
    assert.match(markdown.out, /\n\| `GET \/orders\/\{owner\}` \| 401 no-credentials \| \*\*allow\*\* \|/)

    const { out } = await sallyport({}, '--personas', 'personas.json', '--json')
    const { operations } = JSON.parse(out)
    const find = (method: string, path: string) =>
      operations.find((one: { method: string; path: string }) => one.method === method && one.path === path).reach
    assert.deepEqual(find('GET', '/orders/{owner}').partner, {
      verdict: 'deny',
      why: 'A condition on the caller and the request does not hold.',
      status: 403,
      code: 'policy-denied',
      row: '/when',
    })
    assert.deepEqual(find('GET', '/orders').partner, { verdict: 'allow', why: 'by bearer' })
    assert.deepEqual(find('GET', '/health/{any}').guest, { verdict: 'allow', why: 'nobody is asked' })
    assert.deepEqual(find('POST', '/orders').bob.shadow, { status: 403, code: 'insufficient-role', row: '/roles' })
  })

  test('against an older file prints only what changed, and is 1 when anything became reachable', async () => {
    const against = ['--personas', 'personas.json', '--against', 'older.json']
    const same = await sallyport({ 'services.json': definition(), 'older.json': definition() }, ...against)
    assert.deepEqual([same.code, same.out], [0, 'Nothing became reachable, nothing unreachable.'])

    const loose = definition({ routes: [] })
    const tight = await sallyport({ 'services.json': definition(), 'older.json': loose }, ...against, '--json')
    assert.equal(tight.code, 0)
    const { reachable, unreachable } = JSON.parse(tight.out)
    assert.deepEqual([reachable.length, unreachable.length], [0, 5])
    assert.deepEqual([unreachable[0].before.verdict, unreachable[0].after.row], ['allow', '/when'])

    const wide = await sallyport({ 'services.json': loose, 'older.json': definition() }, ...against)
    assert.equal(wide.code, 1)
    assert.deepEqual(wide.out.split('\n').map(cells), [
      ['+', 'GET /orders/{owner}', 'author', '403 /when → allow'],
      ['+', 'GET /orders/{owner}', 'partner', '403 /when → allow'],
      ...['ada', 'bob', 'partner'].map((who) => [
        ...['+', 'DELETE /orders/{owner}', who],
        'depends on what the service says to GET /{owner} → allow',
      ]),
    ])
  })

  test('sees what a new service, an undocumented route and a policy in shadow open', async () => {
    const against = ['--personas', 'personas.json', '--against', 'older.json']
    const more = { name: 'new', path: '/new', targets: ['http://127.0.0.1:9'], openapi: false, security: [{ key: [] }] }
    const grown = await sallyport({ 'services.json': definition({}, more), 'older.json': definition() }, ...against)
    assert.equal(grown.code, 1)
    assert.ok(grown.out.includes('+  GET /new/{any}'), grown.out)
    assert.ok(grown.out.includes('robot'))

    const { routes } = definition().services[0] as unknown as { routes: object[] }
    const open = definition({ routes: [...routes, { match: 'PUT /hidden/*', security: [] }] })
    const opened = await sallyport({ 'services.json': open, 'older.json': definition() }, ...against)
    assert.equal(opened.code, 1)
    assert.deepEqual(
      opened.out.split('\n').map((line) => cells(line).slice(0, 3)),
      [
        ['+', 'PUT /orders/hidden/{rest}', 'guest'],
        ['+', 'PUT /orders/hidden/{rest}', 'robot'],
      ],
    )
    const on = definition({ routes: routes.map((route) => ({ ...route, enforce: 'on' })) })
    const tried = await sallyport({ 'services.json': definition(), 'older.json': on }, ...against, '--markdown')
    assert.equal(tried.code, 1)
    assert.match(tried.out, /\| reachable \| `POST \/orders` \| bob \| 403 \/roles → allow \(shadow: 403 \/roles\) \|/)
  })

  test('reads documents where they are: from the services, or from what is committed', async () => {
    const fetched = { name: 'live', path: '/live', targets: [backend.url], security: [{ key: [] }] }
    const both = definition({}, fetched)
    const { code, out } = await sallyport({ 'services.json': both }, '--personas', 'personas.json')
    assert.equal(code, 0)
    assert.match(out, /^GET +\/live\/now +401 no-credentials/m)

    const gone = definition({}, { ...fetched, targets: ['http://127.0.0.1:9'], expose: 'documented' })
    const lost = await sallyport({ 'services.json': gone }, '--personas', 'personas.json')
    assert.equal(lost.code, 1)
    assert.match(lost.err, /the document of "live" could not be read/)

    await mkdir(join(folder, 'openapi'))
    const committed = { paths: { '/live/{id}': { get: {}, parameters: [] }, '/other': { get: {} } } }
    await writeFile(join(folder, 'openapi', 'openapi.json'), JSON.stringify(committed))
    const found = await sallyport({}, '--personas', 'personas.json')
    assert.deepEqual([found.code, found.err], [0, ''])
    assert.match(found.out, /^GET +\/live\/\{id\} +401 no-credentials .* allow +401 no-credentials$/m)
    assert.ok(!found.out.includes('/other'))
    await rm(join(folder, 'openapi'), { recursive: true })
  })

  test('says how it is called when it is called wrongly', async () => {
    await writeFile(join(folder, 'odd.json'), JSON.stringify({ ada: { role: ['admin'] } }))
    await writeFile(join(folder, 'none.json'), '{}')
    for (const [words, message] of [
      [[], /matrix needs --personas/],
      [['--personas', 'missing.json'], /path of a JSON file/],
      [['--personas', 'odd.json'], /ada is no persona/],
      [['--personas', 'none.json'], /has no persona/],
      [['more', '--personas', 'personas.json'], /takes no "more"/],
    ] as const) {
      const { code, err } = await sallyport({ 'services.json': definition() }, ...words)
      assert.equal(code, 2)
      assert.match(err, message)
    }
  })
})
