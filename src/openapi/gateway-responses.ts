import { hash } from 'node:crypto'
import { problems } from '../http/problem.ts'
import type { EnforcedSecurity, JsonObject } from './document.ts'

/**
 * The gateway's own answers, described once and referred to by every operation. No service's component can have
 * these names: theirs have an underscore.
 */
const shared = {
  BadRequest: {
    status: '400',
    description: 'The request does not fit the description of the operation. `errors` names every mistake.',
    headers: {},
    code: 'invalid-request-content',
  },
  Unauthorized: {
    status: '401',
    description: 'No valid credential was sent. `WWW-Authenticate` says which are accepted.',
    headers: { 'WWW-Authenticate': { description: 'RFC 9110 §11.6.1, RFC 6750 §3', schema: { type: 'string' } } },
    code: 'no-credentials',
  },
  Forbidden: {
    status: '403',
    description: 'The caller is known and may not do this.',
    headers: {},
    code: 'insufficient-role',
  },
  TooManyRequests: {
    status: '429',
    description: 'A rate or a quota is used up. `Retry-After` says when to come back.',
    headers: {
      'Retry-After': { description: 'Seconds (RFC 9110 §10.2.3)', schema: { type: 'integer' } },
      'RateLimit-Policy': {
        description: 'What holds: for each policy `q` requests in `w` seconds (draft-ietf-httpapi-ratelimit-headers).',
        schema: { type: 'string' },
        example: '"caller";q=100;w=60',
      },
      RateLimit: {
        description: 'How it stands: `r` more requests in the next `t` seconds. Other answers say so, too.',
        schema: { type: 'string' },
        example: '"caller";r=0;t=1',
      },
    },
    code: 'rate-limited',
  },
  BadGateway: {
    status: '502',
    description: 'The service could not be reached, or its answer was not valid HTTP.',
    headers: {},
    code: 'upstream-unreachable',
  },
  GatewayTimeout: {
    status: '504',
    description: 'The service did not answer in time.',
    headers: {},
    code: 'upstream-timeout',
  },
} as const satisfies Record<
  string,
  { status: string; description: string; headers: JsonObject; code: keyof typeof problems }
>

type Name = keyof typeof shared

/** The responses of an operation with the gateway's own, in the order of their codes; the backend's word wins. */
export function gatewayResponses(enforced: EnforcedSecurity, responses: JsonObject): JsonObject {
  const names: Name[] = []
  if (enforced.validated) names.push('BadRequest')
  if (enforced.security.length > 0) names.push('Unauthorized', 'Forbidden')
  if (enforced.limited) names.push('TooManyRequests')
  names.push('BadGateway', 'GatewayTimeout')
  const result: JsonObject = { ...responses }
  for (const name of names) {
    const { status } = shared[name]
    if (Object.hasOwn(result, status)) continue
    const component = name === 'Forbidden' && enforced.needs !== undefined ? nameOf(enforced.needs) : name
    result[status] = { $ref: `#/components/responses/${component}` }
  }
  return result
}

/** The 403 of operations that need this, as a component: those that need the same share it. */
export function forbiddenComponent(needs: string): readonly [name: string, response: JsonObject] {
  const { description, code, status } = shared.Forbidden
  return [nameOf(needs), responseOf(`${description} ${needs}`, { code, status })]
}

/** Without an underscore, like all of the gateway's own; the same text has the same name everywhere. */
function nameOf(needs: string): string {
  return `Forbidden-${hash('sha256', needs, 'hex').slice(0, 10)}`
}

/** `components` that the answers above need. */
export function gatewayComponents(): { responses: JsonObject; schemas: JsonObject } {
  const responses: JsonObject = {}
  for (const [name, { description, ...rest }] of Object.entries(shared)) responses[name] = responseOf(description, rest)
  return { responses, schemas: { Problem: problemSchema } }
}

interface Answer {
  readonly code: keyof typeof problems
  readonly status: string
  readonly headers?: JsonObject
}

function responseOf(description: string, { code, status, headers = {} }: Answer): JsonObject {
  const example = {
    type: `urn:sallyport:problem:${code}`,
    title: problems[code].title,
    status: Number(status),
    code,
    detail: problems[code].title,
    instance: '01JD3K2V9Q0000000000000000',
  }
  return {
    description,
    ...(Object.keys(headers).length > 0 ? { headers } : {}),
    content: { 'application/problem+json': { schema: { $ref: '#/components/schemas/Problem' }, example } },
  }
}

const problemSchema = {
  type: 'object',
  description: 'What went wrong (RFC 9457).',
  required: ['type', 'title', 'status', 'code', 'detail', 'instance'],
  properties: {
    type: { type: 'string', format: 'uri', description: 'The kind of problem, as a URI.' },
    title: { type: 'string', description: 'What this kind of problem is called.' },
    status: { type: 'integer', description: 'The status code of the answer.' },
    code: { type: 'string', description: 'The kind of problem, for programs. Stable.' },
    detail: { type: 'string', description: 'What happened this time.' },
    instance: { type: 'string', description: 'The id of the request, also in the log of the gateway.' },
  },
} as const satisfies JsonObject
