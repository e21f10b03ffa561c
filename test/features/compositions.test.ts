import assert from 'node:assert/strict'
import { createHash } from 'node:crypto'
import { describe, test } from 'node:test'
import { setTimeout as sleep } from 'node:timers/promises'
import { check } from '../../src/openapi/check.ts'
import { type Backend, startBackend } from '../backend.ts'
import { sendRaw } from '../raw.ts'
import { eventually, startGateway } from '../sallyport.ts'

const key = 'a-key-for-tests'
const sha256 = (text: string) => createHash('sha256').update(text).digest('hex')
const securitySchemes = {
  apiKey: {
    type: 'apiKey',
    in: 'header',
    name: 'X-API-Key',
    keys: [
      { sha256: sha256(key), subject: 'ada', roles: ['admin'] },
      { sha256: sha256('other'), subject: 'sofia', roles: ['viewer'] },
    ],
  },
}

const json = (value: unknown, status = 200): Answer => ({ status, body: JSON.stringify(value) })
type Answer = { readonly status: number; readonly body: string; readonly type?: string }

/** A backend with an answer for each path; paths it does not know are 404. */
async function serving(answers: Record<string, Answer | ((wait: () => void) => void)>) {
  const seen: { readonly url: string; readonly subject: string | undefined; readonly id: string | undefined }[] = []
  const backend = await startBackend((req, res) => {
    seen.push({ url: req.url!, subject: req.headers['user-id'] as string, id: req.headers['x-request-id'] as string })
    const answer = answers[req.url!] ?? json({}, 404)
    if (typeof answer === 'function') return answer(() => res.end())
    res.writeHead(answer.status, { 'Content-Type': answer.type ?? 'application/json' }).end(answer.body)
  })
  return Object.assign(backend, { seen })
}

const definition = (users: Backend, orders: Backend, parts: object, more: object = {}) => ({
  securitySchemes,
  security: [{ apiKey: [] }],
  services: [
    { name: 'users', path: '/users', targets: [users.url], openapi: false },
    { name: 'orders', path: '/orders', targets: [orders.url], openapi: false, ...more },
  ],
  compositions: [{ match: 'GET /dashboard/{userId}', parts }],
})

const parts = {
  user: { service: 'users', path: '/{userId}' },
  orders: { service: 'orders', path: '/?user={userId}', optional: true },
}

interface Got {
  readonly status: number
  // biome-ignore lint/suspicious/noExplicitAny: answers of many shapes
  readonly body: any
}

const get = async (url: string, headers: Record<string, string> = { 'X-API-Key': key }): Promise<Got> => {
  const answer = await fetch(url, { headers })
  return { status: answer.status, body: await answer.json() }
}

describe('a composition', () => {
  test('asks several services in the name of the caller and answers with one object', async () => {
    await using users = await serving({ '/7': json({ name: 'Ada' }) })
    await using orders = await serving({ '/?user=7': json([{ id: 1 }]) })
    await using gateway = await startGateway(definition(users, orders, parts))
    const { status, body } = await get(`${gateway.url}/dashboard/7`)
    assert.equal(status, 200)
    assert.deepEqual(body, { user: { name: 'Ada' }, orders: [{ id: 1 }] })
    assert.equal(users.seen[0]?.subject, 'ada')
    assert.equal(users.seen[0]?.id, orders.seen[0]?.id)
  })

  test('has the bytes of its parts, whatever their size; HEAD gets the head of it alone', async () => {
    const large = JSON.stringify({ note: 'ü'.repeat(20_000) })
    await using users = await serving({ '/7': { status: 200, body: '{ "name": "Ada",  "score": 1.0e2 }' } })
    await using orders = await serving({ '/?user=7': { status: 200, body: large } })
    await using gateway = await startGateway(definition(users, orders, parts))
    const url = `${gateway.url}/dashboard/7`
    const whole = `{"user":{ "name": "Ada",  "score": 1.0e2 },"orders":${large}}`
    for (const method of ['GET', 'HEAD']) {
      const answer = await fetch(url, { method, headers: { 'X-API-Key': key } })
      assert.equal(await answer.text(), method === 'GET' ? whole : '')
      const head = ['content-type', 'content-length', 'cache-control'].map((name) => answer.headers.get(name))
      assert.deepEqual(head, ['application/json; charset=utf-8', `${Buffer.byteLength(whole)}`, 'private, no-cache'])
      assert.match(answer.headers.get('x-request-id')!, /./)
    }
  })

  test('is UTF-8, also when a part is not', async () => {
    await using users = await startBackend((_req, res) => {
      res.writeHead(200, { 'Content-Type': 'application/json' }).end(Buffer.from('{"name":"J\xf6rg"}', 'latin1'))
    })
    await using orders = await serving({ '/?user=7': json([]) })
    await using gateway = await startGateway(definition(users, orders, parts))
    const answer = await fetch(`${gateway.url}/dashboard/7`, { headers: { 'X-API-Key': key } })
    const text = new TextDecoder('utf-8', { fatal: true }).decode(await answer.arrayBuffer())
    assert.deepEqual(JSON.parse(text), { user: { name: 'J\ufffdrg' }, orders: [] })
  })

  test('goes on without an optional part, and says why it is missing', async () => {
    await using users = await serving({ '/7': json({ name: 'Ada' }) })
    await using orders = await serving({ '/?user=7': json({}, 500) })
    await using gateway = await startGateway(definition(users, orders, parts))
    const { status, body } = await get(`${gateway.url}/dashboard/7`)
    assert.equal(status, 200)
    assert.deepEqual(body.user, { name: 'Ada' })
    assert.equal(body.orders, null)
    assert.equal(body.$problems.orders.code, 'part-failed')
    const line = await eventually('it is logged', () => gateway.log.find(({ message }) => message === 'request'))
    assert.deepEqual([line['status'], line['missing']], [200, { orders: 'part-failed' }])
    const metrics = await (await fetch(`${gateway.adminUrl}/metrics`)).text()
    assert.match(
      metrics,
      /^sallyport_composition_parts_missed_total\{composition="GET \/dashboard\/\{userId\}",part="orders",code="part-failed"\} 1$/m,
    )
  })

  test('ends with the problem of a part it needs, and names the part', async () => {
    await using users = await serving({
      '/8': { status: 200, body: '<html>', type: 'text/html' },
      '/9': { status: 200, body: '{"cut' },
    })
    await using orders = await serving({})
    await using gateway = await startGateway(definition(users, orders, parts))
    const missing = await get(`${gateway.url}/dashboard/7`)
    assert.deepEqual([missing.status, missing.body.code, missing.body.part], [404, 'not-found', 'user'])
    for (const id of ['8', '9']) assert.equal((await get(`${gateway.url}/dashboard/${id}`)).status, 502)
  })

  test('never shows what the caller could not fetch alone', async () => {
    await using users = await serving({ '/7': json({ name: 'Ada' }) })
    await using orders = await serving({ '/?user=7': json(['secret']) })
    await using gateway = await startGateway(definition(users, orders, parts, { security: [{ apiKey: ['admin'] }] }))
    assert.deepEqual((await get(`${gateway.url}/dashboard/7`)).body.orders, ['secret'])
    const sofia = await get(`${gateway.url}/dashboard/7`, { 'X-API-Key': 'other' })
    assert.equal(sofia.body.orders, null)
    assert.equal(sofia.body.$problems.orders.code, 'insufficient-role')
    assert.equal((await get(`${gateway.url}/dashboard/7`, {})).status, 401)
    assert.equal(orders.seen.length, 1)
  })

  test('feeds a part from another, and skips it when that one failed', async () => {
    await using users = await serving({ '/7': json({ team: { id: 42 } }) })
    await using orders = await serving({ '/teams/42': json({ open: 3 }) })
    const fed = {
      user: { service: 'users', path: '/{userId}', optional: true },
      team: { service: 'orders', path: '/teams/{user.team.id}', optional: true },
    }
    await using gateway = await startGateway(definition(users, orders, fed))
    assert.deepEqual((await get(`${gateway.url}/dashboard/7`)).body.team, { open: 3 })
    const without = await get(`${gateway.url}/dashboard/8`)
    assert.deepEqual([without.body.user, without.body.team], [null, null])
    assert.equal(orders.seen.length, 1)
  })

  test('runs its parts at once, and cuts one that takes longer than it may', async () => {
    const slow = (answer: Answer, wait: number) =>
      startBackend(async (_req, res) => {
        await sleep(wait)
        res.writeHead(answer.status, { 'Content-Type': 'application/json' }).end(answer.body)
      })
    await using users = await slow(json('user'), 300)
    await using orders = await slow(json('orders'), 300)
    await using gateway = await startGateway(definition(users, orders, parts))
    const before = performance.now()
    assert.deepEqual((await get(`${gateway.url}/dashboard/7`)).body, { user: 'user', orders: 'orders' })
    assert(performance.now() - before < 590)
    const short = { ...parts, orders: { ...parts.orders, timeout: '100ms' } }
    await using impatient = await startGateway(definition(users, orders, short))
    assert.equal((await get(`${impatient.url}/dashboard/7`)).body.$problems.orders.code, 'upstream-timeout')
  })

  test('cuts a part that goes on a byte at a time when its time is over', { timeout: 20_000 }, async () => {
    await using users = await serving({ '/7': json('user') })
    await using orders = await startBackend((_req, res) => {
      res.writeHead(200, { 'Content-Type': 'application/json' })
      const drip = setInterval(() => res.write(' '), 20)
      res.once('close', () => clearInterval(drip))
    })
    const short = { ...parts, orders: { ...parts.orders, timeout: '300ms' } }
    await using gateway = await startGateway(definition(users, orders, short))
    assert.equal((await get(`${gateway.url}/dashboard/7`)).body.$problems.orders.code, 'upstream-timeout')
  })

  test('answers GET alone, and says so', async () => {
    await using users = await serving({ '/7': json('user') })
    await using orders = await serving({ '/?user=7': json([]) })
    await using gateway = await startGateway(definition(users, orders, parts))
    const answer = await fetch(`${gateway.url}/dashboard/7`, {
      method: 'POST',
      headers: { 'X-API-Key': key },
      body: '{}',
    })
    assert.deepEqual([answer.status, answer.headers.get('allow')], [405, 'GET, HEAD'])
    assert.equal((await get(`${gateway.url}/dashboards/7`)).status, 404)
  })

  test('waits no longer for what has to be known before a part may be asked', { timeout: 20_000 }, async () => {
    await using users = await serving({ '/7': json('user') })
    await using orders = await serving({ '/owner': () => {}, '/?user=7': json([]) })
    const short = { ...parts, orders: { ...parts.orders, timeout: '200ms' } }
    const allow = { resource: { get: '/owner' }, when: 'resource.id == caller.subject' }
    await using gateway = await startGateway(
      definition(users, orders, short, { timeouts: { response: '10m' }, routes: [{ match: 'GET /', allow }] }),
    )
    const { body } = await get(`${gateway.url}/dashboard/7`)
    assert.equal(body.user, 'user')
    assert.equal(body.$problems.orders.code, 'upstream-timeout')
    assert.deepEqual(
      orders.seen.map(({ url }) => url),
      ['/owner'],
    )
  })

  test('ends as soon as a part fails that it needs, and lets go of the others', { timeout: 20_000 }, async () => {
    let left = false
    await using users = await serving({ '/7': json({}, 500) })
    // Never answers: the composition must not wait for it.
    await using orders = await startBackend((_req, res) => {
      res.once('close', () => {
        left = true
      })
    })
    await using gateway = await startGateway(definition(users, orders, parts, { timeouts: { response: '10m' } }))
    const { status, body } = await get(`${gateway.url}/dashboard/7`)
    assert.deepEqual([status, body.code, body.part], [502, 'part-failed', 'user'])
    await eventually('nobody waits for the other any more', () => left)
  })

  test('takes no more of a service than its parts would alone: a rate, a place at a time', async () => {
    await using users = await serving({ '/7': json('user') })
    await using orders = await serving({ '/a': json('a'), '/b': json('b') })
    const both = {
      user: { service: 'users', path: '/{userId}' },
      a: { service: 'orders', path: '/a', optional: true },
      b: { service: 'orders', path: '/b', optional: true },
    }
    const limits = { concurrent: { limit: 1, queue: 5, wait: '10s' }, rate: [{ requests: 3, per: '1h' }] }
    await using gateway = await startGateway(definition(users, orders, both, { limits }))
    const first = await get(`${gateway.url}/dashboard/7`)
    assert.deepEqual(first.body, { user: 'user', a: 'a', b: 'b' }, 'the second part got the place of the first')
    const second = await get(`${gateway.url}/dashboard/7`)
    assert.deepEqual(
      Object.values(second.body.$problems).map((problem) => (problem as { status: number }).status),
      [429],
    )
    assert.equal(orders.seen.length, 3)
    assert.equal((await get(`${gateway.url}/orders/a`)).status, 429, 'alone neither')
  })

  test('puts no value into a path that could lead elsewhere', async () => {
    await using users = await serving({ '/a%20b': json('found'), '/..': json('no') })
    await using orders = await serving({ '/?user=a%20b': json([]), '/?user=a%26b%3Dc': json([]) })
    await using gateway = await startGateway(definition(users, orders, parts))
    assert.equal((await get(`${gateway.url}/dashboard/a%20b`)).body.user, 'found')
    const { status } = await sendRaw(
      gateway.url,
      `GET /dashboard/%2e%2e HTTP/1.1\r\nHost: x\r\nX-API-Key: ${key}\r\n\r\n`,
    )
    assert.equal(status, 400)
    await get(`${gateway.url}/dashboard/a%26b=c`)
    assert(orders.seen.some(({ url }) => url === '/?user=a%26b%3Dc'))
  })

  test('is in the document, with the security that its required parts enforce together', async () => {
    await using users = await serving({})
    await using orders = await serving({})
    const both = { ...parts, orders: { ...parts.orders, optional: false } }
    const strict = { security: [{ apiKey: ['admin'] }] }
    await using gateway = await startGateway(definition(users, orders, both, strict))
    const { body } = await get(`${gateway.url}/openapi.json`)
    const { get: operation } = body.paths['/dashboard/{userId}']
    assert.deepEqual(operation.security, [{ apiKey: ['admin'] }])
    assert.deepEqual(Object.keys(operation.responses), ['200', '401', '403', '502', '504'])
    assert.deepEqual(operation.parameters[0].name, 'userId')
  })

  describe('in the document', () => {
    const id = {
      name: 'userId',
      in: 'path',
      required: true,
      description: 'Whose.',
      schema: { type: 'integer', minimum: 1 },
    }
    const content = (schema: object) => ({ content: { 'application/json': { schema } } })
    const described = (paths: object, schemas: object) =>
      json({ openapi: '3.0.3', info: { title: 'x', version: '1' }, paths, components: { schemas, parameters: { id } } })
    const users = described(
      {
        '/me': { get: { responses: { 200: { description: 'me', ...content({ type: 'string' }) } } } },
        '/{userId}': {
          get: {
            parameters: [{ $ref: '#/components/parameters/id' }],
            responses: { 200: { description: 'a user', ...content({ $ref: '#/components/schemas/User' }) } },
          },
        },
      },
      { User: { type: 'object', properties: { name: { type: 'string' } } } },
    )
    const orders = described(
      { '/': { get: { responses: { '2XX': { description: 'orders', ...content({ type: 'array', items: {} }) } } } } },
      {},
    )
    const from = (backends: { users: Backend; orders: Backend }, compositions: object, more: object = {}) => {
      const { services, ...rest } = definition(backends.users, backends.orders, compositions, more)
      return { ...rest, services: services.map(({ openapi: _, ...service }) => service) }
    }

    test('has the schemas of its parts, and the parameters as the parts describe them', async () => {
      await using first = await serving({ '/openapi.json': users })
      await using second = await serving({ '/openapi.json': orders })
      const all = { ...parts, me: { service: 'users', path: '/me' }, lost: { service: 'users', path: '/a/b/c' } }
      await using gateway = await startGateway(from({ users: first, orders: second }, all))
      const { body } = await get(`${gateway.url}/openapi.json`)
      const { parameters, responses } = body.paths['/dashboard/{userId}'].get
      assert.deepEqual(parameters, [id])
      const { properties, required } = responses['200'].content['application/json'].schema
      assert.deepEqual(properties.user.allOf, [{ $ref: '#/components/schemas/users_User' }])
      assert.deepEqual(body.components.schemas.users_User.properties, { name: { type: 'string' } })
      assert.deepEqual(properties.orders.anyOf, [{ type: 'array', items: {} }, { type: 'null' }])
      assert.deepEqual(properties.me.allOf, [{ type: 'string' }])
      assert.deepEqual(Object.keys(properties.lost), ['description'])
      assert.deepEqual(required, ['user', 'orders', 'me', 'lost'])
      assert.deepEqual(check(body), [])
    })

    test('shows nobody what only others may see of a part', async () => {
      await using first = await serving({ '/openapi.json': users })
      await using second = await serving({ '/openapi.json': orders })
      const optional = { ...parts, user: { ...parts.user, optional: true } }
      const { services, ...rest } = from({ users: first, orders: second }, optional)
      const guarded = services.map((service) => ({
        ...service,
        ...(service.name === 'users' && { allow: { roles: ['admin'] } }),
      }))
      const caller = { docs: { view: 'caller' } }
      await using gateway = await startGateway({ ...rest, services: guarded, gateway: caller })
      for (const [credential, seen] of [
        [key, true],
        ['other', false],
      ] as const) {
        const { body } = await get(`${gateway.url}/openapi.json`, { 'X-API-Key': credential })
        const { properties } = body.paths['/dashboard/{userId}'].get.responses['200'].content['application/json'].schema
        assert.equal('anyOf' in properties.user, seen)
        assert.deepEqual(check(body), [])
      }
    })
  })

  for (const [what, compositions, message] of [
    [
      'a service that is not there',
      [{ match: 'GET /d', parts: { a: { service: 'user', path: '/' } } }],
      /no service "user"; did you mean "users"/,
    ],
    [
      'a parameter that is not there',
      [{ match: 'GET /d', parts: { a: { service: 'users', path: '/{id}' } } }],
      /\{id\} is nothing here/,
    ],
    [
      'parts that wait for each other',
      [
        {
          match: 'GET /d',
          parts: { a: { service: 'users', path: '/{b.x}' }, b: { service: 'users', path: '/{a.x}' } },
        },
      ],
      /circle/,
    ],
    [
      'a path of a service',
      [{ match: 'GET /users/all', parts: { a: { service: 'users', path: '/' } } }],
      /belongs to the service "users"/,
    ],
    ['a method that changes things', [{ match: 'POST /d', parts: { a: { service: 'users', path: '/' } } }], /GET/],
  ] as const) {
    test(`is refused at start with ${what}`, async () => {
      const backend = { url: 'http://127.0.0.1:9' } as Backend
      await assert.rejects(startGateway({ ...definition(backend, backend, parts), compositions }), message)
    })
  }
})
