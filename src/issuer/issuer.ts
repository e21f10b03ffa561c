import { resolve } from 'node:path'
import type { Context, Middleware } from 'koa'
import type { Store } from '../store/store.ts'
import type { Tools } from '../tools.ts'
import { createAccessTokens, type Denylist, type TokenRecord } from './access-tokens.ts'
import type { IssuerParts } from './configuration.ts'
import { createPages } from './pages.ts'
import type { OpenProvider } from './provider.ts'
import { cookieNamesOf, createIssuerPaths, routes } from './routes.ts'
import { createScopes } from './scopes.ts'
import { type ClientDefinition, type EmbeddedSettings, grantTypes, IssuerRefused, inSeconds } from './settings.ts'
import { openSigningKeys, type SigningKeys, type SigningKeysOptions } from './signing-keys.ts'
import { createSubjects } from './subjects.ts'
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
/**
 * Opens the embedded issuer.
 *
 * 1. Refuse what is not safe to start.  2. Keys and users.  3. The parts everything shares.
 * 4. oidc-provider, at once where there is a user or a client to refuse, else when somebody first asks.
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
    log,
    now,
  }

  // 4.
  const issuerPath = createIssuerPaths(issuer)
  let opening: Promise<OpenProvider> | undefined
  /** A hundred and eighty files: most gateways that name no issuer believe one elsewhere, or nobody. */
  const opened = () => {
    opening ??= import('./provider.ts')
      .then(({ openProvider }) => openProvider(parts, { store, accessTokens, addressOf, mountPath, longestToken }))
      .catch((error: unknown) => {
        // Who asks next may have more luck.
        opening = undefined
        throw error
      })
    return opening
  }
  const close = async () => {
    const provider = await opening?.catch(() => undefined)
    provider?.close()
    users.close()
    keys.close()
  }
  if (settings.users !== undefined || clients.size > 0) {
    await opened().catch(async (error: unknown) => {
      await close()
      throw error
    })
  }

  const urlOf = (path: string) => `${issuer}${path}`
  const withCode = settings.grants.includes('authorization_code')

  return {
    issuer,
    audience: parts.audience,
    algorithms: settings.algorithm === 'RS256' ? ['RS256', 'ES256'] : ['ES256', 'RS256'],
    async endpoints(ctx, next) {
      const path = issuerPath(ctx.path)
      if (path === undefined) return next()
      const { endpoints } = await opened()
      return endpoints(ctx, path)
    },
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
    cookies: Object.values(cookieNamesOf(publicUrl)).flatMap((name) => [name, `${name}.sig`]),
    signingKeys: keys,
    close,
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
