import assert from 'node:assert/strict'
import { once } from 'node:events'
import { createServer } from 'node:http'
import { type AddressInfo, connect } from 'node:net'
import { text } from 'node:stream/consumers'
import { test } from 'node:test'
import { Application } from '../../src/middleware/application.ts'
import { ownEndpoints } from '../../src/middleware/own.ts'
import { answerProblems } from '../../src/middleware/problems.ts'
import type { State } from '../../src/middleware/state.ts'
import { silent } from '../../src/telemetry/log.ts'

test('a form that never comes to its end is answered with 408, and the connection closed', {
  timeout: 30_000,
}, async (t) => {
  const app = new Application()
  app.silent = true
  const issuer = {
    async endpoints({ req }: { req: AsyncIterable<Buffer> }) {
      for await (const _chunk of req);
    },
  }
  app.use(answerProblems(silent, () => {}))
  app.use((ctx, next) => {
    const head = { path: '/oauth2/token', target: '/oauth2/token' }
    ctx.state = { id: 'slow', announced: [], head, gateway: { issuer } } as unknown as State
    return next()
  })
  app.use(ownEndpoints(() => false, 200))
  const server = createServer(app.callback()).listen(0, '127.0.0.1')
  await once(server, 'listening')
  const client = connect((server.address() as AddressInfo).port, '127.0.0.1')
  t.after(() => {
    client.destroy()
    server.close()
  })
  client.write('POST /oauth2/token HTTP/1.1\r\nHost: a\r\nContent-Length: 100\r\n\r\ngrant_type=')
  const answer = await text(client)
  assert.match(answer, /^HTTP\/1\.1 408 .*\r\nConnection: close\r\n.*"code":"request-timeout"/s)
})
