import assert from 'node:assert/strict'
import { createHash } from 'node:crypto'
import { after, before, describe, test } from 'node:test'
import type { Explanation } from '../../src/gateway/explanation.ts'
import { type Backend, startBackend } from '../backend.ts'
import { eventually, type GatewayUnderTest, startGateway } from '../sallyport.ts'

const sha256 = (text: string) => createHash('sha256').update(text).digest('hex')
const keys = [
  { sha256: sha256('ada-key'), subject: 'ada', roles: ['admin'] },
  { sha256: sha256('bob-key'), subject: 'bob', roles: ['reader'] },
]

const document = {
  openapi: '3.1.0',
  info: { title: 'Any', version: '1' },
  paths: {
    '/': { get: { responses: {} } },
    '/{id}': { get: { responses: {} }, delete: { responses: {} } },
    '/star/*': { get: { responses: {} } },
  },
}

describe('what is in shadow', () => {
  let backend: Backend
  let gateway: GatewayUnderTest

  before(async () => {
    backend = await startBackend()
    const service = (name: string, more: object) => ({
      name,
      path: `/${name}`,
      targets: [backend.url],
      openapi: './any.json',
      security: [{ key: [] }],
      ...more,
    })
    const admins = { allow: { roles: ['admin'] } }
    gateway = await startGateway(
      {
        gateway: { docs: { view: 'caller' } },
        securitySchemes: { key: { type: 'apiKey', in: 'header', name: 'X-API-Key', keys } },
        services: [
          service('tried', { ...admins, enforce: 'shadow', routes: [{ match: 'DELETE /{id}', enforce: 'on' }] }),
          service('named', { security: [{ key: ['admin'] }], enforce: 'shadow' }),
          service('guests', { security: [{ key: [] }, {}], ...admins, enforce: 'shadow' }),
          service('broken', { allow: { when: "caller.claims.level == 'high'" }, enforce: 'shadow' }),
          service('firm', {
            ...admins,
            routes: [
              { match: 'GET /{id}', allow: { when: 'caller.subject == request.params.id' }, enforce: 'shadow' },
              { match: 'DELETE /{id}', security: [{ key: ['owner'] }], enforce: 'shadow' },
            ],
          }),
          service('exposed', { expose: 'documented', ...admins, enforce: 'shadow' }),
        ],
      },
      { files: { 'any.json': JSON.stringify(document) } },
    )
    const { documents } = gateway.running.live.current
    await eventually('the documents are read', () => documents.operations('exposed'))
  })
  after(async () => {
    await gateway?.[Symbol.asyncDispose]()
    await backend?.[Symbol.asyncDispose]()
  })

  const call = (method: string, path: string, key?: string) =>
    fetch(gateway.url + path, { method, headers: key === undefined ? {} : { 'X-API-Key': key } })
  const explain = async (method: string, path: string, key: string): Promise<Explanation> => {
    const answer = await fetch(`${gateway.adminUrl}/explain`, {
      method: 'POST',
      headers: { 'Content-Type': 'application/json' },
      body: JSON.stringify({ method, path, headers: { 'X-API-Key': key } }),
    })
    return (await answer.json()) as Explanation
  }
  type Operations = Readonly<Record<string, Readonly<Record<string, Readonly<Record<string, unknown>>>>>>
  const pathsFor = async (key: string): Promise<Operations> => {
    const answer = await fetch(`${gateway.url}/openapi.json`, { headers: { 'X-API-Key': key } })
    return ((await answer.json()) as { paths: Operations }).paths
  }
  const decision = async (answer: Response): Promise<Explanation> =>
    (await (await fetch(`${gateway.adminUrl}/decisions/${answer.headers.get('x-request-id')}`)).json()) as Explanation
  const counted = async (labels: string) => {
    const text = await (await fetch(`${gateway.adminUrl}/metrics`)).text()
    const line = text.split('\n').find((one) => one.startsWith(`sallyport_shadow_refusals_total{${labels}}`))
    return Number(line?.split(' ').at(-1) ?? 0)
  }

  test('lets the request pass, counts it by operation and row, logs one line and keeps the reasons', async () => {
    const passed = await call('GET', '/tried/7', 'bob-key')
    assert.equal(passed.status, 200)
    assert.equal(await counted('service="tried",operation="GET /tried/{id}",row="/roles"'), 1)

    const id = passed.headers.get('x-request-id')
    const lines = gateway.log.filter((line) => line['id'] === id && line.message.startsWith('would be refused'))
    assert.equal(lines.length, 1)
    const { level: _, message: __, ...facts } = lines[0]!
    assert.deepEqual(facts, {
      id,
      route: 'tried',
      operation: 'GET /tried/{id}',
      row: '/roles',
      status: 403,
      problem: 'insufficient-role',
      subject: 'bob',
    })
    assert.ok(!JSON.stringify(gateway.log).includes('bob-key'))

    const kept = await decision(passed)
    assert.equal(kept.outcome, 'forwarded')
    assert.deepEqual([kept.shadow?.status, kept.shadow?.code, kept.shadow?.row], [403, 'insufficient-role', '/roles'])
    assert.equal(kept.authorization?.policies[0]?.shadow, true)
    const listed = (await (await fetch(`${gateway.adminUrl}/decisions`)).json()) as {
      decisions: { id: string; shadow?: object }[]
    }
    assert.deepEqual(listed.decisions.find((one) => one.id === id)?.shadow, {
      status: 403,
      code: 'insufficient-role',
      row: '/roles',
    })
  })

  test('says nothing of whom it would not refuse', async () => {
    const passed = await call('GET', '/tried/7', 'ada-key')
    assert.equal(passed.status, 200)
    const id = passed.headers.get('x-request-id')
    assert.ok(!gateway.log.some((line) => line['id'] === id && line.message.startsWith('would be refused')))
    assert.equal((await fetch(`${gateway.adminUrl}/decisions/${id}`)).status, 404)
  })

  test('still asks who calls', async () => {
    for (const path of ['/tried/7', '/named/7']) {
      assert.equal((await call('GET', path)).status, 401)
      assert.equal((await call('GET', path, 'nonsense')).status, 401)
    }
  })

  test('is also what the requirement arrays name, and what guests are not let into', async () => {
    const named = await call('GET', '/named/', 'bob-key')
    assert.equal(named.status, 200)
    assert.deepEqual((await decision(named)).shadow?.row, '/key')
    const guest = await call('GET', '/guests/')
    assert.equal(guest.status, 200)
    assert.equal((await decision(guest)).shadow?.status, 401)
  })

  test('is also a condition that cannot be evaluated', async () => {
    assert.equal((await call('GET', '/broken/', 'bob-key')).status, 200)
    assert.equal(await counted('service="broken",operation="GET /broken",row="/when"'), 1)
  })

  test('is only what is written beside the word: a route leaves in force what its service asks for', async () => {
    assert.equal((await call('GET', '/firm/bob', 'bob-key')).status, 403)
    const passed = await call('GET', '/firm/bob', 'ada-key')
    assert.equal(passed.status, 200)
    assert.equal((await decision(passed)).shadow?.row, '/when')
    const erased = await call('DELETE', '/firm/bob', 'ada-key')
    assert.equal(erased.status, 200)
    assert.equal((await decision(erased)).shadow?.row, '/key')
    assert.equal((await call('DELETE', '/firm/bob', 'bob-key')).status, 403)
  })

  test('bites at the route that says "on"', async () => {
    const refused = await call('DELETE', '/tried/7', 'bob-key')
    assert.equal(refused.status, 403)
    assert.equal(((await refused.json()) as { row: string }).row, '/roles')
    assert.equal((await call('DELETE', '/tried/7', 'ada-key')).status, 200)
  })

  test('is told by explain, which says of the request that it passes', async () => {
    const told = await explain('GET', '/firm/7', 'ada-key')
    assert.equal(told.outcome, 'forwarded')
    assert.deepEqual(told.shadow, {
      step: 'authorize',
      status: 403,
      code: 'policy-denied',
      detail: 'A condition on the caller and the request does not hold.',
      row: '/when',
    })
    assert.equal(told.authorization?.verdict, 'permit')
    assert.deepEqual(
      told.authorization?.policies.map(({ verdict, shadow }) => [verdict, shadow]),
      [
        ['permit', undefined],
        ['deny', true],
      ],
    )
    const { shadow, problem } = await explain('GET', '/firm/7', 'bob-key')
    assert.deepEqual([shadow, problem?.row], [undefined, '/roles'])
    const named = await explain('GET', '/named/', 'bob-key')
    assert.deepEqual(named.authentication?.alternatives[0]?.missing, ['admin'])
    assert.deepEqual([named.outcome, named.shadow?.row], ['forwarded', '/key'])
  })

  test('is no part of the document, which says what is enforced', async () => {
    const paths = await pathsFor('ada-key')
    const said = (path: string, method: string) => {
      const { security, 'x-sallyport-allow': allow } = paths[path]![method]!
      return [security, allow]
    }
    assert.deepEqual(said('/tried/{id}', 'get'), [[{ key: [] }], undefined])
    assert.deepEqual(said('/tried/{id}', 'delete'), [[{ key: [] }], { roles: ['admin'] }])
    assert.deepEqual(said('/named/{id}', 'get'), [[{ key: [] }], undefined])
    assert.deepEqual(said('/firm/{id}', 'get'), [[{ key: [] }], { roles: ['admin'] }])
    assert.deepEqual(said('/firm/{id}', 'delete'), [[{ key: [] }], { roles: ['admin'] }])
  })

  test('hides no operation from a caller who sees what would not be refused to it', async () => {
    const paths = await pathsFor('bob-key')
    for (const path of ['/tried/{id}', '/named/{id}', '/guests/{id}', '/broken/{id}'])
      assert.ok(paths[path]?.['get'], path)
    assert.equal(paths['/tried/{id}']?.['delete'], undefined)
    assert.equal(paths['/firm/{id}'], undefined)
  })

  test('a "*" in the path of a document is a character: nothing below it is exposed', async () => {
    assert.equal((await call('GET', '/exposed/star/*', 'ada-key')).status, 200)
    assert.equal((await call('GET', '/exposed/star/other', 'ada-key')).status, 404)
    assert.equal((await call('GET', '/exposed/star/deep/er', 'ada-key')).status, 404)
  })
})
