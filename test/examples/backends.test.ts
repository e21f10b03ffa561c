import assert from 'node:assert/strict'
import { createHash, randomBytes } from 'node:crypto'
import { readFileSync } from 'node:fs'
import { createServer, type Server } from 'node:http'
import type { AddressInfo } from 'node:net'
import { after, before, describe, test } from 'node:test'
import { createConfig, lintFromString } from '@redocly/openapi-core'
import { parse } from 'yaml'
import { fingerprint } from '../../examples/arrival.ts'
import { createInventory } from '../../examples/inventory/server.ts'
import { createOrders } from '../../examples/orders/server.ts'
import { createReports } from '../../examples/reports/server.ts'
import { createFit } from './document.ts'

const file = (path: string) => readFileSync(new URL(`../../${path}`, import.meta.url), 'utf8')

const servers: Server[] = []
async function listen(app: { callback(): Parameters<typeof createServer>[1] }): Promise<string> {
  const server = createServer(app.callback())
  servers.push(server)
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve))
  return `http://127.0.0.1:${(server.address() as AddressInfo).port}`
}
after(() => {
  for (const server of servers) {
    server.closeAllConnections()
    server.close()
  }
})

const json = (body: unknown, method = 'POST', type = 'application/json') => ({
  method,
  headers: { 'content-type': type },
  body: JSON.stringify(body),
})

describe('the documents of the demo', () => {
  for (const path of ['examples/orders/openapi.yaml', 'examples/inventory/openapi.json', 'openapi/reports.yaml']) {
    test(`${path} is valid OpenAPI`, async () => {
      const config = await createConfig({
        rules: {
          struct: 'error',
          'no-unresolved-refs': 'error',
          'operation-operationId-unique': 'error',
          'path-parameters-defined': 'error',
        },
      })
      const findings = await lintFromString({ source: file(path), absoluteRef: path, config })
      assert.deepEqual(
        findings.map(({ message, location }) => `${location[0]?.pointer}: ${message}`),
        [],
      )
    })
  }

  test('those of orders and inventory use the same names for different things', () => {
    const names = (path: string) => Object.keys(parse(file(path)).components.schemas)
    const theirs = names('examples/inventory/openapi.json')
    const shared = names('examples/orders/openapi.yaml').filter((name) => theirs.includes(name))
    assert.deepEqual(shared.sort(), ['Arrival', 'Error', 'Item', 'Page'])
  })
})

describe('orders', () => {
  const fits = createFit(parse(file('examples/orders/openapi.yaml')))
  let url = ''
  before(async () => {
    url = await listen(createOrders())
  })

  const order = {
    customer: 'Ciclo Čačak',
    lines: [
      { sku: 'bell-brass', quantity: 2, unitPrice: { amount: 1450, currency: 'EUR' } },
      { sku: 'chain-8', quantity: 1, unitPrice: { amount: 1900, currency: 'EUR' } },
    ],
    payment: { method: 'invoice', dueInDays: 14, reference: null },
    note: 'ring twice',
  }

  test('places, reads, replaces, changes and deletes an order', async () => {
    const identity = { 'user-id': 'user-kenji', 'organization-id': 'acme' }
    const create = json(order)
    const placed = await fetch(url, { ...create, headers: { ...create.headers, ...identity } })
    assert.equal(placed.status, 201)
    const location = new URL(placed.headers.get('location')!, `${url}/`).href
    const { id, total, createdBy, organization } = (await fits('post', '/', placed)) as Record<string, unknown>
    assert.equal(location, `${url}/${id}`)
    assert.deepEqual(
      { total, createdBy, organization },
      { total: { amount: 4800, currency: 'EUR' }, createdBy: 'user-kenji', organization: 'acme' },
    )

    const read = (await fits('get', '/{orderId}', await fetch(location))) as Record<string, unknown>
    assert.equal(read['customer'], 'Ciclo Čačak')

    const card = { method: 'card', last4: '0042', network: 'verve' }
    const replaced = await fits(
      'put',
      '/{orderId}',
      await fetch(location, json({ ...order, note: undefined, payment: card }, 'PUT')),
    )
    assert.deepEqual((replaced as Record<string, unknown>)['payment'], card)

    const change = json({ status: 'shipped' }, 'PATCH', 'application/merge-patch+json')
    const changed = (await fits('patch', '/{orderId}', await fetch(location, change))) as Record<string, unknown>
    assert.equal(changed['status'], 'shipped')

    const tooLate = await fetch(location, json(order, 'PUT'))
    assert.equal(tooLate.status, 409)
    await fits('put', '/{orderId}', tooLate)

    const deleted = await fetch(location, { method: 'DELETE' })
    assert.equal(deleted.status, 204)
    await fits('delete', '/{orderId}', deleted)
    const gone = await fetch(location)
    assert.equal(gone.status, 404)
    await fits('get', '/{orderId}', gone)
  })

  test('lists page by page, by state and by customer', async () => {
    type Page = { items: { id: string; status: string; customer: string }[]; total: number }
    const list = async (query: string) => (await fits('get', '/', await fetch(`${url}/?${query}`))) as Page
    const [first, second] = [await list('limit=10'), await list('limit=10&offset=10')]
    assert.equal(first.total, 24)
    assert.equal(new Set([...first.items, ...second.items].map(({ id }) => id)).size, 20)
    assert.equal(first.items[0]?.id, '24')
    const paid = await list('status=paid')
    assert.deepEqual([...new Set(paid.items.map(({ status }) => status))], ['paid'])
    const cafe = await list(`customer=${encodeURIComponent('café')}`)
    assert.deepEqual([...new Set(cafe.items.map(({ customer }) => customer))], ['Café Vélo'])
  })

  test('shows an organization its own orders and no others', async () => {
    const asSofia = { headers: { 'user-id': 'user-sofia', 'organization-id': 'globex' } }
    const { items, total } = (await (await fetch(`${url}/?limit=100`, asSofia)).json()) as {
      items: { organization: string }[]
      total: number
    }
    assert.equal(total, 8)
    assert.deepEqual([...new Set(items.map(({ organization }) => organization))], ['globex'])
    assert.equal((await fetch(`${url}/1`, asSofia)).status, 404)
    assert.equal((await fetch(`${url}/1`, { ...asSofia, method: 'DELETE' })).status, 404)
    assert.equal((await fetch(`${url}/3`, asSofia)).status, 200)
    const exported = await (await fetch(`${url}/export`, asSofia)).text()
    assert.equal(exported.trim().split('\n').length, 8)
  })

  const refused: [what: string, path: string, init: RequestInit, status: number][] = [
    ['a page of nothing', '/?limit=0', {}, 400],
    ['a state that does not exist', '/?status=lost', {}, 400],
    ['an order without lines', '/', json({ ...order, lines: [] }), 400],
    [
      'a payment that is two kinds at once',
      '/',
      json({ ...order, payment: { method: 'card', last4: '0042', network: 'visa', dueInDays: 14 } }),
      400,
    ],
    [
      'an order in two currencies',
      '/',
      json({ ...order, lines: [order.lines[0], { sku: 'x', quantity: 1, unitPrice: { amount: 1, currency: 'USD' } }] }),
      400,
    ],
    ['half a JSON text', '/', { ...json(order), body: '{"customer":' }, 400],
    ['a body that is not JSON', '/', { method: 'POST', body: 'hello' }, 415],
    ['a body that is far too long', '/', json({ ...order, note: 'x'.repeat(200_000) }), 413],
    ['an order that is not there', '/999999', {}, 404],
    ['a path that is not there', '/a/b/c', {}, 404],
    ['an export as a picture', '/export', { headers: { accept: 'image/png' } }, 406],
    ['an attachment of an unknown kind', '/2/attachments', { method: 'POST', body: 'hello' }, 415],
    ['a form without the file', '/2/attachments', { method: 'POST', body: form('other', new Blob(['x'])) }, 400],
    [
      'a form that is none',
      '/2/attachments',
      { method: 'POST', body: 'x', headers: { 'content-type': 'multipart/form-data; boundary=b' } },
      400,
    ],
    [
      'a form that is too large',
      '/2/attachments',
      { method: 'POST', body: form('file', new Blob([new Uint8Array(6_000_000)])) },
      413,
    ],
  ]
  for (const [what, path, init, status] of refused) {
    test(`refuses ${what} with ${status}`, async () => {
      const response = await fetch(url + path, init)
      assert.equal(response.status, status)
      const { code, message } = (await response.json()) as { code: string; message: string }
      assert.ok(code && message)
    })
  }

  test('exports line by line, as NDJSON and as CSV', async () => {
    const accept = (type: string) => fetch(`${url}/export?status=paid`, { headers: { accept: type } })
    const ndjson = await accept('application/x-ndjson')
    assert.equal(ndjson.headers.get('transfer-encoding'), 'chunked')
    const lines = String(await fits('get', '/export', ndjson))
      .trim()
      .split('\n')
    assert.deepEqual(
      lines.map((line) => JSON.parse(line).status),
      Array(lines.length).fill('paid'),
    )
    const csv = String(await fits('get', '/export', await accept('text/csv')))
      .trim()
      .split('\n')
    assert.equal(csv[0], 'id,status,customer,amount,currency,createdAt')
    assert.equal(csv.length, lines.length + 1)
  })

  test('digests what is attached, byte for byte, raw or in a form', async () => {
    const bytes = randomBytes(2_000_000)
    const sha256 = createHash('sha256').update(bytes).digest('hex')
    const raw = await fetch(`${url}/2/attachments`, {
      method: 'POST',
      body: bytes,
      headers: { 'content-type': 'application/octet-stream' },
    })
    assert.deepEqual(await fits('post', '/{orderId}/attachments', raw), {
      name: 'unnamed',
      type: 'application/octet-stream',
      size: 2_000_000,
      sha256,
    })
    const body = form('file', new File([bytes], 'fotó.jpg', { type: 'image/jpeg' }))
    const inForm = await fetch(`${url}/2/attachments`, { method: 'POST', body })
    assert.deepEqual(await fits('post', '/{orderId}/attachments', inForm), {
      name: 'fotó.jpg',
      type: 'image/jpeg',
      size: 2_000_000,
      sha256,
    })
    const { attachments } = (await (await fetch(`${url}/2`)).json()) as { attachments: object[] }
    assert.equal(attachments.length, 2)
  })

  test('shows at /whoami what has arrived, of keys and cookies only that they have', async () => {
    const fields = { authorization: 'Bearer token', 'user-id': 'ada', 'auth-method': 'jwt', 'x-request-id': 'r-1' }
    const headers = { ...fields, 'x-api-key': 'key', cookie: 'session=1', 'x-other': 'y', 'user-agent': 'test' }
    const seen = await fits('get', '/whoami', await fetch(`${url}/whoami`, { headers }))
    assert.deepEqual(seen, {
      service: 'orders',
      subject: 'ada',
      requestId: 'r-1',
      traceId: null,
      authorization: fingerprint('Bearer token'),
      fields: { ...fields, 'x-api-key': 'present', cookie: 'present' },
    })
  })
})

describe('inventory', () => {
  const fits = createFit(JSON.parse(file('examples/inventory/openapi.json')))
  const authorization = { authorization: 'Bearer anything' }
  let url = ''
  before(async () => {
    url = await listen(createInventory())
  })

  test('has the trap of the header parameter: its operations are refused without Authorization, and no page would send it', async () => {
    const { paths } = JSON.parse(await (await fetch(`${url}/openapi.json`)).text())
    assert.deepEqual(paths['/items'].get.parameters[0].name, 'Authorization')
    assert.equal(paths['/items'].get.security, undefined)
    for (const [method, path, template] of [
      ['get', '/items', '/items'],
      ['get', '/items/chain-8', '/items/{sku}'],
      ['post', '/items/chain-8/reservations', '/items/{sku}/reservations'],
    ] as const) {
      const response = await fetch(url + path, { method })
      assert.equal(response.status, 401)
      assert.equal(response.headers.get('www-authenticate'), 'Bearer realm="inventory"')
      await fits(method, template, response)
    }
  })

  test('lists, reads, writes and reserves', async () => {
    const send = (method: string, path: string, body?: object) =>
      fetch(url + path, {
        method,
        headers: { ...authorization, ...(body && { 'content-type': 'application/json' }) },
        ...(body && { body: JSON.stringify(body) }),
      })
    const page = (await fits('get', '/items', await send('GET', '/items?warehouse=LIS'))) as { items: object[] }
    assert.equal(page.items.length, 2)
    const item = { name: 'Pump', stock: 3, warehouse: 'LOS' }
    assert.deepEqual(await fits('put', '/items/{sku}', await send('PUT', '/items/pump', item)), {
      sku: 'pump',
      reserved: 0,
      ...item,
    })
    const reserve = (quantity: number) => send('POST', '/items/pump/reservations', { quantity })
    assert.equal(
      ((await fits('post', '/items/{sku}/reservations', await reserve(2))) as { reserved: number }).reserved,
      2,
    )
    assert.equal((await reserve(2)).status, 409)
    assert.equal((await reserve(-1)).status, 400)
    await fits('get', '/items/{sku}', await send('GET', '/items/nothing'))
  })
})

describe('reports', () => {
  const fits = createFit(parse(file('openapi/reports.yaml')))
  let url = ''
  before(async () => {
    const [orders, inventory] = await Promise.all([listen(createOrders()), listen(createInventory())])
    url = await listen(createReports({ orders, inventory }))
  })
  interface Summary {
    report: { orders: Record<string, number>; revenue: object; articles: { sku: string; short: number }[] }
    hops: {
      service: string
      subject: string | null
      requestId: string
      traceId: string
      authorization: string | null
    }[]
  }
  const traceId = '0af7651916cd43dd8448eb211c80319c'
  const introduced = (subject: string, organization: string, requestId: string, trace = traceId) => ({
    authorization: `Bearer token-of-${requestId}`,
    'user-id': subject,
    'organization-id': organization,
    'x-request-id': requestId,
    traceparent: `00-${trace}-b7ad6b7169203331-01`,
  })

  test('reads orders and inventory in the name of the caller, who is the same at all three', async () => {
    const response = await fetch(`${url}/summary`, { headers: introduced('user-ada', 'acme', 'request-1') })
    const { report, hops } = (await fits('get', '/summary', response)) as Summary
    assert.deepEqual(report.orders, { placed: 4, paid: 4, shipped: 4, cancelled: 4 })
    assert.deepEqual(Object.keys(report.revenue), ['EUR'])
    assert.equal(report.articles.length, 5)
    const same = {
      subject: 'user-ada',
      requestId: 'request-1',
      traceId,
      authorization: fingerprint('Bearer token-of-request-1'),
    }
    assert.deepEqual(hops, [
      { service: 'reports', ...same },
      { service: 'orders', ...same },
      { service: 'inventory', ...same },
    ])
  })

  test('never mixes 200 callers who ask at once', async () => {
    await Promise.all(
      Array.from({ length: 200 }, async (_, index) => {
        const [subject, organization] = index % 2 ? ['user-ada', 'acme'] : ['user-sofia', 'globex']
        const trace = index.toString(16).padStart(32, 'b')
        const headers = introduced(subject!, organization!, `request-${index}`, trace)
        const { report, hops } = (await (await fetch(`${url}/summary`, { headers })).json()) as Summary
        assert.equal(report.orders['paid'], index % 2 ? 4 : 2)
        assert.equal(hops.length, 3)
        for (const { service: _service, ...hop } of hops) {
          assert.deepEqual(hop, {
            subject,
            requestId: `request-${index}`,
            traceId: trace,
            authorization: fingerprint(headers.authorization),
          })
        }
      }),
    )
  })

  test('says which service refused, and nothing of where it is', async () => {
    const response = await fetch(`${url}/summary`)
    assert.equal(response.status, 502)
    assert.deepEqual(await fits('get', '/summary', response), { message: 'inventory answered 401' })
    const lonely = await listen(createReports({ orders: 'http://127.0.0.1:1', inventory: 'http://127.0.0.1:1' }))
    const answer = (await (await fetch(`${lonely}/summary`)).json()) as { message: string }
    assert.match(answer.message, /^(orders|inventory) did not answer$/)
  })
})

describe('every backend', () => {
  for (const [name, create] of Object.entries({
    orders: createOrders,
    inventory: createInventory,
    reports: () => createReports({ orders: 'http://127.0.0.1:1', inventory: 'http://127.0.0.1:1' }),
  })) {
    test(`${name} says at /health that it works, to anybody`, async () => {
      const response = await fetch(`${await listen(create())}/health`)
      assert.deepEqual(await response.json(), { status: 'ok' })
    })
  }
})

function form(name: string, file: Blob): FormData {
  const body = new FormData()
  body.set(name, file)
  return body
}
