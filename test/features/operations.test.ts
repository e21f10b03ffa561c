import assert from 'node:assert/strict'
import { createHash } from 'node:crypto'
import { createServer } from 'node:net'
import { describe, test } from 'node:test'
import { setTimeout as sleep } from 'node:timers/promises'
import { CannotListen } from '../../src/server.ts'
import { startBackend } from '../backend.ts'
import { sendRaw } from '../raw.ts'
import { eventually, startGateway } from '../sallyport.ts'

const key = 'a-key-for-tests'
const sha256 = createHash('sha256').update(key).digest('hex')
const guarded = (url: string, more: object = {}) => ({
  securitySchemes: {
    apiKey: { type: 'apiKey', in: 'header', name: 'X-API-Key', keys: [{ sha256, subject: 'robot' }] },
    query: { type: 'apiKey', in: 'query', name: 'api_key', keys: [{ sha256, subject: 'robot' }] },
  },
  services: [
    { name: 'echo', path: '/echo', targets: [url], openapi: false, security: [{ apiKey: [] }, { query: [] }], ...more },
  ],
})

describe('the access log', () => {
  test('has one line a request: id, route, status, times and caller, and no secret', async () => {
    await using backend = await startBackend()
    await using gateway = await startGateway(guarded(backend.url))
    const good = await fetch(`${gateway.url}/echo/x?api_key=${key}&q=secret-query`)
    assert.equal(good.status, 200)
    assert.equal(backend.received[0]?.url, '/x?q=secret-query', 'the key is taken off before the backend')
    await fetch(`${gateway.url}/echo/x`, { headers: { 'X-API-Key': 'wrong-secret-key' } })
    const lines = await eventually('two lines', () => {
      const found = gateway.log.filter(({ message }) => message === 'request')
      return found.length < 2 ? undefined : found
    })
    const [first, second] = lines
    assert.equal(first?.['id'], good.headers.get('x-request-id'))
    assert.equal(first?.['route'], 'echo')
    assert.equal(first?.['status'], 200)
    assert.equal(first?.['subject'], 'robot')
    assert.equal(first?.['path'], '/echo/x')
    assert(first?.['ms'] >= 0 && first?.['upstream'].ms >= 0)
    assert.equal(second?.['status'], 401)
    assert.equal(second?.['problem'], 'invalid-api-key')
    const text = JSON.stringify(gateway.log)
    for (const secret of [key, 'wrong-secret-key', 'secret-query']) assert(!text.includes(secret), secret)
  })

  test('stays one line whatever a client writes', async () => {
    await using backend = await startBackend()
    await using gateway = await startGateway(guarded(backend.url))
    await sendRaw(gateway.url, 'GET /echo/%0d%0aevil HTTP/1.1\r\nHost: x\r\n\r\n')
    const line = await eventually('a line', () => gateway.log.find(({ message }) => message === 'request'))
    assert.equal(line['status'], 400)
    await sendRaw(gateway.url, 'GET /echo HTTP/1.1\r\nHost: x\r\nUser-Agent: \x1b[31m\n\r\n')
    await eventually('the unreadable one', () => gateway.log.find(({ message }) => message === 'unreadable request'))
  })
})

describe('the admin port', () => {
  test('has metrics: requests and durations by service and status, upstream failures, the age of the configuration', async () => {
    await using backend = await startBackend()
    await using gateway = await startGateway({
      services: [
        { name: 'echo', path: '/echo', targets: [backend.url], openapi: false, security: [] },
        { name: 'gone', path: '/gone', targets: ['http://127.0.0.1:9'], openapi: false, security: [] },
      ],
    })
    await fetch(`${gateway.url}/echo`)
    await fetch(`${gateway.url}/gone`)
    const metrics = await eventually('both are counted', async () => {
      const text = await (await fetch(`${gateway.adminUrl}/metrics`)).text()
      return text.includes('service="gone",method="GET",status="502"') ? text : undefined
    })
    assert.match(metrics, /sallyport_request_duration_seconds_count\{service="echo",method="GET",status="200"\} 1/)
    assert.match(metrics, /sallyport_upstream_failures_total\{service="gone",who="upstream",stage="connect"\} 1/)
    assert.match(metrics, /sallyport_config_loaded_timestamp_seconds 1\.?\d*e?/)
    assert.match(metrics, /sallyport_config_stale 0/)
  })

  test('is not on the public port', async () => {
    await using backend = await startBackend()
    await using gateway = await startGateway(guarded(backend.url))
    for (const path of ['/metrics', '/services', '/keys']) assert.equal((await fetch(gateway.url + path)).status, 404)
  })
})

describe('health', () => {
  test('/livez says that the process lives, /readyz how each service stands, and neither where it is', async () => {
    await using backend = await startBackend()
    await using gateway = await startGateway(guarded(backend.url))
    assert.deepEqual(await (await fetch(`${gateway.url}/livez`)).json(), { status: 'alive' })
    const ready = await fetch(`${gateway.url}/readyz`)
    const text = await ready.text()
    assert.deepEqual(JSON.parse(text), {
      status: 'ready',
      published: true,
      services: [{ name: 'echo', available: true, document: 'none' }],
    })
    assert(!text.includes('127.0.0.1'))
  })
})

describe('the end of a process', () => {
  test('lets running requests finish, and takes no new ones', async () => {
    let arrived = false
    await using backend = await startBackend((_req, res) => {
      arrived = true
      setTimeout(() => res.end('finished'), 300)
    })
    const gateway = await startGateway(guarded(backend.url))
    const running = fetch(`${gateway.url}/echo`, { headers: { 'X-API-Key': key } })
    await eventually('it has arrived', () => arrived)
    const closed = gateway[Symbol.asyncDispose]()
    await sleep(50)
    await assert.rejects(fetch(`${gateway.url}/livez`))
    const answer = await running
    assert.equal(answer.status, 200)
    assert.equal(answer.headers.get('connection'), 'close')
    assert.equal(await answer.text(), 'finished')
    await closed
  })

  test('cuts what takes longer than `gateway.shutdown`', async () => {
    let arrived = false
    await using backend = await startBackend(() => {
      arrived = true
    })
    const gateway = await startGateway({ gateway: { shutdown: '200ms' }, ...guarded(backend.url) })
    const running = fetch(`${gateway.url}/echo`, { headers: { 'X-API-Key': key } }).catch(() => 'cut')
    await eventually('it has arrived', () => arrived)
    const before = performance.now()
    await gateway[Symbol.asyncDispose]()
    assert.equal(await running, 'cut')
    assert(performance.now() - before < 2_000)
  })
})

describe('a start that fails', () => {
  test('names the port that is taken and the variable that changes it', async () => {
    const taken = createServer()
    await new Promise<void>((resolve) => taken.listen(0, '127.0.0.1', resolve))
    const { port } = taken.address() as { port: number }
    await assert.rejects(
      startGateway(guarded('http://127.0.0.1:9'), { environment: { PORT: String(port) } }),
      (error: Error) =>
        error instanceof CannotListen && error.message.includes(`port ${port}`) && /set PORT/.test(error.message),
    )
    await assert.rejects(
      startGateway(guarded('http://127.0.0.1:9'), { environment: { ADMIN_PORT: String(port) } }),
      /set ADMIN_PORT/,
    )
    taken.close()
  })
})

describe('a change of services.json', () => {
  test('takes effect by itself, with no request lost', async () => {
    await using before = await startBackend((_req, res) => res.end('before'))
    await using after = await startBackend((_req, res) => res.end('after'))
    const definition = (url: string) => ({
      services: [{ name: 'echo', path: '/echo', targets: [url], openapi: false, security: [] }],
    })
    await using gateway = await startGateway(definition(before.url))
    const answers: string[] = []
    let running = true
    const load = (async () => {
      while (running) answers.push(await (await fetch(`${gateway.url}/echo`)).text())
    })()
    await eventually('requests are answered', () => answers.length > 5)
    await gateway.rewrite(definition(after.url))
    await eventually('the new service answers', () => answers.at(-1) === 'after')
    running = false
    await load
    const first = answers.indexOf('after')
    assert(answers.slice(0, first).every((text) => text === 'before'))
    assert(answers.slice(first).every((text) => text === 'after'))
  })

  test('that is broken changes nothing, is reported and counted, until it is mended', async () => {
    await using backend = await startBackend((_req, res) => res.end('ok'))
    const sound = { services: [{ name: 'echo', path: '/echo', targets: [backend.url], openapi: false, security: [] }] }
    await using gateway = await startGateway(sound)
    const stale = async () =>
      /^sallyport_config_stale (\d)/m.exec(await (await fetch(`${gateway.adminUrl}/metrics`)).text())?.[1]
    await gateway.rewrite('{ "services": [')
    await eventually('it is counted', async () => (await stale()) === '1')
    assert.equal(await (await fetch(`${gateway.url}/echo`)).text(), 'ok')
    const line = gateway.log.find(
      ({ level, message }) => level === 'error' && message.startsWith('services.json is broken'),
    )
    assert.equal(line?.['mistakes'][0].line, 1)
    await gateway.rewrite(sound)
    await eventually('it is mended', async () => (await stale()) === '0')
  })

  test('closes the connections to a service that is gone only when its last answer has ended', async () => {
    let finish: () => void = () => {}
    await using backend = await startBackend((_req, res) => {
      res.write('beginning ')
      finish = () => res.end('end')
    })
    await using other = await startBackend((_req, res) => res.end('other'))
    const definition = (url: string) => ({
      services: [{ name: 'echo', path: '/echo', targets: [url], openapi: false, security: [] }],
    })
    await using gateway = await startGateway(definition(backend.url))
    const slow = await fetch(`${gateway.url}/echo`)
    await gateway.rewrite(definition(other.url))
    await eventually('it is in use', () => gateway.log.find(({ message }) => message.includes('is in use')))
    assert.equal(await (await fetch(`${gateway.url}/echo`)).text(), 'other')
    finish()
    assert.equal(await slow.text(), 'beginning end')
  })
})

describe('a request that cannot be', () => {
  test('a token of 60 kB, a field with an underscore, a method nobody knows: refused in words', async () => {
    await using backend = await startBackend()
    await using gateway = await startGateway({
      services: [{ name: 'echo', path: '/echo', targets: [backend.url], openapi: false, security: [{ bearer: [] }] }],
    })
    const head = (lines: string) => `GET /echo HTTP/1.1\r\nHost: gw.test\r\n${lines}\r\n`
    const long = await sendRaw(gateway.url, head(`Authorization: Bearer ${'x'.repeat(60_000)}\r\n`))
    assert.equal(long.status, 431)
    const large = await sendRaw(gateway.url, head(`Authorization: Bearer ${'x'.repeat(9_000)}\r\n`))
    assert.equal(large.status, 401)
    const underscore = await sendRaw(gateway.url, head('User_ID: admin\r\n'))
    assert.equal(underscore.status, 400)
    assert.match(underscore.text, /underscore-field/)
    assert.equal((await sendRaw(gateway.url, 'BREW /echo HTTP/1.1\r\nHost: x\r\n\r\n')).status, 501)
    assert.equal(backend.received.length, 0)
  })
})
