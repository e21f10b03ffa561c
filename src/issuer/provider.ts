import type { Context, Middleware } from 'koa'
import mount from 'koa-mount'
import { type errors, type KoaContextWithOIDC, Provider } from 'oidc-provider'
import type { Store } from '../store/store.ts'
import type { AccessTokens } from './access-tokens.ts'
import { createAdapters, successorsBy } from './adapter.ts'
import { countAttempts } from './attempts.ts'
import { configurationOf, type IssuerParts } from './configuration.ts'
import { createEndpoints, type Endpoints } from './endpoints.ts'
import { registerPassword } from './grants/password.ts'
import { registerTokenExchange } from './grants/token-exchange.ts'
import { createLogin } from './login.ts'
import { docsClientId, IssuerRefused } from './settings.ts'
import { createSignIn } from './sign-in.ts'
import { createTurnstile } from './turnstile.ts'

/** What only oidc-provider's side of the issuer needs. */
export interface ProviderTools {
  readonly store: Store
  readonly accessTokens: AccessTokens
  readonly addressOf: (ctx: Context) => string
  /** Below which path it stands. */
  readonly mountPath: string
  /** Seconds that an access token lives at most. */
  readonly longestToken: number
}

export interface OpenProvider {
  readonly endpoints: Endpoints
  close(): void
}

/** Passwords that are hashed at a time, and that wait for it. */
const hashing = { atOnce: 2, waiting: 60 } as const

/**
 * oidc-provider, made anew for every change of keys and swapped whole. Rejects with `IssuerRefused` when it would not
 * take one of the clients.
 */
export async function openProvider(parts: IssuerParts, tools: ProviderTools): Promise<OpenProvider> {
  const { settings, issuer, clients, users, keys, denylist, log, now } = parts
  const { store, accessTokens, addressOf, mountPath, longestToken } = tools
  const signIn = createSignIn(users, countAttempts(store, now), createTurnstile(hashing.atOnce, hashing.waiting))
  const successor = successorsBy(() => keys.secretFor('refresh tokens'))
  const adapters = createAdapters(store, { refreshGrace: settings.refreshGrace || 0, successor, now })
  /** Revocations that a request has caused; its answer waits for them. */
  const pending = new WeakMap<object, Promise<unknown>[]>()

  let provider: Provider
  let mounted: Middleware
  takeUp(make())
  await checkClients()
  const stopFollowing = keys.onChange(() => takeUp(make()))
  const current = () => provider
  const endpoints = createEndpoints(parts, {
    run: (ctx) => mounted(ctx as never, notReached),
    provider: current,
    login: createLogin(parts, current, signIn, addressOf),
    accessTokens,
    settled,
  })
  return { endpoints, close: stopFollowing }

  function make(): Provider {
    const made = new Provider(issuer, configurationOf(parts, adapters))
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
