import assert from 'node:assert/strict'
import { after, before, describe, test } from 'node:test'
import { type Backend, startBackend } from '../backend.ts'
import { eventually, type GatewayUnderTest, startGateway } from '../sallyport.ts'

const order = {
  type: 'object',
  required: ['id', 'customer', 'lines'],
  additionalProperties: false,
  properties: {
    id: { type: 'string', readOnly: true },
    customer: { type: 'string', minLength: 1, pattern: '^[a-z ]+$' },
    due: { type: ['string', 'null'], format: 'date-time' },
    lines: { type: 'array', minItems: 1, uniqueItems: true, items: { $ref: '#/components/schemas/Line' } },
  },
}

const document = {
  openapi: '3.1.0',
  info: { title: 'Orders', version: '1' },
  paths: {
    '/orders': {
      get: {
        parameters: [
          { name: 'limit', in: 'query', schema: { type: 'integer', minimum: 1, maximum: 100 } },
          { name: 'state', in: 'query', schema: { type: 'array', items: { enum: ['open', 'paid'] } } },
          { name: 'since', in: 'query', required: true, schema: { type: 'string', format: 'date' } },
          { name: 'X-API-Key', in: 'header', required: true, schema: { type: 'string' } },
          { name: 'User-ID', in: 'header', required: true, schema: { type: 'string' } },
        ],
        responses: { 200: { description: 'Orders' } },
      },
      post: {
        requestBody: {
          required: true,
          content: {
            'application/json': { schema: { $ref: '#/components/schemas/Order' } },
            'text/csv': { schema: { type: 'string' } },
          },
        },
        responses: { 201: { description: 'Made' } },
      },
      put: {
        requestBody: { content: { '*/*': { schema: { $ref: '#/components/schemas/Order' } } } },
        responses: { 201: { description: 'Made' } },
      },
    },
    '/orders/{id}': {
      parameters: [{ name: 'id', in: 'path', required: true, schema: { type: 'integer' } }],
      get: { responses: { 200: { description: 'One' } } },
    },
  },
  components: {
    schemas: {
      Order: order,
      Line: {
        type: 'object',
        required: ['sku', 'quantity'],
        properties: { sku: { type: 'string' }, quantity: { type: 'integer', minimum: 1 } },
      },
    },
  },
}

const good = { customer: 'ada', lines: [{ sku: 'a', quantity: 1 }] }

describe('requests against the document of their service', () => {
  let backend: Backend
  let gateway: GatewayUnderTest
  before(async () => {
    backend = await startBackend((req, res) => {
      if (req.url === '/openapi.json') {
        res.setHeader('Content-Type', 'application/json')
        res.end(JSON.stringify(document))
        return
      }
      const chunks: Buffer[] = []
      req.on('data', (chunk) => chunks.push(chunk))
      req.on('end', () => {
        const content = Buffer.concat(chunks)
        res.setHeader('Content-Type', 'application/json')
        res.end(JSON.stringify({ url: req.url, bytes: content.length, text: content.toString().slice(0, 200) }))
      })
    })
    const service = { targets: [backend.url], security: [{ apiKey: [] }, {}], openapi: '/openapi.json' }
    gateway = await startGateway({
      securitySchemes: { apiKey: { type: 'apiKey', in: 'header', name: 'X-API-Key' } },
      services: [
        { name: 'strict', path: '/strict', ...service, validate: 'enforce' },
        { name: 'shadow', path: '/shadow', ...service, validate: 'shadow' },
        {
          name: 'careful',
          path: '/careful',
          ...service,
          validate: { mode: 'enforce', body: '1kb', unchecked: 'refuse' },
          routes: [{ match: 'GET /orders/{id}', validate: 'off' }],
        },
        { name: 'small', path: '/small', ...service, validate: { mode: 'enforce', body: '1kb' } },
        { name: 'absent', path: '/absent', ...service, openapi: '/nothing', validate: 'enforce' },
      ],
      compositions: [
        { match: 'GET /both/{id}', parts: { one: { service: 'strict', path: '/orders/{id}', optional: true } } },
      ],
    })
    await eventually('the documents are read', async () => {
      const response = await fetch(`${gateway.url}/openapi/strict.json`)
      return Object.keys(((await response.json()) as { paths: object }).paths).length > 0
    })
  })
  after(async () => {
    await gateway?.[Symbol.asyncDispose]()
    await backend?.[Symbol.asyncDispose]()
  })

  async function ask(path: string, init?: RequestInit) {
    const response = await fetch(`${gateway.url}${path}`, init)
    // biome-ignore lint/suspicious/noExplicitAny: answers of two kinds
    return { status: response.status, body: (await response.json()) as any }
  }
  function send(path: string, body: unknown, fields: Record<string, string> = {}) {
    const text = typeof body === 'string' ? body : JSON.stringify(body)
    return ask(path, { method: 'POST', body: text, headers: { 'Content-Type': 'application/json', ...fields } })
  }

  test('lets pass what fits, byte for byte', async () => {
    const listed = await ask('/strict/orders?since=2026-01-01&limit=5&state=open&state=paid&further=1')
    assert.equal(listed.status, 200)
    assert.equal(listed.body.url, '/orders?since=2026-01-01&limit=5&state=open&state=paid&further=1')
    const made = await send('/strict/orders', ` ${JSON.stringify(good)} `)
    assert.equal(made.status, 200)
    assert.equal(made.body.text, ` ${JSON.stringify(good)} `)
  })

  test('names every mistake at once, and no value', async () => {
    const { status, body } = await ask('/strict/orders?limit=secret&state=lost&since=yesterday')
    assert.equal(status, 400)
    assert.equal(body.code, 'invalid-request-content')
    assert.deepEqual(
      body.errors.map(({ in: place, name, pointer }: Record<string, string>) => `${place} ${name}${pointer}`).sort(),
      ['query limit', 'query since', 'query state/0'],
    )
    assert.equal(JSON.stringify(body).includes('secret'), false)
    const made = await send('/strict/orders', {
      customer: 'ADA',
      due: 'soon',
      lines: [{ sku: 1, quantity: 0 }, { sku: 'b' }],
      extra: true,
    })
    assert.equal(made.status, 400)
    assert.deepEqual(made.body.errors.map(({ pointer }: { pointer: string }) => pointer).sort(), [
      '',
      '/customer',
      '/due',
      '/lines/0/quantity',
      '/lines/0/sku',
      '/lines/1',
    ])
  })

  test('asks for what is required, but not for what the gateway itself sends or takes', async () => {
    const { body } = await ask('/strict/orders')
    assert.deepEqual(body.errors, [{ in: 'query', name: 'since', pointer: '', detail: 'is required' }])
  })

  test('does not ask in a request for what only answers have', async () => {
    const { body } = await send('/strict/orders', { lines: good.lines })
    assert.deepEqual(body.errors, [{ in: 'body', pointer: '', detail: 'must have the member "customer"' }])
  })

  test('checks parameters of the path', async () => {
    assert.equal((await ask('/strict/orders/7')).status, 200)
    const { status, body } = await ask('/strict/orders/seven')
    assert.equal(status, 400)
    assert.deepEqual(body.errors, [{ in: 'path', name: 'id', pointer: '', detail: 'must be integer' }])
  })

  test('refuses JSON that can be read in two ways, and what is none', async () => {
    for (const [text, detail] of [
      ['{"customer":"a","customer":"b","lines":[]}', /same name twice/],
      ['{"customer":', /not JSON/],
      [`${'['.repeat(200)}${']'.repeat(200)}`, /in each other/],
    ] as const) {
      const { status, body } = await send('/strict/orders', text)
      assert.equal(status, 400, text.slice(0, 50))
      assert.match(body.errors[0].detail, detail)
    }
  })

  test('refuses a media type that the operation does not take, and checks only JSON', async () => {
    const { status, body } = await send('/strict/orders', '<order/>', { 'Content-Type': 'application/xml' })
    assert.equal(status, 415)
    assert.match(body.detail, /application\/json, text\/csv/)
    assert.equal((await send('/strict/orders', 'a,b', { 'Content-Type': 'text/csv; charset=utf-8' })).status, 200)
    assert.equal((await ask('/strict/orders', { method: 'POST' })).status, 400)
  })

  test('checks JSON also where every media type is taken, and nothing else there', async () => {
    const put = (type: string | undefined, body: string) =>
      ask('/strict/orders', {
        method: 'PUT',
        body: Buffer.from(body),
        ...(type && { headers: { 'Content-Type': type } }),
      })
    assert.equal((await put('application/json; charset=utf-8', JSON.stringify(good))).status, 200)
    assert.equal((await put('Application/JSON', '{"customer":1}')).status, 400)
    assert.equal((await put('application/merge-patch+json', '{"customer":1}')).status, 400)
    assert.equal((await put('application/yaml', 'customer: 1')).status, 200)
    assert.equal((await put(undefined, '{"customer":1}')).status, 200)
  })

  test('compares a thousand items with each other in no time', async () => {
    const lines = Array.from({ length: 4_000 }, (_, index) => ({ sku: `s${index}`, quantity: 1 }))
    assert.equal((await send('/strict/orders', { ...good, lines })).status, 200)
    const { body } = await send('/strict/orders', { ...good, lines: [...lines, lines[0]] })
    assert.deepEqual(body.errors, [{ in: 'body', pointer: '/lines', detail: 'must not have the same item twice' }])
  })

  test('reads a chunked body of unknown length whole', async () => {
    const chunks = (text: string) =>
      new ReadableStream({
        start(controller) {
          for (const part of text.match(/.{1,7}/gs)!) controller.enqueue(Buffer.from(part))
          controller.close()
        },
      })
    const init = (text: string) =>
      ({
        method: 'POST',
        body: chunks(text),
        duplex: 'half',
        headers: { 'Content-Type': 'application/json' },
      }) as RequestInit
    assert.equal((await ask('/strict/orders', init(JSON.stringify(good)))).status, 200)
    assert.equal((await ask('/strict/orders', init('{"customer":1}'))).status, 400)
    // More than is checked goes on as it came, from its first byte.
    const long = JSON.stringify({ customer: 'x'.repeat(5_000) })
    const passed = await ask('/small/orders', init(long))
    assert.deepEqual([passed.status, passed.body.bytes, passed.body.text], [200, long.length, long.slice(0, 200)])
  })

  test('lets pass what it cannot check, and counts it; or refuses it where the operator says so', async () => {
    const long = { ...good, customer: 'x'.repeat(2_000) }
    assert.equal((await send('/small/orders', long)).status, 200)
    assert.equal((await send('/careful/orders', long)).status, 413)
    assert.equal((await send('/careful/orders', good, { 'Content-Encoding': 'gzip' })).status, 413)
    assert.equal((await ask('/absent/orders?limit=x')).status, 200)
    const metrics = await (await fetch(`${gateway.adminUrl}/metrics`)).text()
    assert.match(metrics, /sallyport_validation_total\{service="small",verdict="unchecked"\} [1-9]/)
  })

  test('is not got round by an empty Content-Encoding', async () => {
    assert.equal((await send('/strict/orders', { customer: 7 }, { 'Content-Encoding': '' })).status, 400)
    assert.equal((await send('/strict/orders', good, { 'Content-Encoding': '' })).status, 200)
  })

  test('a route may say otherwise', async () => {
    assert.equal((await ask('/careful/orders/seven')).status, 200)
  })

  test('in the shadow nothing is refused; it is counted and logged', async () => {
    const before = gateway.log.length
    assert.equal((await ask('/shadow/orders/seven')).status, 200)
    assert.equal((await send('/shadow/orders', { customer: 7 })).status, 200)
    const lines = gateway.log.slice(before).filter(({ message }) => message === 'would not fit the document')
    assert.equal(lines.length, 2)
    assert.equal(lines[0]!['errors'][0].name, 'id')
    const metrics = await (await fetch(`${gateway.adminUrl}/metrics`)).text()
    assert.match(metrics, /sallyport_validation_total\{service="shadow",verdict="shadow"\} 2/)
  })

  test('parts of a composition are held against it too', async () => {
    assert.equal((await ask('/both/7')).body.one.url, '/orders/7')
    const { body } = await ask('/both/seven')
    assert.deepEqual(body.$problems.one.status, 400)
  })

  test('the document tells of the 400 where it is enforced', async () => {
    const { body } = await ask('/openapi.json')
    assert.deepEqual(body.paths['/strict/orders'].get.responses['400'], { $ref: '#/components/responses/BadRequest' })
    assert.equal(body.paths['/shadow/orders'].get.responses['400'], undefined)
  })
})
