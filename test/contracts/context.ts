import assert from 'node:assert/strict'
import { createServer, type IncomingMessage, type Server, type ServerResponse } from 'node:http'
import type { AddressInfo } from 'node:net'
import { after, before, describe, test } from 'node:test'
import { setTimeout as delay } from 'node:timers/promises'
import { createContext, requestId, uuid } from '../../src/context/index.ts'

/** The context as every suite here uses it. */
export const openContext = (trusted: Parameters<typeof createContext>[0]['trusted']) => createContext({ trusted })
export type PlainContext = ReturnType<typeof openContext>

/** What a framework's adapter hands to the code under test: the parsed JSON body, and what Node knows of the exchange. */
export interface Call {
  readonly path: string
  readonly body: unknown
  readonly request: IncomingMessage
  readonly response: ServerResponse
}
type Answer = (call: Call) => Promise<unknown>

/**
 * A service of one framework: its context middleware first, its own JSON body parser next, then `answer` for every path.
 * What `answer` throws goes the framework's own way.
 */
export type Serve = (context: Pick<PlainContext, 'koa' | 'express' | 'fastify'>, answer: Answer) => Promise<Server>

export interface Received {
  readonly method: string
  readonly path: string
  readonly fields: IncomingMessage['headers']
  readonly body: string
}

/** A server that writes down what reaches it. `redirect` may name another place to go. */
export async function recorder(
  redirect: (path: string) => { status: number; location: string } | undefined = () => undefined,
) {
  const received: Received[] = []
  const server = createServer(async (request, response) => {
    let body = ''
    for await (const chunk of request) body += chunk
    const path = request.url ?? '/'
    received.push({ method: request.method ?? '', path, fields: request.headers, body })
    const elsewhere = redirect(path)
    if (elsewhere) response.writeHead(elsewhere.status, { Location: elsewhere.location })
    else response.setHeader('Content-Type', 'application/json')
    response.end(elsewhere ? 'moved' : '{"reached":true}')
  })
  return { received, origin: await listen(server), [Symbol.asyncDispose]: () => close(server) }
}

export async function listen(server: Server): Promise<string> {
  if (!server.listening) await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve))
  return `http://127.0.0.1:${(server.address() as AddressInfo).port}`
}

export function close(server: Server): Promise<void> {
  server.closeAllConnections()
  return new Promise((resolve) => (server.listening ? server.close(() => resolve()) : resolve()))
}

export const traceId = '0af7651916cd43dd8448eb211c80319c'
export const parentId = 'b7ad6b7169203331'

/** What a gateway in front would send. */
export const introduced = {
  authorization: 'Bearer header.payload.signature',
  'x-request-id': 'request-1',
  traceparent: `00-${traceId}-${parentId}-01`,
  tracestate: 'vendor=opaque',
  'user-id': 'ada',
  'user-email': 'ada@example.com',
  'user-role': 'admin',
  'user-roles': 'admin,editor',
  'organization-id': 'acme',
  permissions: 'orders:read,orders:write',
  'auth-status': 'authenticated',
  'auth-method': 'jwt',
  'token-type': 'Bearer',
  'token-expires': '1999999999',
}
export const carriedNames = Object.keys(introduced)

const clients = {
  'context.got': async (context: PlainContext, url: string, method: string, headers: Record<string, string> = {}) => {
    const body = method === 'POST' ? { body: 'three little words' } : {}
    await context.got(url, { method: method as 'GET', headers, methodRewriting: false, ...body })
  },
  'context.fetch': async (context: PlainContext, url: string, method: string, headers: Record<string, string> = {}) => {
    const body = method === 'POST' ? { body: 'three little words' } : {}
    await (await context.fetch(url, { method, headers, ...body })).text()
  },
}

/** What `context.koa()`, `context.express()` and `context.fastify` all promise. */
export function contextContract(framework: string, serve: Serve): void {
  /** Serve one answer, call it once with the fields of a gateway, and hand back what came of it. */
  async function once(
    context: Pick<PlainContext, 'koa' | 'express' | 'fastify'>,
    answer: Answer,
    headers: Record<string, string> = introduced,
  ) {
    const server = await serve(context, answer)
    try {
      const response = await fetch(await listen(server), { headers })
      const text = await response.text()
      return { status: response.status, headers: response.headers, text }
    } finally {
      await close(server)
    }
  }

  describe(`the context of a ${framework} service`, () => {
    test('holds what the gateway sent, in code that was handed nothing', async () => {
      const context = openContext([])
      const seen = await once(context, async () => {
        await delay(1)
        const { traceId, parentId, state, sampled } = context.get('trace')
        return {
          authorization: context.get('authorization')?.reveal(),
          requestId: context.get('requestId'),
          identity: context.get('identity'),
          trace: { traceId, parentId, state, sampled },
        }
      })
      assert.equal(seen.status, 200, seen.text)
      assert.deepEqual(JSON.parse(seen.text), {
        authorization: introduced.authorization,
        requestId: 'request-1',
        identity: {
          subject: 'ada',
          email: 'ada@example.com',
          role: 'admin',
          roles: ['admin', 'editor'],
          organization: 'acme',
          permissions: ['orders:read', 'orders:write'],
          status: 'authenticated',
          method: 'jwt',
          tokenType: 'Bearer',
          expiresAt: 1_999_999_999,
        },
        trace: { traceId, parentId, state: 'vendor=opaque', sampled: true },
      })
      assert.equal(context.exists(), false)
    })

    test('starts a request id and a trace where none came, and repeats the id in the answer', async () => {
      const context = openContext([])
      const seen = await once(
        context,
        async () => ({
          id: context.get('requestId'),
          trace: context.get('trace'),
          who: context.get('identity') ?? 'nobody',
        }),
        {},
      )
      const { id, trace, who } = JSON.parse(seen.text)
      assert.match(id, uuid)
      assert.equal(seen.headers.get('x-request-id'), id)
      assert.match(trace.traceId, /^[\da-f]{32}$/)
      assert.equal(trace.parentId, undefined)
      assert.equal(who, 'nobody')
    })

    test('repeats the request id in the answer to a failure too', async () => {
      const context = openContext([])
      const seen = await once(context, async () => {
        throw new Error('the test wants to see how this is answered')
      })
      assert.equal(seen.status, 500)
      assert.equal(seen.headers.get('x-request-id'), 'request-1')
    })

    test('replaces a malformed request id, or refuses it with 400 where the service says so', async () => {
      const malformed = { ...introduced, 'x-request-id': 'two words' }
      const lenient = openContext([])
      assert.match(
        (await once(lenient, async () => ({ id: lenient.get('requestId') }), malformed)).headers.get('x-request-id')!,
        uuid,
      )

      const strict = createContext({ trusted: [], plugins: { requestId: requestId({ malformed: 'refuse' }) } })
      let reached = false
      const seen = await once(
        strict,
        async () => {
          reached = true
        },
        malformed,
      )
      assert.equal(seen.status, 400)
      assert.match(seen.text, /X-Request-ID is not well formed/)
      assert.equal(reached, false)
    })

    test('is still there when the body has been read, and when the answer is finished and the connection closed', async () => {
      const context = openContext([])
      const ids: Record<string, string> = {}
      const note = (moment: string) => () => {
        ids[moment] = context.exists() ? context.get('requestId') : 'no context'
      }
      const closed = Promise.withResolvers<void>()
      const server = await serve(context, async ({ response, body }) => {
        note(`body of ${JSON.stringify(body).length}`)()
        response.on('finish', note('finish'))
        response.on('close', note('close'))
        response.on('close', () => closed.resolve())
        return {}
      })
      try {
        const body = JSON.stringify({ text: 'x'.repeat(80_000) })
        await fetch(await listen(server), {
          method: 'POST',
          headers: { ...introduced, 'content-type': 'application/json' },
          body,
        }).then((response) => response.text())
        await closed.promise
        assert.deepEqual(ids, { [`body of ${body.length}`]: 'request-1', finish: 'request-1', close: 'request-1' })
      } finally {
        await close(server)
      }
    })

    test('is there for the events of a body that the service streams itself', async () => {
      const context = openContext([])
      const ids = new Set<string>()
      const server = await serve(context, async ({ request }) => {
        let length = 0
        await new Promise<void>((resolve, reject) => {
          request.on('data', (chunk: Buffer) => {
            length += chunk.length
            ids.add(context.exists() ? context.get('requestId') : 'no context')
          })
          request.on('end', () => {
            ids.add(context.exists() ? context.get('requestId') : 'no context')
            resolve()
          })
          request.on('error', reject)
        })
        return { length }
      })
      try {
        const response = await fetch(await listen(server), {
          method: 'POST',
          headers: { ...introduced, 'content-type': 'application/octet-stream' },
          body: new Uint8Array(1_000_000),
        })
        assert.deepEqual(await response.json(), { length: 1_000_000 })
        assert.deepEqual([...ids], ['request-1'])
      } finally {
        await close(server)
      }
    })

    for (const [client, call] of Object.entries(clients)) {
      describe(client, () => {
        test('carries token, request id, trace and caller to a trusted origin, under a span of its own', async () => {
          await using next = await recorder()
          const context = openContext([next.origin])
          let spanId = ''
          const seen = await once(context, async () => {
            spanId = context.get('trace').spanId
            await call(context, next.origin, 'GET')
          })
          assert.equal(seen.status < 300, true, seen.text)
          const { traceparent, ...others } = introduced
          for (const [name, text] of Object.entries(others)) assert.equal(next.received[0]?.fields[name], text, name)
          assert.equal(next.received[0]?.fields['traceparent'], `00-${traceId}-${spanId}-01`)
          assert.notEqual(spanId, parentId)
        })

        test('tells an untrusted origin nothing', async () => {
          await using next = await recorder()
          const context = openContext(['https://elsewhere.example'])
          await once(context, () => call(context, next.origin, 'GET'))
          assert.equal(next.received.length, 1)
          assert.deepEqual(leaked(next.received[0]!), [])
        })

        test('sends what the caller of the client wrote rather than what the context holds', async () => {
          await using next = await recorder()
          const context = openContext([next.origin])
          await once(context, () =>
            call(context, next.origin, 'GET', { authorization: 'Basic c2VydmljZQ==', 'X-REQUEST-ID': 'mine' }),
          )
          const { fields } = next.received[0]!
          assert.equal(fields.authorization, 'Basic c2VydmljZQ==')
          assert.equal(fields['x-request-id'], 'mine')
          assert.equal(fields['user-id'], 'ada')
        })

        for (const status of [301, 302, 303, 307, 308]) {
          for (const method of ['GET', 'POST']) {
            test(`leaks nothing along a ${status} of ${method} to an untrusted origin`, async () => {
              await using stranger = await recorder()
              await using friend = await recorder(() => ({ status, location: `${stranger.origin}/landing` }))
              const context = openContext([friend.origin])
              await once(context, () =>
                call(context, friend.origin, method, { 'user-id': 'written by hand', 'x-request-id': 'by hand' }),
              )
              assert.equal(friend.received[0]?.fields.authorization, introduced.authorization)
              assert.equal(stranger.received.length, 1)
              assert.deepEqual(leaked(stranger.received[0]!), [])
            })
          }
        }

        test('goes along a redirect to another trusted origin', async () => {
          await using second = await recorder()
          await using first = await recorder(() => ({ status: 307, location: `${second.origin}/landing` }))
          const context = openContext([first.origin, second.origin])
          await once(context, () => call(context, first.origin, 'POST'))
          assert.equal(second.received[0]?.fields.authorization, introduced.authorization)
          assert.equal(second.received[0]?.fields['user-id'], 'ada')
          assert.equal(second.received[0]?.body, 'three little words')
        })

        test('stays silent when a stranger sends the call back to a trusted origin', async () => {
          await using target = await recorder()
          await using stranger = await recorder(() => ({ status: 302, location: `${target.origin}/delete-everything` }))
          await using friend = await recorder(() => ({ status: 302, location: `${stranger.origin}/` }))
          const context = openContext([friend.origin, target.origin])
          await once(context, async () => {
            await call(context, friend.origin, 'GET')
            await call(context, stranger.origin, 'GET')
          })
          assert.equal(target.received.length, 2)
          assert.deepEqual(target.received.flatMap(leaked), [])
        })
      })
    }

    describe('with many requests at once', () => {
      let servers: Server[] = []
      const origins: string[] = []
      before(async () => {
        // Each service answers with what it saw, and with what the services behind it saw.
        for (let place = 2; place >= 0; place--) {
          const next = origins[0]
          const context = openContext(next ? [next] : [])
          const server = await serve(context, async ({ body }) => {
            await delay(Math.random() * 10)
            const own = {
              token: context.get('authorization')?.reveal(),
              requestId: context.get('requestId'),
              subject: context.get('identity')?.subject,
              ...context.get('trace'),
            }
            await delay(Math.random() * 10)
            if (!next) return [own]
            const behind =
              place === 0
                ? await context.got.post(`${next}/hop`, { json: body as object }).json<object[]>()
                : await context
                    .fetch(`${next}/hop`, jsonBody(body))
                    .then((response) => response.json() as Promise<object[]>)
            return [own, ...behind]
          })
          servers.unshift(server)
          origins.unshift(await listen(server))
        }
      })
      after(async () => {
        await Promise.all(servers.map(close))
        servers = []
      })

      test('200 requests through three services never mix', async () => {
        const calls = Array.from({ length: 200 }, async (_, index) => {
          const own = { token: `Bearer token-${index}`, requestId: `request-${index}`, subject: `user-${index}` }
          const trace = index.toString(16).padStart(32, 'a')
          const response = await fetch(origins[0]!, {
            ...jsonBody({ padding: 'x'.repeat(index * 10) }),
            headers: {
              authorization: own.token,
              'x-request-id': own.requestId,
              'user-id': own.subject,
              traceparent: `00-${trace}-${parentId}-01`,
              'content-type': 'application/json',
            },
          })
          const hops = (await response.json()) as { spanId: string; parentId: string }[]
          assert.equal(hops.length, 3)
          for (const { spanId: _span, parentId: _parent, ...hop } of hops) {
            assert.deepEqual(hop, { ...own, traceId: trace, sampled: true })
          }
          // Each service is the parent of the next.
          assert.deepEqual(
            hops.map((hop) => hop.parentId),
            [parentId, hops[0]?.spanId, hops[1]?.spanId],
          )
          return hops.map((hop) => hop.spanId)
        })
        const spans = (await Promise.all(calls)).flat()
        assert.equal(new Set(spans).size, 600)
      })
    })
  })
}

/** Which of the fields that only friends may see have arrived. */
function leaked({ fields }: Received): string[] {
  return carriedNames.filter((name) => fields[name] !== undefined)
}

function jsonBody(body: unknown) {
  return { method: 'POST', headers: { 'content-type': 'application/json' }, body: JSON.stringify(body) }
}
