import assert from 'node:assert/strict'
import { createHash, randomBytes } from 'node:crypto'
import { once } from 'node:events'
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs'
import { createServer } from 'node:http'
import type { AddressInfo } from 'node:net'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import Koa from 'koa'
import { Agent, request } from 'undici'
import { openIssuedTokens } from '../../src/authentication/issued-tokens.ts'
import { openRevocations, type Revocations } from '../../src/authentication/revocation.ts'
import { Problem } from '../../src/http/problem.ts'
import { createIssuer, type Issuer } from '../../src/issuer/issuer.ts'
import { embeddedSettings } from '../../src/issuer/settings.ts'
import { createMemoryStore } from '../../src/store/memory.ts'
import type { Store } from '../../src/store/store.ts'
import type { Log } from '../../src/telemetry/log.ts'

/**
 * A hash of "bob" that costs next to nothing, so that the tests do not spend their time on hashing: what one hash in
 * the file costs is what every attempt costs.
 */
const cheapHash = '$argon2id$v=19$m=8,t=1,p=1$YSBzYWx0IGZvciB0ZXN0cw$ZPGyqMbDtdKJimDdgG/pyYFgpQ+9gu73qRLMLczer/E'

/** Passwords are the user names; in the clear, as in the demonstration, and one hashed. */
export const people = [
  {
    username: 'ada',
    password: 'ada',
    subject: 'u-1',
    name: 'Ada Lovelace',
    email: 'ada@example.com',
    organization: 'engines',
    roles: ['admin', 'editor'],
    permissions: ['orders:read', 'orders:write'],
  },
  { username: 'bob', passwordHash: cheapHash, subject: 'u-2', email: 'bob@example.com', roles: ['viewer'] },
  { username: 'eve', password: 'eve', subject: 'u-3', active: false },
]

export const redirectUri = 'https://app.test/callback'
export const secret = 'a-secret-of-the-web-application'

/** A confidential web application, a browser application, a machine, and one that passes identities on. */
export const clients = [
  {
    id: 'web',
    name: 'The <Web> Shop & Co',
    secret,
    grants: ['authorization_code', 'refresh_token', 'password'],
    scopes: ['orders', 'invoices'],
    redirectUris: [redirectUri],
    postLogoutRedirectUris: ['https://app.test/bye'],
  },
  {
    id: 'spa',
    grants: ['authorization_code', 'refresh_token'],
    scopes: ['orders'],
    redirectUris: ['https://spa.test/cb'],
  },
  {
    id: 'reporter',
    secret: 'a-secret-of-the-reporter',
    grants: ['client_credentials'],
    scopes: ['orders'],
    roles: ['service'],
    permissions: ['orders:read'],
  },
  {
    id: 'gateway',
    secret: 'a-secret-of-the-gateway',
    grants: ['token_exchange'],
    scopes: ['orders'],
    audiences: ['stock'],
  },
] as const

export const grants = [
  'authorization_code',
  'refresh_token',
  'client_credentials',
  'password',
  'token_exchange',
] as const

export interface IssuerApp {
  /** What clients see; requests for it go to the real address. */
  readonly publicUrl: string
  /** The real address. */
  readonly base: string
  readonly issuer: Issuer
  readonly revocations: Revocations
  readonly store: Store
  readonly usersFile: string
  /** Everything that was logged, as JSON lines. */
  readonly logged: string[]
  send(method: string, path: string, options?: SendOptions): Promise<Answer>
  /** Posts a form; `as` is a client with its secret. */
  post(path: string, form: Form, as?: readonly [string, string], fields?: Fields): Promise<Answer>
  stop(): Promise<void>
}

type Form = Readonly<Record<string, string>> | readonly (readonly [string, string])[]
type Fields = Readonly<Record<string, string>>

export interface SendOptions {
  readonly fields?: Fields
  readonly body?: string
}

export interface Answer {
  readonly status: number
  readonly fields: Readonly<Record<string, string | string[] | undefined>>
  readonly text: string
  // biome-ignore lint/suspicious/noExplicitAny: answers of many shapes; each test names the members it reads
  readonly json: any
}

export interface AppOptions {
  readonly settings?: Record<string, unknown>
  readonly store?: Store
  /** What clients see, or "its own" for the address it really has, which a browser needs. */
  readonly publicUrl?: string
  readonly users?: unknown
  readonly loopback?: boolean
  readonly now?: () => number
  readonly announce?: number
  readonly addressOf?: (ctx: Koa.Context) => string
}

/** The issuer on a real socket, as the gateway mounts it. */
export async function startIssuer({
  settings = {},
  store: given,
  publicUrl: seen = 'http://gateway.test',
  users = people,
  loopback = true,
  now = Date.now,
  announce,
  addressOf,
}: AppOptions = {}): Promise<IssuerApp> {
  const logged: string[] = []
  const write = (level: string) => (facts: object, message: string) =>
    logged.push(JSON.stringify({ level, message, ...facts, ...('err' in facts && { err: String(facts.err) }) }))
  const log: Log = { debug: write('debug'), info: write('info'), warn: write('warn'), error: write('error') }
  const store = given ?? createMemoryStore({ now, log })
  const folder = mkdtempSync(join(tmpdir(), 'sallyport-issuer-'))
  const app = new Koa()
  const server = createServer((incoming, outgoing) => app.callback()(incoming, outgoing)).listen(0, '127.0.0.1')
  await once(server, 'listening')
  const base = `http://127.0.0.1:${(server.address() as AddressInfo).port}`
  const publicUrl = seen === 'its own' ? base : seen
  const usersFile = join(folder, 'users.json')
  writeFileSync(usersFile, typeof users === 'string' ? users : JSON.stringify(users))
  const revocations = await openRevocations(store, { lifetime: 86_400_000 }, { now, log })
  let issuer: Issuer
  try {
    issuer = await createIssuer(embeddedSettings.parse({ users: 'users.json', clients, grants, ...settings }), {
      publicUrl,
      store,
      denylist: revocations,
      issuedTokens: openIssuedTokens(store),
      loopback,
      directory: folder,
      now,
      log,
      ...(announce !== undefined && { announce }),
      ...(addressOf && { addressOf }),
    })
  } catch (error) {
    revocations.close()
    server.close()
    if (!given) await store.close()
    rmSync(folder, { recursive: true })
    throw error
  }

  app.on('error', (error) => logged.push(`koa ${error.stack}`))
  app.use(async (ctx, next) => {
    try {
      await next()
    } catch (error) {
      if (!(error instanceof Problem)) throw error
      ctx.status = error.status
      ctx.set(error.fields as Record<string, string>)
      ctx.body = error.body('test')
    }
  })
  app.use(issuer.endpoints)
  app.use((ctx) => {
    ctx.status = 418
    ctx.body = 'not the issuer'
  })
  const dispatcher = new Agent({ connections: 64 })

  const send = async (method: string, path: string, { fields = {}, body }: SendOptions = {}): Promise<Answer> => {
    const url = path.startsWith(publicUrl) ? path.slice(publicUrl.length) : path
    assert.ok(url.startsWith('/'), `${path} leads away from the issuer`)
    const response = await request(`${base}${url}`, {
      method: method as 'GET',
      headers: fields,
      dispatcher,
      ...(body !== undefined && { body }),
    })
    const text = await response.body.text()
    let json: unknown
    try {
      json = JSON.parse(text)
    } catch {
      json = undefined
    }
    return { status: response.statusCode, fields: response.headers, text, json }
  }

  return {
    publicUrl,
    base,
    issuer,
    revocations,
    store,
    usersFile,
    logged,
    send,
    post: (path, form, as, fields = {}) =>
      send('POST', path, {
        fields: {
          'content-type': 'application/x-www-form-urlencoded',
          ...(as && { authorization: `Basic ${Buffer.from(as.join(':')).toString('base64')}` }),
          ...fields,
        },
        body: new URLSearchParams(form as Record<string, string>).toString(),
      }),
    async stop() {
      await issuer.close()
      revocations.close()
      await dispatcher.close()
      server.closeAllConnections()
      server.close()
      if (!given) await store.close()
      rmSync(folder, { recursive: true })
    },
  }
}

export const web = ['web', secret] as const

/** A browser with one user in front of it: keeps cookies by their paths and follows redirects within the issuer. */
export class Browser {
  readonly cookies = new Map<string, { readonly value: string; readonly path: string; readonly line: string }>()
  readonly #app: IssuerApp

  constructor(app: IssuerApp) {
    this.#app = app
  }

  async send(method: string, path: string, options: SendOptions = {}): Promise<Answer> {
    const url = new URL(path, this.#app.publicUrl)
    const cookie = [...this.cookies]
      .filter(([, { path: at }]) => url.pathname === at || url.pathname.startsWith(at.endsWith('/') ? at : `${at}/`))
      .map(([name, { value }]) => `${name}=${value}`)
      .join('; ')
    const answer = await this.#app.send(method, `${url.pathname}${url.search}`, {
      ...options,
      fields: { accept: 'text/html', ...(cookie && { cookie }), ...options.fields },
    })
    for (const line of [answer.fields['set-cookie'] ?? []].flat()) {
      const [pair = '', ...attributes] = line.split(/;\s*/)
      const [name = '', value = ''] = pair.split(/=(.*)/s)
      const path = attributes.find((attribute) => /^path=/i.test(attribute))?.slice(5) ?? '/'
      if (attributes.some((attribute) => /^expires=Thu, 01 Jan 1970/i.test(attribute))) this.cookies.delete(name)
      else this.cookies.set(name, { value, path, line })
    }
    return answer
  }

  get(path: string): Promise<Answer> {
    return this.send('GET', path)
  }

  /** Until a page is shown, or the way leads to a client. */
  async follow(path: string): Promise<Answer & { readonly location?: string }> {
    let answer = await this.get(path)
    for (let hop = 0; hop < 8; hop += 1) {
      const { location } = answer.fields
      if (typeof location !== 'string') return answer
      if (!location.startsWith('/') && !location.startsWith(`${this.#app.publicUrl}/`)) return { ...answer, location }
      answer = await this.get(location)
    }
    throw new Error('redirected too often')
  }

  /** Fills in the form of a page and sends it; then follows. */
  async submit(page: Answer, values: Readonly<Record<string, string>>, fields: Fields = {}) {
    const action = /<form[^>]* action="([^"]+)"/.exec(page.text)?.[1]
    assert.ok(action, `no form in ${page.text}`)
    const form = new URLSearchParams()
    for (const [, name, value] of page.text.matchAll(/<input type="hidden" name="([^"]+)" value="([^"]*)"/g))
      form.set(name!, value!)
    for (const [name, value] of Object.entries(values)) form.set(name, value)
    const answer = await this.send('POST', action.replaceAll('&amp;', '&'), {
      fields: { 'content-type': 'application/x-www-form-urlencoded', ...fields },
      body: form.toString(),
    })
    const { location } = answer.fields
    if (typeof location !== 'string') return answer
    if (!location.startsWith('/') && !location.startsWith(`${this.#app.publicUrl}/`)) return { ...answer, location }
    return this.follow(location)
  }
}

export interface Pkce {
  readonly verifier: string
  readonly challenge: string
}

export function pkce(): Pkce {
  const verifier = randomBytes(32).toString('base64url')
  return { verifier, challenge: createHash('sha256').update(verifier).digest('base64url') }
}

/** Path and query of an authorization request of the client "web". */
export function authorizePath(challenge: string, changes: Readonly<Record<string, string | undefined>> = {}): string {
  const query = {
    client_id: 'web',
    redirect_uri: redirectUri,
    response_type: 'code',
    scope: 'openid profile email orders',
    state: 'state-1',
    code_challenge: challenge,
    code_challenge_method: 'S256',
    ...changes,
  }
  const entries = Object.entries(query).filter((entry): entry is [string, string] => entry[1] !== undefined)
  return `/oauth2/authorize?${new URLSearchParams(entries)}`
}

/** Signs in and comes back to the client; resolves with the parameters of the redirect. */
export async function signIn(
  browser: Browser,
  path: string,
  username = 'ada',
  password = username,
): Promise<URLSearchParams> {
  let answer = await browser.follow(path)
  if (!answer.location) answer = await browser.submit(answer, { username, password })
  assert.ok(answer.location, answer.text)
  return new URL(answer.location).searchParams
}

/** Tokens by the authorization code flow. */
export async function tokensByCode(
  app: IssuerApp,
  browser = new Browser(app),
  scope?: string,
): Promise<Answer['json']> {
  const { verifier, challenge } = pkce()
  const answer = await signIn(browser, authorizePath(challenge, scope === undefined ? {} : { scope }))
  const redeemed = await app.post(
    '/oauth2/token',
    { grant_type: 'authorization_code', code: answer.get('code')!, redirect_uri: redirectUri, code_verifier: verifier },
    web,
  )
  assert.equal(redeemed.status, 200, redeemed.text)
  return redeemed.json
}

export async function tokensByPassword(app: IssuerApp, username = 'ada', scope = 'orders'): Promise<Answer['json']> {
  const answer = await app.post('/oauth2/token', { grant_type: 'password', username, password: username, scope }, web)
  assert.equal(answer.status, 200, answer.text)
  return answer.json
}

export function refresh(app: IssuerApp, refreshToken: string, as: readonly [string, string] = web): Promise<Answer> {
  return app.post('/oauth2/token', { grant_type: 'refresh_token', refresh_token: refreshToken }, as)
}

export async function isActive(app: IssuerApp, token: string): Promise<boolean> {
  const answer = await app.post('/oauth2/introspect', { token }, web)
  assert.equal(answer.status, 200, answer.text)
  return answer.json.active
}
