import type { Context } from 'koa'
import { errors, type KoaContextWithOIDC, type Provider } from 'oidc-provider'
import { Problem } from '../http/problem.ts'
import { StoreUnavailable } from '../store/store.ts'
import { type AccessTokens, isStructured } from './access-tokens.ts'
import type { IssuerParts } from './configuration.ts'
import { readForm, replayForm } from './form.ts'
import type { Login } from './login.ts'
import { allowForms, guardFields, stylePath } from './pages.ts'
import { loginPath, routes } from './routes.ts'
import { docsClientId } from './settings.ts'
import { style } from './style.ts'

/** Below the mount point, with the methods that they offer; `*` is one more segment. HEAD goes with GET. */
const endpoints: Readonly<Record<string, readonly string[]>> = {
  [routes.authorization]: ['GET'],
  [`${routes.authorization}/*`]: ['GET'],
  [routes.token]: ['POST'],
  [routes.revocation]: ['POST'],
  [routes.introspection]: ['POST'],
  [routes.jwks]: ['GET'],
  [routes.end_session]: ['GET'],
  [`${routes.end_session}/confirm`]: ['POST'],
  [`${routes.end_session}/success`]: ['GET'],
  '/.well-known/openid-configuration': ['GET'],
  '/.well-known/oauth-authorization-server': ['GET'],
  [`${loginPath}/*`]: ['GET', 'POST'],
  [stylePath]: ['GET'],
}

/** What may be kept by whoever asks. A key is announced an hour ahead, so five minutes lose nobody a key. */
const cacheable: Readonly<Record<string, string>> = {
  [routes.jwks]: 'public, max-age=300',
  '/.well-known/openid-configuration': 'public, max-age=300',
  '/.well-known/oauth-authorization-server': 'public, max-age=300',
  [stylePath]: 'public, max-age=300',
}

export interface EndpointParts {
  /** oidc-provider as it is now, below its mount point. */
  run(ctx: Context): Promise<void>
  provider(): Provider
  readonly login: Login
  readonly accessTokens: AccessTokens
  /** Rejects when a revocation that this request caused could not be kept. */
  settled(ctx: Context): Promise<void>
}

/** Answers at a path of the issuer's own, as `createIssuerPaths` gives it. */
export type Endpoints = (ctx: Context, path: string) => Promise<void>

export function createEndpoints(
  { issuer, publicUrl, pages, scopes, clients, denylist }: IssuerParts,
  { run, provider, login, accessTokens, settled }: EndpointParts,
): Endpoints {
  const base = new URL(issuer).pathname
  const { protocol, host, origin } = new URL(publicUrl)
  const isPublic = (clientId: string) => clientId === docsClientId || clients.get(clientId)?.secret === undefined

  return async function answerAt(ctx, path) {
    const below = path.slice(base.length)
    const endpoint = nameOf(below)
    const methods = endpoints[endpoint]
    if (!methods) throw new Problem('not-found', 'The authorization server has no endpoint at this path')
    if (!methods.includes(ctx.method === 'HEAD' ? 'GET' : ctx.method)) {
      const allow = methods.flatMap((method) => (method === 'GET' ? ['GET', 'HEAD'] : [method])).join(', ')
      throw new Problem('method-not-allowed', `This endpoint offers ${allow}`, { fields: { Allow: allow } })
    }

    pinOrigin(ctx)
    guardFields(ctx)
    const cache = cacheable[endpoint]
    if (cache) ctx.set('Cache-Control', cache)
    try {
      ctx.path = path
      await answer(ctx, endpoint, below)
      await settled(ctx)
      // What oidc-provider answers itself, in OAuth's words.
      if (ctx.status === 503 && !ctx.res.hasHeader('Retry-After')) ctx.set('Retry-After', '1')
    } catch (error) {
      if (error instanceof StoreUnavailable || (error instanceof errors.OIDCProviderError && error.statusCode === 503))
        throw new Problem('store-unavailable', 'The authorization server cannot reach its store', {
          cause: error,
          fields: { 'Retry-After': '1' },
        })
      throw error
    }
  }

  /**
   * oidc-provider takes its own address from the request and its cookies from the app around it. Both are ours to say:
   * `Host` is whatever a client writes, and cookies it sets through an app with other keys it cannot read again.
   */
  function pinOrigin(ctx: Context): void {
    const { originalUrl } = ctx
    const href = originalUrl.startsWith('/') ? `${origin}${originalUrl}` : origin
    for (const [name, value] of Object.entries({ protocol: protocol.slice(0, -1), host, href }))
      Object.defineProperty(ctx.request, name, { value, configurable: true })
    ctx.cookies = provider().createContext(ctx.req, ctx.res).cookies
    ctx.cookies.secure = protocol === 'https:'
  }

  async function answer(ctx: Context, endpoint: string, below: string): Promise<void> {
    switch (endpoint) {
      case stylePath:
        ctx.type = 'text/css; charset=utf-8'
        ctx.body = style
        return
      case `${loginPath}/*`:
        return answerLogin(ctx, below.slice(loginPath.length + 1))
      case routes.token:
      case routes.revocation:
      case routes.introspection:
        return answerForm(ctx, endpoint)
      case routes.authorization:
        nameScope(ctx)
    }
    await run(ctx)
    if (ctx.response.is('html')) allowForms(ctx, clientOf(ctx))
  }

  async function answerLogin(ctx: Context, uid: string): Promise<void> {
    try {
      await (ctx.method === 'POST' ? login.submit(ctx, uid) : login.show(ctx, uid))
    } catch (error) {
      if (!(error instanceof errors.OIDCProviderError) || !error.expose || error.statusCode === 503) throw error
      ctx.status = error.statusCode
      pages.error(ctx, {
        error: error instanceof errors.SessionNotFound ? 'expired' : error.error,
        error_description: error.error_description,
      })
    }
  }

  /** A client that names no scope gets those it may have (RFC 6749 §3.3). */
  function nameScope(ctx: Context): void {
    const query = new URLSearchParams(ctx.querystring)
    const clientId = query.get('client_id')
    if (query.has('scope') || clientId === null) return
    query.set('scope', `openid ${scopes.defaultOf(clientId)}`.trimEnd())
    ctx.querystring = query.toString()
  }

  async function answerForm(ctx: Context, endpoint: string): Promise<void> {
    const reading = await readForm(ctx)
    if (reading.outcome === 'too-large') {
      ctx.status = 413
      ctx.set('Connection', 'close')
      ctx.body = { error: 'invalid_request', error_description: 'the request body is too large' }
      return
    }
    if (reading.outcome === 'other') return run(ctx)
    const { form } = reading
    nameClient(ctx, form, endpoint)

    // oidc-provider knows opaque tokens only. It checks who asks, with a token that means nothing, and we do the rest.
    const [token, ...more] = form.getAll('token')
    const structured = endpoint !== routes.token && token !== undefined && more.length === 0 && isStructured(token)
    if (structured) form.set('token', 'structured')
    const putBack = replayForm(ctx, form)
    try {
      await run(ctx)
    } finally {
      putBack()
    }
    const asker = clientOf(ctx)
    if (structured && ctx.status === 200 && asker) {
      if (endpoint === routes.revocation) await revoke(ctx, token, asker)
      else if (asker.clientAuthMethod !== 'none') await introspect(ctx, token)
    }
    if (endpoint === routes.token && form.get('grant_type') === 'authorization_code') await spoil(ctx, form.get('code'))
  }

  /** Before anybody looks who the client is. */
  function nameClient(ctx: Context, form: URLSearchParams, endpoint: string): void {
    const basic = basicCredentials(ctx.get('Authorization'))
    // Swagger UI's dialog sends a public client with no secret, or with the secret "undefined", by Basic.
    if (basic && isPublic(basic.id) && (basic.secret === '' || basic.secret === 'undefined')) {
      delete ctx.req.headers.authorization
      if (!form.has('client_id')) form.set('client_id', basic.id)
    }
    if (endpoint !== routes.token) return
    const grant = form.get('grant_type')
    // A client that is public and anonymous anyway need not know the name we have for it.
    if (grant === 'password' && !form.has('client_id') && ctx.get('Authorization') === '')
      form.set('client_id', docsClientId)
    const clientId = form.get('client_id') ?? basic?.id
    if ((grant === 'password' || grant === 'client_credentials') && !form.get('scope') && clientId)
      form.set('scope', scopes.defaultOf(clientId))
  }

  /** RFC 7009 for tokens that nobody keeps: their id is remembered until they have expired. */
  async function revoke(ctx: Context, token: string, asker: AskingClient): Promise<void> {
    const claims = await accessTokens.read(token)
    if (!claims) return
    if (claims.client_id !== asker.clientId) {
      // Anybody can say the id of a public client, so it learns nothing.
      if (asker.clientAuthMethod === 'none') return
      ctx.status = 400
      ctx.body = { error: 'invalid_request', error_description: 'this client may not revoke the token of another' }
      return
    }
    await denylist.revoke({ tokenId: claims.jti, issuer, until: claims.exp + 60 })
  }

  /** RFC 7662. */
  async function introspect(ctx: Context, token: string): Promise<void> {
    const claims = await accessTokens.read(token)
    ctx.body = claims ? { active: true, token_type: 'Bearer', ...claims } : { active: false }
  }

  /** A code is good for one attempt: whoever sent it with a wrong verifier is not who asked for it. */
  async function spoil(ctx: Context, value: string | null): Promise<void> {
    if (value === null || ctx.status !== 400 || (ctx.body as { error?: string }).error !== 'invalid_grant') return
    const code = await provider().AuthorizationCode.find(value, { ignoreExpiration: true })
    try {
      await code?.consume()
    } catch (error) {
      // Used up already.
      if (!(error instanceof errors.InvalidGrant)) throw error
    }
  }
}

interface AskingClient {
  readonly clientId: string
  readonly clientAuthMethod?: string | undefined
}

/** The client that oidc-provider has found and authenticated. */
function clientOf(ctx: Context): AskingClient | undefined {
  return (ctx as unknown as Partial<KoaContextWithOIDC>).oidc?.client
}

function nameOf(below: string): string {
  const slash = below.lastIndexOf('/')
  const parent = below.slice(0, slash)
  if ((parent === loginPath || parent === routes.authorization) && slash < below.length - 1) return `${parent}/*`
  return below
}

/** RFC 7617; undefined when the field is something else. */
function basicCredentials(field: string): { readonly id: string; readonly secret: string } | undefined {
  const encoded = /^Basic ([A-Za-z0-9+/]+={0,2})$/i.exec(field)?.[1]
  if (encoded === undefined) return undefined
  const text = Buffer.from(encoded, 'base64').toString('utf8')
  const colon = text.indexOf(':')
  return colon < 0 ? undefined : { id: text.slice(0, colon), secret: text.slice(colon + 1) }
}
