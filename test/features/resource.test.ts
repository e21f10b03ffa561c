import assert from 'node:assert/strict'
import { createHash } from 'node:crypto'
import { readFileSync } from 'node:fs'
import type { ServerResponse } from 'node:http'
import { join } from 'node:path'
import { after, before, beforeEach, describe, test } from 'node:test'
import fc from 'fast-check'
import type { Explanation } from '../../src/gateway/explanation.ts'
import { type Backend, type Received, startBackend } from '../backend.ts'
import { type GatewayUnderTest, startGateway } from '../sallyport.ts'

const sha256 = (text: string) => createHash('sha256').update(text).digest('hex')
const callers = [
  { name: 'ada', roles: ['admin'] },
  { name: 'bob', roles: ['reader'] },
  { name: 'eve', roles: [] },
]
const keys = callers.map(({ name, roles }) => ({ sha256: sha256(`${name}-key`), subject: name, roles }))
const securitySchemes = { bearer: { type: 'apiKey', in: 'header', name: 'X-API-Key', keys } }

/** The service of docs/guides/policies.md: "the author may edit, the admin may delete, nobody deletes what is published". */
const guide = readFileSync(join(import.meta.dirname, '..', '..', 'docs', 'guides', 'policies.md'), 'utf8')
const articles = [...guide.matchAll(/^```json\n([\s\S]*?)^```$/gm)]
  .map(([, text]) => JSON.parse(text!))
  .find((example) => JSON.stringify(example).includes('"resource"')).services[0]

const things: Readonly<Record<string, unknown>> = {
  '/draft': { author: 'bob', status: 'draft', tags: ['a'], comments: Array.from({ length: 300 }, (_, at) => ({ at })) },
  '/news': { author: 'bob', status: 'published', tags: [] },
}

/** Answers for the things, and for what can go wrong with them. */
function answer({ url, method }: Pick<Received, 'url' | 'method'>, res: ServerResponse): void {
  const path = url.split('?')[0]!
  const json = (status: number, text: string) => res.writeHead(status, { 'Content-Type': 'application/json' }).end(text)
  const thing = things[path]
  if (method !== 'GET') return void json(200, '{"done":true}')
  if (thing) return void json(200, JSON.stringify(thing))
  if (path === '/page') return void res.writeHead(200, { 'Content-Type': 'text/html' }).end('<html>')
  if (path === '/torn') return void json(200, '{"author":')
  if (path === '/large') return void json(200, JSON.stringify({ text: 'x'.repeat(300_000) }))
  if (path === '/broken') return void json(500, '{}')
  if (path === '/moved') return void res.writeHead(302, { Location: '/draft' }).end()
  if (path === '/private') return void json(403, '{}')
  json(404, '{}')
}

interface Problem {
  readonly status: number
  readonly code: string
  readonly row?: string
}

describe('allow.resource', () => {
  const received: Received[] = []
  let backend: Backend
  let gateway: GatewayUnderTest
  let time = Date.now()

  before(async () => {
    backend = await startBackend((req, res) => {
      const { method = '', url = '', rawHeaders: raw, headers } = req
      received.push({ method, url, raw, headers, body: '' })
      // Late enough for others to come meanwhile.
      req.resume().once('end', () => setTimeout(() => answer({ url, method }, res), 20))
    })
    const service = (name: string, more: object) => ({
      name,
      path: `/${name}`,
      targets: [backend.url],
      openapi: false,
      security: [{ bearer: [] }],
      ...more,
    })
    const mine = { resource: { get: '/{id}' }, when: 'resource.author == caller.subject' }
    gateway = await startGateway(
      {
        securitySchemes,
        services: [
          { ...articles, targets: [backend.url] },
          service('either', { routes: [{ match: '/{id}', allow: [mine, { roles: ['admin'] }] }] }),
          service('loops', {
            routes: [{ match: '/{id}', allow: { ...mine, when: "resource.tags.exists(tag, tag == 'a')" } }],
          }),
          service('tried', { routes: [{ match: '/{id}', allow: mine, enforce: 'shadow' }] }),
          service('whole', {
            allow: { ...mine, when: "'admin' in caller.roles || resource.author == caller.subject" },
          }),
          { ...service('gone', { routes: [{ match: '/{id}', allow: mine }] }), targets: ['http://127.0.0.1:9'] },
        ],
      },
      { now: () => time },
    )
  })
  after(async () => {
    await gateway?.[Symbol.asyncDispose]()
    await backend?.[Symbol.asyncDispose]()
  })
  beforeEach(() => {
    received.length = 0
    // Past what any cache keeps.
    time += 60_000
  })

  const call = async (method: string, path: string, name: string, headers: Readonly<Record<string, string>> = {}) => {
    const answered = await fetch(gateway.url + path, { method, headers: { 'X-API-Key': `${name}-key`, ...headers } })
    const problem = (await answered.json()) as Problem
    return { status: answered.status, code: problem.code, row: problem.row, id: answered.headers.get('x-request-id') }
  }
  const status = async (method: string, path: string, name: string) => (await call(method, path, name)).status
  const reads = () => received.filter(({ method }) => method === 'GET').map(({ url }) => url)
  const explain = async (asked: object): Promise<Explanation> => {
    const answered = await fetch(`${gateway.adminUrl}/explain`, {
      method: 'POST',
      headers: { 'Content-Type': 'application/json' },
      body: JSON.stringify(asked),
    })
    assert.equal(answered.status, 200)
    return (await answered.json()) as Explanation
  }

  test('the author may edit, the admin may delete, nobody deletes what is published', async () => {
    assert.equal(await status('PUT', '/articles/draft', 'bob'), 200)
    assert.equal(await status('PUT', '/articles/draft', 'ada'), 200)
    assert.deepEqual(await call('PUT', '/articles/draft', 'eve').then(({ id: _, ...rest }) => rest), {
      status: 403,
      code: 'policy-denied',
      row: '/when',
    })
    assert.equal(await status('DELETE', '/articles/draft', 'ada'), 200)
    assert.equal(await status('DELETE', '/articles/news', 'ada'), 403)
    assert.equal(await status('DELETE', '/articles/draft', 'bob'), 403)
  })

  test('nothing is read for whom the rest decides', async () => {
    assert.equal(await status('PUT', '/articles/draft', 'ada'), 200)
    assert.equal(await status('DELETE', '/articles/draft', 'bob'), 403)
    assert.equal(await status('PUT', '/either/draft', 'ada'), 200)
    assert.deepEqual(reads(), [])
  })

  test('the service is asked in the name of the caller, and with nothing that the client chose', async () => {
    const chosen = {
      'X-HTTP-Method-Override': 'DELETE',
      Cookie: 'a=b',
      Range: 'bytes=0-1',
      'If-None-Match': '"1"',
      'X-Tenant': 'other',
      'Content-Type': 'application/x-own',
    }
    assert.equal((await call('DELETE', '/articles/draft?force=1', 'ada', chosen)).status, 200)
    const [read, erased] = received
    assert.deepEqual([read?.method, read?.url], ['GET', '/draft'])
    assert.equal(read?.headers['x-api-key'], 'ada-key')
    assert.equal(read?.headers['user-id'], 'ada')
    assert.equal(read?.headers['user-roles'], erased?.headers['user-roles'])
    assert.equal(read?.headers['x-request-id'], erased?.headers['x-request-id'])
    for (const name of Object.keys(chosen)) assert.equal(read?.headers[name.toLowerCase()], undefined, name)
    assert.equal(erased?.headers['x-tenant'], 'other')
  })

  test('what the caller is not shown is refused like what it may not touch', async () => {
    const denied = await call('PUT', '/articles/draft', 'eve')
    for (const path of ['/articles/nothing', '/articles/private']) {
      const { id: _, ...hidden } = await call('PUT', path, 'eve')
      assert.deepEqual(hidden, { status: denied.status, code: denied.code, row: denied.row })
    }
    const metrics = await (await fetch(`${gateway.adminUrl}/metrics`)).text()
    assert.ok(!metrics.includes('policy-error'), 'a thing that is not there is no fault of the policy')
  })

  test('nothing passes while the service cannot say', async () => {
    for (const path of ['page', 'torn', 'broken', 'moved']) {
      const { status, code } = await call('PUT', `/articles/${path}`, 'bob')
      assert.deepEqual([status, code], [502, 'resource-unavailable'], path)
    }
    assert.deepEqual((await call('PUT', '/articles/large', 'bob')).code, 'upstream-invalid-response')
    assert.deepEqual((await call('GET', '/gone/draft', 'bob')).code, 'upstream-unreachable')
    assert.deepEqual(
      received.filter(({ method }) => method === 'PUT'),
      [],
    )
    // A block that holds by itself needs nobody's word.
    assert.equal(await status('PUT', '/either/broken', 'ada'), 200)
    assert.equal(await status('PUT', '/either/broken', 'bob'), 502)
  })

  test('requests that come at once read once, and so does the same caller for as long as is said', async () => {
    const all = await Promise.all(Array.from({ length: 8 }, () => status('PUT', '/articles/draft', 'bob')))
    assert.deepEqual(new Set(all), new Set([200]))
    assert.equal(await status('PUT', '/articles/draft', 'bob'), 200)
    assert.deepEqual(reads(), ['/draft'])
    assert.equal(await status('PUT', '/articles/news', 'bob'), 200)
    assert.equal(await status('PUT', '/articles/draft', 'eve'), 403)
    assert.deepEqual(reads(), ['/draft', '/news', '/draft'])
    time += 5_001
    assert.equal(await status('PUT', '/articles/draft', 'bob'), 200)
    assert.equal(reads().length, 4)
  })

  test('what was not shown or could not be had is asked for again, and so is everything without a cache', async () => {
    for (const path of ['/articles/nothing', '/articles/broken', '/either/news'])
      for (const _ of [1, 2]) await call('PUT', path, 'bob')
    assert.deepEqual(reads(), ['/nothing', '/nothing', '/broken', '/broken', '/news', '/news'])
  })

  test('a loop over one list is not stopped by a long one beside it', async () => {
    assert.equal(await status('GET', '/loops/draft', 'eve'), 200)
    assert.equal(await status('GET', '/loops/news', 'eve'), 403)
  })

  test('a route without the parameter has no thing: only the rest of the condition can hold', async () => {
    assert.equal(await status('GET', '/whole', 'bob'), 403)
    assert.deepEqual(reads(), [])
    assert.equal(await status('POST', '/whole', 'ada'), 200)
    const told = await explain({ path: '/whole', headers: { 'X-API-Key': 'bob-key' }, resource: { author: 'bob' } })
    assert.equal(told.problem?.row, '/when')
  })

  test('in shadow nothing fails by it', async () => {
    assert.equal(await status('PUT', '/tried/draft', 'bob'), 200)
    const { status: passed, id } = await call('PUT', '/tried/draft', 'eve')
    assert.equal(passed, 200)
    const kept = (await (await fetch(`${gateway.adminUrl}/decisions/${id}`)).json()) as Explanation
    assert.equal(kept.shadow?.row, '/when')
    assert.equal(await status('PUT', '/tried/broken', 'eve'), 200)
    const text = await (await fetch(`${gateway.adminUrl}/metrics`)).text()
    const counted = text
      .split('\n')
      .filter((line) => line.startsWith('sallyport_shadow_refusals_total{service="tried"'))
    assert.deepEqual(counted, [
      'sallyport_shadow_refusals_total{service="tried",operation="PUT /tried/{id}",row="/when"} 2',
    ])
  })

  test('a refusal shows what was read and compared', async () => {
    const { id } = await call('PUT', '/articles/news', 'eve')
    const kept = (await (await fetch(`${gateway.adminUrl}/decisions/${id}`)).json()) as Explanation
    const [row] = kept.authorization!.policies[0]!.blocks[0]!.rows
    assert.deepEqual(row?.resource, { get: '/{id}', outcome: 'read' })
    assert.match(JSON.stringify(row?.term), /"resource.author","value":"bob"/)
  })

  test('explain reads nothing: it takes the thing, or says that it hangs on it', async () => {
    const asked = { method: 'PUT', path: '/articles/draft', headers: { 'X-API-Key': 'bob-key' } }
    const open = await explain(asked)
    assert.deepEqual([open.outcome, open.authorization?.verdict], ['undecided', 'undecided'])
    assert.equal(open.authorization?.policies[0]?.blocks[0]?.rows[0]?.resource?.outcome, 'unread')
    assert.equal((await explain({ ...asked, resource: { author: 'bob' } })).outcome, 'forwarded')
    assert.equal((await explain({ ...asked, resource: { author: 'eve' } })).problem?.row, '/when')
    assert.equal((await explain({ ...asked, resource: null })).problem?.row, '/when')
    assert.equal((await explain({ ...asked, headers: { 'X-API-Key': 'ada-key' } })).outcome, 'forwarded')
    assert.deepEqual(received, [])
  })
})

/* What explain says is what the gateway does, with things and in shadow */

const terms = [
  'resource.author == caller.subject',
  "resource.status != 'published'",
  "'admin' in caller.roles",
  'resource.missing.deeper == 1',
  "request.method == 'GET'",
  'caller.claims.nothing == 1',
  "resource.tags.exists(tag, tag == 'a')",
]
const when = fc
  .array(fc.tuple(fc.constantFrom(...terms), fc.boolean(), fc.constantFrom('&&', '||')), { minLength: 1, maxLength: 3 })
  .map((parts) => parts.map(([term, no, op], at) => `${at ? ` ${op} ` : ''}${no ? `!(${term})` : term}`).join(''))
  // CEL has no precedence problem with these, but a mixture needs what a reader needs.
  .map((text) => `(${text})`)
const block = fc
  .record({
    when: fc.option(when, { nil: undefined, freq: 4 }),
    roles: fc.constantFrom(undefined, ['admin'], ['reader']),
  })
  .filter(({ when, roles }) => when !== undefined || roles !== undefined)
  .map(({ when, roles }) => ({
    ...(roles && { roles }),
    ...(when !== undefined && { when }),
    ...(when?.includes('resource') && { resource: { get: '/{id}' } }),
  }))
const allow = fc.oneof(block, fc.array(block, { minLength: 1, maxLength: 3 }))
const written = fc.record({
  allow: fc.option(allow, { nil: undefined }),
  enforce: fc.constantFrom('on', 'shadow'),
  names: fc.constantFrom([], [], ['admin']),
  route: fc.record({ allow, enforce: fc.constantFrom(undefined, 'on', 'shadow') }),
})

test('explain says what the gateway does, whatever is in shadow and whatever the things are', async (t) => {
  await using backend = await startBackend((req, res) => answer({ url: req.url!, method: req.method! }, res))
  const outcomes = new Map<string, number>()
  await fc.assert(
    fc.asyncProperty(fc.array(written, { minLength: 6, maxLength: 9, size: 'max' }), async (all) => {
      const services = all.map(({ allow, enforce, names, route }, index) => ({
        name: `s${index}`,
        path: `/s${index}`,
        targets: [backend.url],
        openapi: false,
        security: [{ bearer: names }],
        ...(allow && { allow }),
        // What can be tried depends on the rest; the route has something in any case.
        enforce,
        routes: [{ match: '/{id}', allow: route.allow, ...(route.enforce && { enforce: route.enforce }) }],
      }))
      await using gateway = await startGateway({ securitySchemes, services })
      const compare = async ({ name: service }: (typeof services)[number]) => {
        for (const { name } of callers) {
          for (const id of ['draft', 'news', 'nothing']) {
            const headers = { 'X-API-Key': `${name}-key` }
            const path = `/${service}/${id}`
            const told = (await (
              await fetch(`${gateway.adminUrl}/explain`, {
                method: 'POST',
                headers: { 'Content-Type': 'application/json' },
                body: JSON.stringify({ path, headers, resource: things[`/${id}`] ?? null }),
              })
            ).json()) as Explanation
            const got = await fetch(gateway.url + path, { headers })
            const problem = got.headers.get('content-type')?.includes('problem')
              ? ((await got.json()) as Problem)
              : undefined
            const shadowed = told.shadow ? 'shadow' : ''
            outcomes.set(told.outcome + shadowed, (outcomes.get(told.outcome + shadowed) ?? 0) + 1)
            assert.equal(told.outcome, problem ? 'refused' : 'forwarded')
            assert.deepEqual(
              [told.problem?.status, told.problem?.code, told.problem?.row],
              [problem?.status, problem?.code, problem?.row],
            )
            if (!problem) await got.body?.cancel()
            const kept = await fetch(`${gateway.adminUrl}/decisions/${got.headers.get('x-request-id')}`)
            assert.equal(kept.status, told.problem || told.shadow ? 200 : 404)
            const past = (await kept.json()) as Explanation
            if (kept.status !== 200) continue
            assert.deepEqual(past.shadow, told.shadow)
            // What was decided without a thing was decided without reading it.
            if (!JSON.stringify(past).includes('"unread"')) assert.deepEqual(past.authorization, told.authorization)
          }
        }
      }
      await Promise.all(services.map(compare))
    }),
    { numRuns: 2 },
  )
  t.diagnostic(JSON.stringify(Object.fromEntries(outcomes)))
  for (const outcome of ['forwarded', 'refused', 'forwardedshadow'])
    assert.ok((outcomes.get(outcome) ?? 0) > 0, outcome)
})
