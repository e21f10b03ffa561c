import type { DigestOperation } from './digest.ts'

/** `GET /orders/{id}`, as it is published. */
export function operationKey({ method, published }: Pick<DigestOperation, 'method' | 'published'>): string {
  return `${method} ${published}`
}
