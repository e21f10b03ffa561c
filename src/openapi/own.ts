import { z } from 'zod'
import { createDocument, type ZodOpenApiOperationObject, type ZodOpenApiPathsObject } from 'zod-openapi'
import type { JsonObject, SecurityRequirement } from './document.ts'
import type { OwnPart } from './publish.ts'

/** Which of the gateway's own operations are there. What answers at which path is Contract 2 of the design. */
export interface OwnOffers {
  /** `/openapi.json`, `/openapi.yaml`, `/openapi/{service}.json` */
  readonly documents?: boolean
  /** `/livez`, `/readyz` */
  readonly health?: boolean
  /** `/token` and `/oauth2/token`, with the grants that are switched on. */
  readonly token?: { readonly grants: readonly string[] }
  /** `/login`, `/logout`, `/logout/backchannel` */
  readonly session?: boolean
  /** `/me` and `/.auth/me`, and what they require. */
  readonly me?: { readonly security: readonly SecurityRequirement[] }
  /** `/.well-known/gateway/jwks.json` */
  readonly keys?: boolean
}

const tag = 'gateway'
const isPublic: readonly SecurityRequirement[] = []

const easyAuth = z
  .array(
    z.object({
      provider_name: z.string().describe('The name of the security scheme.'),
      user_id: z.string().describe('The e-mail address, or the subject where there is none.'),
      user_claims: z.array(z.object({ typ: z.string(), val: z.string() })),
      expires_on: z.string().optional().describe('When the credential ends.'),
    }),
  )
  .meta({ id: 'EasyAuthMe', description: 'What `/.auth/me` says on Azure App Service, without tokens.' })

const caller = z
  .object({
    subject: z.string().describe('Who calls, as the issuer names them.'),
    issuer: z.string().optional(),
    clientId: z.string().optional(),
    name: z.string().optional(),
    email: z.string().optional(),
    organization: z.string().optional(),
    roles: z.array(z.string()),
    permissions: z.array(z.string()),
    scopes: z.array(z.string()),
    method: z.string().describe('How the caller was authenticated.'),
    expiresAt: z.number().optional().describe('When the credential ends, seconds since the epoch.'),
  })
  .meta({ id: 'Caller', description: 'The caller as the gateway sees it.' })

const keySet = z
  .object({ keys: z.array(z.looseObject({ kty: z.string(), kid: z.string().optional(), alg: z.string().optional() })) })
  .meta({ id: 'JsonWebKeySet', description: 'Public keys (RFC 7517).' })

const tokenAnswer = z
  .looseObject({
    access_token: z.string(),
    token_type: z.literal('Bearer'),
    expires_in: z.number().describe('Seconds.'),
    refresh_token: z.string().optional(),
    id_token: z.string().optional(),
    scope: z.string().optional(),
  })
  .meta({ id: 'TokenResponse', description: 'RFC 6749 §5.1' })

const tokenError = z
  .looseObject({ error: z.string(), error_description: z.string().optional() })
  .meta({ id: 'TokenError', description: 'RFC 6749 §5.2' })

const readiness = z
  .looseObject({
    status: z.enum(['ready', 'leaving', 'not-ready']),
    published: z.boolean().describe('Whether the document of all services has been published.'),
    services: z.array(z.looseObject({ name: z.string() })),
  })
  .meta({ id: 'Readiness' })

/** The gateway's own operations as a part of the document, under the tag `gateway`. */
export function createOwnPart(offers: OwnOffers): OwnPart {
  const paths: ZodOpenApiPathsObject = {
    ...(offers.documents ? documents : {}),
    ...(offers.health ? health : {}),
    ...(offers.token ? token(offers.token.grants) : {}),
    ...(offers.session ? session : {}),
    ...(offers.me ? me(offers.me.security) : {}),
    ...(offers.keys ? keys : {}),
  }
  // The schema library adds nothing of its own, and leaves no `undefined` behind once it has been through JSON.
  const made = createDocument({ openapi: '3.1.1', info: { title: 'gateway', version: '1' }, paths })
  const { paths: described, components } = JSON.parse(JSON.stringify(made)) as JsonObject
  return {
    paths: (described ?? {}) as JsonObject,
    components: (components ?? {}) as JsonObject,
    tags: Object.keys(paths).length > 0 ? [{ name: tag, description: 'What the gateway itself answers.' }] : [],
  }
}

type Operation = Omit<ZodOpenApiOperationObject, 'tags' | 'security' | 'operationId'>

/** Operation ids have no underscore, which keeps them apart from every service's. */
function operation(id: string, definition: Operation, security = isPublic): ZodOpenApiOperationObject {
  return { operationId: id, tags: [tag], security: security.map((one) => ({ ...one })) as never, ...definition }
}

const problem = {
  description: 'A problem.',
  content: { 'application/problem+json': { schema: { $ref: '#/components/schemas/Problem' } } },
} as const

const anyDocument = z.looseObject({ openapi: z.string() })

const documents: ZodOpenApiPathsObject = {
  '/openapi.json': {
    get: operation('getDocument', {
      summary: 'This document',
      responses: {
        200: { description: 'OpenAPI 3.1', content: { 'application/json': { schema: anyDocument } } },
        304: { description: 'It has not changed.' },
      },
    }),
  },
  '/openapi.yaml': {
    get: operation('getDocumentAsYaml', {
      summary: 'This document as YAML',
      responses: {
        200: { description: 'OpenAPI 3.1', content: { 'application/yaml': { schema: anyDocument } } },
        304: { description: 'It has not changed.' },
      },
    }),
  },
  '/openapi/{service}.json': {
    get: operation('getServiceDocument', {
      summary: 'The part of one service',
      requestParams: { path: z.object({ service: z.string() }) },
      responses: {
        200: { description: 'OpenAPI 3.1', content: { 'application/json': { schema: anyDocument } } },
        304: { description: 'It has not changed.' },
        404: problem,
      },
    }),
  },
}

const health: ZodOpenApiPathsObject = {
  '/livez': {
    get: operation('getLiveness', {
      summary: 'Whether the gateway runs',
      responses: {
        200: {
          description: 'It does.',
          content: { 'application/json': { schema: z.looseObject({ status: z.string() }) } },
        },
      },
    }),
  },
  '/readyz': {
    get: operation('getReadiness', {
      summary: 'Whether requests would find what they need',
      responses: {
        200: { description: 'Every service has a target.', content: { 'application/json': { schema: readiness } } },
        503: { description: 'Not every service has one.', content: { 'application/json': { schema: readiness } } },
      },
    }),
  },
}

function token(grants: readonly string[]): ZodOpenApiPathsObject {
  const form = z.looseObject({
    grant_type: z.enum(grants as [string, ...string[]]),
    client_id: z.string().optional(),
    client_secret: z.string().optional(),
    scope: z.string().optional(),
    ...(grants.includes('password') ? { username: z.string().optional(), password: z.string().optional() } : {}),
    ...(grants.includes('refresh_token') ? { refresh_token: z.string().optional() } : {}),
    ...(grants.includes('authorization_code')
      ? { code: z.string().optional(), redirect_uri: z.string().optional(), code_verifier: z.string().optional() }
      : {}),
  })
  const definition: Operation = {
    summary: 'Get an access token (RFC 6749)',
    requestBody: { required: true, content: { 'application/x-www-form-urlencoded': { schema: form } } },
    responses: {
      200: { description: 'A token.', content: { 'application/json': { schema: tokenAnswer } } },
      400: { description: 'No token.', content: { 'application/json': { schema: tokenError } } },
      401: { description: 'The client is not known.', content: { 'application/json': { schema: tokenError } } },
    },
  }
  return {
    '/token': { post: operation('getToken', definition) },
    '/oauth2/token': { post: operation('getOAuthToken', definition) },
  }
}

const session: ZodOpenApiPathsObject = {
  '/login': {
    get: operation('login', {
      summary: 'Sign in with a browser',
      requestParams: { query: z.object({ returnTo: z.string().optional().describe('Where to go then.') }) },
      responses: { 303: { description: 'To the issuer, and from there back.' } },
    }),
  },
  '/logout': {
    post: operation('logout', {
      summary: 'Sign out',
      responses: {
        204: { description: 'The session is over.' },
        303: { description: 'The same for a form: to the issuer, where the sign-in ends too.' },
        403: problem,
      },
    }),
  },
  '/logout/backchannel': {
    post: operation('hearLogout', {
      summary: 'The issuer says that a sign-in is over (OpenID Connect Back-Channel Logout 1.0)',
      requestBody: {
        required: true,
        content: {
          'application/x-www-form-urlencoded': {
            schema: z.looseObject({ logout_token: z.string().describe('Signed by the issuer, for the gateway.') }),
          },
        },
      },
      responses: {
        200: { description: 'The sessions of the sign-in, or of the subject, are over.' },
        400: problem,
        503: problem,
      },
    }),
  },
}

function me(security: readonly SecurityRequirement[]): ZodOpenApiPathsObject {
  return {
    '/me': {
      get: operation(
        'getCaller',
        {
          summary: 'The caller as the gateway sees it',
          responses: {
            200: { description: 'You.', content: { 'application/json': { schema: caller } } },
            401: { $ref: '#/components/responses/Unauthorized' },
          },
        },
        security,
      ),
    },
    '/.auth/me': {
      get: operation(
        'getAuthMe',
        {
          summary: 'The same in the shape of Azure Easy Auth',
          responses: {
            200: { description: 'You.', content: { 'application/json': { schema: easyAuth } } },
            401: { $ref: '#/components/responses/Unauthorized' },
          },
        },
        security,
      ),
    },
  }
}

const keys: ZodOpenApiPathsObject = {
  '/.well-known/gateway/jwks.json': {
    get: operation('getGatewayKeys', {
      summary: 'Keys of the tokens that the gateway mints for services',
      responses: { 200: { description: 'RFC 7517', content: { 'application/json': { schema: keySet } } } },
    }),
  },
}
