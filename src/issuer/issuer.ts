import { resolve } from 'node:path'
import type { Context, Middleware } from 'koa'
import mount from 'koa-mount'
import { type errors, type KoaContextWithOIDC, Provider } from 'oidc-provider'
import type { Store } from '../store/store.ts'
import type { Tools } from '../tools.ts'
import { createAccessTokens, type Denylist, type TokenRecord } from './access-tokens.ts'
import { createAdapters, successorsBy } from './adapter.ts'
import { countAttempts } from './attempts.ts'
import { configurationOf, type IssuerParts, inSeconds, routes } from './configuration.ts'
import { createEndpoints } from './endpoints.ts'
import { registerPassword } from './grants/password.ts'
import { registerTokenExchange } from './grants/token-exchange.ts'
import { createLogin } from './login.ts'
import { createPages } from './pages.ts'
import { createScopes } from './scopes.ts'
import { type ClientDefinition, docsClientId, type EmbeddedSettings, grantTypes, IssuerRefused } from './settings.ts'
import { createSignIn } from './sign-in.ts'
import { openSigningKeys, type SigningKeys, type SigningKeysOptions } from './signing-keys.ts'
import { createSubjects } from './subjects.ts'
import { createTurnstile } from './turnstile.ts'
import { nobody, openUsers } from './users.ts'

export interface IssuerTools extends Tools {
  /** What clients see, without a path and without a slash at the end: `https://gateway.example`. */
  readonly publicUrl: string
  readonly store: Store
  /** The gateway's revocations. */
  readonly denylist: Denylist
  /** Where access tokens are put on record, with `"revocation": "allowlist"`. */
  readonly issuedTokens: TokenRecord
  /** Whether the gateway can be reached from this machine only. */
  readonly loopback: boolean
  /** What `users` is relative to: the folder of services.json. */
  readonly directory: string
  /** The address of the client behind trusted proxies; default: the TCP peer. */
  readonly addressOf?: (ctx: Context) => string
  /** Clients of the gateway itself, besides those of services.json. */
  readonly clients?: readonly ClientDefinition[]
  /** Seconds a key is published before it signs. Default: 3,600. */
  readonly announce?: number
}

/** The built-in OpenID provider, running. */
export interface Issuer {
  /** `iss` of its tokens: `https://gateway.example/oauth2`. */
  readonly issuer: string
  /** `aud` of its access tokens. */
  readonly audience: string
  /** `alg` of its tokens; the one configured now first, then those of older keys. */
  readonly algorithms: readonly ['RS256' | 'ES256', ...('RS256' | 'ES256')[]]
  /**
   * `/oauth2/…`, `POST /token` and `/.well-known/oauth-authorization-server/oauth2`; everything else passes on.
   * Bodies must not have been read before it. Throws `Problem` for unknown paths and while the store is out.
   */
  readonly endpoints: Middleware
  /** Public JWKs for the verifier, so that nobody calls himself over HTTP. */
  readonly keySource: { keys(): readonly object[]; onChange(listener: () => void): () => void }
  /** RFC 8414, as far as an OpenAPI document or a client in this process needs it. */
  readonly metadata: IssuerMetadata
  /** Every scope with what people read about it. */
  readonly scopes: Readonly<Record<string, string>>
  /** Whether the subject of a credential may still act: true for credentials of other issuers. Synchronous, from memory. */
  isActive(credential: { readonly issuer: string; readonly subject: string }): boolean
  /** Whether this is one of its users, and may not act any more: what stands for the user, such as an API key, may not either. */
  isLockedOut(subject: string): boolean
  /** Its users, without their passwords, and its clients, as callers: for simulations. */
  people(): readonly Person[]
  /** Names of its cookies, which no service must see. */
  readonly cookies: readonly string[]
  /** What its tokens are signed with, for operators. */
  readonly signingKeys: Pick<SigningKeys, 'list' | 'rotate' | 'remove'>
  close(): Promise<void>
}

export interface Person {
  readonly subject: string
  readonly name?: string | undefined
  readonly email?: string | undefined
  readonly organization?: string | undefined
  readonly roles: readonly string[]
  readonly permissions: readonly string[]
  readonly scopes: readonly string[]
}

export interface IssuerMetadata {
  readonly issuer: string
  readonly authorization_endpoint?: string
  readonly token_endpoint: string
  readonly jwks_uri: string
  readonly revocation_endpoint: string
  readonly introspection_endpoint: string
  readonly end_session_endpoint: string
  readonly openid_configuration: string
  /** Grant types by the names of their specifications. */
  readonly grant_types_supported: readonly string[]
  readonly scopes_supported: readonly string[]
}

const mountPath = '/oauth2'
/** Passwords that are hashed at a time, and that wait for it. */
const hashing = { atOnce: 2, waiting: 60 } as const

/**
 * Opens the embedded issuer.
 *
 * 1. Refuse what is not safe to start.  2. Keys and users.  3. The parts everything shares.
 * 4. oidc-provider, made anew for every change of keys and swapped whole.
 *
 * Rejects with `IssuerRefused` or `InvalidUsers`, for the operator to read, or `StoreUnavailable`.
 */
export async function createIssuer(settings: EmbeddedSettings, tools: IssuerTools): Promise<Issuer> {
  const { publicUrl, store, denylist, issuedTokens, loopback, directory, now, log } = tools
  const issuer = `${publicUrl}${mountPath}`
  const clients = new Map([...(tools.clients ?? []), ...settings.clients].map((client) => [client.id, client]))

  // 1.
  if (!loopback && !store.durable && !settings.allowVolatileStore) {
    throw new IssuerRefused(
      'the gateway listens on more than 127.0.0.1 and its store forgets signing keys and revocations at every restart: ' +
        'use the "sqlite" or "redis" store, or set "allowVolatileStore": true at the issuer',
    )
  }
  for (const { id, grants } of clients.values()) {
    const unknown = grants.find((grant) => !settings.grants.includes(grant))
    if (unknown)
      throw new IssuerRefused(`the client "${id}" has the grant "${unknown}", which the issuer's "grants" do not name`)
  }
  if (!loopback && publicUrl.startsWith('http:')) {
    log.warn({ publicUrl }, 'the public URL is not https: passwords and tokens cross the network in the clear')
  }

  // 2.
  const keySettings = signingKeysOf(settings)
  const longestToken = keySettings.tokenLife
  const keys = await openSigningKeys(
    store,
    { ...keySettings, ...(tools.announce !== undefined && { announce: tools.announce }) },
    tools,
  )
  const users =
    settings.users === undefined
      ? nobody
      : await openUsers(
          resolve(directory, settings.users),
          { allowPlainPasswords: loopback || settings.allowDemoUsers, reserved: new Set(clients.keys()) },
          tools,
        ).catch((error: unknown) => {
          keys.close()
          throw error
        })

  // 3.
  const subjects = createSubjects(users, clients)
  const addressOf = tools.addressOf ?? ((ctx: Context) => ctx.req.socket.remoteAddress ?? '')
  const signIn = createSignIn(users, countAttempts(store, now), createTurnstile(hashing.atOnce, hashing.waiting))
  const successor = successorsBy(() => keys.secretFor('refresh tokens'))
  const record = settings.revocation === 'allowlist' ? issuedTokens : undefined
  const accessTokens = createAccessTokens(issuer, keys, subjects, denylist, record, now)
  const parts: IssuerParts = {
    settings,
    issuer,
    publicUrl,
    audience: settings.audience ?? publicUrl,
    clients,
    scopes: createScopes({ scopes: settings.scopes, clients: [...clients.values()] }),
    users,
    subjects,
    keys,
    denylist,
    record,
    pages: createPages(mountPath),
    adapters: createAdapters(store, {
      refreshGrace: settings.refreshGrace || 0,
      successor,
      now,
    }),
    log,
    now,
  }
  /** Revocations that a request has caused; its answer waits for them. */
  const pending = new WeakMap<object, Promise<unknown>[]>()

  // 4.
  let provider: Provider
  let mounted: Middleware
  try {
    takeUp(make())
    await checkClients()
  } catch (error) {
    await close()
    throw error
  }
  const stopFollowing = keys.onChange(() => takeUp(make()))

  function make(): Provider {
    const made = new Provider(issuer, configurationOf(parts))
    if (settings.grants.includes('password'))
      registerPassword(made, parts, signIn, addressOf as (ctx: object) => string)
    if (settings.grants.includes('token_exchange')) registerTokenExchange(made, parts, accessTokens)
    deriveSuccessors(made, successor)
    listen(made)
    return made
  }

  /** Requests that run keep the one they began with. */
  function takeUp(made: Provider): void {
    provider = made
    mounted = mount(mountPath, made as never)
  }

  /** The library looks at a client's metadata when it is first used, which would be too late. */
  async function checkClients(): Promise<void> {
    for (const id of [docsClientId, ...clients.keys()]) {
      await provider.Client.find(id).catch((cause: unknown) => {
        const { error_description } = cause as { error_description?: string }
        throw new IssuerRefused(`the client "${id}" cannot be used: ${error_description ?? String(cause)}`, { cause })
      })
    }
  }

  function listen(provider: Provider): void {
    provider.on('grant.revoked', (ctx, family) => {
      const until = Math.ceil(now() / 1_000) + longestToken + 60
      const kept = denylist.revoke({ family, issuer, until }).catch((error: unknown) => error)
      pending.set(ctx, [...(pending.get(ctx) ?? []), kept])
    })
    provider.on('server_error', (_ctx, error) => {
      log.error({ err: error }, 'the authorization server failed')
    })
    const refused = (ctx: KoaContextWithOIDC, error: errors.OIDCProviderError) => {
      const { error_description, error_detail } = error
      const facts = { error: error.message, error_description, error_detail, client: ctx.oidc.client?.clientId }
      log.info(facts, 'the authorization server refused a request')
    }
    provider.on('grant.error', refused)
    provider.on('authorization.error', refused)
    provider.on('revocation.error', refused)
    provider.on('introspection.error', refused)
    provider.on('end_session.error', refused)
    provider.on('end_session_confirm.error', refused)
  }

  async function settled(ctx: Context): Promise<void> {
    for (const outcome of await Promise.all(pending.get(ctx) ?? [])) if (outcome !== undefined) throw outcome
  }

  async function close(): Promise<void> {
    users.close()
    keys.close()
  }

  const current = () => provider
  const endpoints = createEndpoints(parts, {
    run: (ctx) => mounted(ctx as never, notReached),
    provider: current,
    login: createLogin(parts, current, signIn, addressOf),
    accessTokens,
    settled,
  })
  const urlOf = (path: string) => `${issuer}${path}`
  const withCode = settings.grants.includes('authorization_code')

  return {
    issuer,
    audience: parts.audience,
    algorithms: settings.algorithm === 'RS256' ? ['RS256', 'ES256'] : ['ES256', 'RS256'],
    endpoints,
    keySource: { keys: () => keys.keys(), onChange: (listener) => keys.onChange(listener) },
    metadata: {
      issuer,
      ...(withCode && { authorization_endpoint: urlOf(routes.authorization) }),
      token_endpoint: urlOf(routes.token),
      jwks_uri: urlOf(routes.jwks),
      revocation_endpoint: urlOf(routes.revocation),
      introspection_endpoint: urlOf(routes.introspection),
      end_session_endpoint: urlOf(routes.end_session),
      openid_configuration: urlOf('/.well-known/openid-configuration'),
      grant_types_supported: settings.grants.map((grant) => grantTypes[grant]),
      scopes_supported: Object.keys(parts.scopes.described),
    },
    scopes: parts.scopes.described,
    isActive: (credential) => credential.issuer !== issuer || subjects.find(credential.subject) !== undefined,
    isLockedOut: (subject) => users.find(subject)?.active === false,
    people: () => [
      ...users
        .all()
        .flatMap(({ subject, name, email, organization, roles, permissions, active, username }) =>
          active ? [{ subject, name: name ?? username, email, organization, roles, permissions, scopes: [] }] : [],
        ),
      ...[...clients.values()].flatMap(({ id, name, grants, organization, roles, permissions, scopes }) =>
        // Others act for a user, never for themselves.
        grants.includes('client_credentials')
          ? [{ subject: id, name: name ?? id, organization, roles, permissions, scopes }]
          : [],
      ),
    ],
    get cookies() {
      return (['session', 'interaction', 'resume'] as const).flatMap((type) => {
        const name = provider.cookieName(type)
        return [name, `${name}.sig`]
      })
    },
    signingKeys: keys,
    async close() {
      stopFollowing()
      await close()
    },
  }
}

/** What the keys need to know of services.json; for commands too, which have no issuer. */
export function signingKeysOf({
  accessToken,
  clients,
  algorithm,
  rotateKeys,
}: EmbeddedSettings): Pick<SigningKeysOptions, 'algorithm' | 'tokenLife' | 'rotateEvery'> {
  const longest = Math.max(accessToken, ...clients.map((client) => client.accessToken ?? 0))
  return { algorithm, tokenLife: inSeconds(longest), rotateEvery: inSeconds(rotateKeys) }
}

async function notReached(): Promise<never> {
  throw new Error('oidc-provider does not know an endpoint that it was given')
}

/** A refresh token that is rotated is followed by the one successor that the adapter knows it by. */
function deriveSuccessors(provider: Provider, successor: (token: string) => string): void {
  const { prototype } = provider.RefreshToken as unknown as { prototype: { generateTokenId(): string } }
  const random = prototype.generateTokenId
  prototype.generateTokenId = function generateTokenId(): string {
    const rotated = Provider.ctx?.oidc.entities.RotatedRefreshToken
    return rotated ? successor(rotated.jti) : random.call(this)
  }
}
