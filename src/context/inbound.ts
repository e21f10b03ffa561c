import type { IncomingMessage, ServerResponse } from 'node:http'
import type { FieldLines } from './plugin.ts'

/** Opens the context of a request that has arrived. Called once or more for each; the same request keeps the same context. */
export interface Entrance {
  /** Throws `FieldRefused` for a field that the service cannot work with. */
  open(request: IncomingMessage, response: ServerResponse): Opened
}

export interface Opened {
  /** What the answer repeats, the request id above all. Set already; Koa needs it again when it answers an error. */
  readonly answer: FieldLines
  /** Call something, and everything that it starts, within the context. */
  run<Result>(next: () => Result): Result
}

/** What we need of Koa's `ctx`. */
export interface KoaContext {
  readonly req: IncomingMessage
  readonly res: ServerResponse
}

export type KoaMiddleware = (ctx: KoaContext, next: () => Promise<unknown>) => Promise<void>

export function koaMiddleware(entrance: Entrance): KoaMiddleware {
  return async function openContext(ctx, next) {
    const { answer, run } = entrance.open(ctx.req, ctx.res)
    try {
      await run(next)
    } catch (error) {
      // Koa drops every field set so far when it answers an error, and sets those of the error.
      if (error instanceof Error && Object.isExtensible(error)) {
        const { headers } = error as { headers?: object }
        Object.assign(error, { headers: { ...answer, ...headers } })
      }
      throw error
    }
  }
}

export type ExpressMiddleware = (
  request: IncomingMessage,
  response: ServerResponse,
  next: (error?: unknown) => void,
) => void

export function expressMiddleware(entrance: Entrance): ExpressMiddleware {
  return function openContext(request, response, next) {
    entrance.open(request, response).run(next)
  }
}

/** What we need of a Fastify instance. */
export interface FastifyInstanceLike {
  addHook(
    name: 'onRequest',
    hook: (
      request: { readonly raw: IncomingMessage },
      reply: { readonly raw: ServerResponse },
      done: (error?: Error) => void,
    ) => void,
  ): unknown
}

export type FastifyPlugin = (instance: FastifyInstanceLike, options: object, done: (error?: Error) => void) => void

export function fastifyPlugin(entrance: Entrance): FastifyPlugin {
  function openContext(instance: FastifyInstanceLike, _options: object, done: (error?: Error) => void) {
    instance.addHook('onRequest', (request, reply, next) => {
      let opened: Opened
      try {
        opened = entrance.open(request.raw, reply.raw)
      } catch (error) {
        return next(error as Error)
      }
      opened.run(next)
    })
    done()
  }
  // What the package fastify-plugin does: the hook belongs to the instance that registers it, not to a scope of its own.
  return Object.assign(openContext, {
    [Symbol.for('skip-override')]: true,
    [Symbol.for('fastify.display-name')]: 'sallyport-context',
  })
}
