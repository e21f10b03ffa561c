import { readFileSync } from 'node:fs'
import { Readable } from 'node:stream'
import Router from '@koa/router'
import { Ajv2020 } from 'ajv/dist/2020.js'
import Koa, { type Context } from 'koa'
import { parse } from 'yaml'
import { createContext } from '../../src/context/index.ts'
import { describeArrival } from '../arrival.ts'
import { serve } from '../serve.ts'
import { readJson, readUpload } from './body.ts'
import { createOrderBook, type NewOrder, type Order, type OrderStatus } from './order-book.ts'

/**
 * The orders of a shop. Its document, openapi.yaml, was written first and checks what comes in. Who may call which
 * operation is not its business: the gateway in front decides that, and tells it in header fields who is calling.
 */
export function createOrders(): Koa {
  const book = createOrderBook()
  const document = parse(readFileSync(new URL('openapi.yaml', import.meta.url), 'utf8'))
  const check = compileChecks(document)
  const context = createContext({ trusted: [] })

  const organization = () => context.get('identity')?.organization
  const page = (ctx: Context) => {
    const query = { ...ctx.query }
    if (check.listQuery(query))
      return query as { status?: OrderStatus; customer?: string; limit?: number; offset?: number }
    return ctx.throw(400, check.explain(check.listQuery.errors, 'query'))
  }
  /** Another organization's order is not there at all. */
  const orderOf = (ctx: Context): Order => {
    const order = book.get(ctx['params'].orderId)
    if (!order || (organization() && order.organization !== organization())) ctx.throw(404, 'There is no such order.')
    return order
  }
  const newOrder = async (ctx: Context): Promise<NewOrder> => {
    const body = await readJson(ctx, 'application/json')
    if (!check.newOrder(body)) ctx.throw(400, check.explain(check.newOrder.errors))
    const { customer, lines, payment, note } = body
    if (new Set(lines.map(({ unitPrice }) => unitPrice.currency)).size > 1) ctx.throw(400, 'An order has one currency.')
    return { customer, lines, payment, ...(note !== undefined && { note }) }
  }

  const router = new Router()
  router.get('/health', (ctx) => {
    ctx.body = { status: 'ok' }
  })
  router.get('/openapi.json', (ctx) => {
    ctx.body = document
  })
  router.get('/whoami', (ctx) => {
    ctx.body = describeArrival('orders', ctx.headers)
  })

  router.get('/', (ctx) => {
    const { status, customer, limit = 20, offset = 0 } = page(ctx)
    const found = [...book.find({ organization: organization(), status, customer })].reverse()
    ctx.body = { items: found.slice(offset, offset + limit), total: found.length, limit, offset }
  })
  router.post('/', async (ctx) => {
    const { subject = 'anonymous', organization = null } = context.get('identity') ?? {}
    const order = book.place(await newOrder(ctx), { subject, organization })
    ctx.status = 201
    ctx.set('Location', order.id)
    ctx.body = order
  })
  router.get('/export', (ctx) => {
    const { status } = page(ctx)
    const orders = book.find({ organization: organization(), status })
    const write = { 'application/x-ndjson': ndjson, 'text/csv': csv }[
      String(ctx.accepts('application/x-ndjson', 'text/csv'))
    ]
    if (!write) return ctx.throw(406, 'Accept application/x-ndjson or text/csv.')
    ctx.type = write === csv ? 'text/csv; charset=utf-8' : 'application/x-ndjson'
    ctx.body = Readable.from(write(orders))
  })

  router.get('/:orderId', (ctx) => {
    ctx.body = orderOf(ctx)
  })
  router.put('/:orderId', async (ctx) => {
    const order = orderOf(ctx)
    if (order.status === 'shipped') ctx.throw(409, 'The order has been shipped.')
    ctx.body = book.change(order, await newOrder(ctx))
  })
  router.patch('/:orderId', async (ctx) => {
    const order = orderOf(ctx)
    const body = await readJson(ctx, 'application/json', 'application/merge-patch+json')
    if (!check.change(body)) return ctx.throw(400, check.explain(check.change.errors))
    ctx.body = book.change(order, body)
  })
  router.delete('/:orderId', (ctx) => {
    book.remove(orderOf(ctx).id)
    ctx.status = 204
  })
  router.post('/:orderId/attachments', async (ctx) => {
    const order = orderOf(ctx)
    const attachment = await readUpload(ctx)
    book.change(order, { attachments: [...order.attachments, attachment] })
    ctx.status = 201
    ctx.body = attachment
  })

  const app = new Koa()
  app.use(context.koa())
  app.use(answerErrors)
  app.use(router.routes())
  app.use(router.allowedMethods())
  return app
}

/** The schemas of the document itself check the requests, so the two cannot differ. */
function compileChecks(document: { paths: { '/': { get: { parameters: { name?: string; $ref?: string }[] } } } }) {
  const ajv = new Ajv2020({ strict: false, validateFormats: false, coerceTypes: false })
  const forQuery = new Ajv2020({ strict: false, validateFormats: false, coerceTypes: true })
  for (const checker of [ajv, forQuery]) checker.addSchema(document, 'orders')
  const schema = <T>(name: string) => ajv.compile<T>({ $ref: `orders#/components/schemas/${name}` })
  const properties = document.paths['/'].get.parameters.map(({ name, $ref }, index) => [
    name ?? 'status',
    { $ref: `orders${$ref ?? `#/paths/~1/get/parameters/${index}`}/schema` },
  ])
  return {
    newOrder: schema<NewOrder>('NewOrder'),
    change: schema<{ status?: OrderStatus; note?: string }>('OrderChange'),
    listQuery: forQuery.compile({ type: 'object', properties: Object.fromEntries(properties) }),
    explain: (errors: Parameters<typeof ajv.errorsText>[0], dataVar = 'body') => ajv.errorsText(errors, { dataVar }),
  }
}

function* ndjson(orders: Iterable<Order>) {
  for (const order of orders) yield `${JSON.stringify(order)}\n`
}

function* csv(orders: Iterable<Order>) {
  yield 'id,status,customer,amount,currency,createdAt\n'
  for (const { id, status, customer, total, createdAt } of orders) {
    yield `${[id, status, `"${customer.replaceAll('"', '""')}"`, total.amount, total.currency, createdAt].join(',')}\n`
  }
}

const codes: Readonly<Record<number, string>> = {
  400: 'bad-request',
  404: 'not-found',
  406: 'not-acceptable',
  409: 'conflict',
  413: 'too-large',
  415: 'unsupported-media-type',
}

async function answerErrors(ctx: Context, next: () => Promise<unknown>) {
  try {
    await next()
    if (ctx.status === 404 && ctx.body == null) ctx.throw(404, 'Nothing answers here.')
  } catch (error) {
    const {
      status = 500,
      expose = false,
      message = '',
    } = error as { status?: number; expose?: boolean; message?: string }
    if (!expose) ctx.app.emit('error', error, ctx)
    ctx.status = status
    ctx.body = { code: codes[status] ?? 'internal', message: expose ? message : 'Something went wrong.' }
  }
}

if (import.meta.main) serve({ service: 'orders', variable: 'ORDERS_PORT', port: 4001 }, createOrders().callback())
