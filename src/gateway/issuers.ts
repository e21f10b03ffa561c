import type { IssuerMetadata } from '../authentication/discovery.ts'
import { embeddedTokenIssuer } from '../authentication/issuers.ts'
import type { TokenIssuer } from '../authentication/token-issuer.ts'
import { issuers as kinds } from '../catalogue.ts'
import type { Definition } from '../config/schema.ts'
import type { Issuer as EmbeddedIssuer } from '../issuer/issuer.ts'
import type { ClientDefinition } from '../issuer/settings.ts'
import { build } from '../kind.ts'
import type { GatewayTools } from './open.ts'
import { sessionClientOf } from './sessions.ts'
import type { Scope } from './shared.ts'

/** The issuers of one revision: those whose tokens are checked, and the one that the gateway is itself. */
export interface Issuers {
  readonly believed: ReadonlyMap<string, TokenIssuer>
  readonly embedded: EmbeddedIssuer | undefined
  /** Who the gateway is to it, where people sign in for a session. */
  readonly sessionClient: ClientDefinition | undefined
}

export async function acquireIssuers(definition: Definition, tools: GatewayTools, scope: Scope): Promise<Issuers> {
  const { now, log, store, metrics, publicUrl, folder, revocations, issuedTokens, loopback } = tools
  const believed = new Map<string, TokenIssuer>()
  let embedded: EmbeddedIssuer | undefined
  let sessionClient: ClientDefinition | undefined
  for (const [name, settings] of Object.entries(definition.issuers)) {
    const client = await sessionClientOf(definition, name, tools)
    sessionClient ??= client
    const key = JSON.stringify([settings, client])
    const issuer = await scope.acquire<EmbeddedIssuer | TokenIssuer>(
      `issuer ${name} ${key}`,
      () =>
        build(kinds, settings, {
          name,
          now,
          log,
          store,
          publicUrl,
          loopback,
          ...(tools.fetchJson && { fetchJson: tools.fetchJson }),
          directory: folder,
          clients: client ? [client] : [],
          denylist: revocations,
          issuedTokens,
          addressOf: (ctx) => ctx.state['head']?.client.address ?? '',
          keySetEvents: {
            fetched: ({ outcome }) => {
              if (outcome === 'failed') metrics.alarm('key-set-unreachable', name)
            },
            unknownKey: () => metrics.alarm('unknown-key', name),
          },
        }),
      (issuer) => ('close' in issuer ? issuer.close?.() : undefined),
    )
    if (!('endpoints' in issuer)) {
      believed.set(name, issuer)
      continue
    }
    embedded = issuer
    const tokens = await scope.acquire(
      `tokens of issuer ${name} ${key}`,
      () =>
        embeddedTokenIssuer({
          name,
          issuer: issuer.issuer,
          audiences: [issuer.audience],
          algorithms: issuer.algorithms,
          keys: issuer.keySource as never,
          metadata: async () => metadataOf(issuer),
          log,
        }),
      (tokens) => tokens.close?.(),
    )
    believed.set(name, tokens)
  }
  return { believed, embedded, sessionClient }
}

function metadataOf({ metadata }: EmbeddedIssuer): IssuerMetadata {
  return {
    issuer: metadata.issuer,
    jwksUri: metadata.jwks_uri,
    ...(metadata.authorization_endpoint && { authorizationEndpoint: metadata.authorization_endpoint }),
    tokenEndpoint: metadata.token_endpoint,
    endSessionEndpoint: metadata.end_session_endpoint,
    scopes: metadata.scopes_supported,
    grantTypes: metadata.grant_types_supported,
  }
}
