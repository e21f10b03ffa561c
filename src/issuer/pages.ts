import type { Context } from 'koa'
import { type Html, html, trusted } from './html.ts'

/** Where the stylesheet is, below the mount point. */
export const stylePath = '/page.css'

/** What a page needs to know of a client. */
export interface PageClient {
  readonly clientId?: string | undefined
  readonly clientName?: string | undefined
  readonly redirectUris?: readonly string[] | undefined
  readonly postLogoutRedirectUris?: readonly string[] | undefined
}

/** The pages people see, plain HTML that works without scripts. */
export interface Pages {
  login(ctx: Context, login: LoginPage): void
  logout(ctx: Context, form: string, client: PageClient | undefined): void
  loggedOut(ctx: Context, client: PageClient | undefined): void
  error(ctx: Context, error: { readonly error: string; readonly error_description?: string | undefined }): void
}

export interface LoginPage {
  readonly action: string
  readonly csrf: string
  readonly client: PageClient
  readonly username?: string | undefined
  /** One sentence; read out at once by screen readers. */
  readonly fault?: string | undefined
}

/** `base` is the path the issuer is mounted at. */
export function createPages(base: string): Pages {
  function show(ctx: Context, title: string, content: Html): void {
    ctx.type = 'text/html; charset=utf-8'
    ctx.body = html`<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<meta name="robots" content="noindex">
<title>${title}</title>
<link rel="stylesheet" href="${base}${stylePath}">
</head>
<body>
<main>
${gate}
${content}
</main>
</body>
</html>
`.text
  }

  return {
    login(ctx, { action, csrf, client, username, fault }) {
      allowForms(ctx, client)
      show(
        ctx,
        fault ? 'Not signed in – Sign in' : 'Sign in',
        html`<h1>Sign in</h1>
<p>to continue to <strong>${nameOf(client)}</strong></p>
${fault && html`<p class="fault" id="fault" role="alert">${fault}</p>`}
<form method="post" action="${action}">
<input type="hidden" name="csrf" value="${csrf}">
<label for="username">User name</label>
<input id="username" name="username" type="text" autocomplete="username" autocapitalize="none" spellcheck="false" required maxlength="256" value="${username}"${fault ? described : trusted(' autofocus')}>
<label for="password">Password</label>
<input id="password" name="password" type="password" autocomplete="current-password" required maxlength="1024"${fault && trusted(`${described.text} autofocus`)}>
<button type="submit">Sign in</button>
</form>`,
      )
    },

    logout(ctx, form, client) {
      allowForms(ctx, client)
      show(
        ctx,
        'Sign out',
        html`<h1>Sign out?</h1>
<p>You will be signed out of every application that you signed in to here.</p>
${trusted(form)}
<button type="submit" form="op.logoutForm" name="logout" value="yes" autofocus>Sign out</button>
<button type="submit" form="op.logoutForm" class="other">Stay signed in</button>`,
      )
    },

    loggedOut(ctx, client) {
      show(
        ctx,
        'Signed out',
        html`<h1>You are signed out</h1>
<p>${client ? html`You may close this page, or go back to <strong>${nameOf(client)}</strong>.` : 'You may close this page.'}</p>`,
      )
    },

    error(ctx, { error, error_description }) {
      const { heading, advice } = explanations[error] ?? explanations['']!
      show(
        ctx,
        heading,
        html`<h1>${heading}</h1>
<p>${advice}</p>
<p class="detail"><code>${error}</code>${error_description && html`: ${error_description}`}</p>`,
      )
    },
  }
}

const described = trusted(' aria-invalid="true" aria-describedby="fault"')

const explanations: Readonly<Record<string, { readonly heading: string; readonly advice: string }>> = {
  '': {
    heading: 'This request cannot be answered',
    advice:
      'Go back to the application that you came from and try again. If it happens again, its makers can use this:',
  },
  expired: {
    heading: 'This sign-in has ended',
    advice: 'It took too long, or was finished in another window. Go back to the application and start again.',
  },
  server_error: {
    heading: 'Something went wrong here',
    advice: 'It is not your fault. Please try again in a little while.',
  },
  temporarily_unavailable: {
    heading: 'Signing in is not possible right now',
    advice: 'Please try again in a little while.',
  },
}

const gate = trusted(
  '<svg class="gate" viewBox="0 0 32 32" aria-hidden="true" focusable="false"><rect width="32" height="32" rx="7"/>' +
    '<path d="M7 26V14a9 9 0 0 1 18 0v12" fill="none" stroke="#e9f0f5" stroke-width="2.5" stroke-linecap="round"/>' +
    '<path d="M12.5 26V15a3.5 3.5 0 0 1 7 0v11" fill="none" stroke="#e0a83a" stroke-width="2.5" stroke-linecap="round"/></svg>',
)

function nameOf({ clientName, clientId }: PageClient): string {
  return clientName ?? clientId ?? 'the application'
}

// oidc-provider adds the digest of its own script where it needs one.
const policy = [
  "default-src 'none'",
  "script-src 'none'",
  "style-src 'self'",
  "form-action 'self'",
  "frame-ancestors 'none'",
  "base-uri 'none'",
].join('; ')

/** What every answer of the issuer carries. */
export function guardFields(ctx: Context): void {
  ctx.set({
    'Content-Security-Policy': policy,
    'Referrer-Policy': 'same-origin',
    'X-Content-Type-Options': 'nosniff',
    'X-Frame-Options': 'DENY',
    'Cache-Control': 'no-store',
  })
}

/**
 * Chromium holds every redirect that follows a form against `form-action`, and the last one leads to the client
 * (w3c/webappsec-csp#8), so its origins must be named.
 */
export function allowForms(ctx: Context, client: PageClient | undefined): void {
  const uris = [...(client?.redirectUris ?? []), ...(client?.postLogoutRedirectUris ?? [])]
  const targets = ["'self'", ...new Set(uris.map(sourceOf))].join(' ')
  const policy = ctx.response.get('Content-Security-Policy') as string
  ctx.set(
    'Content-Security-Policy',
    policy
      .replace(/form-action [^;]*/, `form-action ${targets}`)
      // The library has added the digest of its script to a list that was empty until then.
      .replace("script-src 'none' '", "script-src '"),
  )
}

/** The origin of a redirect URI; of an app's own scheme, the scheme. */
function sourceOf(uri: string): string {
  const { origin, protocol } = new URL(uri)
  return origin === 'null' ? protocol : origin
}
