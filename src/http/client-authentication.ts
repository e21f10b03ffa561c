/** How a client proves itself to an endpoint of an authorization server (RFC 6749 §2.3.1). */
export type ClientAuthenticationMethod = 'client_secret_basic' | 'client_secret_post'

export interface ClientCredentials {
  readonly clientId: string
  readonly clientSecret: string
  readonly clientAuthentication: ClientAuthenticationMethod
}

/** The header field or the form members that carry a client's secret. */
export function clientAuthentication({ clientId, clientSecret, clientAuthentication: way }: ClientCredentials): {
  readonly headers: Readonly<Record<string, string>>
  readonly form: Readonly<Record<string, string>>
} {
  if (way === 'client_secret_post') return { headers: {}, form: { client_id: clientId, client_secret: clientSecret } }
  // Both parts are form-urlencoded before they are joined.
  const encode = (text: string) => new URLSearchParams([['', text]]).toString().slice(1)
  const credentials = Buffer.from(`${encode(clientId)}:${encode(clientSecret)}`).toString('base64')
  return { headers: { authorization: `Basic ${credentials}` }, form: {} }
}
