import assert from 'node:assert/strict'
import { describe, test } from 'node:test'
import { skipWithoutShared, vectors } from '../vectors.ts'
import { gatewayTo, get, rawBackend, rawRequest, until, upstreamTo } from './scene.ts'

interface Case {
  readonly id: string
  readonly title: string
  readonly bytes_b64: string
  readonly verdict: 'pass' | '502' | 'abort' | 'pass-or-502'
  readonly fin?: 1
  readonly rst?: 1
}

const { cases } = skipWithoutShared ? { cases: [] } : (vectors('http-responses.json') as { cases: Case[] })

/** What the client shall see beyond the verdict. */
const closer: Record<string, (head: string, content: string) => void> = {
  'rs-ok': (_head, content) => assert.equal(content, 'ok'),
  'rs-close': (_head, content) => assert.match(content, /^(?:ok|2\r\nok\r\n0\r\n\r\n)$/),
  'rs-long': (_head, content) => assert.equal(content, 'ok'),
  'rs-hop': (head) => assert.doesNotMatch(head, /proxy-|timeout=999999|upgrade|trailer/i),
  'rs-setcookie': (head) =>
    assert.deepEqual(head.match(/^set-cookie: .*$/gim), ['Set-Cookie: a=1', 'Set-Cookie: b=2; Domain=other']),
  'rs-proto': (head) => assert.match(head, /^__proto__: x\r\nconstructor: y$/m),
}

describe('answers of a hostile or broken service', {
  skip: skipWithoutShared,
  concurrency: true,
  timeout: 30_000,
}, () => {
  for (const { id, title, bytes_b64, verdict, fin, rst } of cases) {
    test(`${id}: ${title} → ${verdict}`, async (t) => {
      const answer = Buffer.from(bytes_b64, 'base64')
      const backend = await rawBackend(t, (socket, index) => {
        socket.on('data', () => {
          // The second connection is for the next client, who must not notice anything.
          socket.write(index === 0 ? answer : 'HTTP/1.1 200 OK\r\nContent-Length: 4\r\n\r\nnext')
          if (index === 0 && fin) socket.end()
          if (index === 0 && rst) setTimeout(() => socket.resetAndDestroy(), 20)
        })
      })
      const upstream = upstreamTo(t, { targets: [backend.url] })
      const gateway = await gatewayTo(t, upstream)
      const { status, head, content, end } = await rawRequest(gateway.port, get('/'), verdict === 'abort' ? 2_000 : 100)
      await until(() => gateway.outcomes.length === 1)
      const { failure } = gateway.outcomes[0]!

      if (verdict === '502' || (verdict === 'pass-or-502' && status === 502)) {
        assert.equal(status, 502)
        assert.match(content, /problem upstream-(?:invalid-response|disconnected)/)
        assert.equal(end, 'open', 'a clean answer leaves the connection of the client alone')
        assert.equal(failure?.who, 'upstream')
      } else if (verdict === 'abort') {
        assert.notEqual(end, 'open')
        assert.doesNotMatch(content, /\r\n0\r\n\r\n$/)
        assert.equal(failure?.stage, 'body')
      } else {
        assert.equal(status, Number(answer.toString('latin1', 9, 12)))
        assert.equal(failure, undefined)
        assert.equal(end, 'open')
        closer[id]?.(head, content)
      }

      // Nothing of it may reach the next client.
      const next = await rawRequest(gateway.port, get('/next'))
      assert.equal(next.status, 200)
      if (failure || id === 'rs-long') assert.equal(next.content, 'next')
      assert.doesNotMatch(next.text, /poison/)
    })
  }
})

describe('the fixtures of Node’s own parser, as answers of a service', {
  skip: skipWithoutShared,
  concurrency: true,
  timeout: 60_000,
}, () => {
  interface Fixture {
    readonly id: string
    readonly title: string
    readonly type: string
    readonly bytes_b64: string
    readonly llhttp: { readonly error?: string }
  }
  const fixtures = skipWithoutShared ? [] : (vectors('llhttp-fixtures.json').cases as Fixture[])
  const answers = fixtures.filter(({ type }) => type === 'response')

  /** What the parser finds right and a gateway must not pass on all the same. */
  const stricter = new Map([
    ['response/transfer-encoding#3', 'a coding after chunked'],
    ['response/transfer-encoding#4', 'a coding that nobody knows'],
  ])
  /** What the parser finds wrong behind a whole answer, where it is nobody's; the client gets this. */
  const passed = new Map([['response/connection#8', '2ad73']])

  test('are all here', () => assert.equal(answers.length, 38))

  for (const { id, title, bytes_b64, llhttp } of answers) {
    test(`${id}: ${title}`, async (t) => {
      const backend = await rawBackend(t, (socket, index) => {
        socket.on('data', () => {
          if (index > 0) socket.write('HTTP/1.1 200 OK\r\nContent-Length: 4\r\n\r\nnext')
          else socket.end(Buffer.from(bytes_b64, 'base64'))
        })
      })
      const timeouts = { response: '2s', idle: '2s' } as const
      const upstream = upstreamTo(t, { targets: [backend.url], timeouts, retry: { attempts: 0 } })
      const gateway = await gatewayTo(t, upstream)
      const { status, head, content, end } = await rawRequest(gateway.port, get('/'), 2_500)
      await until(() => gateway.outcomes.length === 1)
      const { failure } = gateway.outcomes[0]!
      assert.doesNotMatch(head, /\r(?!\n)|(?<!\r)\n/)
      const whole = passed.get(id)
      if (whole !== undefined)
        assert.deepEqual([status, content.replace('0\r\n\r\n', ''), failure], [200, whole, undefined])
      else if (llhttp.error !== undefined || stricter.has(id)) {
        assert.ok(status === 502 || end !== 'open', `${status}, ${end}`)
        assert.equal(failure?.who, 'upstream')
      } else {
        assert.ok(status >= 200 && status < 600, String(status))
        assert.doesNotMatch(content, /HTTP\/1\.1 /, 'a second answer is nobody’s')
      }
      const next = await rawRequest(gateway.port, get('/next'))
      assert.deepEqual([next.status, next.content], [200, 'next'])
    })
  }
})
