import { FetchFailed, type FetchJson } from './fetch-json.ts'

/** What an issuer says of itself (OpenID Connect Discovery §3, RFC 8414 §2), as far as the gateway reads it. */
export interface IssuerMetadata {
  readonly issuer: string
  readonly jwksUri: string
  readonly authorizationEndpoint?: string
  readonly tokenEndpoint?: string
  readonly endSessionEndpoint?: string
  readonly scopes: readonly string[]
  readonly grantTypes: readonly string[]
}

/** Where the metadata of an issuer lies (OpenID Connect Discovery §4): the path is appended, a trailing slash goes. */
export function metadataUrl(issuer: string): string {
  return `${issuer.replace(/\/$/, '')}/.well-known/openid-configuration`
}

/**
 * Ask an issuer for its metadata. The `issuer` in the answer must be ours to the letter: otherwise somebody else
 * answers in its place (OpenID Connect Discovery §4.3). An issuer that has TLS must not send us elsewhere without.
 * Rejects with `FetchFailed`.
 */
export async function discover(issuer: string, fetchJson: FetchJson): Promise<IssuerMetadata> {
  const url = metadataUrl(issuer)
  const fail = (complaint: string) => new FetchFailed(url, complaint)
  const document = await fetchJson({ url })
  if (document === null || typeof document !== 'object') throw fail('the metadata is not an object')
  const metadata = document as Readonly<Record<string, unknown>>
  if (metadata['issuer'] !== issuer)
    throw fail(`the metadata is of the issuer ${JSON.stringify(metadata['issuer'])}, not of "${issuer}"`)

  const secure = issuer.startsWith('https:')
  const endpoint = (name: string): string | undefined => {
    const value = metadata[name]
    if (value === undefined) return undefined
    if (typeof value !== 'string' || !URL.canParse(value)) throw fail(`${name} is not a URL`)
    const { protocol } = new URL(value)
    if (protocol !== 'https:' && (secure || protocol !== 'http:')) throw fail(`${name} must be https, not ${protocol}`)
    return value
  }
  const strings = (name: string): readonly string[] => {
    const value = metadata[name]
    return Array.isArray(value) ? value.filter((element) => typeof element === 'string') : []
  }

  const jwksUri = endpoint('jwks_uri')
  if (jwksUri === undefined) throw fail('the metadata names no jwks_uri')
  const authorizationEndpoint = endpoint('authorization_endpoint')
  const tokenEndpoint = endpoint('token_endpoint')
  const endSessionEndpoint = endpoint('end_session_endpoint')
  return {
    issuer,
    jwksUri,
    ...(authorizationEndpoint !== undefined && { authorizationEndpoint }),
    ...(tokenEndpoint !== undefined && { tokenEndpoint }),
    ...(endSessionEndpoint !== undefined && { endSessionEndpoint }),
    scopes: strings('scopes_supported'),
    // RFC 8414 §2: what it means to name none.
    grantTypes: metadata['grant_types_supported'] === undefined ? defaultGrantTypes : strings('grant_types_supported'),
  }
}

const defaultGrantTypes: readonly string[] = ['authorization_code', 'implicit']
