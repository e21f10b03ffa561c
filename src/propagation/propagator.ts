import type { Caller } from '../authentication/caller.ts'
import type { RequestHead } from '../http/request-head.ts'

/** What a propagator may know about the request whose identity it passes on. */
export interface Passage {
  readonly head: RequestHead
  readonly caller: Caller
  /** The credential that proved the caller, as sent; absent for guests. */
  readonly credential?: { readonly text: string; readonly in: 'header' | 'query' | 'cookie'; readonly name: string; readonly tokenType: string }
  /** The service the request goes to; also the audience of minted tokens. */
  readonly service: string
}

/**
 * One way to show the service whose request this is (`forward.credentials`): returns the header lines to add,
 * flat as name, value, name, value, after every credential of the client has been taken off.
 * Throws a `Problem` when it cannot get what it needs.
 */
export interface Propagator {
  readonly mode: string
  fields(passage: Passage): readonly string[] | Promise<readonly string[]>
}
