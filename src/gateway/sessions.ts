import { randomBytes } from 'node:crypto'
import type { Caller } from '../authentication/caller.ts'
import type { RelyingPartySettings } from '../authentication/relying-party.ts'
import { callbackPath, createSessions, type Sessions } from '../authentication/session.ts'
import type { SessionSettings } from '../authentication/session-settings.ts'
import { createSessionStore } from '../authentication/session-store.ts'
import { sessionClientId } from '../config/check-session.ts'
import type { Definition, IssuerDefinition } from '../config/schema.ts'
import type { Issuer as EmbeddedIssuer } from '../issuer/issuer.ts'
import type { ClientDefinition } from '../issuer/settings.ts'
import type { Store } from '../store/store.ts'
import type { Issuers } from './issuers.ts'
import type { GatewayTools } from './open.ts'

/** The scheme whose cookie is a session; there is at most one. */
export interface SessionScheme {
  readonly scheme: string
  readonly cookie: string
  readonly session: SessionSettings
}

export function sessionSchemeOf({ securitySchemes }: Definition): SessionScheme | undefined {
  for (const [scheme, definition] of Object.entries(securitySchemes)) {
    if (definition.type === 'apiKey' && definition.session)
      return { scheme, cookie: definition.name, session: definition.session }
  }
  return undefined
}

/** The gateway as a client of its own issuer; undefined when nobody signs in there. */
export async function sessionClientOf(
  definition: Definition,
  issuer: string,
  { store, publicUrl }: Pick<GatewayTools, 'store' | 'publicUrl'>,
): Promise<ClientDefinition | undefined> {
  const settings = sessionSchemeOf(definition)?.session
  const embedded = definition.issuers[issuer]
  if (settings?.issuer !== issuer || embedded?.type !== 'embedded') return undefined
  return {
    id: sessionClientId,
    name: definition.gateway.docs.title,
    secret: await secretIn(store),
    grants: (['authorization_code', 'refresh_token'] as const).filter((grant) => embedded.grants.includes(grant)),
    scopes: [...(settings.scopes ?? apiScopesOf(embedded))],
    roles: [],
    permissions: [],
    redirectUris: [`${publicUrl}${callbackPath}`],
    postLogoutRedirectUris: [`${publicUrl}${settings.home}`],
    audiences: [],
  }
}

/** Whoever signs people in needs openid-client; it is read for nobody else. */
export async function openSessions(
  definition: Definition,
  { believed, embedded, sessionClient }: Issuers,
  revoked: (caller: Caller) => boolean | Promise<boolean>,
  tools: GatewayTools,
): Promise<Sessions | undefined> {
  const found = sessionSchemeOf(definition)
  if (!found) return undefined
  const { createRelyingParty } = await import('../authentication/relying-party.ts')
  const { scheme, cookie, session } = found
  const { store, publicUrl, now } = tools
  const issuer = believed.get(session.issuer)!
  if (issuer.kind !== 'jwt') throw new TypeError(`nobody can sign in at the issuer "${session.issuer}"`)
  const common = {
    issuer: issuer.profile.issuer,
    scopes: session.scopes ?? ['profile', 'email'],
    redirectUri: `${publicUrl}${callbackPath}`,
    postLogoutRedirectUri: `${publicUrl}${session.home}`,
    now,
  }
  const ours = sessionClient && embedded
  return createSessions(
    {
      scheme,
      cookie,
      insecure: session.insecure,
      publicUrl,
      home: session.home,
      issuer,
      store: createSessionStore(store, { ...session, issuer: issuer.profile.issuer, now, random: randomBytes }),
      party: createRelyingParty(
        ours
          ? {
              ...common,
              clientId: sessionClient.id,
              clientSecret: sessionClient.secret,
              scopes: ['profile', 'email', ...sessionClient.scopes],
              embedded: reach(embedded, tools),
            }
          : { ...common, clientId: session.clientId!, clientSecret: session.clientSecret },
      ),
      clientId: ours ? sessionClient.id : session.clientId!,
      revoked,
      random: randomBytes,
    },
    tools,
  )
}

/** The public URL may lead round the world or nowhere from here, so the gateway asks itself where it listens. */
function reach(
  { metadata }: EmbeddedIssuer,
  { publicUrl, address }: GatewayTools,
): NonNullable<RelyingPartySettings['embedded']> {
  const { authorization_endpoint, scopes_supported, grant_types_supported, ...endpoints } = metadata
  return {
    metadata: {
      ...endpoints,
      ...(authorization_endpoint !== undefined && { authorization_endpoint }),
      scopes_supported: [...scopes_supported],
      grant_types_supported: [...grant_types_supported],
      token_endpoint_auth_methods_supported: ['client_secret_basic'],
      id_token_signing_alg_values_supported: ['RS256', 'ES256'],
      // RFC 9207: an answer that does not say whose it is, is not ours.
      authorization_response_iss_parameter_supported: true,
    },
    fetch: (url, options) => {
      const target = url.startsWith(`${publicUrl}/`) ? `${address}${url.slice(publicUrl.length)}` : url
      return fetch(target, options as RequestInit)
    },
  }
}

function apiScopesOf({ scopes, clients }: Extract<IssuerDefinition, { type: 'embedded' }>): readonly string[] {
  const openId = ['openid', 'profile', 'email']
  return [...new Set([...Object.keys(scopes), ...clients.flatMap((client) => client.scopes)])].filter(
    (scope) => !openId.includes(scope),
  )
}

const collection = 'session-client'

/** Every instance is the same client of the same issuer, whichever of them answers it. */
async function secretIn(store: Store): Promise<string> {
  for (;;) {
    const known = await store.get<string>(collection, 'secret')
    if (known) return known.value
    await store.create(collection, 'secret', randomBytes(32).toString('base64url'))
  }
}
