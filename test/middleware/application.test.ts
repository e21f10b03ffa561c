import assert from 'node:assert/strict'
import { once } from 'node:events'
import { createServer, request } from 'node:http'
import type { AddressInfo } from 'node:net'
import { Readable } from 'node:stream'
import { describe, type TestContext, test } from 'node:test'
import Koa, { type Middleware } from 'koa'
import { Application } from '../../src/middleware/application.ts'
import type { State } from '../../src/middleware/state.ts'

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
