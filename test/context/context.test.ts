import assert from 'node:assert/strict'
import { createServer } from 'node:http'
import { PassThrough } from 'node:stream'
import { describe, test } from 'node:test'
import { inspect } from 'node:util'
import express from 'express'
import Fastify from 'fastify'
import Koa from 'koa'
import pino from 'pino'
import createDefault, {
  apiKey,
  ContextDoesNotExist,
  correlationId,
  createContext,
  date,
  FieldRefused,
  field,
  forwardedFor,
  Secret,
  userAgent,
  value,
} from '../../src/context/index.ts'
import { close, introduced, listen, openContext, recorder } from '../contracts/context.ts'

describe('outside a request', () => {
  test('a value that is asked for is an error that says what to do', () => {
    const context = openContext([])
    assert.equal(context.exists(), false)
    for (const attempt of [() => context.get('requestId'), () => context.set('requestId', 'x'), () => context.copy()]) {
      assert.throws(
        attempt,
        (error) =>
          error instanceof ContextDoesNotExist &&
          /context\.(get|set|copy)\(.*context\.koa\(\).*context\.run\(/s.test(error.message),
      )
    }
  })

  test('a log line without context is still a log line', () => {
    assert.equal(JSON.stringify({ context: openContext([]) }), '{"context":{}}')
  })

  test('context.run makes one, with a new request id and trace, for jobs and tests', () => {
    const context = openContext([])
    const [first, second] = [context.run({}, () => context.copy()), context.run({}, () => context.copy())]
    assert.notEqual(first.requestId, second.requestId)
    assert.notEqual(first.trace.traceId, second.trace.traceId)
    assert.equal(first.authorization, undefined)
    assert.equal(first.identity, undefined)
    assert.equal(context.exists(), false)
  })

  test('context.run takes over what it is not given from the context around it', () => {
    const context = openContext([])
    context.run({ requestId: 'outer', authorization: 'Bearer user' }, () => {
      context.run({ authorization: 'Bearer service' }, () => {
        assert.equal(context.get('requestId'), 'outer')
        assert.equal(context.get('authorization')?.reveal(), 'Bearer service')
        context.set('requestId', 'inner')
      })
      assert.equal(context.get('requestId'), 'outer')
      assert.equal(context.get('authorization')?.reveal(), 'Bearer user')
    })
  })

  test('context.run hands back what its function returns, promises included', async () => {
    const context = openContext([])
    assert.equal(
      context.run({}, () => 7),
      7,
    )
    const id = await context.run({ requestId: 'job' }, async () => {
      await new Promise(setImmediate)
      return context.get('requestId')
    })
    assert.equal(id, 'job')
  })
})

describe('the plugins', () => {
  const everything = createContext({
    trusted: ['http://friend.example'],
    plugins: {
      correlationId: correlationId(),
      apiKey: apiKey(),
      userAgent: userAgent(),
      forwardedFor: forwardedFor(),
      date: date(),
      tenant: field('X-Tenant-ID', { carry: true }),
      partnerKey: field('X-Partner-Key', { secret: true, carry: true }),
      cart: value<{ items: number }>(),
    },
  })

  async function seenBy<T>(headers: Record<string, string>, look: () => T): Promise<T> {
    let seen: T | undefined
    const app = new Koa().use(everything.koa()).use(() => {
      seen = look()
    })
    const server = createServer(app.callback())
    try {
      await fetch(await listen(server), { headers })
      return seen as T
    } finally {
      await close(server)
    }
  }

  test('read what starlette-context reads: ids, key, agent, proxies and date', async () => {
    const seen = await seenBy(
      {
        'x-correlation-id': 'conversation-1',
        'x-api-key': 'key_1_abc',
        'user-agent': 'browser/1',
        'x-forwarded-for': '203.0.113.7, 10.0.0.1',
        date: 'Tue, 15 Nov 1994 08:12:31 GMT',
      },
      () => everything.copy(),
    )
    assert.equal(seen.correlationId, 'conversation-1')
    assert.equal(seen.apiKey?.reveal(), 'key_1_abc')
    assert.equal(seen.userAgent, 'browser/1')
    assert.deepEqual(seen.forwardedFor, ['203.0.113.7', '10.0.0.1'])
    assert.equal(seen.date?.toISOString(), '1994-11-15T08:12:31.000Z')
  })

  test('say so when nothing came', async () => {
    const seen = await seenBy({ date: 'yesterday' }, () => everything.copy())
    assert.match(seen.correlationId, /^[\da-f-]{36}$/)
    assert.deepEqual(seen.forwardedFor, [])
    assert.equal(seen.date, undefined)
    assert.equal(seen.apiKey, undefined)
    assert.equal(seen.tenant, undefined)
  })

  test('carry a field on where it is marked so, and the API key is not', async () => {
    const carried = await seenBy(
      { 'x-tenant-id': 'acme', 'x-partner-key': 'p-1', 'x-api-key': 'k-1', 'x-correlation-id': 'c-1' },
      () => everything.fieldsFor('http://friend.example/path'),
    )
    assert.equal(carried['X-Tenant-ID'], 'acme')
    assert.equal(carried['X-Partner-Key'], 'p-1')
    assert.equal(carried['X-Correlation-ID'], 'c-1')
    assert.equal(carried['X-API-Key'], undefined)
    assert.deepEqual(
      await seenBy({ 'x-tenant-id': 'acme' }, () => everything.fieldsFor('http://stranger.example/')),
      {},
    )
  })

  test('keep a value that your own code sets, for this request only', async () => {
    const cart = await seenBy({}, () => {
      assert.equal(everything.get('cart'), undefined)
      everything.set('cart', { items: 3 })
      return everything.get('cart')?.items
    })
    assert.equal(cart, 3)
    assert.equal(await seenBy({}, () => everything.get('cart')), undefined)
  })

  test('of your own may refuse a request', () => {
    const context = createContext({
      trusted: [],
      plugins: {
        tenant: {
          read(fields): string {
            const tenant = fields.get('X-Tenant-ID')
            if (!tenant) throw new FieldRefused('The header field X-Tenant-ID is required.')
            return tenant
          },
        },
      },
    })
    assert.throws(() => context.run({}, () => {}), /X-Tenant-ID is required/)
  })

  test('give typed values', () => {
    everything.run({ apiKey: 'plain text becomes a Secret', cart: { items: 1 } }, () => {
      const id: string = everything.get('requestId')
      const key: Secret | undefined = everything.get('apiKey')
      const addresses: readonly string[] = everything.get('forwardedFor')
      const items: number | undefined = everything.get('cart')?.items
      assert.ok(id && key instanceof Secret && addresses.length === 0 && items === 1)
      // @ts-expect-error a name that no plugin has
      assert.equal(everything.get('nothing'), undefined)
      // @ts-expect-error a value of another type
      everything.set('cart', 'three')
    })
    assert.equal(createDefault, createContext)
  })
})

describe('a secret', () => {
  const token = 'header.payload.signature'

  test('shows nothing however it is printed, and its text when asked for', () => {
    const secret = new Secret(token)
    const printed = [
      `${secret}`,
      String(secret),
      JSON.stringify({ secret }),
      inspect(secret),
      inspect({ deep: { secret } }, { depth: null, showHidden: true }),
      JSON.stringify(structuredClone({ secret })),
      JSON.stringify({ ...secret }),
      JSON.stringify(Object.getOwnPropertyDescriptors(secret)),
    ]
    for (const text of printed) assert.ok(!text.includes(token), text)
    assert.equal(secret.reveal(), token)
  })

  test('does not appear in a log of the context, by pino or by console', () => {
    const context = openContext([])
    const lines = new PassThrough()
    const log = pino({ base: null, mixin: () => ({ context: context.toJSON() }) }, lines)
    context.run({ authorization: `Bearer ${token}`, requestId: 'request-1' }, () => {
      log.info({ copy: context.copy(), context }, 'as it is')
      log.error(Object.assign(new Error('with the values of the moment'), context.copy()))
      const text = `${lines.read()}${inspect(context.copy(), { depth: null, showHidden: true })}${JSON.stringify(context)}`
      assert.ok(!text.includes(token), text)
      assert.match(text, /\[secret\]/)
      assert.match(text, /"requestId":"request-1"/)
    })
  })

  test('does not appear in an error or a response of context.got, however deep one looks', async () => {
    await using friend = await recorder((path) => (path === '/away' ? { status: 302, location: '/here' } : undefined))
    const broken = createServer((_, response) => response.writeHead(500).end('no'))
    const context = openContext([friend.origin, await listen(broken)])
    const lines = new PassThrough()
    const log = pino({ base: null }, lines)
    try {
      await context.run({ authorization: `Bearer ${token}` }, async () => {
        const response = await context.got(`${friend.origin}/away`)
        const failures = [
          await context.got(await listen(broken), { retry: { limit: 0 } }).catch((error: unknown) => error),
          await context
            .got(friend.origin, { timeout: { request: 1 }, retry: { limit: 0 } })
            .catch((error: unknown) => error),
          await context
            .got(friend.origin, { retry: { limit: 0 } })
            .json()
            .then(() => context.got('http://127.0.0.1:1/', { retry: { limit: 0 } }))
            .catch((error: unknown) => error),
        ]
        for (const failure of failures) log.error(failure)
        const text = `${inspect([response, failures], { depth: null })}${lines.read()}${JSON.stringify(failures)}`
        assert.ok(failures.every((failure) => failure instanceof Error))
        assert.ok(!text.includes(token), text.slice(Math.max(0, text.indexOf(token) - 400), text.indexOf(token) + 20))
      })
      assert.equal(friend.received.at(0)?.fields.authorization, `Bearer ${token}`)
    } finally {
      await close(broken)
    }
  })
})

describe('context.got', () => {
  test('is still got: it can be extended, streams, and retries with the context', async () => {
    let attempts = 0
    const flaky = createServer((request, response) => {
      attempts++
      response.writeHead(attempts === 1 ? 503 : 200).end(request.headers['x-request-id'])
    })
    const origin = await listen(flaky)
    const context = openContext([origin])
    try {
      await context.run({ requestId: 'job-1' }, async () => {
        const client = context.got.extend({
          prefixUrl: origin,
          retry: { limit: 1, calculateDelay: ({ computedValue }) => computedValue && 1 },
        })
        assert.equal(await client('x').text(), 'job-1')
        let streamed = ''
        for await (const chunk of client.stream('y')) streamed += chunk
        assert.equal(streamed, 'job-1')
      })
      assert.equal(attempts, 3)
    } finally {
      await close(flaky)
    }
  })

  test('refuses a cache, which would answer one caller with what another may see', async () => {
    const context = openContext([])
    await assert.rejects(
      async () => context.got('http://127.0.0.1:1/', { cache: new Map(), retry: { limit: 0 } }),
      /cannot share a cache/,
    )
  })
})

describe('the middleware', () => {
  test('may stand twice in a service: the request keeps the context it has', async () => {
    const context = openContext([])
    const ids: string[] = []
    const note = () => ids.push(context.get('requestId'))
    const app = express()
      .use(context.express(), (_request, _response, next) => {
        note()
        next()
      })
      .use(context.express(), (_request, response) => {
        note()
        response.end()
      })
    const server = createServer(app)
    try {
      const response = await fetch(await listen(server))
      assert.deepEqual(ids, Array(2).fill(response.headers.get('x-request-id')))
    } finally {
      await close(server)
    }
  })
})

describe('three services of three frameworks', () => {
  test('see the same token and request id, in one trace', async () => {
    type Hop = { token: string | undefined; requestId: string; traceId: string; spanId: string; parentId?: string }
    const see = (context: ReturnType<typeof openContext>): Hop => ({
      token: context.get('authorization')?.reveal(),
      requestId: context.get('requestId'),
      ...context.get('trace'),
    })
    const third = openContext([])
    const fastify = Fastify({ forceCloseConnections: true })
    await fastify.register(third.fastify)
    fastify.get('/', () => [see(third)])
    const thirdOrigin = await fastify.listen({ port: 0, host: '127.0.0.1' })

    const second = openContext([thirdOrigin])
    const secondServer = createServer(
      express()
        .use(second.express())
        .get('/', async (_request, response) => {
          response.json([see(second), ...(await second.got(thirdOrigin).json<Hop[]>())])
        }),
    )
    const secondOrigin = await listen(secondServer)

    const first = openContext([secondOrigin])
    const app = new Koa().use(first.koa()).use(async (ctx) => {
      const behind = (await (await first.fetch(secondOrigin)).json()) as Hop[]
      ctx.body = [see(first), ...behind]
    })
    const firstServer = createServer(app.callback())
    try {
      const hops = (await (await fetch(await listen(firstServer), { headers: introduced })).json()) as Hop[]
      assert.equal(hops.length, 3)
      assert.deepEqual([...new Set(hops.map((hop) => hop.token))], [introduced.authorization])
      assert.deepEqual([...new Set(hops.map((hop) => hop.requestId))], ['request-1'])
      assert.equal(new Set(hops.map((hop) => hop.traceId)).size, 1)
      assert.deepEqual(
        hops.slice(1).map((hop) => hop.parentId),
        hops.slice(0, 2).map((hop) => hop.spanId),
      )
    } finally {
      await Promise.all([close(firstServer), close(secondServer), fastify.close()])
    }
  })
})
