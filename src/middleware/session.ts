import type Router from '@koa/router'
import type { Caller } from '../authentication/caller.ts'
import { identify } from '../authentication/identify.ts'
import { backChannelPath, callbackPath, type Redirection, type Sessions } from '../authentication/session.ts'
import { refuseCrossSite } from '../gateway/cross-site.ts'
import { expectsPage } from '../http/cross-site.ts'
import { Problem } from '../http/problem.ts'
import { readForm } from '../issuer/form.ts'
import { StoreUnavailable } from '../store/store.ts'
import type { State, StepContext } from './state.ts'

/** `/login`, `/logout`, `/me` and `/.auth/me` (Contract 2). */
export function sessionEndpoints(router: Router<State>): void {
  router.get('/login', async (ctx) => go(ctx, await reached(sessionsOf(ctx).begin(ctx.state.head))))
  router.get(callbackPath, async (ctx) => {
    // A code is good once, and what asks for the head of an answer does not want to sign in.
    if (ctx.method === 'HEAD') throw notAllowed('GET')
    go(ctx, await reached(sessionsOf(ctx).complete(ctx.state.head)))
  })
  router.post('/logout', logout)
  router.post(backChannelPath, hearIssuer)
  router.get('/me', async (ctx) => {
    ctx.set('Cache-Control', 'no-store')
    ctx.body = describe((await callerOf(ctx)).caller)
  })
  router.get('/.auth/me', async (ctx) => {
    const { caller, scheme } = await callerOf(ctx)
    ctx.set('Cache-Control', 'no-store')
    ctx.body = [easyAuth(caller, scheme)]
  })
}

async function logout(ctx: StepContext): Promise<void> {
  const { head } = ctx.state
  refuseCrossSite(ctx.state.gateway, head)
  const redirection = await reached(sessionsOf(ctx).end(head))
  if (expectsPage(head.fields)) {
    go(ctx, redirection)
    return
  }
  ctx.set('Cache-Control', 'no-store')
  ctx.set('Set-Cookie', [...redirection.cookies])
  ctx.status = 204
}

/** OpenID Connect Back-Channel Logout 1.0 §2.5, §2.8: from the issuer itself, without cookies. */
async function hearIssuer(ctx: StepContext): Promise<void> {
  const reading = await readForm(ctx)
  if (reading.outcome === 'too-large') throw new Problem('body-too-large', 'A logout token is shorter than this')
  if (reading.outcome === 'other')
    throw new Problem('unsupported-media-type', 'Send logout_token as application/x-www-form-urlencoded')
  const [token, ...more] = reading.form.getAll('logout_token')
  if (token === undefined || more.length > 0) throw refusedLogout('Send one logout_token')
  const hearing = await reached(sessionsOf(ctx).hear(token))
  if (hearing.outcome === 'unavailable') throw hearing.problem
  if (hearing.outcome === 'refused') throw refusedLogout(`The logout token is not accepted: ${hearing.reason}`)
  ctx.set('Cache-Control', 'no-store')
  ctx.status = 200
  ctx.body = ''
}

function refusedLogout(detail: string): Problem {
  const members = { error: 'invalid_request', error_description: detail }
  return new Problem('bad-request', detail, { members, fields: { 'Cache-Control': 'no-store' } })
}

function go(ctx: StepContext, { location, cookies }: Redirection): void {
  ctx.set('Cache-Control', 'no-store')
  ctx.set('Location', location)
  ctx.set('Set-Cookie', [...cookies])
  // The addresses on this way hold codes and states.
  ctx.set('Referrer-Policy', 'no-referrer')
  ctx.body = null
  ctx.status = 303
}

/** Only asked for where there are sessions (own.ts). */
function sessionsOf({ state }: StepContext): Sessions {
  return state.gateway.sessions!
}

async function reached<T>(asked: Promise<T>): Promise<T> {
  try {
    return await asked
  } catch (error) {
    if (!(error instanceof StoreUnavailable)) throw error
    throw new Problem('store-unavailable', 'Sessions cannot be kept right now', {
      cause: error,
      fields: { 'Retry-After': '1' },
    })
  }
}

function notAllowed(methods: string): Problem {
  return new Problem('method-not-allowed', `This path offers ${methods}`, { fields: { Allow: methods } })
}

/** Who calls by any scheme of the gateway, and by which. */
async function callerOf({ state }: StepContext): Promise<{ readonly caller: Caller; readonly scheme: string }> {
  const { anyScheme } = state.gateway
  const identification = await identify(anyScheme, state.head)
  state.identification = identification
  const { caller, alternative } = identification
  const part = anyScheme.alternatives[alternative!]![0]!
  return { caller, scheme: anyScheme.authenticators[part.index]!.scheme }
}

function describe(caller: Caller): object {
  const { subject, issuer, clientId, name, email, organization, roles, permissions, scopes, method, expiresAt } = caller
  return { subject, issuer, clientId, name, email, organization, roles, permissions, scopes, method, expiresAt }
}

/** As Azure App Service writes it, without tokens: scripts need none, since the gateway adds them. */
function easyAuth(caller: Caller, scheme: string): object {
  const { subject, email, expiresAt, claims, roles } = caller
  const texts = Object.entries(claims).flatMap(([typ, value]) =>
    [value]
      .flat()
      .flatMap((val) => (typeof val === 'string' || typeof val === 'number' ? [{ typ, val: String(val) }] : [])),
  )
  const told = new Set(texts.map(({ typ, val }) => `${typ} ${val}`))
  const missing = [['sub', subject] as const, ...roles.map((role) => ['roles', role] as const)]
    .filter(([typ, val]) => !told.has(`${typ} ${val}`))
    .map(([typ, val]) => ({ typ, val }))
  return {
    provider_name: scheme,
    user_id: email ?? subject,
    user_claims: [...texts, ...missing],
    ...(expiresAt !== undefined && { expires_on: new Date(expiresAt * 1_000).toISOString() }),
  }
}
