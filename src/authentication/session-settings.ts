import { z } from 'zod'
import { duration } from '../values.ts'

const month = 30 * 86_400_000

/** `session` of an `apiKey` scheme: the cookie is the gateway's own, given to browsers that signed in. */
export const sessionSettings = z
  .strictObject({
    issuer: z.string().min(1).describe('Where people sign in: the name of an issuer of type "embedded" or "oidc".'),
    clientId: z
      .string()
      .min(1)
      .optional()
      .describe('Who the gateway is to an issuer of type "oidc". The embedded issuer knows it already.'),
    clientSecret: z
      .string()
      .min(1, 'the client secret is not empty; take it from the environment: "${SESSION_CLIENT_SECRET}"')
      .optional()
      .describe('How the gateway proves itself to that issuer. Without one it is a public client, with PKCE alone.'),
    scopes: z
      .array(z.string().regex(/^[\x21\x23-\x5b\x5d-\x7e]+$/, 'a scope has no spaces, quotes or backslashes'))
      .optional()
      .describe(
        'What is asked for besides "openid". Default: "profile" and "email", and every scope of the embedded issuer. ' +
          'Some issuers give refresh tokens only for "offline_access".',
      ),
    idle: duration(month).prefault('1h').describe('A session that nobody used for this long is over. Default: 1h.'),
    lifetime: duration(month)
      .prefault('12h')
      .describe('How long a session lasts at most, however much it is used; at most "30d". Default: 12h.'),
    home: z
      .string()
      .regex(/^\/(?![/\\])[!-[\]-~]*$/, 'a path of the gateway, such as "/docs"')
      .default('/docs')
      .describe('Where browsers go after signing in and out when nothing else is said. Default: /docs.'),
    insecure: z
      .boolean()
      .default(false)
      .describe(
        'true: a cookie without Secure, for plain http on another host than localhost. Anybody on the way can take the session.',
      ),
  })
  .describe('The cookie of a browser that signed in at /login. What it stands for is kept in the store.')

export type SessionSettings = z.output<typeof sessionSettings>
