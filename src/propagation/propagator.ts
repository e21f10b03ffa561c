import type { Caller } from '../authentication/caller.ts'
import type { ProvenCredential } from '../authentication/identify.ts'
import type { RequestHead } from '../http/request-head.ts'

/** What a propagator may know about the request whose identity it passes on. */
export interface Passage {
  readonly head: RequestHead
  readonly caller: Caller
  /** Every credential that a scheme of the route accepted; empty for guests. The first one made the caller. */
  readonly credentials: readonly ProvenCredential[]
  /** The service the request goes to; also the audience of minted tokens. */
  readonly service: string
}

/**
 * One way to show the service whose request this is (`forward.credentials`): returns the header lines to add,
 * flat as name, value, name, value, after every credential of the client has been taken off.
 * Synchronous when it can be. Throws a `Problem` when it cannot get what it needs.
 */
export interface Propagator {
  readonly mode: string
  fields(passage: Passage): readonly string[] | Promise<readonly string[]>
  /** What `fields` would return, without asking anybody: for explanations. Only modes that must ask somebody have it. */
  preview?(passage: Passage): readonly string[]
  /**
   * On a route that is public the gateway checks no credential. True when the service is then shown what the client
   * sent, untouched and unvouched for; false when credential fields are taken off there too.
   */
  readonly unchecked: boolean
}
