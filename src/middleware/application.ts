import Koa, { type ParameterizedContext } from 'koa'
import type { State } from './state.ts'

type Chain = (ctx: ParameterizedContext<State>) => Promise<unknown>
type Handle = (ctx: ParameterizedContext<State>, chain: Chain) => Promise<unknown>

/**
 * Koa, which watches each response for errors before the chain begins, and answers when the chain has ended. What comes
 * from a service is watched and answered by the exchange itself (`ctx.respond === false`), so Koa's part is left out
 * there: it would add eight listeners to a request that nobody hears.
 */
export class Application extends Koa<State> {
  // Not in the types of Koa, which call it private; test/middleware/application.test.ts holds it to what Koa does.
  readonly #handleRequest = (Koa.prototype as unknown as { handleRequest: Handle }).handleRequest

  handleRequest(ctx: ParameterizedContext<State>, chain: Chain): Promise<unknown> {
    const { res } = ctx
    res.statusCode = 404
    return chain(ctx).then(
      () => {
        if (ctx.respond === false) return
        const { statusCode } = res
        return this.#handleRequest(ctx, async () => {
          res.statusCode = statusCode
        })
      },
      (error) => this.#handleRequest(ctx, () => Promise.reject(error)),
    )
  }
}
