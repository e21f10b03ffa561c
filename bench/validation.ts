/**
 * `npm run bench:validation`: what holding a request against its document costs, in microseconds: parameters, and JSON
 * bodies of 1 and 10 KB, beside what JSON.parse alone takes of the same bytes.
 */
import { createFields } from '../src/http/fields.ts'
import { contractOf } from '../src/openapi/contract.ts'
import { digest } from '../src/openapi/digest.ts'
import { createValidator } from '../src/validation/validator.ts'

const line = {
  type: 'object',
  required: ['sku', 'quantity'],
  properties: { sku: { type: 'string', pattern: '^[a-z0-9-]+$' }, quantity: { type: 'integer', minimum: 1 } },
}
const order = {
  type: 'object',
  required: ['customer', 'lines'],
  properties: {
    customer: { type: 'string', minLength: 1 },
    due: { type: 'string', format: 'date-time' },
    lines: { type: 'array', items: { $ref: '#/components/schemas/Line' } },
  },
}
const document = {
  openapi: '3.1.0',
  info: { title: 'Orders', version: '1' },
  paths: {
    '/orders/{id}': {
      put: {
        parameters: [
          { name: 'id', in: 'path', required: true, schema: { type: 'integer' } },
          { name: 'limit', in: 'query', schema: { type: 'integer', minimum: 1, maximum: 100 } },
          { name: 'state', in: 'query', schema: { type: 'array', items: { enum: ['open', 'paid'] } } },
        ],
        requestBody: { content: { 'application/json': { schema: { $ref: '#/components/schemas/Order' } } } },
        responses: {},
      },
    },
  },
  components: { schemas: { Order: order, Line: line } },
}
const source = { name: 'orders', prefix: '', stripPath: true, origin: '', targetBasePath: '', routes: [], document }
const validator = createValidator(contractOf(digest(source), 0), () => false)
const media = validator.content!.accepts('application/json')!

function bodyOf(lines: number): Buffer {
  const items = Array.from({ length: lines }, (_, index) => ({ sku: `article-${index}`, quantity: 1 + index }))
  return Buffer.from(JSON.stringify({ customer: 'ada', due: '2026-01-01T00:00:00Z', lines: items }))
}

const head = { query: 'limit=20&state=open&state=paid', fields: createFields(['Host', 'x']) }
const path = new Map([['id', '17']])
const [small, large] = [bodyOf(25), bodyOf(270)]
const cases: readonly (readonly [string, () => unknown])[] = [
  ['three parameters', () => validator.parameters(head, path)],
  [`JSON.parse, ${small.length} bytes`, () => JSON.parse(small.toString())],
  [`checked JSON, ${small.length} bytes`, () => media.check(small)],
  [`JSON.parse, ${large.length} bytes`, () => JSON.parse(large.toString())],
  [`checked JSON, ${large.length} bytes`, () => media.check(large)],
]

for (const [name, run] of cases) {
  for (let warm = 0; warm < 2_000; warm += 1) run()
  const rounds: number[] = []
  for (let round = 0; round < 9; round += 1) {
    const before = process.cpuUsage()
    for (let count = 0; count < 1_000; count += 1) run()
    const { user, system } = process.cpuUsage(before)
    rounds.push((user + system) / 1_000)
  }
  const median = rounds.sort((one, other) => one - other)[4]!
  console.log(`${name.padEnd(28)} ${median.toFixed(1).padStart(8)} µs of CPU`)
}
