import { z } from 'zod'
import { oneOf } from '../kind.ts'
import { duration, httpUrl } from '../values.ts'
import { hash } from './balancers/hash.ts'
import { leastRequests } from './balancers/least-requests.ts'
import { randomTwo } from './balancers/random-two.ts'
import { roundRobin } from './balancers/round-robin.ts'

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

export const targets = z
  .array(target)
  .min(1, 'a service has at least one target')
  .refine(
    (list) => new Set(list.map(({ url }) => url)).size === list.length,
    'every target is listed once; use weight to give it more',
  )
  .describe(
    'The instances of the service: URLs, or { "url", "weight" }. A path in the URL is put before every request.',
  )

const balanceNames = ['round-robin', 'least-requests', 'random-two', 'hash'] as const

export const balance = z
  .union([z.enum(balanceNames).transform((type) => oneOf(balancers).parse({ type })), oneOf(balancers)], {
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
  })
  .prefault({})
  .describe('Takes failing targets out, so that requests fail at once or go elsewhere instead of waiting.')

/** The keys of a service that belong to this room; spread into the schema of a service. */
export const upstreamSettings = { targets, balance, health, timeouts, retry, breaker }

const settings = z.strictObject(upstreamSettings)
export type UpstreamSettings = z.output<typeof settings>
