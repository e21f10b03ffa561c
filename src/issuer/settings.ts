import { z } from 'zod'
import { duration } from '../values.ts'

const day = 86_400_000

/** What a client may ask tokens with; the names of RFC 6749 §4, and RFC 8693's URN for the exchange. */
export const grantTypes = {
  authorization_code: 'authorization_code',
  refresh_token: 'refresh_token',
  client_credentials: 'client_credentials',
  password: 'password',
  token_exchange: 'urn:ietf:params:oauth:grant-type:token-exchange',
} as const

export type GrantName = keyof typeof grantTypes
const grantName = z.enum(
  Object.keys(grantTypes) as [GrantName, ...GrantName[]],
  `a grant is one of ${Object.keys(grantTypes).join(', ')}`,
)

const name = z.string().min(1).max(256)
// RFC 6749 §3.3, without what would need quoting in a challenge.
const scope = z.string().regex(/^[\x21\x23-\x5b\x5d-\x7e]+$/, 'a scope has no spaces, quotes or backslashes')

const redirectUri = z
  .string()
  .refine((uri) => URL.canParse(uri), 'a redirect URI is absolute, such as "https://app.example/callback"')
  .refine((uri) => !uri.includes('#'), 'a redirect URI has no fragment (RFC 6749 §3.1.2)')
  .refine(
    (uri) =>
      !URL.canParse(uri) || !['javascript:', 'data:', 'vbscript:', 'file:', 'blob:'].includes(new URL(uri).protocol),
    'a redirect URI leads to an application',
  )

/** The id of the client that the documentation page is. */
export const docsClientId = 'swagger-ui'

const client = z
  .strictObject({
    id: z
      .string()
      .regex(/^[A-Za-z0-9._~-]{1,128}$/, 'a client id is letters, digits, ".", "_", "~" and "-"')
      .refine((id) => id !== docsClientId, `"${docsClientId}" is built in`)
      .describe('client_id.'),
    name: name.optional().describe('What people read on the sign-in page. Default: the id.'),
    secret: z
      .string()
      .regex(/^[\x21-\x7e]{8,}$/, 'a client secret is at least 8 visible ASCII characters')
      .optional()
      .describe('client_secret. A client without one is public: a browser application or an app on a device.'),
    grants: z
      .array(grantName)
      .min(1, 'a client without a grant can do nothing')
      .describe('How the client may ask for tokens; each must be among the issuer’s `grants`.'),
    scopes: z.array(scope).default([]).describe('API scopes the client may ask for, and gets when it asks for none.'),
    roles: z.array(name).default([]).describe('Roles in the tokens that it asks for itself (client_credentials).'),
    permissions: z.array(name).default([]).describe('Permissions in the tokens that it asks for itself.'),
    organization: name.optional().describe('Organization in the tokens that it asks for itself.'),
    redirectUris: z.array(redirectUri).default([]).describe('Compared character by character (RFC 9700 §4.1).'),
    postLogoutRedirectUris: z.array(redirectUri).default([]).describe('Where a browser may be sent after logging out.'),
    audiences: z
      .array(name)
      .default([])
      .describe('Audiences it may exchange tokens for besides this gateway, such as the names of services.'),
    accessToken: duration(day).optional().describe('How long its access tokens live. Default: as for everybody.'),
  })
  .superRefine(({ secret, grants, redirectUris }, context) => {
    const complain = (path: string, message: string) => context.addIssue({ code: 'custom', path: [path], message })
    for (const grant of ['client_credentials', 'token_exchange'] as const) {
      if (grants.includes(grant) && secret === undefined)
        complain('grants', `"${grant}" is for clients with a secret (RFC 6749 §4.4)`)
    }
    if (grants.includes('authorization_code') && redirectUris.length === 0)
      complain('redirectUris', '"authorization_code" needs at least one redirect URI')
    if (!grants.includes('authorization_code') && redirectUris.length > 0)
      complain('redirectUris', 'redirect URIs are for "authorization_code", which is not among the grants')
    if (grants.includes('refresh_token') && !grants.includes('authorization_code') && !grants.includes('password'))
      complain('grants', '"refresh_token" goes with "authorization_code" or "password"')
  })

export type ClientDefinition = z.output<typeof client>

/** `issuers.*` with `"type": "embedded"`. */
export const embeddedSettings = z.strictObject({
  users: z
    .string()
    .min(1)
    .optional()
    .describe('The users file, beside services.json. Without one only clients can get tokens.'),
  clients: z
    .array(client)
    .superRefine((clients, context) => {
      const ids = new Set<string>()
      for (const [index, { id }] of clients.entries()) {
        if (ids.has(id))
          context.addIssue({ code: 'custom', path: [index, 'id'], message: `there are two clients "${id}"` })
        ids.add(id)
      }
    })
    .default([])
    .describe(`Who may ask for tokens. The public client "${docsClientId}" of the documentation page is built in.`),
  grants: z
    .array(grantName)
    .default(['authorization_code', 'refresh_token', 'client_credentials'])
    .describe(
      'What is offered. "password" lets applications ask people for their passwords and is for demonstrations (RFC 9700 §2.4).',
    ),
  scopes: z
    .record(scope, z.string())
    .default({})
    .describe(
      'API scopes with what people read about them in the Authorize dialog. Those of clients need not be repeated.',
    ),
  audience: name.optional().describe('`aud` of access tokens. Default: the public URL of the gateway.'),
  algorithm: z
    .enum(['RS256', 'ES256'])
    .default('RS256')
    .describe('How tokens are signed. RS256 (the default) is what every library can read; ES256 makes shorter tokens.'),
  accessToken: duration(day)
    .default(15 * 60_000)
    .describe('How long access tokens live. Default: 15m.'),
  refreshToken: duration(366 * day)
    .default(30 * day)
    .describe('How long a login can be refreshed, from the login on; refreshing does not prolong it. Default: 30d.'),
  refreshGrace: z
    .union([z.literal(false), duration(60_000)])
    .default(10_000)
    .describe(
      'How long a refresh token that was used answers once more, with the same successor, so that a lost answer or two ' +
        'tabs end no login. Used later it ends the login. false: at once. Default: 10s.',
    ),
  revocation: z
    .enum(['denylist', 'allowlist'])
    .default('denylist')
    .describe(
      '"denylist" (the default): an access token is good until it expires or is revoked. "allowlist": besides, it must ' +
        'be on record as issued, so a stolen signing key alone makes no good token; while the store is out, none is good.',
    ),
  session: duration(30 * day)
    .default(12 * 3_600_000)
    .describe('How long a browser that signed in need not do so again for another application. Default: 12h.'),
  rotateKeys: duration(3_660 * day)
    .default(90 * day)
    .describe('How long a key signs before the next one takes over; it is announced an hour ahead. Default: 90d.'),
  allowDemoUsers: z
    .boolean()
    .default(false)
    .describe('true: take plain passwords although the gateway listens on more than 127.0.0.1.'),
  allowVolatileStore: z
    .boolean()
    .default(false)
    .describe(
      'true: start with the memory store although the gateway listens on more than 127.0.0.1. Every restart then ' +
        'makes new keys and forgets revocations.',
    ),
})

export type EmbeddedSettings = z.output<typeof embeddedSettings>

/** The settings do not make an issuer that may be started. The message says what would be right. */
export class IssuerRefused extends Error {
  constructor(message: string, options?: ErrorOptions) {
    super(message, options)
    this.name = 'IssuerRefused'
  }
}

/** Whole seconds, as tokens count them. */
export const inSeconds = (milliseconds: number) => Math.max(1, Math.round(milliseconds / 1_000))
