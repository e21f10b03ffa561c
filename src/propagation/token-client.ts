import { z } from 'zod'
import { FetchFailed, type FetchJson, fetchJson as fetchJsonByHttp } from '../authentication/fetch-json.ts'
import { TwoGenerations } from '../authentication/remember.ts'
import { clientAuthentication } from '../http/client-authentication.ts'
import { Problem } from '../http/problem.ts'
import { httpUrl } from '../values.ts'

/** What every mode needs that asks an authorization server for tokens (RFC 6749 §3.2). */
export const tokenClientSettings = {
  tokenEndpoint: httpUrl('the token endpoint').describe('Where the authorization server gives tokens (RFC 6749 §3.2).'),
  clientId: z.string().min(1, 'the client id is not empty').describe('Who the gateway is to the authorization server.'),
  clientSecret: z
    .string()
    .min(1, 'the client secret is not empty; take it from the environment: "${GATEWAY_CLIENT_SECRET}"')
    .describe('How the gateway proves itself; keep it in the environment.'),
  clientAuthentication: z
    .enum(['client_secret_basic', 'client_secret_post'])
    .default('client_secret_basic')
    .describe('Where the secret goes: the Authorization field, or the form.'),
  scope: z
    .string()
    .optional()
    .describe('Scopes to ask for, separated by spaces. Default: what the server gives unasked.'),
  audience: z.string().optional().describe('The audience to ask for. Default: the name of the service.'),
}

export interface TokenClientSettings {
  readonly tokenEndpoint: string
  readonly clientId: string
  readonly clientSecret: string
  readonly clientAuthentication: 'client_secret_basic' | 'client_secret_post'
  readonly scope?: string | undefined
}

interface FetchedToken {
  /** The header lines that carry it, flat. */
  readonly lines: readonly string[]
  /** Milliseconds since the epoch after which it is not handed out any more: half a minute before it ends. */
  readonly until: number
}

export interface TokenClientTools {
  /** Milliseconds since the epoch. */
  readonly now: () => number
  /** How the authorization server is asked; by HTTP unless something else is handed in. */
  readonly fetchJson?: FetchJson
}

/** A token that is about to end would end on its way. */
const margin = 30_000
/** RFC 6749 §5.1 only recommends `expires_in`. */
const assumedLife = 300
const mostRemembered = 10_000

/**
 * Returns the function that gives the `Authorization` line for a grant. The token is kept under `key` until shortly
 * before it ends, and asked for once however many requests wait for it.
 *
 * It throws a `Problem` that says nothing about the authorization server: 403 for a refusal, because asking again will
 * not help; 503 for everything else.
 */
export function createTokenClient(settings: TokenClientSettings, tools: TokenClientTools) {
  const { tokenEndpoint, scope } = settings
  const { now, fetchJson = fetchJsonByHttp } = tools
  const { headers, form } = clientAuthentication(settings)
  const known = new TwoGenerations<FetchedToken>(mostRemembered)
  const asking = new Map<string, Promise<readonly string[]>>()

  return function authorization(
    key: string,
    grant: Readonly<Record<string, string>>,
  ): readonly string[] | Promise<readonly string[]> {
    const before = known.get(key)
    if (before && before.until > now()) return before.lines
    const running = asking.get(key)
    if (running) return running
    const asked = ask(grant)
      .then((token) => {
        known.set(key, token)
        return token.lines
      })
      .finally(() => asking.delete(key))
    asking.set(key, asked)
    return asked
  }

  async function ask(grant: Readonly<Record<string, string>>): Promise<FetchedToken> {
    let answer: unknown
    try {
      const fields = { ...grant, ...(scope !== undefined && { scope }), ...form }
      answer = await fetchJson({ url: tokenEndpoint, headers, form: fields })
    } catch (cause) {
      if (cause instanceof FetchFailed && cause.status !== undefined && cause.status >= 400 && cause.status < 500) {
        const detail = 'The authorization server gives no token for this service and this caller'
        throw new Problem('token-refused', detail, { cause })
      }
      throw unavailable(cause)
    }
    const { access_token: text, expires_in: life, token_type: type } = (answer ?? {}) as Record<string, unknown>
    if (typeof text !== 'string' || !/^[\x21-\x7e]+$/.test(text) || String(type).toLowerCase() !== 'bearer') {
      throw unavailable(new TypeError('the answer of the token endpoint is not a bearer token (RFC 6749 §5.1)'))
    }
    const seconds = typeof life === 'number' && Number.isFinite(life) ? life : assumedLife
    return { lines: ['Authorization', `Bearer ${text}`], until: now() + seconds * 1_000 - margin }
  }
}

function unavailable(cause: unknown): Problem {
  return new Problem('issuer-unavailable', 'The token for the service cannot be had right now', {
    cause,
    fields: { 'Retry-After': '1' },
  })
}
