import Koa, { type ParameterizedContext } from 'koa'
import { discardRest } from '../upstream/upload.ts'
import type { State } from './state.ts'

type Chain = (ctx: ParameterizedContext<State>) => Promise<unknown>
type Handle = (ctx: ParameterizedContext<State>, chain: Chain) => Promise<unknown>

/** Milliseconds in which a client must take something of an answer that is made; what comes from a service has `timeouts.idle`. */
const readerPatience = 60_000

/**
 * Koa, which watches each response for errors before the chain begins, and answers when the chain has ended. What comes
 * from a service is watched and answered by the exchange itself (`ctx.respond === false`), so Koa's part is left out
 * there: it would add eight listeners to a request that nobody hears.
 */
export class Application extends Koa<State> {
  readonly #readerPatience: number
  // Not in the types of Koa, which call it private; test/middleware/application.test.ts holds it to what Koa does.
  readonly #handleRequest = (Koa.prototype as unknown as { handleRequest: Handle }).handleRequest

  constructor(patience = readerPatience) {
    super()
    this.#readerPatience = patience
  }

  handleRequest(ctx: ParameterizedContext<State>, chain: Chain): Promise<unknown> {
    const { res } = ctx
    res.statusCode = 404
    return chain(ctx).then(
      () => {
        if (ctx.respond === false) return this.#cutWhoHolds(ctx)
        const { statusCode } = res
        return this.#respond(ctx, async () => {
          res.statusCode = statusCode
        })
      },
      (error) => this.#respond(ctx, () => Promise.reject(error)),
    )
  }

  async #respond(ctx: ParameterizedContext<State>, chain: Chain): Promise<void> {
    await this.#handleRequest(ctx, chain)
    this.#cutWhoHolds(ctx)
  }

  /** All of the answer has been handed to Node; a client that ends neither its request nor its reading would hold both for ever. */
  #cutWhoHolds({ req, res }: ParameterizedContext<State>): void {
    if (!req.complete) discardRest(req)
    if (res.writableLength === 0 || !res.writableEnded || res.destroyed) return
    // Node counts each piece that goes out as a sign of life. A reset, because the system would keep the rest for minutes.
    res.setTimeout(this.#readerPatience, () => res.socket?.resetAndDestroy())
  }
}
