import type { FieldLines } from './plugin.ts'

/** What the clients need to know to carry the context on. */
export interface Carrier {
  trusts(url: URL): boolean
  /** The fields of the context that surrounds the call; none outside a request. */
  fields(): FieldLines
  /** Every name that `fields` may yield, in lower case. */
  readonly names: readonly string[]
}
