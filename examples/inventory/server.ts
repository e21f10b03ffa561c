import { readFileSync } from 'node:fs'
import { json } from 'node:stream/consumers'
import Router from '@koa/router'
import Koa, { type Context, type Next } from 'koa'
import { describeArrival } from '../arrival.ts'
import { serve } from '../serve.ts'

interface Item {
  readonly sku: string
  readonly name: string
  readonly stock: number
  readonly reserved: number
  readonly warehouse: 'LIS' | 'LOS' | 'MAA'
}

/**
 * What a warehouse has. Written by a team that has never heard of a gateway: it looks for an `Authorization` field
 * itself and describes it, as many do, as a header parameter of each operation. OpenAPI says that such a parameter is
 * ignored, so no documentation page will ever send it: try the one that reads this document directly.
 */
export function createInventory(): Koa {
  const document = JSON.parse(readFileSync(new URL('openapi.json', import.meta.url), 'utf8'))
  const items = new Map(stock.map((item) => [item.sku, item]))

  const itemOf = (ctx: Context): Item => items.get(ctx['params'].sku) ?? ctx.throw(404, 'unknown sku')
  const keep = (item: Item): Item => {
    items.set(item.sku, item)
    return item
  }

  const router = new Router()
  router.get('/health', (ctx) => {
    ctx.body = { status: 'ok' }
  })
  router.get('/openapi.json', (ctx) => {
    ctx.body = document
  })
  router.get('/whoami', (ctx) => {
    ctx.body = describeArrival('inventory', ctx.headers)
  })

  router.get('/items', requireAuthorization, (ctx) => {
    const warehouse = ctx.query['warehouse']
    const found = [...items.values()].filter((item) => !warehouse || item.warehouse === warehouse)
    ctx.body = { items: found, next: null }
  })
  router.get('/items/:sku', requireAuthorization, (ctx) => {
    ctx.body = itemOf(ctx)
  })
  router.put('/items/:sku', requireAuthorization, async (ctx) => {
    const { name, stock, warehouse } = await body(ctx)
    if (typeof name !== 'string' || !isCount(stock)) return ctx.throw(400, 'name and stock are required')
    if (warehouse !== 'LIS' && warehouse !== 'LOS' && warehouse !== 'MAA') return ctx.throw(400, 'unknown warehouse')
    const { sku } = ctx.params as { sku: string }
    ctx.status = items.has(sku) ? 200 : 201
    ctx.body = keep({ sku, name, stock, warehouse, reserved: items.get(sku)?.reserved ?? 0 })
  })
  router.post('/items/:sku/reservations', requireAuthorization, async (ctx) => {
    const item = itemOf(ctx)
    const { quantity } = await body(ctx)
    if (!isCount(quantity) || quantity === 0) return ctx.throw(400, 'quantity is required')
    if (quantity > item.stock - item.reserved) return ctx.throw(409, 'not enough in stock')
    ctx.status = 201
    ctx.body = keep({ ...item, reserved: item.reserved + quantity })
  })

  const app = new Koa()
  app.use(answerErrors)
  app.use(router.routes())
  app.use(router.allowedMethods())
  return app
}

async function requireAuthorization(ctx: Context, next: Next) {
  if (!ctx.get('Authorization')) {
    ctx.throw(401, 'Authorization header is missing', { headers: { 'WWW-Authenticate': 'Bearer realm="inventory"' } })
  }
  await next()
}

async function body(ctx: Context): Promise<Record<string, unknown>> {
  if (Number(ctx.get('Content-Length') || Number.NaN) > 10_000) return ctx.throw(413, 'too large')
  const value = await json(ctx.req).catch(() => ctx.throw(400, 'not JSON'))
  return typeof value === 'object' && value !== null
    ? (value as Record<string, unknown>)
    : ctx.throw(400, 'not an object')
}

const isCount = (value: unknown): value is number => Number.isSafeInteger(value) && (value as number) >= 0

async function answerErrors(ctx: Context, next: Next) {
  try {
    await next()
  } catch (error) {
    const { status = 500, expose = false, message = '', headers = {} } = error as Partial<Record<string, never>>
    if (!expose) ctx.app.emit('error', error, ctx)
    ctx.status = status
    ctx.set(headers)
    ctx.body = { error: expose ? message : 'internal error' }
  }
}

const stock: readonly Item[] = [
  { sku: 'bell-brass', name: 'Bell, brass', stock: 40, reserved: 4, warehouse: 'LIS' },
  { sku: 'saddle-oak', name: 'Saddle, oak brown', stock: 6, reserved: 2, warehouse: 'LIS' },
  { sku: 'lamp-dynamo', name: 'Lamp, dynamo', stock: 11, reserved: 0, warehouse: 'MAA' },
  { sku: 'basket-willow', name: 'Basket, willow', stock: 9, reserved: 1, warehouse: 'LOS' },
  { sku: 'chain-8', name: 'Chain, 8 speed', stock: 120, reserved: 15, warehouse: 'MAA' },
]

if (import.meta.main)
  serve({ service: 'inventory', variable: 'INVENTORY_PORT', port: 4002 }, createInventory().callback())
