import { z } from 'zod'
import { oneOf } from '../kind.ts'
import { duration, httpUrl, size } from '../values.ts'
import { hash } from './balancers/hash.ts'
import { leastRequests } from './balancers/least-requests.ts'
import { randomTwo } from './balancers/random-two.ts'
import { roundRobin } from './balancers/round-robin.ts'
import { deadline } from './deadline.ts'

/** The ways to choose a target, by the name the operator writes. */
export const balancers = [roundRobin, leastRequests, randomTwo, hash] as const

const targetUrl = httpUrl('a target').refine(
  (text) => !text.includes('?'),
  'a target has no query (?); it is an origin and a path',
)

const target = z.union(
  [
    targetUrl.transform((url) => ({ url, weight: 1 })),
    z.strictObject({
      url: targetUrl.describe('Origin and path of one instance of the service, such as "http://127.0.0.1:4001".'),
      weight: z
        .int()
        .min(1)
        .max(1_000)
        .default(1)
        .describe('Share of the requests, relative to the other targets: 1 to 1000.'),
    }),
  ],
  {
    error: (issue) => (typeof issue.input === 'object' ? undefined : 'a target is a URL, or { "url": …, "weight": … }'),
  },
)

const targetList = z
  .array(target)
  .min(1, 'a service has at least one target')
  .refine(
    (list) => new Set(list.map(({ url }) => url)).size === list.length,
    'every target is listed once; use weight to give it more',
  )

export const targets = targetList.describe(
  'The instances of the service: URLs, or { "url", "weight" }. A path in the URL is put before every request.',
)

const balancer = oneOf(balancers)
const balanceNames = ['round-robin', 'least-requests', 'random-two', 'hash'] as const

export const balance = z
  .union([z.enum(balanceNames).transform((type) => balancer.parse({ type })), balancer], {
    error: (issue) =>
      typeof issue.input === 'object'
        ? undefined
        : `balance is one of ${balanceNames.map((name) => `"${name}"`).join(', ')}`,
  })
  .prefault('round-robin')
  .describe(
    'How a target is chosen: "round-robin" (in turn, by weight), "least-requests", "random-two" (the less loaded of two), "hash" (a caller stays with one target; { "type": "hash", "by": … } names another key).',
  )

export const health = z
  .strictObject({
    path: z
      .string()
      .regex(/^\/[\x21-\x7e]*$/, 'the path of a health probe starts with "/"')
      .describe("Path below the target's URL that answers 200 to 399 while the target can serve."),
    interval: duration(3_600_000).prefault('5s').describe('Time between two probes of a target.'),
    timeout: duration(60_000).prefault('2s').describe('Time a probe may take.'),
    unhealthyAfter: z.int().min(1).max(100).default(2).describe('Failed probes in a row that take a target out.'),
    healthyAfter: z.int().min(1).max(100).default(1).describe('Good probes in a row that bring it back.'),
  })
  .optional()
  .describe('Probes that take a target out before a request has to find out. Without it only failing requests tell.')

export const timeouts = z
  .strictObject({
    connect: duration().prefault('2s').describe('Until a connection to a target stands.'),
    response: duration().prefault('10s').describe('From the end of the request to the head of the answer; then 504.'),
    idle: duration()
      .prefault('60s')
      .describe('Longest silence inside a body in either direction, and how long a client may refuse to read.'),
    total: duration()
      .optional()
      .describe(
        'All of it, second tries included, until the answer has come whole; then 504, or a broken body. Default: no limit, for streams and downloads.',
      ),
  })
  .prefault({})
  .describe('How long the gateway waits for a service.')

export const retry = z
  .strictObject({
    attempts: z
      .int()
      .min(0)
      .max(3)
      .default(1)
      .describe(
        'How often a failed request is tried again; 0 for never. Only if no byte of an answer came, and never a POST that may have arrived.',
      ),
    budget: z
      .number()
      .min(0)
      .max(1)
      .default(0.2)
      .describe('Retries per request over time, so that an outage is not made worse: 0 to 1.'),
  })
  .prefault({})
  .describe('When a request is sent a second time, to another target if there is one.')

export const breaker = z
  .strictObject({
    failures: z
      .int()
      .min(1)
      .max(1_000)
      .default(5)
      .describe(
        'Failures in a row (no connection, no answer in time, broken answers, 502, 503, 504) that take a target out.',
      ),
    cooldown: duration(3_600_000)
      .prefault('10s')
      .describe(
        'Time until one request may try it again. A target that refused connections is tried as soon as it accepts one.',
      ),
    share: z
      .number()
      .gt(0, 'a share is above 0 and at most 1, such as 0.5')
      .max(1, 'a share is above 0 and at most 1, such as 0.5')
      .optional()
      .describe(
        'The part of twenty requests whose failure takes a target out as well, though some in between succeed: 0.5. ' +
          'Default: only failures in a row count.',
      ),
    maxEjected: z
      .number()
      .min(0)
      .max(1)
      .default(0.5)
      .describe(
        'The largest part of the targets that bad answers may take out: 0 to 1. Beyond it bad answers are better than ' +
          'none. Targets that give no answer are always left out.',
      ),
    slowStart: duration(3_600_000)
      .prefault('10s')
      .describe('How long a target that has come back takes to get its whole share of the requests again.'),
  })
  .prefault({})
  .describe('Takes failing targets out, so that requests fail at once or go elsewhere instead of waiting.')

export const canary = z
  .strictObject({
    targets: targetList.describe('The instances of the new version, written as those of the service.'),
    weight: z
      .number()
      .min(0, 'a weight is a number of percent, 0 to 100')
      .max(100, 'a weight is a number of percent, 0 to 100')
      .default(0)
      .describe('How many of a hundred callers are served by it. A caller stays where it is; guests go by address.'),
    header: z
      .string()
      .regex(/^[!#$%&'*+.^`|~0-9A-Za-z-]+$/, 'a header field name is a token without "_" (RFC 9110 §5.1)')
      .optional()
      .describe('A request header field with which anybody may choose: "always" or "never".'),
    roles: z.array(z.string().min(1)).default([]).describe('Callers with any of these roles are served by it.'),
  })
  .refine(
    ({ weight, header, roles }) => weight > 0 || header !== undefined || roles.length > 0,
    'nobody would be served by the canary; give it a weight, a header or roles',
  )
  .optional()
  .describe(
    'A new version beside the old one: { "targets": […], "weight": 5, "header": "X-Canary", "roles": ["tester"] }. The ' +
      'header decides first, then the roles, then the weight. When no target of it is fit, the service serves as before.',
  )

export const mirror = z
  .strictObject({
    url: targetUrl.describe('Origin and path of what gets the copies.'),
    share: z
      .number()
      .gt(0, 'a share is above 0 and at most 1')
      .max(1, 'a share is above 0 and at most 1')
      .default(1)
      .describe('The part of the requests that is copied. Default: 1, all of them.'),
    methods: z
      .array(z.enum(['GET', 'HEAD', 'POST', 'PUT', 'PATCH', 'DELETE', 'OPTIONS']))
      .min(1, 'name at least one method, or leave `methods` out to copy all')
      .optional()
      .describe('Only these are copied. Default: all.'),
    body: size().prefault('64kb').describe('Requests with a larger body are not copied. Default: 64kb.'),
    credentials: z
      .boolean()
      .default(false)
      .describe(
        'true: copies carry what the service gets. false (the default): no Authorization, no cookies, no API key, no ' +
          'token of the gateway, and no field of forward.headers; who calls is told as the service is told.',
      ),
  })
  .optional()
  .describe(
    'Copies of requests go to another target; its answers are ignored, and the service is never the slower for it.',
  )

export const connections = z
  .int()
  .min(1)
  .max(10_000)
  .default(1_024)
  .describe(
    'Connections to each target at a time; who comes later waits for one, as long as for connecting. Every service has ' +
      'its own, so that a slow one takes none from others. Default: 1024.',
  )

/** The keys of a service that belong to this room; spread into the schema of a service. */
export const upstreamSettings = {
  targets,
  balance,
  connections,
  health,
  timeouts,
  deadline,
  retry,
  breaker,
  canary,
  mirror,
}

const settings = z.strictObject(upstreamSettings)
export type UpstreamSettings = z.output<typeof settings>
