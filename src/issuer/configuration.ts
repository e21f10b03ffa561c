import {
  type Adapter,
  type ClientMetadata,
  type Configuration,
  errors,
  interactionPolicy,
  type JWKS,
  type KoaContextWithOIDC,
} from 'oidc-provider'
import type { Log } from '../telemetry/log.ts'
import type { Denylist, TokenRecord } from './access-tokens.ts'
import { orOutage } from './adapter.ts'
import type { Pages } from './pages.ts'
import { cookieNamesOf, loginPath, routes } from './routes.ts'
import { openIdClaims, type Scopes } from './scopes.ts'
import { type ClientDefinition, docsClientId, type EmbeddedSettings, grantTypes, inSeconds } from './settings.ts'
import type { SigningKeys } from './signing-keys.ts'
import { claimsOf, type Subjects } from './subjects.ts'
import type { Users } from './users.ts'

/** Everything the parts of the issuer share; made once in `issuer.ts`. */
export interface IssuerParts {
  readonly settings: EmbeddedSettings
  /** `https://gateway.example/oauth2`. */
  readonly issuer: string
  readonly publicUrl: string
  readonly audience: string
  readonly clients: ReadonlyMap<string, ClientDefinition>
  readonly scopes: Scopes
  readonly users: Users
  readonly subjects: Subjects
  readonly keys: SigningKeys
  readonly denylist: Denylist
  /** Where access tokens must be, to be good. */
  readonly record: TokenRecord | undefined
  readonly pages: Pages
  readonly log: Log
  readonly now: () => number
}

/** Seconds that a sign-in page may stay open. */
const interactionLife = 1_800
const codeLife = 60

/**
 * oidc-provider as we want it. Its defaults also offer implicit tokens, pushed requests, DPoP, a development sign-in
 * page and a signing key that the whole world knows; what is not named here is off, and nothing is left to a default
 * that prints a warning.
 */
export function configurationOf(parts: IssuerParts, adapter: (model: string) => Adapter): Configuration {
  const { settings, publicUrl, audience, clients, subjects, keys, pages, record } = parts
  const secure = publicUrl.startsWith('https:')
  const refreshLife = inSeconds(settings.refreshToken)
  const accessLifeOf = (clientId: string | undefined) =>
    inSeconds(clients.get(clientId ?? '')?.accessToken ?? settings.accessToken)

  return {
    adapter,
    jwks: { keys: keys.signing } as unknown as JWKS,
    clients: [docsClient(parts), ...[...clients.values()].map((client) => metadataOf(client, settings))],
    clientDefaults: { id_token_signed_response_alg: settings.algorithm },
    clientAuthMethods: ['client_secret_basic', 'client_secret_post', 'none'],
    enabledJWA: { idTokenSigningAlgValues: ['RS256', 'ES256'] },
    routes,
    responseTypes: settings.grants.includes('authorization_code') ? ['code'] : [],
    subjectTypes: ['public'],
    scopes: Object.keys(openIdClaims),
    claims: { acr: null, auth_time: null, iss: null, sid: null, ...mutable(openIdClaims) },
    pkce: { required: () => true },
    clockTolerance: 5,
    allowOmittingSingleRegisteredRedirectUri: false,
    cookies: {
      names: cookieNamesOf(publicUrl),
      long: { httpOnly: true, sameSite: 'lax', signed: true, secure, path: '/' },
      short: { httpOnly: true, sameSite: 'lax', signed: true, secure },
      keys: [keys.secretFor('cookies').toString('base64url')],
    },
    features: {
      devInteractions: { enabled: false },
      userinfo: { enabled: false },
      dPoP: { enabled: false },
      pushedAuthorizationRequests: { enabled: false },
      clientCredentials: { enabled: settings.grants.includes('client_credentials') },
      revocation: { enabled: true, allowedPolicy: mayRevoke },
      introspection: { enabled: true, allowedPolicy: (_ctx, client) => client.clientAuthMethod !== 'none' },
      rpInitiatedLogout: {
        enabled: true,
        logoutSource: (ctx, form) => pages.logout(ctx as never, form, ctx.oidc.client),
        postLogoutSuccessSource: (ctx) => pages.loggedOut(ctx as never, ctx.oidc.client),
      },
      resourceIndicators: {
        enabled: true,
        // Swagger UI and most others never say `resource`: there is one, this gateway.
        defaultResource: (_ctx, _client, oneOf) => oneOf?.[0] ?? publicUrl,
        useGrantedResource: () => true,
        getResourceServerInfo: (_ctx, resource, client) => {
          if (resource !== publicUrl && resource !== `${publicUrl}/` && resource !== audience)
            throw new errors.InvalidTarget()
          return resourceServerOf(parts, client.clientId)
        },
      },
    },
    // A browser application that is a client may ask for its tokens from its own origin.
    clientBasedCORS: (_ctx, origin, client) =>
      origin === new URL(publicUrl).origin ||
      (client.clientAuthMethod === 'none' && (client.redirectUris ?? []).some((uri) => new URL(uri).origin === origin)),
    extraTokenClaims: (_ctx, token) => {
      const subject = subjects.find(('accountId' in token ? token.accountId : undefined) ?? token.clientId ?? '')
      if (!subject) throw new errors.InvalidGrant('the subject is locked out')
      const family = 'grantId' in token ? token.grantId : undefined
      return { ...claimsOf(subject), ...(family !== undefined && { fam: family }) }
    },
    formats: {
      customizers: {
        jwt: async (ctx, _token, { payload }) => {
          payload['nbf'] = payload['iat']
          const act = ctx?.oidc?.entities['Actor']
          if (act) payload['act'] = act
          const { jti, exp } = payload as { jti: string; exp: number }
          if (record) await orOutage(record.record({ issuer: parts.issuer, tokenId: jti, until: exp + 60 }))
        },
      },
    },
    ttl: {
      AccessToken: (_ctx, token) => token.resourceServer?.accessTokenTTL ?? accessLifeOf(token.clientId),
      ClientCredentials: (_ctx, token) => accessLifeOf(token.clientId),
      AuthorizationCode: codeLife,
      IdToken: inSeconds(settings.accessToken),
      // From the login on: a stolen token must not live for ever by being used.
      RefreshToken: (ctx) => Math.max(1, ctx?.oidc.entities.RotatedRefreshToken?.remainingTTL ?? refreshLife),
      Grant: refreshLife + codeLife,
      // Refresh tokens live no longer than the session they came from, so that signing out ends them.
      Session: refreshLife + codeLife,
      Interaction: interactionLife,
    },
    ...(settings.grants.includes('refresh_token') && {
      issueRefreshToken: (_ctx, client) => client.grantTypeAllowed('refresh_token'),
    }),
    rotateRefreshToken: true,
    expiresWithSession: () => true,
    findAccount: (ctx, subject, token) => accountOf(parts, ctx, subject, token),
    loadExistingGrant: (ctx) => grantFor(parts, ctx),
    interactions: {
      url: (_ctx, { uid }) => `${new URL(parts.issuer).pathname}${loginPath}/${uid}`,
      policy: promptsOf(settings),
    },
    renderError: (ctx, out) => pages.error(ctx as never, out as { error: string; error_description?: string }),
  }
}

/** The API behind the gateway as RFC 8707 and oidc-provider see it. */
export function resourceServerOf({ settings, audience, clients, scopes }: IssuerParts, clientId: string) {
  return {
    scope: scopes.of(clientId).join(' '),
    audience,
    accessTokenFormat: 'jwt',
    accessTokenTTL: inSeconds(clients.get(clientId)?.accessToken ?? settings.accessToken),
    jwt: { sign: { alg: settings.algorithm } },
  } as const
}

/** RFC 7009 §2.1: a client may revoke its own tokens. */
function mayRevoke(
  _ctx: KoaContextWithOIDC,
  client: { readonly clientId: string; readonly clientAuthMethod?: string | undefined },
  token: { readonly clientId?: string | undefined },
): boolean {
  if (token.clientId === client.clientId) return true
  // Anybody can say the id of a public client, so it learns nothing.
  if (client.clientAuthMethod === 'none') return false
  throw new errors.InvalidRequest('this client may not revoke the token of another')
}

function docsClient({ settings, publicUrl }: IssuerParts): ClientMetadata {
  const grants = settings.grants.filter((grant) => grant !== 'client_credentials' && grant !== 'token_exchange')
  const withCode = grants.includes('authorization_code')
  return {
    client_id: docsClientId,
    client_name: 'API documentation',
    token_endpoint_auth_method: 'none',
    grant_types: grants.map((grant) => grantTypes[grant]),
    response_types: withCode ? ['code'] : [],
    redirect_uris: withCode ? [`${publicUrl}/docs/oauth2-redirect.html`] : [],
  }
}

function metadataOf(client: ClientDefinition, settings: EmbeddedSettings): ClientMetadata {
  const own = (uri: string) => !/^https?:/i.test(uri)
  return {
    client_id: client.id,
    client_name: client.name ?? client.id,
    ...(client.secret === undefined
      ? { token_endpoint_auth_method: 'none' }
      : { token_endpoint_auth_method: 'client_secret_basic', client_secret: client.secret }),
    application_type: client.redirectUris.some(own) ? 'native' : 'web',
    grant_types: client.grants.filter((grant) => settings.grants.includes(grant)).map((grant) => grantTypes[grant]),
    response_types: client.grants.includes('authorization_code') ? ['code'] : [],
    redirect_uris: client.redirectUris,
    post_logout_redirect_uris: client.postLogoutRedirectUris,
  }
}

/** Whose login a request belongs to; undefined ends it. Runs at every step, so it looks at memory only. */
function accountOf(
  { users, denylist, issuer }: IssuerParts,
  ctx: KoaContextWithOIDC,
  subject: string,
  token: { readonly iat?: number; readonly grantId?: string | undefined } | undefined,
) {
  const user = users.find(subject)
  if (!user?.active) return undefined
  // A session has no token: what counts is when the user signed in.
  const issuedAt = token?.iat ?? ctx.oidc.session?.loginTs
  if (denylist.isRevoked({ issuer, subject, issuedAt, family: token?.grantId })) return undefined
  return {
    accountId: subject,
    claims: () => ({ sub: subject, preferred_username: user.username, ...claimsOf(user) }),
  }
}

/**
 * The grant that covers this request. Every client is registered by the operator, so nobody is asked for consent.
 * One grant for a client and a session: it is what `fam` names, and what signing out ends.
 */
async function grantFor({ scopes, publicUrl, denylist, issuer }: IssuerParts, ctx: KoaContextWithOIDC) {
  const { session, client, account, provider, result } = ctx.oidc
  const clientId = client!.clientId
  const accountId = account!.accountId
  const known = result?.consent?.grantId ?? session!.grantIdFor(clientId)
  const existing = known === undefined ? undefined : await provider.Grant.find(known)
  const usable =
    existing?.accountId === accountId &&
    existing.clientId === clientId &&
    !denylist.isRevoked({ issuer, family: existing.jti })
  const grant = usable ? existing : new provider.Grant({ accountId, clientId })
  const { openId, api } = scopes.granted(clientId, (ctx.oidc.params?.['scope'] as string | undefined) ?? '')
  if (openId.length > 0) grant.addOIDCScope(openId)
  const resources = Object.keys(ctx.oidc.resourceServers ?? {})
  if (api.length > 0)
    for (const resource of resources.length > 0 ? resources : [publicUrl]) grant.addResourceScope(resource, api)
  // It lives as long as the refresh tokens of this login may.
  delete grant.exp
  await grant.save()
  return grant
}

function promptsOf(settings: EmbeddedSettings): interactionPolicy.DefaultPolicy {
  const policy = interactionPolicy.base()
  const { checks } = policy.get('login')!
  checks.add(
    new interactionPolicy.Check('account_gone', 'End-User authentication is required', 'login_required', ({ oidc }) =>
      oidc.session?.accountId === undefined ? false : oidc.account === undefined,
    ),
  )
  checks.add(
    new interactionPolicy.Check('session_age', 'End-User authentication is too old', 'login_required', ({ oidc }) =>
      oidc.session?.accountId === undefined || oidc.result?.login !== undefined
        ? false
        : oidc.session.past(inSeconds(settings.session)),
    ),
  )
  return policy
}

/** oidc-provider's types want arrays that could be changed. */
function mutable(claims: Readonly<Record<string, readonly string[]>>): Record<string, string[]> {
  return Object.fromEntries(Object.entries(claims).map(([scope, names]) => [scope, [...names]]))
}
