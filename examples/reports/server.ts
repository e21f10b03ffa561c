import Router from '@koa/router'
import Koa, { type Context, type Next } from 'koa'
import { createContext } from '../../src/context/index.ts'
import { type Arrival, fingerprint } from '../arrival.ts'
import { serve } from '../serve.ts'

export interface Sources {
  /** Base URLs, such as `http://127.0.0.1:4001`. */
  readonly orders: string
  readonly inventory: string
}

interface Order {
  readonly status: 'placed' | 'paid' | 'shipped' | 'cancelled'
  readonly total: { readonly amount: number; readonly currency: string }
  readonly lines: readonly { readonly sku: string; readonly quantity: number }[]
}

interface Item {
  readonly sku: string
  readonly name: string
  readonly stock: number
  readonly reserved: number
}

/**
 * Reads orders and inventory together. It asks both in the name of whoever asks it: `sallyport/context` carries token,
 * request id, trace and caller on, so no function here passes them along.
 */
export function createReports(sources: Sources): Koa {
  const context = createContext({ trusted: Object.values(sources).map((url) => new URL(url).origin) })

  async function ask(service: keyof Sources, path: string): Promise<string> {
    const options = { timeout: { request: 5_000 }, retry: { limit: 0 }, throwHttpErrors: false }
    const { statusCode, body } = await context.got(`${sources[service]}${path}`, options).catch((cause: unknown) => {
      throw new SourceFailed(`${service} did not answer`, { cause })
    })
    if (statusCode !== 200) throw new SourceFailed(`${service} answered ${statusCode}`)
    return body
  }

  const router = new Router()
  router.get('/health', (ctx) => {
    ctx.body = { status: 'ok' }
  })
  router.get('/summary', async (ctx) => {
    const [orders, inventory] = await Promise.all([ask('orders', '/export'), ask('inventory', '/items')])
    ctx.body = {
      report: summarize(parseLines<Order>(orders), (JSON.parse(inventory) as { items: Item[] }).items),
      hops: [here(), ...(await Promise.all(Object.values(sources).map(seenBehind)))],
    }
  })

  /** What the context of this service holds. */
  function here(): Hop {
    const { requestId, trace, identity, authorization } = context.copy()
    return {
      service: 'reports',
      subject: identity?.subject ?? null,
      requestId,
      traceId: trace.traceId,
      authorization: fingerprint(authorization?.reveal()),
    }
  }

  /** What has reached another service of the same request. */
  async function seenBehind(url: string): Promise<Hop> {
    const response = await context.fetch(`${url}/whoami`)
    const { fields: _, ...hop } = (await response.json()) as Arrival
    return hop
  }

  const app = new Koa()
  app.use(context.koa())
  app.use(answerFailures)
  app.use(router.routes())
  app.use(router.allowedMethods())
  return app
}

type Hop = Omit<Arrival, 'fields'>

class SourceFailed extends Error {}

async function answerFailures(ctx: Context, next: Next) {
  try {
    await next()
  } catch (error) {
    if (!(error instanceof SourceFailed)) throw error
    ctx.status = 502
    ctx.body = { message: error.message }
  }
}

const parseLines = <T>(ndjson: string): T[] =>
  ndjson
    .split('\n')
    .filter((line) => line !== '')
    .map((line) => JSON.parse(line))

function summarize(orders: readonly Order[], items: readonly Item[]) {
  const count: Record<string, number> = { placed: 0, paid: 0, shipped: 0, cancelled: 0 }
  const revenue: Record<string, number> = {}
  const open = new Map<string, number>()
  for (const { status, total, lines } of orders) {
    count[status] = (count[status] ?? 0) + 1
    if (status === 'paid' || status === 'shipped')
      revenue[total.currency] = (revenue[total.currency] ?? 0) + total.amount
    if (status === 'placed' || status === 'paid') {
      for (const { sku, quantity } of lines) open.set(sku, (open.get(sku) ?? 0) + quantity)
    }
  }
  const articles = items.map(({ sku, name, stock, reserved }) => {
    const [free, wanted] = [stock - reserved, open.get(sku) ?? 0]
    return { sku, name, free, open: wanted, short: Math.max(0, wanted - free) }
  })
  return { orders: count, revenue, articles }
}

if (import.meta.main) {
  const { ORDERS_URL, INVENTORY_URL, ORDERS_PORT = '4001', INVENTORY_PORT = '4002' } = process.env
  const reports = createReports({
    orders: ORDERS_URL ?? `http://127.0.0.1:${ORDERS_PORT}`,
    inventory: INVENTORY_URL ?? `http://127.0.0.1:${INVENTORY_PORT}`,
  })
  serve({ service: 'reports', variable: 'REPORTS_PORT', port: 4003 }, reports.callback())
}
