import assert from 'node:assert/strict'
import { createHash } from 'node:crypto'
import { type IncomingMessage, type RequestOptions, request, type ServerResponse } from 'node:http'
import { after, before, beforeEach, describe, test } from 'node:test'
import { type Backend, startBackend } from '../backend.ts'
import { sendRaw } from '../raw.ts'
import { eventually, type GatewayUnderTest, startGateway } from '../sallyport.ts'

/** What the service does next, by path; and how often it was asked. */
type Script = (req: IncomingMessage, res: ServerResponse) => void

const keyOf = (name: string) => `key-of-${name}`
const key = (name: string, roles: readonly string[] = ['reader']) => ({
  sha256: createHash('sha256').update(keyOf(name)).digest('hex'),
  subject: name,
  roles,
})

describe('answers that are kept', () => {
  let backend: Backend
  let gateway: GatewayUnderTest
  let time: number
  let asked: string[]
  let script: Script
  /** Each test has paths of its own. */
  let corner = 0

  beforeEach(() => {
    asked = []
    corner += 1
    gateway.log.splice(0)
  })
  before(async () => {
    time = Date.now()
    backend = await startBackend((req, res) => {
      asked.push(`${req.method} ${req.url}`)
      script(req, res)
    })
    const service = { targets: [backend.url], openapi: false, breaker: { failures: 100 } }
    gateway = await startGateway(
      {
        securitySchemes: {
          apiKey: {
            type: 'apiKey',
            in: 'header',
            name: 'X-API-Key',
            keys: [key('ada'), key('kenji'), key('root', ['admin'])],
          },
        },
        services: [
          { name: 'open', path: '/open', ...service, security: [{ apiKey: [] }, {}], cache: true },
          {
            name: 'closed',
            path: '/closed',
            ...service,
            security: [{ apiKey: [] }],
            cache: { for: '10s', largest: '10kb' },
            routes: [
              { match: 'GET /{corner}/live', cache: false },
              { match: 'GET /{corner}/admin', security: [{ apiKey: ['admin'] }] },
            ],
          },
          { name: 'off', path: '/off', ...service, security: [] },
        ],
      },
      { now: () => time },
    )
  })
  after(async () => {
    await gateway?.[Symbol.asyncDispose]()
    await backend?.[Symbol.asyncDispose]()
  })

  const at = (path: string) => `${gateway.url}${path.replace(/^\/\w+/, `$&/${corner}`)}`

  async function get(path: string, fields: Record<string, string> = {}, method = 'GET') {
    const response = await fetch(at(path), { method, headers: fields })
    return {
      status: response.status,
      text: await response.text(),
      how: response.headers.get('cache-status'),
      age: response.headers.get('age'),
      headers: response.headers,
    }
  }
  const as = (name: string, more: Record<string, string> = {}) => ({ 'X-API-Key': keyOf(name), ...more })

  /** What `/open/a` says to a request that fetch cannot send. */
  function askRaw(more: RequestOptions): Promise<string> {
    const { port } = new URL(gateway.url)
    return new Promise((resolve, reject) => {
      request({ port, host: '127.0.0.1', path: new URL(at('/open/a')).pathname, ...more }, (res) => {
        res.setEncoding('utf8')
        let text = ''
        res.on('data', (chunk: string) => {
          text += chunk
        })
        res.on('end', () => resolve(text))
      })
        .on('error', reject)
        .end()
    })
  }

  /** Answers with who asks, and counts. */
  const personal =
    (fields: Record<string, string>): Script =>
    (req, res) => {
      res.setHeaders(new Map(Object.entries(fields)))
      res.end(`${String(req.headers['user-id'])} ${asked.length}`)
    }

  test('are given again while they are fresh, with their age, and asked for afterwards', async () => {
    script = personal({ 'Cache-Control': 'max-age=60' })
    const first = await get('/open/a')
    assert.deepEqual([first.text, first.how], ['anonymous 1', 'sallyport; fwd=miss; stored'])
    time += 20_000
    const again = await get('/open/a')
    assert.deepEqual([again.text, again.how, again.age], ['anonymous 1', 'sallyport; hit; ttl=40', '20'])
    assert.equal(again.headers.get('content-length'), '11')
    const head = await get('/open/a', {}, 'HEAD')
    assert.deepEqual([head.status, head.text, head.headers.get('content-length')], [200, '', '11'])
    time += 41_000
    assert.equal((await get('/open/a')).text, 'anonymous 2')
    assert.equal((await get('/open/a?x=1')).text, 'anonymous 3')
    assert.equal((await get('/off/a')).how, null)
  })

  test('of a known caller are for that caller alone', async () => {
    script = personal({ 'Cache-Control': 'max-age=60' })
    assert.equal((await get('/open/me')).text, 'anonymous 1')
    assert.equal((await get('/open/me', as('ada'))).text, 'ada 2')
    assert.equal((await get('/open/me', as('kenji'))).text, 'kenji 3')
    assert.equal((await get('/open/me', as('ada'))).text, 'ada 2')
    assert.equal((await get('/open/me')).text, 'anonymous 1')
    assert.equal(asked.length, 3)
  })

  test('are for everybody where the service says so, but for whoever may not ask at all', async () => {
    script = personal({ 'Cache-Control': 'public, max-age=60' })
    assert.equal((await get('/closed/news', as('ada'))).text, 'ada 1')
    assert.equal((await get('/closed/news', as('kenji'))).text, 'ada 1')
    assert.equal((await get('/closed/news')).status, 401)
    assert.equal((await get('/closed/admin', as('root'))).status, 200)
    assert.equal((await get('/closed/admin', as('ada'))).status, 403)
  })

  test('that vary by what the gateway writes are for one caller', async () => {
    script = personal({ 'Cache-Control': 'public, max-age=60', Vary: 'User-ID' })
    assert.equal((await get('/closed/news', as('ada'))).text, 'ada 1')
    assert.equal((await get('/closed/news', as('kenji'))).text, 'kenji 2')
  })

  test('are chosen by the fields that the service names', async () => {
    script = (req, res) => {
      res.setHeader('Cache-Control', 'max-age=60')
      res.setHeader('Vary', 'Accept-Language')
      res.end(`${req.headers['accept-language']} ${asked.length}`)
    }
    assert.equal((await get('/open/a', { 'Accept-Language': 'de' })).text, 'de 1')
    assert.equal((await get('/open/a', { 'Accept-Language': 'fr' })).text, 'fr 2')
    assert.equal((await get('/open/a', { 'Accept-Language': 'de' })).text, 'de 1')
    script = personal({ 'Cache-Control': 'max-age=60', Vary: '*' })
    await get('/open/b')
    assert.equal((await get('/open/b')).text, 'anonymous 4')
  })

  test('are kept apart by the host that a client names', async () => {
    script = (req, res) => {
      res.setHeader('Cache-Control', 'public, max-age=60')
      res.end(`http://${req.headers['x-forwarded-host']}/ ${asked.length}`)
    }
    const ask = (host: string) => askRaw({ headers: { host } })
    assert.equal(await ask('evil.example'), 'http://evil.example/ 1')
    assert.equal(await ask('good.example'), 'http://good.example/ 2')
  })

  for (const [why, fields, request] of [
    ['the service forbids it', { 'Cache-Control': 'no-store, max-age=60' }, {}],
    ['it sets a cookie', { 'Cache-Control': 'max-age=60', 'Set-Cookie': 'a=1' }, {}],
    ['nobody says how long', {}, {}],
    ['the request forbids it', { 'Cache-Control': 'max-age=60' }, { 'Cache-Control': 'no-store' }],
    ['a guest shows a cookie', { 'Cache-Control': 'max-age=60' }, { Cookie: 'session=1' }],
    ['a guest gets what is private', { 'Cache-Control': 'private, max-age=60' }, {}],
    ['only a part was asked for', { 'Cache-Control': 'max-age=60' }, { Range: 'bytes=0-1' }],
  ] as const) {
    test(`are not kept where ${why}`, async () => {
      script = personal(fields)
      await get('/open/a', request)
      assert.equal((await get('/open/a', request)).text, 'anonymous 2')
    })
  }

  test('are kept for as long as services.json says where the service says nothing', async () => {
    script = personal({})
    await get('/closed/a', as('ada'))
    time += 9_000
    assert.equal((await get('/closed/a', as('ada'))).text, 'ada 1')
    time += 2_000
    assert.equal((await get('/closed/a', as('ada'))).text, 'ada 2')
    await get('/closed/live', as('ada'))
    assert.equal((await get('/closed/live', as('ada'))).text, 'ada 4')
  })

  test('are asked about when they are stale, and a client that has them gets 304', async () => {
    const seen: unknown[] = []
    // fetch adds `no-cache` to a condition unless there is another word.
    const has = (tags: string) => ({ 'If-None-Match': tags, 'Cache-Control': 'max-age=1000' })
    script = (req, res) => {
      seen.push(req.headers['if-none-match'])
      res.setHeader('Cache-Control', 'max-age=10')
      res.setHeader('ETag', '"v1"')
      if (req.headers['if-none-match'] === '"v1"') res.writeHead(304).end()
      else res.end('content')
    }
    // The client's own condition would get an answer without content, which could not be kept.
    const first = await get('/open/a', has('"v1"'))
    assert.deepEqual([first.status, first.text], [304, ''])
    time += 11_000
    const again = await get('/open/a')
    assert.deepEqual(
      [again.status, again.text, again.how],
      [200, 'content', 'sallyport; fwd=stale; fwd-status=304; stored'],
    )
    time += 5_000
    assert.equal((await get('/open/a')).how, 'sallyport; hit; ttl=5')
    assert.equal((await get('/open/a', has('W/"v1", "x"'))).status, 304)
    assert.equal((await get('/open/a', { 'Cache-Control': 'no-cache' })).text, 'content')
    assert.deepEqual(seen, [undefined, '"v1"', '"v1"'])
  })

  test('serve on while the service fails, as long as it has allowed', async () => {
    script = personal({ 'Cache-Control': 'max-age=10, stale-if-error=60' })
    await get('/open/a')
    time += 30_000
    script = (_req, res) => res.writeHead(503).end()
    const stale = await get('/open/a')
    assert.deepEqual([stale.status, stale.text], [200, 'anonymous 1'])
    script = (req) => req.socket.destroy()
    assert.equal((await get('/open/a')).text, 'anonymous 1')
    time += 60_000
    assert.equal((await get('/open/a')).status, 502)
  })

  test('are forgotten when what they tell of is changed', async () => {
    script = personal({ 'Cache-Control': 'max-age=60' })
    await get('/open/a?page=2')
    script = (_req, res) => res.writeHead(422).end()
    await get('/open/a', {}, 'POST')
    assert.equal((await get('/open/a?page=2')).text, 'anonymous 1')
    script = (_req, res) => res.writeHead(204).end()
    await get('/open/a', {}, 'PUT')
    script = personal({ 'Cache-Control': 'max-age=60' })
    assert.equal((await get('/open/a?page=2')).text, 'anonymous 4')
  })

  test('are asked for once by a crowd', async () => {
    script = (_req, res) => {
      setTimeout(() => {
        res.setHeader('Cache-Control', 'public, max-age=60')
        res.end('x'.repeat(5_000))
      }, 100)
    }
    const all = await Promise.all(
      Array.from({ length: 40 }, (_, index) => get('/closed/a', as(index % 2 ? 'ada' : 'kenji'))),
    )
    assert.equal(asked.length, 1)
    assert.ok(all.every(({ status, text }) => status === 200 && text.length === 5_000))
  })

  test('are never given to another of a crowd', async () => {
    script = (req, res) => {
      setTimeout(() => personal({ 'Cache-Control': 'max-age=60' })(req, res), 50)
    }
    const names = Array.from({ length: 20 }, (_, index) => (index % 2 ? 'ada' : 'kenji'))
    const all = await Promise.all(names.map((name) => get('/closed/a', as(name))))
    for (const [index, { text }] of all.entries()) assert.equal(text.split(' ')[0], names[index])
    assert.ok(asked.length <= 6, `asked ${asked.length} times`)
  })

  test('that are too large, or never end, are passed on as they come', async () => {
    script = (_req, res) => {
      res.setHeader('Cache-Control', 'max-age=60')
      res.write('a'.repeat(8_000))
      setTimeout(() => res.end('b'.repeat(8_000)), 20)
    }
    const large = await get('/closed/large', as('ada'))
    assert.deepEqual([large.status, large.text], [200, 'a'.repeat(8_000) + 'b'.repeat(8_000)])
    script = (_req, res) => {
      res.setHeader('Content-Type', 'text/event-stream')
      res.setHeader('Cache-Control', 'no-store')
      res.write('data: 1\n\n')
    }
    const stream = await fetch(at('/closed/stream'), { headers: as('ada') })
    const reader = stream.body!.getReader()
    assert.equal(Buffer.from((await reader.read()).value!).toString(), 'data: 1\n\n')
    await reader.cancel()
  })

  test('a client that leaves spoils nothing for those who wait', async () => {
    script = (_req, res) => {
      setTimeout(() => {
        res.setHeader('Cache-Control', 'public, max-age=60')
        res.end('good')
      }, 150)
    }
    const leaving = new AbortController()
    const first = fetch(at('/open/a'), { signal: leaving.signal }).catch(() => 'left')
    await new Promise((resolve) => setTimeout(resolve, 50))
    const others = Promise.all([get('/open/a'), get('/open/a')])
    leaving.abort()
    assert.equal(await first, 'left')
    assert.deepEqual(
      (await others).map(({ text }) => text),
      ['good', 'good'],
    )
  })

  test('never take over the cookie that came with word that one is still good', async () => {
    let cookie: string | undefined
    script = (req, res) => {
      res.setHeader('Cache-Control', 'public, max-age=10')
      res.setHeader('ETag', '"v1"')
      if (cookie) res.setHeader('Set-Cookie', cookie)
      if (req.headers['if-none-match'] === '"v1"') res.writeHead(304).end()
      else res.end('content')
    }
    await get('/closed/a', as('ada'))
    time += 11_000
    cookie = 'session=ada'
    assert.equal((await get('/closed/a', as('ada'))).headers.get('set-cookie'), 'session=ada')
    time += 11_000
    cookie = undefined
    const other = await get('/closed/a', as('kenji'))
    assert.deepEqual([other.text, other.headers.get('set-cookie')], ['content', null])
  })

  test('are not made of the content that a GET carries', async () => {
    script = (req, res) => {
      let text = ''
      req.on('data', (chunk) => {
        text += chunk
      })
      req.on('end', () => {
        res.setHeader('Cache-Control', 'public, max-age=60')
        res.end(`q=${text}`)
      })
    }
    const path = new URL(at('/open/a')).pathname
    const host = new URL(gateway.url).host
    const poison = await sendRaw(gateway.url, `GET ${path} HTTP/1.1\r\nHost: ${host}\r\nContent-Length: 4\r\n\r\nevil`)
    assert.match(poison.text, /q=evil/)
    assert.equal((await get('/open/a')).text, 'q=')
    // Nobody waits for content that another is slow to send.
    const slow = sendRaw(gateway.url, `GET ${path}/2 HTTP/1.1\r\nHost: ${host}\r\nContent-Length: 4\r\n\r\n`, 2_000)
    await new Promise((resolve) => setTimeout(resolve, 100))
    assert.equal((await get('/open/a/2')).text, 'q=')
    await slow
  })

  test('of a stream of events are none', async () => {
    script = (_req, res) => {
      res.setHeader('Content-Type', 'text/event-stream')
      res.write('data: 1\n\n')
    }
    const stream = await fetch(at('/closed/stream'), { headers: as('ada'), signal: AbortSignal.timeout(5_000) })
    const reader = stream.body!.getReader()
    assert.equal(Buffer.from((await reader.read()).value!).toString(), 'data: 1\n\n')
    await reader.cancel()
  })

  test('without content say no length', async () => {
    script = (_req, res) => {
      res.socket!.end('HTTP/1.1 204 No Content\r\nCache-Control: max-age=60\r\nContent-Length: 0\r\n\r\n')
    }
    for (const how of ['sallyport; fwd=miss; stored', 'sallyport; hit; ttl=60']) {
      const { status, headers } = await get('/open/a')
      assert.deepEqual([status, headers.get('cache-status'), headers.get('content-length')], [204, how, null])
    }
  })

  test('are chosen by the address that the gateway names, where the service says so', async () => {
    script = personal({ 'Cache-Control': 'max-age=60', Vary: 'X-Forwarded-For' })
    assert.equal(await askRaw({ localAddress: '127.0.0.1' }), 'anonymous 1')
    assert.equal(await askRaw({ localAddress: '127.0.0.2' }), 'anonymous 2')
    assert.equal(await askRaw({ localAddress: '127.0.0.1' }), 'anonymous 1')
  })

  test('are kept for other guests while one shows a cookie', async () => {
    script = personal({ 'Cache-Control': 'max-age=60' })
    await get('/open/a', { Cookie: 'tracker=1' })
    assert.equal((await get('/open/a')).text, 'anonymous 2')
    assert.equal((await get('/open/a')).text, 'anonymous 2')
  })

  test('only-if-cached asks nobody', async () => {
    assert.equal((await get('/open/a', { 'Cache-Control': 'only-if-cached' })).status, 504)
    assert.equal(asked.length, 0)
  })

  test('show in the log and in the metrics', async () => {
    script = personal({ 'Cache-Control': 'max-age=60' })
    await get('/open/a')
    await get('/open/a')
    const metrics = await (await fetch(`${gateway.adminUrl}/metrics`)).text()
    await eventually('both are logged', () => gateway.log.filter(({ message }) => message === 'request').length === 2)
    assert.match(metrics, /sallyport_cache_total\{service="open",result="hit"\} [1-9]/)
    assert.deepEqual(
      gateway.log.filter(({ message }) => message === 'request').map(({ cache }) => cache),
      ['miss', 'hit'],
    )
  })

  test('of a canary are for those whom it serves, and forgotten with the others', async (t) => {
    const say = (who: string) =>
      startBackend((_req, res) => {
        res.setHeader('Cache-Control', 'public, max-age=60').end(who)
      })
    const [stable, canary] = await Promise.all([say('stable'), say('canary')])
    t.after(() => Promise.all([stable[Symbol.asyncDispose](), canary[Symbol.asyncDispose]()]))
    await using staged = await startGateway({
      services: [
        {
          ...{ name: 'staged', path: '/staged', targets: [stable.url], openapi: false, security: [], cache: true },
          canary: { targets: [canary.url], header: 'X-Canary', weight: 0 },
        },
      ],
    })
    const ask = async (wish: string, method = 'GET') => {
      const response = await fetch(`${staged.url}/staged/a`, { method, headers: { 'X-Canary': wish } })
      return `${await response.text()}: ${response.headers.get('cache-status')?.replace(/; ttl=.*/, '')}`
    }
    const miss = 'sallyport; fwd=miss; stored'
    assert.equal(await ask('always'), `canary: ${miss}`)
    assert.equal(await ask('never'), `stable: ${miss}`)
    assert.equal(await ask('always'), 'canary: sallyport; hit')
    assert.equal(await ask('never'), 'stable: sallyport; hit')
    await ask('never', 'DELETE')
    assert.equal(await ask('always'), `canary: ${miss}`)
    assert.equal(await ask('never'), `stable: ${miss}`)
  })
})
