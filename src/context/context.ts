import { AsyncLocalStorage } from 'node:async_hooks'
import type { EventEmitter } from 'node:events'
import type { IncomingMessage, ServerResponse } from 'node:http'
import type { Got } from 'got'
import { createFetch } from './fetch.ts'
import { createGot } from './got.ts'
import { identity } from './identity.ts'
import {
  type ExpressMiddleware,
  expressMiddleware,
  type FastifyPlugin,
  fastifyPlugin,
  type KoaMiddleware,
  koaMiddleware,
  type Opened,
} from './inbound.ts'
import type { FieldLines, Plugin, RequestFields, ValuesOf } from './plugin.ts'
import { authorization } from './plugins.ts'
import { requestId } from './request-id.ts'
import { Secret } from './secret.ts'
import { trace } from './trace.ts'
import { compileTrust, type TrustedOrigin } from './trust.ts'

/** What every context holds: the token, the request id, the trace and the caller. All four are carried on. */
const standardPlugins = () => ({
  authorization: authorization(),
  requestId: requestId(),
  trace: trace(),
  identity: identity(),
})

type StandardValues = ValuesOf<ReturnType<typeof standardPlugins>>

export interface ContextOptions<Added extends object> {
  /**
   * Who may be shown the token and the identity of a request. Everybody else gets a plain call, and a redirect to
   * anybody else loses them. An empty list carries nothing anywhere.
   */
  readonly trusted: readonly TrustedOrigin[]
  /** Further values, by name; a standard name (`authorization`, `requestId`, `trace`, `identity`) replaces that plugin. */
  readonly plugins?: { readonly [Name in keyof Added]: Plugin<Added[Name]> }
}

/** The type of a context that holds `Added` besides the standard values. */
export type ContextWith<Added extends object> = Context<Omit<StandardValues, keyof Added> & Added>

/** Values for `run` and `set`; a secret may be given as plain text. */
export type GivenValues<Values> = {
  readonly [Name in keyof Values]?: Values[Name] | (Secret extends Values[Name] ? string : never)
}

/** The context of the request that is being answered, wherever in the code that is. */
export interface Context<Values> {
  /** Opens the context for each request: `app.use(context.koa())`, before everything that uses it. */
  koa(): KoaMiddleware
  /** Opens the context for each request: `app.use(context.express())`, before everything that uses it. */
  express(): ExpressMiddleware
  /** Opens the context for each request: `await app.register(context.fastify)`, before everything that uses it. */
  readonly fastify: FastifyPlugin

  /** A value of this request. Throws `ContextDoesNotExist` outside one. */
  get<Name extends keyof Values>(name: Name): Values[Name]
  /** Gives a value to everything that follows in this request. Throws `ContextDoesNotExist` outside one. */
  set<Name extends keyof Values>(name: Name, value: GivenValues<Values>[Name]): void
  /** Whether there is a context here. */
  exists(): boolean
  /** All values of this request as they are now. Throws `ContextDoesNotExist` outside one. */
  copy(): Values

  /**
   * Opens a context without a request: for jobs, queues and tests. What is not given comes from the context around the
   * call, and where there is none starts fresh: a new request id and trace, no token, nobody.
   */
  run<Result>(values: GivenValues<Values>, fn: () => Result): Result

  /** `got`, carrying the context on to trusted origins. */
  readonly got: Got
  /** `fetch`, carrying the context on to trusted origins. */
  readonly fetch: typeof globalThis.fetch
  /** For any other client: the header fields that `url` may see, secrets in plain text; none when it is not trusted or outside a request. */
  fieldsFor(url: string | URL): FieldLines

  /** For logs (`log.info({ context }, '…')`): the values with secrets concealed; `{}` outside a request. */
  toJSON(): Readonly<Record<string, unknown>>
}

/** Thrown when a value is asked for where no request is being answered. */
export class ContextDoesNotExist extends Error {
  constructor(attempt: string) {
    super(
      `${attempt} was called outside a request. Put the middleware before everything that uses the context ` +
        '(app.use(context.koa()), app.use(context.express()) or app.register(context.fastify)), ' +
        'and wrap jobs, scripts and tests in context.run({}, fn).',
    )
    this.name = 'ContextDoesNotExist'
  }
}

/**
 * Makes the context of a service: what arrives with a request stays at hand in all the code that answers it, without
 * being passed along, and goes on to the next service with every call.
 *
 * ```ts
 * const context = createContext({ trusted: ['http://orders:4001'] })
 *
 * app.use(context.koa())
 * app.use(async (ctx) => {
 *   ctx.body = await context.got('http://orders:4001/').json()
 *   log.info({ context }, 'asked orders')
 * })
 * ```
 *
 * One per service. Throws a `TypeError` for a trusted origin that could never match.
 */
export function createContext<Added extends object = Record<never, never>>(
  options: ContextOptions<Added>,
): ContextWith<Added> {
  const plugins = Object.entries<Plugin<unknown>>({ ...standardPlugins(), ...options.plugins })
  const secrets = new Set(plugins.filter(([, plugin]) => plugin.secret).map(([name]) => name))
  const storage = new AsyncLocalStorage<Map<string, unknown>>()
  const opened = new WeakMap<IncomingMessage, Opened>()
  const isTrusted = compileTrust(options.trusted)

  function current(attempt: string): Map<string, unknown> {
    const values = storage.getStore()
    if (!values) throw new ContextDoesNotExist(attempt)
    return values
  }

  function open(request: IncomingMessage, response: ServerResponse): Opened {
    const known = opened.get(request)
    if (known) return known
    const values = readAll(plugins, fieldsOf(request))
    const answer = Object.assign({}, ...plugins.map(([name, plugin]) => plugin.answer?.(values.get(name))))
    for (const [name, text] of Object.entries<string>(answer)) response.setHeader(name, text)
    // Node emits the events of a socket outside of any request's context: without this a body parser, or an access log
    // that waits for `finish`, would find itself nowhere.
    for (const emitter of [request, response]) emitWithin(storage, values, emitter)
    const opening: Opened = { answer, run: (next) => storage.run(values, next) }
    opened.set(request, opening)
    return opening
  }

  /** A secret given as plain text is one from here on. */
  function put(values: Map<string, unknown>, given: Readonly<Record<string, unknown>>): void {
    for (const [name, value] of Object.entries(given)) {
      values.set(name, secrets.has(name) && typeof value === 'string' ? new Secret(value) : value)
    }
  }

  function carriedFields(): FieldLines {
    const values = storage.getStore()
    if (!values) return {}
    return Object.assign({}, ...plugins.map(([name, plugin]) => plugin.carry?.fields(values.get(name))))
  }

  const carrier = {
    trusts: isTrusted,
    fields: carriedFields,
    names: plugins.flatMap(([, plugin]) => plugin.carry?.names ?? []).map((name) => name.toLowerCase()),
  }

  return {
    koa: () => koaMiddleware({ open }),
    express: () => expressMiddleware({ open }),
    fastify: fastifyPlugin({ open }),

    get: (name) => current(`context.get('${String(name)}')`).get(name as string) as never,
    set: (name, value) => put(current(`context.set('${String(name)}')`), { [name]: value }),
    exists: () => storage.getStore() !== undefined,
    copy: () => Object.fromEntries(current('context.copy()')) as never,

    run(given, fn) {
      const values = new Map(storage.getStore() ?? readAll(plugins, noFields))
      put(values, given)
      return storage.run(values, fn)
    },

    got: createGot(carrier),
    fetch: createFetch(carrier),
    fieldsFor: (url) => (isTrusted(new URL(url)) ? carriedFields() : {}),

    toJSON: () => Object.fromEntries(storage.getStore() ?? []),
  }
}

const noFields: RequestFields = { get: () => undefined }

function fieldsOf(request: IncomingMessage): RequestFields {
  return {
    get(name) {
      const line = request.headers[name.toLowerCase()]
      return Array.isArray(line) ? line.join(', ') : line
    },
  }
}

function readAll(
  plugins: readonly (readonly [string, Plugin<unknown>])[],
  fields: RequestFields,
): Map<string, unknown> {
  return new Map(plugins.map(([name, plugin]) => [name, plugin.read(fields)]))
}

function emitWithin(
  storage: AsyncLocalStorage<Map<string, unknown>>,
  values: Map<string, unknown>,
  emitter: EventEmitter,
): void {
  const { emit } = emitter
  Object.defineProperty(emitter, 'emit', {
    configurable: true,
    writable: true,
    value: function emitWithinContext(this: EventEmitter, ...event: Parameters<typeof emit>) {
      return storage.run(values, () => emit.apply(this, event))
    },
  })
}
