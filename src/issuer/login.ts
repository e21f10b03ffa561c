import { createHmac, timingSafeEqual } from 'node:crypto'
import type { Context } from 'koa'
import { errors, type Provider } from 'oidc-provider'
import type { IssuerParts } from './configuration.ts'
import { readForm } from './form.ts'
import type { PageClient } from './pages.ts'
import { loginPath } from './routes.ts'
import type { SignIn, SignInCheck } from './sign-in.ts'

/** The sign-in page of one interaction, `/login/{uid}` below the mount point. */
export interface Login {
  show(ctx: Context, uid: string): Promise<void>
  submit(ctx: Context, uid: string): Promise<void>
}

export function createLogin(
  { pages, keys, publicUrl, issuer }: IssuerParts,
  provider: () => Provider,
  signIn: SignInCheck,
  addressOf: (ctx: Context) => string,
): Login {
  const base = new URL(issuer).pathname
  const { origin } = new URL(publicUrl)

  /** The interaction that the cookie and the address both name. */
  async function interactionOf(ctx: Context, uid: string) {
    const interaction = await provider().interactionDetails(ctx.req, ctx.res)
    if (interaction.uid !== uid) throw new errors.SessionNotFound('the page belongs to another sign-in')
    const client = await provider().Client.find(String(interaction.params['client_id']))
    return { prompt: interaction.prompt.name, params: interaction.params, client: client ?? {} }
  }

  function csrfOf(uid: string): string {
    return createHmac('sha256', keys.secretFor('forms')).update(uid).digest('base64url')
  }

  function render(ctx: Context, uid: string, client: PageClient, username?: string, fault?: string): void {
    pages.login(ctx, { action: `${base}${loginPath}/${uid}`, csrf: csrfOf(uid), client, username, fault })
  }

  async function finish(ctx: Context, result: Parameters<Provider['interactionResult']>[2]): Promise<void> {
    const returnTo = await provider().interactionResult(ctx.req, ctx.res, result)
    ctx.status = 303
    ctx.redirect(returnTo)
  }

  return {
    async show(ctx, uid) {
      const { prompt, params, client } = await interactionOf(ctx, uid)
      // Every client is the operator's own: nobody is asked whether it may.
      if (prompt === 'consent') return finish(ctx, { consent: {} })
      const hint = params['login_hint']
      render(ctx, uid, client, typeof hint === 'string' ? hint : undefined)
    },

    async submit(ctx, uid) {
      if (!isOwnForm(ctx, origin)) throw new errors.InvalidRequest('the form was sent by another site', 403)
      const { prompt, client } = await interactionOf(ctx, uid)
      const reading = await readForm(ctx)
      const form = reading.outcome === 'read' ? reading.form : new URLSearchParams()
      if (prompt !== 'login' || !equal(form.get('csrf') ?? '', csrfOf(uid)))
        throw new errors.InvalidRequest('the form is not the one that was shown', 403)

      const username = form.get('username') ?? ''
      const result = await signIn(username, form.get('password') ?? '', addressOf(ctx))
      if (result.outcome === 'right') {
        // The cookie ends with the browser; the session itself must live as long as its refresh tokens.
        return finish(ctx, { login: { accountId: result.user.subject, amr: ['pwd'], remember: false } })
      }
      const { status, fault } = explain(result)
      ctx.status = status
      if (result.outcome === 'refused') ctx.set('Retry-After', String(result.retryAfter))
      render(ctx, uid, client, username.slice(0, 256), fault)
    },
  }
}

function explain(result: Exclude<SignIn, { outcome: 'right' }>): { readonly status: number; readonly fault: string } {
  switch (result.outcome) {
    case 'wrong':
      return { status: 422, fault: 'The user name or the password is not right.' }
    case 'malformed':
      return { status: 422, fault: 'Please enter your user name and your password.' }
    case 'refused': {
      if (result.reason === 'busy') return { status: 503, fault: 'Many people sign in just now. Please try again.' }
      const minutes = Math.ceil(result.retryAfter / 60)
      const wait = minutes === 1 ? 'a minute' : `${minutes} minutes`
      return { status: 429, fault: `Too many attempts. Please wait ${wait} and try again.` }
    }
  }
}

/** Fetch Metadata where the browser sends it, else `Origin`; something that sends neither is no browser with cookies. */
function isOwnForm(ctx: Context, origin: string): boolean {
  const site = ctx.get('Sec-Fetch-Site')
  if (site) return site === 'same-origin'
  const sender = ctx.get('Origin')
  return sender === '' || sender === origin
}

function equal(one: string, other: string): boolean {
  const [left, right] = [Buffer.from(one), Buffer.from(other)]
  return left.length === right.length && timingSafeEqual(left, right)
}
