import { type Caller, guest } from '../../src/authentication/caller.ts'
import type { Question } from '../../src/authorization/policy.ts'

/** A caller with no rights at all, and what a test adds to it. */
export function callerWith(caller: Partial<Caller> = {}): Caller {
  return { ...guest, subject: 'ada', issuer: 'https://issuer.example', roles: [], method: 'jwt', ...caller }
}

interface Asked {
  readonly caller?: Partial<Caller>
  readonly method?: string
  readonly path?: string
  readonly query?: string
  /** Name, value, name, value, ... as received. */
  readonly raw?: readonly string[]
  readonly address?: string
  readonly params?: Readonly<Record<string, string>>
  readonly now?: number
}

/** A request for `/orders/1` by `ada`, unless said otherwise. */
export function questionOf({
  caller,
  method = 'GET',
  path = '/orders/1',
  query = '',
  raw = [],
  ...rest
}: Asked = {}): Question {
  const { address = '192.0.2.7', params = {}, now = Date.UTC(2026, 8, 21, 14, 13, 20) } = rest
  const all = (name: string) => raw.filter((_, index) => index % 2 === 1 && raw[index - 1]!.toLowerCase() === name)
  return {
    caller: callerWith(caller),
    head: {
      id: 'r-1',
      method,
      target: query ? `${path}?${query}` : path,
      path,
      query,
      fields: { raw, all, get: (name) => (all(name).length > 0 ? all(name).join(', ') : undefined) },
      client: { address, protocol: 'https', host: 'api.example', peer: address, viaTrustedProxy: false },
    },
    params: new Map(Object.entries(params)),
    service: { name: 'orders' },
    route: { id: 'orders GET /{id}' },
    now,
  }
}
