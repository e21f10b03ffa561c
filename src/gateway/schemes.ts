import type { IssuerMetadata } from '../authentication/discovery.ts'
import type { TokenIssuer } from '../authentication/token-issuer.ts'
import type { Definition, SecuritySchemeDefinition } from '../config/schema.ts'
import type { JsonObject } from '../openapi/document.ts'

/**
 * `securitySchemes` as they are published: what OpenAPI knows of each, without what says how it is checked. The flows
 * of `oauth2` and the URL of `openIdConnect` are what the issuer offers; they are empty while it cannot be asked.
 */
export async function describeSchemes(
  definition: Definition,
  issuers: ReadonlyMap<string, TokenIssuer>,
  /** What people read about a scope, where the issuer says it. */
  scopeTexts: Readonly<Record<string, string>> = {},
): Promise<{ readonly schemes: Readonly<Record<string, JsonObject>>; readonly complete: boolean }> {
  let complete = true
  const scopes = scopesOf(definition)
  const metadataOf = async (scheme: SecuritySchemeDefinition): Promise<IssuerMetadata | undefined> => {
    for (const name of scheme.issuers ?? issuers.keys()) {
      const issuer = issuers.get(name)
      if (issuer?.kind !== 'jwt' || !issuer.metadata) continue
      try {
        return await issuer.metadata()
      } catch {
        complete = false
      }
    }
    return undefined
  }
  const described = await Promise.all(
    Object.entries(definition.securitySchemes).map(async ([name, scheme]) => {
      const { type } = scheme
      const description = scheme.description ?? (isSession(scheme) ? aboutSession : undefined)
      const common = { type, ...(description !== undefined && { description }) }
      switch (type) {
        case 'http': {
          const { scheme: http, bearerFormat } = scheme
          return [name, { ...common, scheme: http, ...(bearerFormat !== undefined && { bearerFormat }) }] as const
        }
        case 'apiKey':
          return [name, { ...common, in: scheme.in, name: scheme.name }] as const
        case 'oauth2':
          return [
            name,
            { ...common, flows: flowsOf(await metadataOf(scheme), scopes.get(name) ?? [], scopeTexts) },
          ] as const
        case 'openIdConnect': {
          const metadata = await metadataOf(scheme)
          const openIdConnectUrl = `${metadata?.issuer ?? ''}/.well-known/openid-configuration`
          return [name, { ...common, openIdConnectUrl }] as const
        }
      }
    }),
  )
  return { schemes: Object.fromEntries(described), complete }
}

const isSession = (scheme: SecuritySchemeDefinition) => scheme.type === 'apiKey' && scheme.session !== undefined
const aboutSession =
  'The session of a browser that signed in at [/login](/login). The browser sends the cookie by itself; there is nothing to enter here.'

const flowOfGrant = {
  authorization_code: 'authorizationCode',
  password: 'password',
  client_credentials: 'clientCredentials',
} as const

/** OAuth Flows Object: only grants that Swagger UI can run, each with the endpoints it needs. */
function flowsOf(
  metadata: IssuerMetadata | undefined,
  needed: readonly string[],
  texts: Readonly<Record<string, string>>,
): JsonObject {
  const flows: JsonObject = {}
  if (!metadata?.tokenEndpoint) return flows
  const { tokenEndpoint, authorizationEndpoint, grantTypes } = metadata
  const scopes = Object.fromEntries(
    [...new Set([...metadata.scopes, ...needed])].map((scope) => [scope, texts[scope] ?? scope]),
  )
  for (const [grant, flow] of Object.entries(flowOfGrant)) {
    if (!grantTypes.includes(grant)) continue
    if (flow === 'authorizationCode' && authorizationEndpoint === undefined) continue
    flows[flow] = {
      ...(flow === 'authorizationCode' && { authorizationUrl: authorizationEndpoint }),
      tokenUrl: tokenEndpoint,
      ...(grantTypes.includes('refresh_token') && flow !== 'clientCredentials' && { refreshUrl: tokenEndpoint }),
      scopes,
    }
  }
  return flows
}

/** The scopes that requirement arrays name, by scheme: a requirement may only name what the scheme declares. */
function scopesOf({ security, services }: Definition): ReadonlyMap<string, readonly string[]> {
  const found = new Map<string, string[]>()
  const lists = [
    security,
    ...services.flatMap((service) => [service.security, ...service.routes.map((route) => route.security)]),
  ]
  for (const alternative of lists.flatMap((list) => list ?? [])) {
    for (const [scheme, names] of Object.entries(alternative))
      found.set(scheme, [...(found.get(scheme) ?? []), ...names])
  }
  return found
}
