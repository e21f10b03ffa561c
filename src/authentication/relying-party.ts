import * as openid from 'openid-client'
import { Problem } from '../http/problem.ts'

/** The gateway as a client of an OpenID provider (OpenID Connect Core §1.2), by openid-client. */
export interface RelyingParty {
  /** Where a browser goes to sign in: code flow with PKCE, state and nonce. */
  signInUrl(attempt: Attempt): Promise<string>
  /**
   * The tokens for the code that a browser brings back. `url` is where it came to, with the issuer's parameters.
   * Throws `sign-in-refused` when the answer is not the one to this attempt, or the issuer says no.
   */
  finish(url: URL, attempt: Attempt): Promise<Tokens>
  /** The next tokens; "ended" when the issuer knows the login no more. */
  refresh(refreshToken: string): Promise<Tokens | 'ended'>
  /** Where a browser goes to sign out at the issuer too (RP-Initiated Logout §2); undefined when it has no such place. */
  signOutUrl(idToken: string | undefined): Promise<string | undefined>
  /** RFC 7009; nothing happens at issuers that offer no revocation. */
  revoke(refreshToken: string): Promise<void>
}

/** What ties an answer of the issuer to the browser that was sent to it. */
export interface Attempt {
  readonly state: string
  readonly nonce: string
  readonly verifier: string
}

export interface Tokens {
  readonly accessToken: string
  /** Seconds. */
  readonly expiresIn?: number
  readonly refreshToken?: string
  readonly idToken?: string
  /** Of the ID token. */
  readonly claims?: Readonly<Record<string, unknown>>
}

export interface RelyingPartySettings {
  /** `iss`. */
  readonly issuer: string
  readonly clientId: string
  readonly clientSecret?: string | undefined
  readonly scopes: readonly string[]
  readonly redirectUri: string
  readonly postLogoutRedirectUri: string
  /** Milliseconds since the epoch. */
  readonly now: () => number
  /** The built-in issuer: what it says of itself, and how to reach it without the public URL. */
  readonly embedded?: { readonly metadata: openid.ServerMetadata; readonly fetch: openid.CustomFetch }
}

/** Seconds. */
const patience = 5
const metadataMaxAge = 3_600_000

/** Every method throws `issuer-unavailable` (503) when the issuer cannot be asked. */
export function createRelyingParty(settings: RelyingPartySettings): RelyingParty {
  const { issuer, clientId, clientSecret, redirectUri, postLogoutRedirectUri, embedded, now } = settings
  const scope = [...new Set(['openid', ...settings.scopes])].join(' ')
  const client = { redirect_uris: [redirectUri], [openid.clockTolerance]: 30 }
  const insecure = issuer.startsWith('http:')
  let known: { readonly configuration: Promise<openid.Configuration>; readonly at: number } | undefined

  /** Asked when first needed and once an hour, because an issuer may be this gateway, which does not listen yet. */
  function configuration(): Promise<openid.Configuration> {
    if (known && (embedded || now() - known.at < metadataMaxAge)) return known.configuration
    const asked = embedded ? Promise.resolve(prepare(embedded.metadata)) : discover()
    const current = { configuration: asked, at: now() }
    known = current
    asked.catch(() => {
      if (known === current) known = undefined
    })
    return asked
  }

  async function discover(): Promise<openid.Configuration> {
    const found = await openid.discovery(new URL(issuer), clientId, client, undefined, {
      timeout: patience,
      execute: insecure ? [openid.allowInsecureRequests] : [],
    })
    // The library adds functions to it.
    const metadata = JSON.parse(JSON.stringify(found.serverMetadata())) as openid.ServerMetadata
    if (metadata.issuer !== issuer)
      throw new Error(`the metadata is of the issuer "${metadata.issuer}", not of "${issuer}"`)
    return prepare(metadata)
  }

  function prepare(metadata: openid.ServerMetadata): openid.Configuration {
    const made = new openid.Configuration(metadata, clientId, client, authenticationOf(metadata))
    made.timeout = patience
    if (insecure) openid.allowInsecureRequests(made)
    if (embedded) made[openid.customFetch] = embedded.fetch
    return made
  }

  function authenticationOf({ token_endpoint_auth_methods_supported: methods }: openid.ServerMetadata) {
    if (clientSecret === undefined) return openid.None()
    // What an issuer takes that does not say (RFC 8414 §2).
    const basic = methods === undefined || methods.includes('client_secret_basic')
    return basic ? openid.ClientSecretBasic(clientSecret) : openid.ClientSecretPost(clientSecret)
  }

  return {
    async signInUrl({ state, nonce, verifier }) {
      const parameters = {
        redirect_uri: redirectUri,
        scope,
        state,
        nonce,
        code_challenge: await openid.calculatePKCECodeChallenge(verifier),
        code_challenge_method: 'S256',
      }
      return openid.buildAuthorizationUrl(await available(configuration()), parameters).href
    },

    async finish(url, { state, nonce, verifier }) {
      const configured = await available(configuration())
      const checks = {
        expectedState: state,
        expectedNonce: nonce,
        pkceCodeVerifier: verifier,
        idTokenExpected: true,
      }
      try {
        return tokensOf(await openid.authorizationCodeGrant(configured, url, checks))
      } catch (error) {
        if (isOutage(error)) throw unavailable(error)
        throw refused(error)
      }
    },

    async refresh(refreshToken) {
      const configured = await available(configuration())
      try {
        return tokensOf(await openid.refreshTokenGrant(configured, refreshToken))
      } catch (error) {
        // RFC 6749 §5.2: everything else is about us, not about the login.
        if (error instanceof openid.ResponseBodyError && error.error === 'invalid_grant') return 'ended'
        throw unavailable(error)
      }
    },

    async signOutUrl(idToken) {
      const configured = await available(configuration())
      if (configured.serverMetadata().end_session_endpoint === undefined) return undefined
      const parameters = {
        post_logout_redirect_uri: postLogoutRedirectUri,
        ...(idToken !== undefined && { id_token_hint: idToken }),
      }
      return openid.buildEndSessionUrl(configured, parameters).href
    },

    async revoke(refreshToken) {
      const configured = await available(configuration())
      if (configured.serverMetadata().revocation_endpoint === undefined) return
      await available(openid.tokenRevocation(configured, refreshToken, { token_type_hint: 'refresh_token' }))
    },
  }
}

type Answer = openid.TokenEndpointResponse & openid.TokenEndpointResponseHelpers

function tokensOf(answer: Answer): Tokens {
  const { access_token: accessToken, refresh_token: refreshToken, id_token: idToken } = answer
  const expiresIn = answer.expiresIn()
  const claims = answer.claims()
  return {
    accessToken,
    ...(expiresIn !== undefined && { expiresIn }),
    ...(refreshToken !== undefined && { refreshToken }),
    ...(idToken !== undefined && { idToken }),
    ...(claims !== undefined && { claims }),
  }
}

async function available<T>(asked: Promise<T>): Promise<T> {
  try {
    return await asked
  } catch (error) {
    throw unavailable(error)
  }
}

function unavailable(cause: unknown): Problem {
  return new Problem('issuer-unavailable', 'The issuer where people sign in cannot be asked right now', {
    cause,
    fields: { 'Retry-After': '1' },
  })
}

/** Nobody answered, or somebody with a server error: trying again may help. */
function isOutage(error: unknown): boolean {
  if (error instanceof openid.ResponseBodyError) return error.status >= 500 || error.error === 'invalid_client'
  const { name, code, cause } = error as { name?: string; code?: string; cause?: unknown }
  if (name === 'TypeError' && code === undefined) return true
  if (code === 'OAUTH_TIMEOUT') return true
  return code === 'OAUTH_RESPONSE_IS_NOT_CONFORM' && cause instanceof Response && cause.status >= 500
}

function refused(cause: unknown): Problem {
  const said = cause instanceof openid.AuthorizationResponseError ? `: it says ${cause.error}` : ''
  const text = said.replace(/[^ -~]/g, '?').slice(0, 120)
  return new Problem(
    'sign-in-refused',
    `The answer of the issuer does not sign anybody in${text}; start again at /login`,
    {
      cause,
    },
  )
}
