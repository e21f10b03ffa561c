import Router from '@koa/router'
import { backChannelPath } from '../authentication/session.ts'
import type { Gateway } from '../gateway/gateway.ts'
import { expectsContinue } from '../http/expectation.ts'
import { hasContent } from '../http/framing.ts'
import { Problem } from '../http/problem.ts'
import { isUpgrade } from '../http/upgrade.ts'
import type { DocumentName } from '../openapi/view.ts'
import { announce } from './announce.ts'
import { inTime } from './in-time.ts'
import { send } from './send.ts'
import { sessionEndpoints } from './session.ts'
import type { State, Step, StepContext } from './state.ts'

/**
 * The gateway's own endpoints (Contract 2). A request whose first segment is none of theirs passes at the cost of one
 * look-up; services can never stand at these paths.
 *
 * @koa/router serves here, and only here: it tries its routes one by one and decodes parameters (docs/decisions).
 */
export function ownEndpoints(leaving: () => boolean, patience = formPatience): Step {
  const router = new Router<State>({ sensitive: true, strict: true, exclusive: true })

  router.get('/livez', (ctx) => {
    ctx.set('Cache-Control', 'no-store')
    ctx.body = { status: 'alive' }
  })
  router.get('/readyz', (ctx) => readiness(ctx, leaving()))
  router.get('/openapi.json', (ctx) => publishedDocument(ctx, 'json'))
  router.get('/openapi.yaml', (ctx) => publishedDocument(ctx, 'yaml'))
  router.get('/openapi/:file', serviceDocument)
  router.get('/.well-known/gateway/jwks.json', (ctx) => {
    ctx.set('Cache-Control', 'public, max-age=300')
    ctx.body = ctx.state.gateway.minter.keys
  })
  router.get(/^\/docs(?:\/|$)/, docsPage)
  sessionEndpoints(router)

  const answer = router.routes()
  const refuse = methodNotAllowed(router)
  return function ownEndpoints(ctx, next) {
    const { path } = ctx.state.head
    const end = path.indexOf('/', 1)
    const first = end < 0 ? path.slice(1) : path.slice(1, end)
    if (!firstSegments.has(first) && !isOffered(first, ctx.state.gateway)) return next()
    // The library reads the raw request; it shall see what everybody else sees.
    ctx.url = ctx.state.head.target
    announce(ctx)
    const toServices = first === '.well-known' ? next : () => refuse(ctx)
    const others = () => answer(ctx as never, toServices as never) as Promise<void>
    const { issuer } = ctx.state.gateway
    // Here bodies are read; whoever waits to be told to send one is told.
    const reads = path === backChannelPath || (issuer && (first === 'oauth2' || first === 'token'))
    if (reads && expectsContinue(ctx.req) && !isUpgrade(ctx.req)) ctx.res.writeContinue()
    const answered = issuer ? issuer.endpoints(ctx, others) : others()
    // What a request without content takes is our own affair.
    return hasContent(ctx.req) ? inTime(answered, patience, late) : answered
  }
}

/** Milliseconds for a form, which is small: whoever sends one more slowly means to keep us waiting. */
const formPatience = 30_000

function late(): Problem {
  return new Problem('request-timeout', 'The request body did not arrive in time')
}

const firstSegments = new Set([
  'docs',
  'openapi',
  'openapi.json',
  'openapi.yaml',
  'oauth2',
  'token',
  '.well-known',
  'livez',
  'readyz',
])

/** What is there only where something is declared; a service at the root may have these paths otherwise. */
function isOffered(first: string, { anyScheme, sessions }: Gateway): boolean {
  switch (first) {
    case 'login':
    case 'logout':
      return sessions !== undefined
    case 'me':
    case '.auth':
      return !anyScheme.public
    default:
      return false
  }
}

function readiness(ctx: StepContext, leaving: boolean): void {
  const { ready: able, published, services } = ctx.state.gateway.readiness()
  const ready = able && !leaving
  ctx.status = ready ? 200 : 503
  ctx.set('Cache-Control', 'no-store')
  if (!ready) ctx.set('Retry-After', '1')
  // Anybody may ask, so it says what is missing and not where it stands.
  ctx.body = {
    status: ready ? 'ready' : leaving ? 'leaving' : 'not-ready',
    published,
    services: services.map(({ name, available, document }) => ({ name, available, document: document.status })),
  }
}

async function publishedDocument(ctx: StepContext, of: DocumentName): Promise<void> {
  const { gateway, head } = ctx.state
  const document = await gateway.shown.document(head, of)
  if (!document) throw noSuchService()
  for (const field of gateway.shown.vary) ctx.vary(field)
  send(ctx, document)
}

async function serviceDocument(ctx: StepContext & { params: Record<string, string> }): Promise<void> {
  const service = /^(.+)\.json$/.exec(ctx.params['file'] ?? '')?.[1]
  if (service === undefined) throw noSuchService()
  await publishedDocument(ctx, { service })
}

function noSuchService(): Problem {
  return new Problem('not-found', 'There is no service of this name; /openapi/{service}.json has its document')
}

async function docsPage(ctx: StepContext): Promise<void> {
  const asset = ctx.state.gateway.docs.find(ctx.path)
  if (!asset) throw new Problem('not-found', 'The documentation page has no such file')
  ctx.set(asset.fields)
  if (asset.status !== 200) {
    // The body first: Koa makes 204 of an empty one.
    ctx.body = null
    ctx.status = asset.status
    return
  }
  send(ctx, { ...asset, ...(await asset.packed?.()) })
}

/** RFC 9110 §15.5.6: 405 with `Allow` where only the method is wrong. */
function methodNotAllowed(router: Router<State>) {
  return (ctx: StepContext): never => {
    const allowed = new Set(router.match(ctx.path, ctx.method).path.flatMap(({ methods }) => methods))
    if (allowed.size === 0) throw new Problem('not-found', 'The gateway has no endpoint at this path')
    const methods = [...allowed].sort().join(', ')
    throw new Problem('method-not-allowed', `This path offers ${methods}`, { fields: { Allow: methods } })
  }
}
