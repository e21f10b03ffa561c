import assert from 'node:assert/strict'
import { createServer, request } from 'node:http'
import { after, before, describe, test } from 'node:test'
import { setTimeout as delay } from 'node:timers/promises'
import { UsageError } from '../../src/cli/command.ts'
import { countWorkers } from '../../src/cli/workers.ts'
import { type Backend, startBackend } from '../backend.ts'
import { freePort } from '../free-port.ts'
import { type GatewayProcess, lives, startProcess } from '../processes.ts'
import { eventually } from '../sallyport.ts'

/** Workers are found by /proc. */
const skip = process.platform !== 'linux' && 'needs /proc'

const store = { type: 'sqlite', path: 'store.db' }

function definition(target: string, more: object = {}) {
  return {
    store,
    gateway: { notice: '100ms', shutdown: '5s' },
    issuers: {},
    securitySchemes: { key: { type: 'apiKey', in: 'header', name: 'X-API-Key' } },
    services: [
      { name: 'open', path: '/open', targets: [target], openapi: false, security: [], ...more },
      { name: 'keyed', path: '/keyed', targets: [target], openapi: false, security: [{ key: [] }] },
    ],
  }
}

/** On a connection of its own, so that it may reach any worker. */
async function ask(url: string, init: RequestInit = {}): Promise<{ readonly status: number; readonly text: string }> {
  const headers = { ...init.headers, Connection: 'close' }
  const response = await fetch(url, { ...init, headers, signal: AbortSignal.timeout(10_000) })
  return { status: response.status, text: await response.text() }
}

async function metric(gateway: GatewayProcess, name: string): Promise<number> {
  const { text } = await ask(`${gateway.adminUrl}/metrics`)
  const line = text.split('\n').find((candidate) => candidate.startsWith(`${name} `))
  return Number(line?.slice(name.length + 1) ?? Number.NaN)
}

const json = (body: object): RequestInit => ({
  method: 'POST',
  headers: { 'Content-Type': 'application/json' },
  body: JSON.stringify(body),
})

describe('a gateway of several workers', { skip }, () => {
  let backend: Backend
  let gateway: GatewayProcess
  before(async () => {
    backend = await startBackend()
    gateway = await startProcess(definition(backend.url), { words: ['--workers', '2'] })
    await eventually('it says that it serves', () => gateway.out().includes('with 2 workers'), 30_000)
  })
  after(async () => {
    await gateway?.[Symbol.asyncDispose]()
    await backend?.[Symbol.asyncDispose]()
  })

  /** So many connections at once that no worker is left out for long. */
  const statuses = async (path: string, init?: RequestInit) => {
    const answers = await Promise.all(Array.from({ length: 8 }, () => ask(gateway.url + path, init)))
    return [...new Set(answers.map(({ status }) => status))]
  }

  test('says once where it serves, and both workers log what they do', async () => {
    assert.equal(gateway.out().match(/Sallyport serves/g)?.length, 1)
    assert.equal(gateway.children().length, 2)
    await eventually('both have logged a request', async () => {
      assert.deepEqual(await statuses('/open/'), [200])
      const workers = new Set(
        gateway
          .log()
          .filter(({ message }) => message === 'request')
          .map(({ worker }) => worker),
      )
      return workers.has(1) && workers.has(2)
    })
  })

  test('a key that is made through one is known to all, and one that is revoked to none within a second', async () => {
    const made = await ask(`${gateway.adminUrl}/keys`, json({ owner: 'ada' }))
    assert.equal(made.status, 201)
    const { text, key } = JSON.parse(made.text)
    const headers = { 'X-API-Key': text }
    assert.deepEqual(await statuses('/keyed/', { headers }), [200])
    assert.equal((await ask(`${gateway.adminUrl}/keys/${key.id}`, { method: 'DELETE' })).status, 204)
    await eventually(
      'nobody takes it any more',
      async () => String(await statuses('/keyed/', { headers })) === '401',
      10_000,
    )
  })

  test('the admin port adds up what all have counted, and finds a refusal wherever it was made', async () => {
    assert.equal(await metric(gateway, 'sallyport_processes'), 2)
    const ids: string[] = []
    for (let n = 0; n < 4; n += 1) ids.push(JSON.parse((await ask(`${gateway.url}/keyed/`)).text).instance)
    for (const id of [...ids, ...ids]) assert.equal((await ask(`${gateway.adminUrl}/decisions/${id}`)).status, 200, id)
    assert.equal((await ask(`${gateway.adminUrl}/decisions/nobody`)).status, 404)
    const { decisions } = JSON.parse((await ask(`${gateway.adminUrl}/decisions`)).text)
    const known = decisions.map(({ id }: { id: string }) => id)
    assert.deepEqual(
      ids.filter((id) => !known.includes(id)),
      [],
    )
    const counted = 'sallyport_refusals_total{service="keyed",code="no-credentials"}'
    assert.ok((await metric(gateway, counted)) >= 4)
  })

  test('a change of services.json reaches all; a broken one changes nothing and is told by the metric', async () => {
    await gateway.rewrite(definition(backend.url, { path: '/moved' }))
    await eventually('all have moved', async () => String(await statuses('/moved/')) === '200')
    assert.deepEqual(await statuses('/open/'), [404])
    await gateway.rewrite('{ "services": ')
    await eventually(
      'the file is known to be broken',
      async () => (await metric(gateway, 'sallyport_config_stale')) === 1,
    )
    assert.deepEqual(await statuses('/moved/'), [200])
    await gateway.rewrite(definition(backend.url))
    await eventually('all are back', async () => String(await statuses('/open/')) === '200')
    await eventually('nothing is stale', async () => (await metric(gateway, 'sallyport_config_stale')) === 0)
  })

  test('a worker that is killed is replaced, the others serve on, and no counter goes back', async () => {
    const counted = 'sallyport_refusals_total{service="keyed",code="no-credentials"}'
    const before = await metric(gateway, counted)
    const [victim] = gateway.children()
    process.kill(victim!, 'SIGKILL')
    await eventually('it is gone', () => !lives(victim!))
    assert.deepEqual(await statuses('/open/'), [200])
    assert.ok((await metric(gateway, counted)) >= before)
    await eventually('there are two again', async () => (await metric(gateway, 'sallyport_processes')) === 2, 60_000)
    assert.ok(!gateway.children().includes(victim!))
    assert.ok((await metric(gateway, counted)) >= before)
    const told = gateway.log().filter(({ message }) => /takes its place/.test(message))
    assert.deepEqual(
      told.map(({ worker, message }) => [worker, message]),
      [[told[0].worker, 'a worker was ended by SIGKILL; another takes its place']],
    )
  })

  test('SIGTERM ends all of them, running requests first', async () => {
    const children = gateway.children()
    const slow = await startBackend((_req, res) => void setTimeout(() => res.end('at last'), 1_000))
    await gateway.rewrite(definition(slow.url))
    await eventually('the slow one is asked', async () => (await ask(`${gateway.url}/open/`)).text === 'at last')
    await delay(300)
    const running = ask(`${gateway.url}/open/`)
    await delay(100)
    gateway.child.kill('SIGTERM')
    assert.equal((await running).text, 'at last')
    assert.equal(await gateway.ended, 0)
    assert.deepEqual(children.filter(lives), [])
    await slow[Symbol.asyncDispose]()
  })
})

describe('workers that cannot be', { skip }, () => {
  test('the second signal ends everything at once', async () => {
    const backend = await startBackend((req) => void req.resume())
    const gateway = await startProcess(definition(backend.url), { words: ['--workers', '2'] })
    try {
      await eventually('it serves', () => gateway.out().includes('with 2 workers'), 30_000)
      const children = gateway.children()
      const hanging = request(`${gateway.url}/open/`)
      hanging.on('error', () => {})
      hanging.end()
      await delay(200)
      gateway.child.kill('SIGINT')
      await delay(200)
      gateway.child.kill('SIGINT')
      assert.equal(await gateway.ended, 1)
      await eventually('nobody is left', () => !children.some(lives))
    } finally {
      await gateway[Symbol.asyncDispose]()
      await backend[Symbol.asyncDispose]()
    }
  })

  test('that die again and again are not replaced for ever: more than ten in a minute end the gateway', async () => {
    const gateway = await startProcess(definition('http://127.0.0.1:9'), { words: ['--workers', '4'] })
    try {
      await eventually('it serves', () => gateway.out().includes('with 4 workers'), 60_000)
      const deaths = new Set<number>()
      const killing = setInterval(() => {
        for (const child of gateway.children()) {
          deaths.add(child)
          process.kill(child, 'SIGKILL')
        }
      }, 20)
      const code = await gateway.ended.finally(() => clearInterval(killing))
      assert.equal(code, 1)
      assert.match(gateway.err(), /^sallyport: 10 workers died within a minute; the last one was ended by SIGKILL\n$/)
      assert.ok(deaths.size > 10, `${deaths.size} deaths`)
      assert.ok(![...deaths].some(lives))
    } finally {
      await gateway[Symbol.asyncDispose]()
    }
  })

  for (const { title, change, said } of [
    {
      title: 'a store that is part of one process is refused',
      change: { store: { type: 'memory' } },
      said: /^sallyport: several workers cannot share the store "memory"[^\n]*sqlite or redis[^\n]*\n$/,
    },
    {
      title: 'a mistake in services.json is told once',
      change: { services: [] },
      said: /^sallyport: .*has one mistake\n[^\n]*at least one service is needed\n$/,
    },
  ]) {
    test(title, async () => {
      const broken = { ...definition('http://127.0.0.1:9'), ...change }
      const gateway = await startProcess(broken, { words: ['--workers', '2'], soon: true })
      try {
        assert.ok((await gateway.ended)! > 0)
        assert.match(gateway.err(), said)
      } finally {
        await gateway[Symbol.asyncDispose]()
      }
    })
  }

  test('their number is a number, or follows from the machine', () => {
    assert.equal(countWorkers('3'), 3)
    assert.ok(countWorkers('auto') >= 1)
    for (const text of ['0', 'many', '1.5', '-1', '129', '']) assert.throws(() => countWorkers(text), UsageError, text)
  })

  test('a port that is taken is told once, with what to do', async () => {
    const port = await freePort()
    const server = createServer().listen(port, '127.0.0.1')
    const gateway = await startProcess(definition('http://127.0.0.1:9'), {
      words: ['--workers', '3'],
      environment: { PORT: String(port) },
      soon: true,
    })
    try {
      assert.equal(await gateway.ended, 1)
      assert.match(gateway.err(), new RegExp(`^sallyport: port ${port} on 127.0.0.1 is taken; set PORT[^\\n]*\\n$`))
    } finally {
      server.close()
      await gateway[Symbol.asyncDispose]()
    }
  })
})
