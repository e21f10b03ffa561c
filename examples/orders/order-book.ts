/** What was ordered, in memory: the demo starts with the same orders every time. */

export type OrderStatus = 'placed' | 'paid' | 'shipped' | 'cancelled'

export interface Money {
  /** In the smallest unit of the currency. */
  readonly amount: number
  readonly currency: 'EUR' | 'USD' | 'GBP' | 'INR' | 'NGN'
}

export interface NewOrder {
  readonly customer: string
  readonly lines: readonly { readonly sku: string; readonly quantity: number; readonly unitPrice: Money }[]
  readonly payment:
    | { readonly method: 'card'; readonly last4: string; readonly network: 'visa' | 'mastercard' | 'rupay' | 'verve' }
    | { readonly method: 'invoice'; readonly dueInDays: 14 | 30 | 60; readonly reference?: string | null }
  readonly note?: string
}

export interface Attachment {
  readonly name: string
  readonly type: string
  readonly size: number
  readonly sha256: string
}

export interface Order extends NewOrder {
  readonly id: string
  readonly status: OrderStatus
  readonly total: Money
  readonly organization: string | null
  readonly createdBy: string
  readonly createdAt: string
  readonly updatedAt: string
  readonly attachments: readonly Attachment[]
}

export interface OrderFilter {
  readonly organization?: string | undefined
  readonly status?: OrderStatus | undefined
  readonly customer?: string | undefined
}

export type OrderBook = ReturnType<typeof createOrderBook>

export function createOrderBook(now: () => Date = () => new Date()) {
  const orders = new Map<string, Order>()
  let lastId = 0

  function place(order: NewOrder, by: { readonly subject: string; readonly organization: string | null }): Order {
    const at = now().toISOString()
    return keep({
      id: String(++lastId),
      status: 'placed',
      ...order,
      total: totalOf(order),
      organization: by.organization,
      createdBy: by.subject,
      createdAt: at,
      updatedAt: at,
      attachments: [],
    })
  }

  /** The changed parts replace those of the order; the sum follows. */
  function change(order: Order, changes: Partial<NewOrder & Pick<Order, 'status' | 'attachments'>>): Order {
    const changed = { ...order, ...changes, updatedAt: now().toISOString() }
    return keep({ ...changed, total: totalOf(changed) })
  }

  function keep(order: Order): Order {
    orders.set(order.id, order)
    return order
  }

  for (const { order, by, at, status } of seed) {
    const placed = place(order, by)
    keep({ ...placed, status, createdAt: at, updatedAt: at })
  }

  return {
    place,
    change,
    get: (id: string) => orders.get(id),
    remove: (id: string) => orders.delete(id),
    /** The oldest first. Lazy, so that an export of many orders holds one at a time. */
    *find({ organization, status, customer }: OrderFilter): Generator<Order> {
      for (const order of orders.values()) {
        if (organization !== undefined && order.organization !== organization) continue
        if (status !== undefined && order.status !== status) continue
        if (customer !== undefined && !order.customer.toLowerCase().includes(customer.toLowerCase())) continue
        yield order
      }
    },
  }
}

function totalOf({ lines }: NewOrder): Money {
  const amount = lines.reduce((sum, { quantity, unitPrice }) => sum + quantity * unitPrice.amount, 0)
  return { amount, currency: lines[0]!.unitPrice.currency }
}

const articles = [
  { sku: 'bell-brass', amount: 1450 },
  { sku: 'saddle-oak', amount: 8900 },
  { sku: 'lamp-dynamo', amount: 6200 },
  { sku: 'basket-willow', amount: 3900 },
  { sku: 'chain-8', amount: 1900 },
] as const
const customers = ['Blue Bicycle', 'Kastanie GmbH', 'Ibadan Riders', 'Rua Nova Ciclos', 'Chennai Cycles', 'Café Vélo']
const currencies = { acme: 'EUR', globex: 'USD' } as const
const statuses = ['paid', 'placed', 'shipped', 'cancelled'] as const

/** 24 orders of two organizations, one every nine hours from the first of January 2026. */
const seed = Array.from({ length: 24 }, (_, index) => {
  const organization = index % 3 === 2 ? 'globex' : 'acme'
  const lines = articles
    .filter((_article, position) => (index + position) % 3 === 0)
    .map(({ sku, amount }, position) => ({
      sku,
      quantity: 1 + ((index + position) % 4),
      unitPrice: { amount, currency: currencies[organization] },
    }))
  const order: NewOrder = {
    customer: customers[index % customers.length]!,
    lines,
    payment:
      index % 2 === 0
        ? { method: 'card', last4: String(4242 + index), network: 'visa' }
        : { method: 'invoice', dueInDays: 30, reference: `PO-${7780 + index}` },
  }
  return {
    order,
    by: { subject: organization === 'acme' ? 'user-kenji' : 'user-sofia', organization },
    at: new Date(Date.UTC(2026, 0, 1, 9 * (index + 1))).toISOString(),
    status: statuses[index % statuses.length]!,
  }
})
