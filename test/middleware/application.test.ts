import assert from 'node:assert/strict'
import { once } from 'node:events'
import { createServer, request } from 'node:http'
import { type AddressInfo, connect } from 'node:net'
import { Readable } from 'node:stream'
import { describe, type TestContext, test } from 'node:test'
import { setTimeout as delay } from 'node:timers/promises'
import Koa, { type Middleware, type ParameterizedContext } from 'koa'
import { endWith } from '../../src/http/whole.ts'
import { Application } from '../../src/middleware/application.ts'
import { answerProblems } from '../../src/middleware/problems.ts'
import type { State } from '../../src/middleware/state.ts'
import { silent } from '../../src/telemetry/log.ts'

/** What both answer to the same request with the same steps. */
async function answers(t: TestContext, ...steps: Middleware<State>[]) {
  const found = []
  for (const app of [new Koa<State>(), new Application()]) {
    app.silent = true
    for (const step of steps) app.use(step)
    const server = createServer(app.callback()).listen(0, '127.0.0.1')
    await once(server, 'listening')
    t.after(() => server.close())
    const req = request({ port: (server.address() as AddressInfo).port, host: '127.0.0.1', agent: false }).end()
    const [res] = await once(req, 'response')
    let text = ''
    for await (const chunk of res) text += chunk
    const { date, ...headers } = res.headers
    found.push({ status: res.statusCode, message: res.statusMessage, headers, text })
  }
  assert.deepEqual(found[1], found[0])
  return found[1]!
}

describe('the application answers as Koa does', () => {
  test('404 where no step answers', async (t) => {
    assert.equal((await answers(t, (_ctx, next) => next())).status, 404)
  })

  test('what the steps have set', async (t) => {
    const found = await answers(t, (ctx) => {
      ctx.status = 201
      ctx.set('X-One', '1')
      ctx.body = { made: true }
    })
    assert.deepEqual([found.status, found.headers['x-one'], found.text], [201, '1', '{"made":true}'])
  })

  test('an empty answer, and a stream', async (t) => {
    const empty: Middleware<State> = (ctx) => {
      ctx.status = 204
    }
    const stream: Middleware<State> = (ctx) => {
      ctx.body = Readable.from(['a', 'b'])
    }
    assert.equal((await answers(t, empty)).status, 204)
    assert.equal((await answers(t, stream)).text, 'ab')
  })

  test('what a step throws, at once or later', async (t) => {
    const thrower: Middleware<State> = (ctx) => ctx.throw(418, 'a teapot')
    assert.equal((await answers(t, thrower)).text, 'a teapot')
    const late: Middleware<State> = async (ctx) => {
      await new Promise(setImmediate)
      ctx.throw(409, 'too late')
    }
    assert.equal((await answers(t, (_ctx, next) => next(), late)).status, 409)
  })

  test('what a step has written by itself, and nothing more', async (t) => {
    const found = await answers(t, (ctx) => {
      ctx.respond = false
      ctx.res.writeHead(202, { 'Content-Length': 2 }).end('ok')
    })
    assert.deepEqual([found.status, found.text], [202, 'ok'])
  })
})

test('a step that meant to answer by itself and failed leaves nobody waiting', { timeout: 30_000 }, async (t) => {
  const app = new Application()
  app.silent = true
  app.use(answerProblems(silent, () => {}))
  app.use((ctx) => {
    ctx.state = { id: 'one', announced: [] } as unknown as State
    ctx.respond = false
    ctx.res.writeHead(200, { 'X-Bad': 'a\nb' })
  })
  const server = createServer(app.callback()).listen(0, '127.0.0.1')
  await once(server, 'listening')
  t.after(() => server.close())
  const answer = await fetch(`http://127.0.0.1:${(server.address() as AddressInfo).port}/`)
  assert.deepEqual([answer.status, ((await answer.json()) as { code: string }).code], [500, 'internal-error'])
})

test('a request whose rest nobody needs is cut when it does not come', { timeout: 30_000 }, async (t) => {
  const app = new Application()
  app.use((ctx) => {
    ctx.body = 'answered'
  })
  const server = createServer(app.callback()).listen(0, '127.0.0.1')
  server.keepAliveTimeout = 60_000
  await once(server, 'listening')
  const client = connect((server.address() as AddressInfo).port, '127.0.0.1')
  t.after(() => {
    client.destroy()
    server.close()
  })
  client.write('POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 100\r\n\r\n')
  const trickle = setInterval(() => client.write('x'), 300)
  t.after(() => clearInterval(trickle))
  client.on('error', () => {})
  let heard = ''
  client.on('data', (chunk) => {
    heard += chunk
  })
  await once(client, 'close')
  assert.match(heard, /answered$/)
})

describe('a client that does not read its answer', () => {
  for (const [who, answer] of [
    [
      'of Koa',
      (ctx, content) => {
        ctx.body = content
      },
    ],
    [
      'that a step has written by itself',
      (ctx, content) => {
        ctx.respond = false
        ctx.res.writeHead(200, { 'Content-Length': content.length })
        endWith(ctx.res, content)
      },
    ],
  ] as const satisfies readonly (readonly [string, (ctx: ParameterizedContext<State>, content: Buffer) => void])[]) {
    test(`is cut after a while, and what it holds is free: ${who}`, { timeout: 30_000 }, async (t) => {
      const app = new Application(300)
      app.silent = true
      const closed = Promise.withResolvers<void>()
      app.use((ctx) => {
        ctx.res.on('close', closed.resolve)
        answer(ctx, Buffer.alloc(64 * 1_048_576))
      })
      const server = createServer(app.callback()).listen(0, '127.0.0.1')
      await once(server, 'listening')
      const client = connect((server.address() as AddressInfo).port, '127.0.0.1').pause()
      client.on('error', () => {})
      t.after(() => {
        client.destroy()
        server.close()
      })
      client.write('GET / HTTP/1.1\r\nHost: a\r\n\r\n')
      await closed.promise
    })
  }

  test('has all the time it needs as long as it takes something', { timeout: 30_000 }, async (t) => {
    const app = new Application(500)
    const size = 24 * 1_048_576
    app.use((ctx) => {
      ctx.body = Buffer.alloc(size)
    })
    const server = createServer(app.callback()).listen(0, '127.0.0.1')
    await once(server, 'listening')
    t.after(() => server.close())
    const req = request({ port: (server.address() as AddressInfo).port, host: '127.0.0.1', agent: false }).end()
    const [res] = await once(req, 'response')
    let got = 0
    const began = performance.now()
    for await (const chunk of res) {
      got += chunk.length
      // Slow as a whole, never silent.
      if (got < (performance.now() - began) * 16_384) continue
      await delay(20)
    }
    assert.equal(got, size)
    assert(performance.now() - began > 500)
  })
})
