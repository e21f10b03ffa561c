import { z } from 'zod'
import { sessionSettings } from '../authentication/session-settings.ts'
import { apiKeySettings } from '../authentication/static-keys.ts'
import { allow } from '../authorization/allow.ts'
import { cache, memory } from '../caching/settings.ts'
import { issuers, propagators, stores } from '../catalogue.ts'
import { longestTarget } from '../http/path.ts'
import { isWrittenByGateway } from '../http/reserved-fields.ts'
import { oneOf } from '../kind.ts'
import { type IdentityFieldName, identityFieldNames } from '../propagation/identity.ts'
import { concurrent } from '../throttling/concurrency.ts'
import { plans, quotas, rates } from '../throttling/rate.ts'
import { upstreamSettings } from '../upstream/settings.ts'
import { validate } from '../validation/settings.ts'
import { duration, httpUrl, port, size } from '../values.ts'

/**
 * services.json as one schema: the types of the definitions, their validation, the JSON Schema that editors read and
 * the texts they show all come from here. What crosses from one part to another is checked in `check.ts`.
 */

/* Security: OpenAPI's own words */

const requirement = z
  .record(z.string(), z.array(z.string().min(1)))
  .describe(
    'One alternative: every scheme named here must hold. The names in the array are OAuth scopes for oauth2 and ' +
      'openIdConnect, and roles (all of them) for every other type. {} lets callers without a credential in.',
  )

const security = z
  .array(requirement)
  .describe('Alternatives, any one of which is enough (OpenAPI 3.1, Security Requirement Object). [] is public.')

const issuerNames = z
  .array(z.string())
  .min(1, 'name at least one issuer, or leave `issuers` out to believe every one that is declared')
  .describe('Whose tokens this scheme believes: names under `issuers`. Default: all of them.')

const described = { description: z.string().optional().describe('Shown in the Authorize dialog. Markdown.') }

const httpScheme = z
  .strictObject({
    type: z.literal('http'),
    scheme: z.literal('bearer', 'the http scheme that is checked here is "bearer" (RFC 6750)'),
    bearerFormat: z.string().optional().describe('A hint for readers, such as "JWT".'),
    ...described,
    issuers: issuerNames.optional(),
  })
  .describe('A token in `Authorization: Bearer …`.')

const oauth2Scheme = z
  .strictObject({ type: z.literal('oauth2'), ...described, issuers: issuerNames.optional() })
  .describe('A token by OAuth 2. The flows are filled in from what the issuer offers; requirement arrays name scopes.')

const openIdConnectScheme = z
  .strictObject({ type: z.literal('openIdConnect'), ...described, issuers: issuerNames.optional() })
  .describe("A token by OpenID Connect. The discovery URL is the first issuer's; requirement arrays name scopes.")

const apiKeyScheme = z
  .strictObject({
    type: z.literal('apiKey'),
    in: z.enum(['header', 'query', 'cookie']),
    name: z
      .string()
      .regex(/^[!#$%&'*+.^`|~0-9A-Za-z_-]+$/, 'a field, parameter or cookie name is a token (RFC 9110 §5.6.2)')
      .describe('The header field, query parameter or cookie that carries the credential.'),
    ...described,
    issuers: issuerNames.optional().describe('When named: the credential is a token of these issuers, not an API key.'),
    ...apiKeySettings,
    session: sessionSettings.optional(),
    principal: z
      .literal(true)
      .optional()
      .describe(
        'true: the field is X-MS-CLIENT-PRINCIPAL, in which Azure Easy Auth says whom it has authenticated. It is not ' +
          'signed, so it is believed from gateway.trustedProxies alone.',
      ),
  })
  .describe('An API key, or with `issuers` a token, in a header field, query parameter or cookie; or a session.')

export const securityScheme = z
  .discriminatedUnion('type', [httpScheme, oauth2Scheme, openIdConnectScheme, apiKeyScheme])
  .describe('An OpenAPI Security Scheme Object; the keys OpenAPI does not know say how it is checked.')

/* Forwarding */

const fieldName = z
  .string()
  .regex(/^[!#$%&'*+.^`|~0-9A-Za-z-]+$/, 'a header field name is a token without "_" (RFC 9110 §5.1)')
const fieldText = z
  .string()
  .regex(/^[\t\x20-\x7e]*$/, 'a header field value is one line of visible ASCII (RFC 9110 §5.5)')

type Modes = (typeof propagators)[number]['type']
const modes = propagators.map(({ type }) => type) as [Modes, ...Modes[]]

const identity = z
  .union([
    z.boolean(),
    z.partialRecord(
      z.enum(identityFieldNames as [IdentityFieldName, ...IdentityFieldName[]]),
      z.union([fieldName, z.literal(false)]),
    ),
  ])
  .describe(
    'Whether the service is told who calls, as User-ID, User-Roles and so on. An object renames fields, or leaves them ' +
      'out with false: { "User-ID": "X-User", "Permissions": false }.',
  )

const forward = z.strictObject({
  credentials: z
    .union([
      z.enum(modes).transform((type, context) => {
        // A mode whose settings all have defaults may be named alone.
        const kind = propagators.find((candidate) => candidate.type === type)!
        const settings = kind.settings.safeParse({})
        if (settings.success) return { type, ...settings.data } as PropagationDefinition
        context.addIssue({ code: 'custom', message: `"${type}" needs settings: write { "type": "${type}", … }` })
        return z.NEVER
      }),
      oneOf(propagators),
    ])
    .optional()
    .describe('What the service gets to see of the credential. Default: "passthrough".'),
  identity: identity.optional(),
  upstreamSecurity: z
    .array(z.string().min(1))
    .optional()
    .describe(
      "Security schemes of the service's own document, by its names, whose credentials clients send themselves. The " +
        'gateway does not check them; the published document asks for them beside its own.',
    ),
  headers: z
    .record(
      fieldName.refine(
        (name) => !isWrittenByGateway(name),
        'the gateway writes this field itself: what it says of a connection, of a body or of where a request came from is not for services.json',
      ),
      fieldText,
    )
    .optional()
    .describe('Header fields added to every request; they replace what the client sent.'),
})
export type PropagationDefinition = z.output<ReturnType<typeof oneOf<typeof propagators>>>

/* Limits */

const limits = z.strictObject({
  rate: rates.optional(),
  quota: quotas.optional(),
  plans: z
    .boolean()
    .optional()
    .describe('false: calls to this service or route are not counted in the plans of their callers. Default: true.'),
  concurrent: concurrent.optional(),
  body: size()
    .optional()
    .describe('The largest request body, such as "10mb"; more is answered with 413. Default: 10mb.'),
})

/* Services */

const routeTimeouts = z
  .strictObject({
    connect: duration().optional().describe('Until a connection to a target stands.'),
    response: duration().optional().describe('From the end of the request to the head of the answer; then 504.'),
    idle: duration().optional().describe('Longest silence inside a body, in either direction.'),
    total: duration().optional().describe('All of it, until the answer has come whole; then 504, or a broken body.'),
  })
  .describe("Other times than the service's; what is left out stays as the service says.")

const invalidCredentials = z
  .enum(['reject', 'anonymous'])
  .describe(
    'What a credential that is present but not valid means where {} lets guests in: "reject" (the default) answers 401, ' +
      '"anonymous" goes on as a guest and says so in Auth-Status.',
  )

const enforce = z
  .enum(['on', 'shadow'])
  .describe(
    'Whether `allow` and the names in `security` refuse. "shadow": who calls must still be known, but what they may not ' +
      'do is let through, counted, logged and kept for explanations, so that a policy can be tried on live traffic. What ' +
      'is in shadow is left out of the published document. At a route it is about what the route itself writes; "on" ' +
      'there also puts in force what its service tries. Default: "on".',
  )

const storeOutage = z
  .enum(['last-known', 'accept', 'refuse'])
  .describe(
    'What a credential is worth while the store is out and nobody can say whether it has been revoked. "last-known" (the ' +
      'default): it is held against what was known last, and tokens that must be on record are answered with 503. ' +
      '"accept": those too are good when their signature is. "refuse": every credential is answered with 503.',
  )

/** What a route may say otherwise than its service. */
const perRoute = {
  security: security.optional(),
  allow: allow.optional(),
  enforce: enforce.optional(),
  invalidCredentials: invalidCredentials.optional(),
  storeOutage: storeOutage.optional(),
  forward: forward.optional(),
  limits: limits.optional(),
  validate: validate.optional(),
  cache: cache.optional(),
} as const

const methods = ['GET', 'HEAD', 'POST', 'PUT', 'PATCH', 'DELETE', 'OPTIONS'] as const
const routeMatch = z
  .string()
  .regex(
    new RegExp(`^(?:(?:${methods.join('|')}) )?/\\S*$`),
    `a match is a method and a path below the service's, "GET /{id}", or a path for every method, "/admin/*"; methods are ${methods.join(', ')}`,
  )
  .describe(
    'Method and path template below the service: "DELETE /{id}"; "/admin/*" is everything below /admin, not /admin or /admin/ itself.',
  )

const route = z.strictObject({
  match: routeMatch,
  ...perRoute,
  timeouts: routeTimeouts.optional(),
  idempotent: z
    .boolean()
    .optional()
    .describe(
      'Whether a request may be sent a second time when its connection broke before an answer came. Default: as its ' +
        'method says, so true marks a POST that does no harm twice, and false a GET that does.',
    ),
  override: z
    .boolean()
    .optional()
    .describe("true: this route's `allow` stands instead of the service's. Otherwise both must hold."),
})

const documentPlace = z.string().min(1)
const documentSource = z
  .strictObject({
    from: documentPlace.describe('A path on a target, a URL, or a local file.'),
    headers: z
      .record(fieldName, fieldText)
      .default({})
      .describe(
        'Header fields that are sent when it is fetched, such as { "Authorization": "Bearer ${DOCS_TOKEN}" }. Redirects ' +
          'are not followed, so they go to nobody else.',
      ),
    every: duration()
      .optional()
      .describe('How often it is looked at. Default: 30s, a file 2s. A service that comes back is asked at once.'),
    version: fieldName
      .optional()
      .describe(
        'A header field in which the answers of the service say which version it is, such as "X-Service-Version". When it ' +
          'says another one, the document is asked for at once.',
      ),
  })
  .refine(({ from, headers }) => Object.keys(headers).length === 0 || /^(?:\/|https?:\/\/)/i.test(from), {
    path: ['headers'],
    error: 'a local file is read without header fields',
  })
  .describe('Where the document is, with what is needed to get it.')

const service = z.strictObject({
  name: z
    .string()
    .regex(/^[a-z][a-z0-9-]{0,62}$/, 'a service name is lower-case letters, digits and "-", and starts with a letter')
    .describe('The name of the service: in the document, in metrics, in logs, as audience of minted tokens.'),
  path: z
    .string()
    .regex(
      /^\/(?:[A-Za-z0-9._~!$&'()+,=:@-]+\/?)*$/,
      'a path starts with "/" and has plain segments, such as "/orders"; everything below it belongs to the service without a "*"',
    )
    .transform((path) => (path.length > 1 && path.endsWith('/') ? path.slice(0, -1) : path))
    .describe('Every request at or below this path belongs to the service.'),
  stripPath: z.boolean().default(true).describe('Whether the service sees only what follows its path. Default: true.'),
  targets: upstreamSettings.targets,
  openapi: z
    .union([documentPlace, z.literal(false), documentSource])
    .default('/openapi.json')
    .describe(
      'Where the OpenAPI document is: a path on a target ("/openapi.json", the default), a URL, a local file beside ' +
        'services.json ("./openapi/orders.yaml"); an object to say how it is fetched; or false when there is none.',
    ),
  expose: z
    .enum(['all', 'documented'])
    .default('all')
    .describe('"documented": what the document does not list is answered with 404. Default: "all".'),
  ...perRoute,
  timeouts: upstreamSettings.timeouts,
  deadline: upstreamSettings.deadline,
  balance: upstreamSettings.balance,
  connections: upstreamSettings.connections,
  health: upstreamSettings.health,
  retry: upstreamSettings.retry,
  breaker: upstreamSettings.breaker,
  canary: upstreamSettings.canary,
  mirror: upstreamSettings.mirror,
  routes: z.array(route).default([]).describe('Exceptions to what the service says; the most specific template wins.'),
})

/* Compositions */

const composition = z
  .strictObject({
    match: z
      .string()
      .regex(/^GET \/\S+$/, 'a composition is asked for by GET: "GET /dashboard/{userId}"')
      .describe('Method and path of the composition: "GET /dashboard/{userId}".'),
    parts: z
      .record(
        z.string().regex(/^[A-Za-z_][A-Za-z0-9_]*$/, 'the name of a part is letters, digits and "_"'),
        z.strictObject({
          service: z.string().describe('The name of the service that is asked.'),
          path: z
            .string()
            .regex(/^\/[\x21-\x7e]*$/, 'the path of a part starts with "/" and is below the service')
            .describe(
              'Path and query below the service; {userId} is a parameter, {user.id} is a member of another part.',
            ),
          optional: z.boolean().default(false).describe('true: the composition is answered without it when it fails.'),
          timeout: duration().optional().describe('How long the part may take. Default: as the service says.'),
        }),
      )
      .refine((parts) => Object.keys(parts).length > 0, 'a composition has at least one part')
      .describe('What is asked of which service; parts run at once, but for those that need another.'),
  })
  .describe('One request in, several out, one JSON object back.')

/* The gateway itself */

const host = z.string().min(1, 'a host to listen on is an address or a name, such as "127.0.0.1"')
const network = z.union([z.cidrv4(), z.cidrv6(), z.ipv4(), z.ipv6()], 'a network such as "10.0.0.0/8", or one address')

const origin = z
  .string()
  .refine(
    (text) => /^https?:[^*]+$/.test(text) && URL.canParse(text) && new URL(text).origin === text,
    'an origin is what a browser sends: scheme and host in lower case, and the port unless it is the usual one, ' +
      '"https://app.example" or "http://localhost:3000"; neither "*" nor "null" is taken',
  )

/** A head larger than this is an attack on whoever would accept it. */
const largestHead = 262_144
const headSize = size().refine((bytes) => bytes >= 1_024 && bytes <= largestHead, 'a head has room for 1kb to 256kb')

/** What clients may take up before anything is known of them. */
const listenerLimits = z
  .strictObject({
    connections: z
      .int()
      .min(1)
      .max(1_000_000)
      .default(10_000)
      .describe(
        'Connections of clients at a time; who comes later is answered with 503. Never more than the open files that ' +
          'the system allows suffice for. Default: 10000.',
      ),
    head: headSize.default(16_384).describe('Request line and header fields together; more is 431. Default: 16kb.'),
    fields: z.int().min(10).max(1_000).default(100).describe('Header fields of a request; more is 431. Default: 100.'),
    url: headSize
      .default(longestTarget)
      .describe('The request target; more is 414, as is a path above 4kb and a query above 8kb. Default: 12800b.'),
    headTimeout: duration(600_000)
      .default(10_000)
      .describe('Until the head of a request is there; then 408. Default: 10s.'),
    keepAlive: duration(3_600_000)
      .default(65_000)
      .describe(
        'How long a connection may wait for its next request. Longer than load balancers keep theirs. Default: 65s.',
      ),
  })
  .prefault({})
  .describe('What clients may take up before anything is known of them; a change takes effect at the next start.')

export type ListenerLimits = z.output<typeof listenerLimits>

const gateway = z.strictObject({
  listen: z
    .strictObject({ host: host.default('127.0.0.1'), port: port().default(8080) })
    .prefault({})
    .describe('Where the gateway listens. The environment variables HOST and PORT override it.'),
  admin: z
    .strictObject({ host: host.default('127.0.0.1'), port: port().default(8081) })
    .prefault({})
    .describe('Where metrics and explanations are served; never public. ADMIN_HOST and ADMIN_PORT override it.'),
  publicUrl: httpUrl('the public URL')
    .transform((url) => url.replace(/\/+$/, ''))
    .optional()
    .describe('What clients and issuers see, without a path. Default: http://localhost and the port.'),
  trustedProxies: z
    .array(network)
    .default([])
    .describe('Networks whose Forwarded and X-Forwarded-* fields are believed. Default: none.'),
  cors: z
    .strictObject({
      origins: z
        .array(origin)
        .default([])
        .describe(
          'Origins whose scripts may call the gateway, with credentials, and open WebSockets. With any, what services ' +
            'say in Access-Control-* is replaced. Default: none but its own.',
        ),
      expose: z
        .array(fieldName)
        .default([])
        .describe(
          'Header fields of the services that those scripts may read, such as "ETag". The gateway\'s own can be read anyway.',
        ),
    })
    .prefault({})
    .describe('Cross-origin requests from browsers (CORS).'),
  docs: z
    .strictObject({
      title: z.string().min(1).default('API'),
      description: z.string().optional().describe('The text at the top of the document. Markdown.'),
      version: z.string().min(1).default('1.0.0'),
      view: z
        .enum(['all', 'caller'], '"all" or "caller"')
        .default('all')
        .describe(
          'Who is shown what. "all": everybody sees every operation. "caller": each caller sees the operations that would ' +
            'not be refused to it, by the credentials it asks for the document with. Default: "all".',
        ),
      policies: z
        .boolean()
        .default(false)
        .describe(
          'Whether the document shows the text of conditions (`when`). It can tell more about how things are than a caller ' +
            'should know. Default: false; the document then says only that there is one.',
        ),
    })
    .prefault({})
    .describe('The published document: its head, and who is shown what.'),
  cache: memory,
  limits: listenerLimits,
  notice: duration(300_000)
    .default(1_000)
    .describe(
      'How long after SIGTERM new requests are still answered while /readyz says 503 and every answer closes its ' +
        'connection, so that load balancers turn away before nobody is there. Default: 1s.',
    ),
  shutdown: duration()
    .default(15_000)
    .describe('How long running requests may take after SIGTERM before they are cut. Default: 15s.'),
})

export const mostServices = 10_000

export const definition = z
  .strictObject({
    $schema: z.string().optional().describe('Gives completion in an editor: "./openapi/services.schema.json".'),
    gateway: gateway.prefault({}),
    store: oneOf(stores)
      .prefault({ type: 'sqlite' })
      .describe(
        'Where keys, grants, revocations and last good documents are kept. Default: SQLite at data/sallyport.db.',
      ),
    issuers: z
      .record(z.string().min(1), oneOf(issuers))
      .default({})
      .describe('Whose tokens are believed. Default: the embedded one, as "local".'),
    securitySchemes: z
      .record(
        z.string().regex(/^[A-Za-z0-9._-]+$/, 'a scheme name is letters, digits, ".", "_" and "-"'),
        securityScheme,
      )
      .default({})
      .describe('How callers may prove who they are. Default: "bearer", tokens of every issuer.'),
    roles: z
      .record(z.string().min(1), z.array(z.string().min(1)))
      .default({})
      .describe('What each role brings along, for `allow.permissions`: { "editor": ["orders:write"] }.'),
    plans,
    security: security.optional().describe('The default for every service. Without any, a service must say its own.'),
    compositions: z.array(composition).default([]).describe('Requests that are answered by several services together.'),
    services: z
      .array(service)
      .min(1, 'at least one service is needed')
      .max(mostServices, `at most ${mostServices} services`),
  })
  .describe('services.json: what stands behind the gateway and who may call it.')

export type Definition = z.output<typeof definition>
export type CompositionDefinition = Definition['compositions'][number]
export type ServiceDefinition = Definition['services'][number]
export type RouteDefinition = ServiceDefinition['routes'][number]
export type LimitsDefinition = z.output<typeof limits>
export type SecuritySchemeDefinition = z.output<typeof securityScheme>
export type IssuerDefinition = Definition['issuers'][string]

/** The parts that can be read on their own when another part is broken. */
export const parts = {
  allow,
  match: routeMatch,
  composition,
  service,
  securityScheme,
  issuer: oneOf(issuers),
  security,
}

/** JSON Schema 2020-12 of the file as an operator writes it. */
export function jsonSchema(): Record<string, unknown> {
  return z.toJSONSchema(definition, { io: 'input', unrepresentable: 'any', target: 'draft-2020-12' })
}
