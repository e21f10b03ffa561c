/**
 * `sallyport/context`: the context of a request, for the services behind the gateway.
 *
 * Koa, Express and Fastify open it; `context.get` reads it anywhere; `context.got` and `context.fetch` carry the token,
 * the request id, the trace and the caller on to the next service: hop after hop, to trusted origins only.
 */
export {
  type Context,
  ContextDoesNotExist,
  type ContextOptions,
  type ContextWith,
  createContext,
  createContext as default,
  type GivenValues,
} from './context.ts'
export { type Identity, type IdentityNames, identity } from './identity.ts'
export {
  type FieldLines,
  type FieldOptions,
  FieldRefused,
  field,
  type Plugin,
  type RequestFields,
  value,
} from './plugin.ts'
export { apiKey, authorization, date, forwardedFor, userAgent } from './plugins.ts'
export { correlationId, type IdentifierOptions, requestId, uuid } from './request-id.ts'
export { Secret } from './secret.ts'
export { type Trace, trace } from './trace.ts'
export type { TrustedOrigin } from './trust.ts'
